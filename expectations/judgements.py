"""Suite of `judgements`. Any scale of grades passes; its share in [0, 1] does not."""

from expectations.suite import Expectation, RowRule, Suite

SUITE = Suite(
    row_rules=(
        RowRule("query_not_empty", "trim(query_norm) <> ''", note="the grain; a query of blanks asks for nothing"),
        RowRule("item_id_present", "trim(item_id) <> ''", note="the grain"),
        RowRule("grade_finite", "abs(grade) < double('infinity')", note="NaN or infinity spoils every mean"),
        RowRule("relevance_is_share", "relevance between 0 and 1", note="contract; nDCG takes it as a gain, scorers as a chance"),
        RowRule("judged_by_present", "trim(judged_by) <> ''", note="grades of two sources are not on one scale"),
        RowRule("day_of_available_at", "day = cast(available_at as date)", note="contract: the partition is the UTC day of arrival"),
    ),
    expectations=(
        Expectation(
            "expect_column_unique_value_count_to_be_between",
            {"column": "relevance", "min_value": 2},
            severity="warning",
            note="one grade for all tells no item from another",
        ),
        Expectation(
            "expect_column_values_to_be_in_set",
            {"column": "is_evaluation", "value_set": [False], "mostly": 0.5},
            severity="warning",
            note="our choice: a fifth of the queries is kept for evaluation; more than half of the rows is another split",
        ),
    ),
)
