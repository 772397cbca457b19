"""Suite of `items`. Accepts catalogues without titles, prices or brands."""

from expectations.suite import Expectation, RowRule, Suite

SUITE = Suite(
    row_rules=(
        RowRule("item_id_present", "trim(item_id) <> ''", note="the grain"),
        RowRule(
            "status_known", "status in ('on_shelf', 'off_shelf')", note="contract; another code would be drawn as if it were on the shelf"
        ),
        RowRule("title_not_empty", "title is null or trim(title) <> ''", note="missing is null: '' would be encoded as a text"),
        RowRule("price_not_negative", "price_cents is null or price_cents >= 0", note="a price"),
        RowRule(
            "categories_named",
            "category_path is null or (size(category_path) > 0 and not exists(category_path, c -> c is null or trim(c) = ''))",
            note="a path has no gap; without a category it is null",
        ),
        RowRule("times_known", "valid_at is not null and available_at is not null", note="the as-of join goes by them"),
    ),
    expectations=(
        Expectation(
            "expect_column_values_to_be_in_set",
            {"column": "status", "value_set": ["on_shelf"], "mostly": 0.01},
            note="our choice: with nothing on the shelf every candidate would be excluded as off_shelf",
        ),
        Expectation(
            "expect_column_values_to_not_be_null",
            {"column": "title", "mostly": 0.9},
            severity="warning",
            note="our choice: items without title have no vector and no synthesised query; logs of ids alone have none",
        ),
        Expectation(
            "expect_column_values_to_not_be_null",
            {"column": "category_path", "mostly": 0.5},
            severity="warning",
            note="our choice: comparable negatives are found by category where vectors fail",
        ),
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "price_cents", "max_value": 10_000_000_000},
            severity="warning",
            note="our choice: a hundred million in the currency's unit; more is a mix-up of units",
        ),
    ),
)
