from datetime import date

from expectations.query_rewrites import SUITE
from schemas.query_rewrites import CONTRACT
from tests.expectations.tripping import assert_expectations_trip, assert_rules_trip

ROW = {"rewriter": "feedback", "rank": 1, "score": 0.5, "relevance": 1.0, "hardness": "plain"}
SPAN = {"from_day": date(2026, 1, 1), "to_day": date(2026, 1, 5), "num_sessions": 1}
GOOD = [ROW, ROW | {"rewrite": "b", "rewriter": "sessions", "rank": 5, "evidence": SPAN}]


def test_each_rule_takes_out_its_bad_row(spark):
    bad = {
        "texts_present": ROW | {"rewrite": " "},
        "rewrite_is_another_text": ROW | {"rewrite": "query_norm"},
        "rewriter_known": ROW | {"rewriter": "oracle"},
        "rank_from_1": ROW | {"rank": 0},
        "score_and_relevance_in_range": ROW | {"relevance": 1.1},
        "hardness_known": ROW | {"hardness": "easy"},
        "evidence_of_the_past": ROW | {"rewriter": "sessions", "evidence": SPAN | {"to_day": date(2026, 1, 6)}},
        "sessions_have_evidence": ROW | {"rewriter": "sessions"},
        "no_evaluation_query": ROW | {"is_evaluation": True},
    }
    assert_rules_trip(spark, CONTRACT, SUITE, GOOD, bad)


def test_each_expectation_fails_on_its_bad_rows(spark):
    bad = {
        "expect_compound_columns_to_be_unique (['query_norm', 'rewriter', 'rank'])": [ROW, ROW | {"rewrite": "c"}],
        "expect_column_value_lengths_to_be_between (rewrite)": [ROW | {"rewrite": "x" * 121}],
        "expect_column_values_to_be_between (rank)": [ROW | {"rank": 6}],
    }
    assert_expectations_trip(spark, CONTRACT, SUITE, GOOD, bad)
