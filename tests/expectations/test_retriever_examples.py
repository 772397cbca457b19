from expectations.retriever_examples import SUITE
from schemas.retriever_examples import CONTRACT
from tests.expectations.tripping import assert_expectations_trip, assert_rules_trip

LOG = {"kind": "log", "query_hash": 5, "query_tokens": [1], "item_tokens": [2], "weight": 1.0}
MADE = {"rewriter": "sessions", "channel": "both", "is_new": True, "p_business": 0.9, "p_general": 0.9}
SHELF = {"kind": "catalogue", "query_norm": "", "item_id": "i1", "item_tokens": [2], "weight": 1.0}
HARD = [{"item_id": "i9", "source": "shown"}]
GOOD = [LOG | {"hard_negatives": HARD}, LOG | {"kind": "evaluation"}, LOG | MADE | {"kind": "synthetic"}, SHELF]


def test_each_rule_takes_out_its_bad_row(spark):
    bad = {
        "kind_known": LOG | {"kind": "negative"},
        "query_unless_catalogue": SHELF | {"kind": "log"},
        "title_has_tokens": LOG | {"item_tokens": []},
        "tokens_in_range": LOG | {"item_tokens": [1 << 17]},
        "weight_positive": LOG | {"weight": 0.0},
        "negatives_of_learnt": LOG | {"kind": "evaluation", "hard_negatives": HARD},
        "provenance_of_synthetic": LOG | {"kind": "synthetic"},
        "negative_source_known": LOG | {"hard_negatives": [{"source": "random"}]},
    }
    assert_rules_trip(spark, CONTRACT, SUITE, GOOD, bad)


def test_each_expectation_fails_on_its_bad_rows(spark):
    bad = {
        "expect_column_values_to_be_between (weight)": [LOG | {"weight": 41.0}],
        "expect_column_values_to_not_be_in_set (kind)": [LOG | MADE | {"kind": "synthetic"}],
    }
    assert_expectations_trip(spark, CONTRACT, SUITE, GOOD, bad)
