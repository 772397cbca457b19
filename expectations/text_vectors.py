"""Suite of `text_vectors`: unit vectors of one encoder."""

from expectations.suite import Expectation, RowRule, Suite

SUITE = Suite(
    row_rules=(
        RowRule("kind_known", "kind in ('item', 'query')", note="contract"),
        RowRule("text_id_present", "trim(text_id) <> ''", note="the grain"),
        RowRule("text_not_empty", "trim(text) <> ''", note="contract: items with a title, queries that were searched"),
        RowRule(
            "searches_of_queries",
            "if(kind = 'query', coalesce(num_searches_7d >= 1, false), num_searches_7d is null)",
            note="contract: a query was searched at least once; null for items",
        ),
        RowRule(
            "unit_vector",
            "abs(sqrt(aggregate(vector, 0, (s, x) -> s + cast(x as int) * cast(x as int))) - 127) <= 0.5 * sqrt(size(vector))",
            note="contract: unit vector times 127, rounded; d roundings of at most 0.5 move its length by at most 0.5 * sqrt(d)",
        ),
    ),
    expectations=(
        Expectation(
            "expect_column_unique_value_count_to_be_between",
            {"column": "encoder", "max_value": 1},
            note="contract: all of a day by one encoder; vectors of two are not comparable",
        ),
        Expectation(
            "expect_column_values_to_be_in_set",
            {"column": "kind", "value_set": ["query"], "mostly": 0.0001},
            severity="warning",
            note="our choice: with hardly a query, the nearest one is never near; on a first day there is none",
        ),
        Expectation(
            "expect_column_value_lengths_to_be_between",
            {"column": "text", "max_value": 1000, "mostly": 0.99},
            severity="warning",
            note="our choice: titles and queries; longer ones are descriptions in the wrong column and are cut by encoders",
        ),
    ),
)
