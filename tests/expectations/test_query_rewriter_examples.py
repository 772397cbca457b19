from expectations.query_rewriter_examples import SUITE
from schemas.query_rewriter_examples import CONTRACT
from tests.expectations.tripping import assert_expectations_trip, assert_rules_trip

PROMPT = [{"role": "system", "content": "rewrite"}, {"role": "user", "content": "1: lamp"}]
ASKED = {"query_norm": "lamp", "item_id": "", "prompt": PROMPT}


def said(text, role="assistant"):
    return [{"role": role, "content": text}]


TERM = {"word": "lamp", "weight": 100, "targets": ["light"], "strengths": [5000]}
SFT = ASKED | {"kind": "sft", "completion": said("1: led lamp | desk lamp"), "rewriters": ["sessions", "model"]}
GRPO = ASKED | {"kind": "grpo", "terms": [TERM], "excluded": [], "good_items": ["i1"]}
SHELF = {"kind": "catalogue", "query_norm": "", "item_id": "i1", "title_words": ["lamp"]}
ONE = SFT | {
    "query_norm": "desk",
    "prompt": [PROMPT[0], PROMPT[1] | {"content": "1: desk"}],
    "completion": said("1: table"),
    "rewriters": ["model"],
}
GOOD = [SFT, ONE, GRPO, SHELF]


def test_each_rule_takes_out_its_bad_row(spark):
    bad = {
        "kind_known": GRPO | {"kind": "dpo"},
        "query_or_item": SFT | {"item_id": "i1"},
        "prompt_of_query": GRPO | {"prompt": PROMPT[1:]},
        "user_asks_the_query": GRPO | {"query_norm": "scarf"},
        "completion_of_sft": GRPO | {"completion": said("1: led lamp")},
        "reply_has_its_form": ONE | {"completion": said("1: led lamp |")},
        "a_rewriter_for_each_rewrite": SFT | {"rewriters": ["model"]},
        "rewards_of_grpo": GRPO | {"terms": None},
        "a_query_has_a_goal": GRPO | {"good_items": []},
        "strengths_match_targets": GRPO | {"terms": [TERM | {"strengths": []}]},
        "title_of_catalogue": SHELF | {"title_words": []},
    }
    assert_rules_trip(spark, CONTRACT, SUITE, GOOD, bad)


def test_each_expectation_fails_on_its_bad_rows(spark):
    assert_expectations_trip(spark, CONTRACT, SUITE, GOOD, {"expect_column_distinct_values_to_contain_set (kind)": [SFT, GRPO]})
