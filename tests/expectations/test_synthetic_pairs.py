from datetime import date

from expectations.synthetic_pairs import SUITE
from schemas.synthetic_pairs import CONTRACT
from tests.expectations.tripping import assert_expectations_trip, assert_rules_trip

PASSED = ["not_in_log", "business", "general", "query_cap", "item_cap", "category_cap"]
PAIR = {
    "query_norm": "keep feet dry",
    "item_id": "i1",
    "rewrite": "waterproof boots",
    "rewriter": "sessions",
    "channel": "both",
    "rank": 1,
    "p_business": 0.9,
    "p_general": 0.4,
    "is_new": True,
    "hardness": "knowledge",
    "evidence": {"from_day": "2026-01-01", "to_day": "2026-01-05", "num_sessions": 3},
    "guards": ["difference_set", *PASSED],
}
GOOD = [
    PAIR,
    PAIR | {"item_id": "i2", "is_new": False, "guards": ["drawn_of_known", *PASSED], "evidence": None, "rank": 50, "channel": "bm25"},
]


def test_each_rule_takes_out_its_bad_row(spark):
    late = {"from_day": "2026-01-01", "to_day": date(2026, 1, 6), "num_sessions": 3}
    bad = {
        "query_not_empty": PAIR | {"query_norm": " "},
        "item_id_present": PAIR | {"item_id": ""},
        "rewrite_differs": PAIR | {"rewrite": "keep feet dry"},
        "rewriter_known": PAIR | {"rewriter": "me"},
        "channel_known": PAIR | {"channel": "sparse"},
        "rank_from_one": PAIR | {"rank": 0},
        "accepted_business": PAIR | {"p_business": 0.84},
        "accepted_general": PAIR | {"p_general": 1.01},
        "hardness_known": PAIR | {"hardness": "hard"},
        "evidence_by_the_day": PAIR | {"evidence": late},
        "guards_agree": PAIR | {"is_new": False},
    }
    assert_rules_trip(spark, CONTRACT, SUITE, GOOD, bad)


def test_each_expectation_fails_on_its_bad_rows(spark):
    bad = {
        "expect_column_values_to_be_in_set (is_new)": [PAIR | {"is_new": False}, PAIR | {"is_new": False}, PAIR],
        "expect_column_mean_to_be_between (p_business)": [PAIR | {"p_business": 0.85}],
    }
    assert_expectations_trip(spark, CONTRACT, SUITE, GOOD, bad)
