from expectations.judgements import SUITE
from schemas.judgements import CONTRACT
from tests.expectations.tripping import assert_expectations_trip, assert_rules_trip

GOOD = [
    {"query_norm": "l bracket", "item_id": "1", "grade": 1.0, "relevance": 0.0},
    {"query_norm": "l bracket", "item_id": "2", "grade": 3.0, "relevance": 1.0, "is_evaluation": True},
]


def test_each_rule_takes_out_its_bad_row(spark):
    bad = {
        "query_not_empty": {"query_norm": " "},
        "item_id_present": {"item_id": ""},
        "grade_finite": {"grade": float("nan")},
        "relevance_is_share": {"relevance": 2.5},
        "judged_by_present": {"judged_by": ""},
        "day_of_available_at": {"available_at": "2026-01-06T00:00:00"},
    }
    assert_rules_trip(spark, CONTRACT, SUITE, GOOD, bad)


def test_each_expectation_fails_on_its_bad_rows(spark):
    bad = {
        "expect_column_unique_value_count_to_be_between (relevance)": [{"relevance": 0.5, "item_id": n} for n in "ab"],
        "expect_column_values_to_be_in_set (is_evaluation)": [{"is_evaluation": True}],
    }
    assert_expectations_trip(spark, CONTRACT, SUITE, GOOD, bad)
