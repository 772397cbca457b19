from expectations.attributions import SUITE
from schemas.attributions import CONTRACT
from tests.expectations.tripping import assert_expectations_trip, assert_rules_trip

CREDIT = {
    "fate": "native",
    "attribution_level": 1,
    "request_id": "r",
    "request_day": "2026-01-05",
    "requested_at": "2026-01-05T11:59:00",
    "attribution_lag_s": 60.0,
}
WEEK_OLD = {"request_day": "2025-12-29", "requested_at": "2025-12-29T12:00:00.0005", "attribution_lag_s": 604_800.0}
GOOD = [CREDIT, CREDIT | WEEK_OLD, {"fate": "no_candidate"}]


def test_each_rule_takes_out_its_bad_row(spark):
    bad = {
        "day_of_available_at": {"fate": "duplicate", "available_at": "2026-01-04T23:59:59"},
        "credited_has_request": {"fate": "native"},
        "request_is_whole": CREDIT | {"attribution_level": None},
        "day_of_request": CREDIT | {"request_day": "2026-01-04"},
        "lag_is_difference": CREDIT | {"attribution_lag_s": 61.0},
    }
    assert_rules_trip(spark, CONTRACT, SUITE, GOOD, bad)


def test_each_expectation_fails_on_its_bad_rows(spark):
    bad = {
        "expect_column_values_to_be_between (attribution_lag_s)": [CREDIT | {"attribution_lag_s": -0.001}],
        "expect_column_pair_values_a_to_be_greater_than_b (available_at, event_at)": [{"event_at": "2026-01-05T12:00:01"}],
        "expect_column_values_to_be_in_set (fate)": [{"fate": "kept"}],
        "expect_column_values_to_be_between (attribution_level)": [CREDIT | {"attribution_level": 0}],
        "expect_column_values_to_be_in_set (event_type)": [{"event_type": "buy"}],
        "expect_column_values_to_not_be_null (request_id)": [{"fate": "no_candidate"}],
        "expect_column_values_to_not_be_in_set (fate)": [{"fate": "duplicate"}],
    }
    assert_expectations_trip(spark, CONTRACT, SUITE, GOOD, bad)
