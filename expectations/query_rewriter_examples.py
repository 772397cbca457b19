"""Suite of `query_rewriter_examples`: each kind has what TRL reads of it and nothing else, replies have the form that is asked for."""

from expectations.suite import Expectation, RowRule, Suite
from schemas.query_rewriter_examples import KINDS, NUM_REWRITES

ROLES = "transform({}, m -> m.role)"

SUITE = Suite(
    row_rules=(
        RowRule("kind_known", f"kind in {KINDS}", note="contract"),
        RowRule("query_or_item", "(kind = 'catalogue') = (query_norm = '') and (kind = 'catalogue') = (item_id <> '')", note="contract"),
        RowRule(
            "prompt_of_query",
            f"(kind = 'catalogue') = (prompt is null) and (prompt is null or {ROLES.format('prompt')} = array('system', 'user'))",
            note="contract: what a chat form is made of",
        ),
        RowRule(
            "user_asks_the_query", "prompt is null or get(prompt, 1).content = concat('1: ', query_norm)", note="as the rewriter asks it"
        ),
        RowRule(
            "completion_of_sft",
            f"(kind = 'sft') = (completion is not null) and (completion is null or {ROLES.format('completion')} = array('assistant'))",
            note="contract: what is learnt is one answer",
        ),
        RowRule(
            "reply_has_its_form",
            r"completion is null or get(completion, 0).content rlike '^1: [^|\n]+( \\| [^|\n]+)*$'",
            note="a line with a number, a colon and rewrites with | between; anything else would be read as malformed",
        ),
        RowRule(
            "a_rewriter_for_each_rewrite",
            "(kind = 'sft') = (rewriters is not null) and "
            f"(rewriters is null or size(rewriters) <= {NUM_REWRITES} and "
            "size(rewriters) = size(split(get(completion, 0).content, '[|]')))",
            note="contract",
        ),
        RowRule(
            "rewards_of_grpo",
            "(kind = 'grpo') = (terms is not null and excluded is not null and good_items is not null)",
            note="contract: reward functions read all three",
        ),
        RowRule("a_query_has_a_goal", "good_items is null or size(good_items) > 0", note="without one a reply is rewarded for nothing"),
        RowRule(
            "strengths_match_targets",
            "terms is null or forall(terms, t -> t.weight > 0 and size(t.targets) = size(t.strengths) and "
            "forall(t.strengths, s -> s between 0 and 10000))",
            note="features.relevance.query_terms",
        ),
        RowRule("title_of_catalogue", "(kind = 'catalogue') = (title_words is not null and size(title_words) > 0)", note="contract"),
    ),
    expectations=(
        Expectation(
            "expect_column_distinct_values_to_contain_set",
            {"column": "kind", "value_set": ["catalogue"]},
            severity="warning",
            note="without a catalogue no rewrite finds anything, so none is rewarded",
        ),
    ),
)
