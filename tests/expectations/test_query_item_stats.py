from expectations.query_item_stats import SUITE
from schemas.query_item_stats import CONTRACT
from tests.expectations.tripping import assert_expectations_trip, assert_rules_trip

GOOD = [{"num_clicks_28d": 3}, {"item_id": "b", "num_clicks_28d": 2, "num_pays_28d": 1, "last_event_at": "2026-01-05T23:59:59"}]


def test_each_rule_takes_out_its_bad_row(spark):
    bad = {
        "query_not_empty": {"query_norm": "", "num_clicks_28d": 1},
        "item_id_present": {"item_id": "", "num_clicks_28d": 1},
        "counts_not_negative": {"num_clicks_28d": 2, "num_pays_28d": -1},
        "something_counted": {},
        "known_by_the_day": {"num_clicks_28d": 1, "last_event_at": "2026-01-06T00:00:00"},
    }
    assert_rules_trip(spark, CONTRACT, SUITE, GOOD, bad)


def test_each_expectation_fails_on_its_bad_rows(spark):
    bad = {
        "expect_column_values_to_be_between (num_pays_28d)": [{"num_pays_28d": 1}],
        "expect_column_values_to_be_between (num_clicks_28d)": [{"num_clicks_28d": 10_000_001}],
    }
    assert_expectations_trip(spark, CONTRACT, SUITE, GOOD, bad)
