"""Suite of `query_item_stats`: positive counts of what had arrived by the day."""

from expectations.suite import Expectation, RowRule, Suite

SUITE = Suite(
    row_rules=(
        RowRule("query_not_empty", "trim(query_norm) <> ''", note="the empty query would be the most frequent one of every item"),
        RowRule("item_id_present", "trim(item_id) <> ''", note="the grain"),
        RowRule("counts_not_negative", "num_clicks_28d >= 0 and num_pays_28d >= 0", note="they are counts"),
        RowRule("something_counted", "num_clicks_28d + num_pays_28d > 0", note="contract: rows with credited clicks or pays only"),
        RowRule("known_by_the_day", "cast(last_event_at as date) <= day", note="a later event would leak into a feature"),
    ),
    expectations=(
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "num_pays_28d", "max_value": 0, "mostly": 0.1},
            severity="warning",
            note="our choice: pays are rarer than clicks on every shop's log; more than 9 in 10 pairs bought is a mix-up of event types",
        ),
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "num_clicks_28d", "max_value": 10_000_000},
            severity="warning",
            note="our choice: more credited clicks of one pair in four weeks is a robot",
        ),
    ),
)
