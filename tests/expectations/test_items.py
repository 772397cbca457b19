from expectations.items import SUITE
from schemas.items import CONTRACT
from tests.expectations.tripping import assert_expectations_trip, assert_rules_trip

GOOD = [
    {"title": "red shoe", "category_path": ["clothes", "shoes"], "price_cents": 0},
    {"title": "blue shoe", "category_path": ["clothes"], "price_cents": 4500},
]
BARE = {"item_id": "only its id"}


def test_each_rule_takes_out_its_bad_row(spark):
    bad = {
        "item_id_present": {"item_id": ""},
        "status_known": {"status": "sold"},
        "title_not_empty": {"title": " "},
        "price_not_negative": {"price_cents": -1},
        "categories_named": {"category_path": ["clothes", None]},
        "times_known": {"available_at": None},
    }
    assert_rules_trip(spark, CONTRACT, SUITE, [*GOOD, BARE], bad)


def test_each_expectation_fails_on_its_bad_rows(spark):
    bad = {
        "expect_column_values_to_be_in_set (status)": [{"status": "off_shelf"}],
        "expect_column_values_to_not_be_null (title)": [BARE],
        "expect_column_values_to_not_be_null (category_path)": [BARE],
        "expect_column_values_to_be_between (price_cents)": [{"price_cents": 10_000_000_001}],
    }
    assert_expectations_trip(spark, CONTRACT, SUITE, GOOD, bad)
