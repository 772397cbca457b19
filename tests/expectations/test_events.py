from expectations.events import SUITE
from schemas.events import CONTRACT
from tests.expectations.tripping import assert_expectations_trip, assert_rules_trip

GOOD = [
    {"request_id": "r", "dwell_s": 0.0},
    {"event_type": "pay", "order_id": "o"},  # a pay without amount
    {"event_type": "pay", "amount_cents": 0, "event_at": "2026-01-03T23:59:59", "available_at": "2026-01-05T00:00:00"},
]


def test_each_rule_takes_out_its_bad_row(spark):
    bad = {
        "event_id_present": {"event_id": ""},
        "user_id_present": {"user_id": ""},
        "item_id_present": {"item_id": None},
        "event_type_known": {"event_type": "buy"},
        "domain_known": {"domain": "ads"},
        "not_before_it_happened": {"event_at": "2026-01-05T12:00:01", "available_at": "2026-01-05T12:00:00"},
        "day_of_available_at": {"available_at": "2026-01-06T00:00:00"},
        "request_id_not_empty": {"request_id": ""},
        "amount_not_negative": {"amount_cents": -1},
        "dwell_not_negative": {"dwell_s": float("nan")},
    }
    assert_rules_trip(spark, CONTRACT, SUITE, GOOD, bad)


def test_each_expectation_fails_on_its_bad_rows(spark):
    bad = {
        "expect_column_values_to_be_in_set (event_type)": [{"event_type": "pay"}],
        "expect_column_values_to_not_be_null (request_id)": [{"request_id": None}],
        "expect_column_values_to_be_between (amount_cents)": [{"amount_cents": 1_000_000_001}],
        "expect_column_values_to_be_between (dwell_s)": [{"dwell_s": 86_401.0}],
    }
    assert_expectations_trip(spark, CONTRACT, SUITE, GOOD, bad)
