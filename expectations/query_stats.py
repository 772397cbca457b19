"""Suite of `query_stats`: counts that fit each other, rates, known names."""

from expectations.suite import Expectation, RowRule, Suite

SUITE = Suite(
    row_rules=(
        RowRule("query_not_empty", "trim(query_norm) <> ''", note="the empty query would be the most searched one"),
        RowRule("searched_by_somebody", "num_users_28d between 1 and num_searches_28d", note="contract: queries that were searched"),
        RowRule("counts_not_negative", "num_clicks_28d >= 0 and num_pays_28d >= 0", note="they are counts"),
        RowRule("rates_are_shares", "click_rate between 0 and 1 and few_result_rate between 0 and 1", note="shares of searches"),
        RowRule("clicks_where_clicked", "(num_clicks_28d > 0) = (click_rate > 0)", note="both count credited clicks of the same searches"),
        RowRule("decile_known", "decile between 1 and 10", note="tenths of all queries"),
        RowRule("segment_known", "segment in ('head', 'torso', 'tail')", note="contract"),
        RowRule("hardness_known", "hardness in ('question', 'alternative', 'negation', 'knowledge', 'plain')", note="features.hardness"),
    ),
    expectations=(
        Expectation(
            "expect_column_values_to_be_in_set",
            {"column": "is_evaluation", "value_set": [False], "mostly": 0.6},
            severity="warning",
            note="a fifth of all sets of words is kept for evaluation; more than two fifths is another share, or hardly a query",
        ),
        Expectation(
            "expect_column_values_to_be_in_set",
            {"column": "hardness", "value_set": ["plain", "question", "alternative", "negation"], "mostly": 0.2},
            severity="warning",
            note="our choice: when titles carry fewer than 1 in 5 queries, catalogue and log are of different shops or languages",
        ),
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "few_result_rate", "max_value": 0.5, "mostly": 0.5},
            severity="warning",
            note="our choice: when most queries find nothing, the log holds only what was shown, not what was recalled",
        ),
    ),
)
