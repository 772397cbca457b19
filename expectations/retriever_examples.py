"""Suite of `retriever_examples`: tokens in their range, weights that hold the caps, no evaluation query among what is learnt."""

from expectations.suite import Expectation, RowRule, Suite
from schemas.retriever_examples import KINDS, SOURCES, TOKENS

LEARNT = "kind in ('log', 'synthetic')"

SUITE = Suite(
    row_rules=(
        RowRule("kind_known", f"kind in {KINDS}", note="contract"),
        RowRule(
            "query_unless_catalogue",
            "(kind = 'catalogue') = (query_norm = '') and (query_norm = '') = (query_hash = 0 and size(query_tokens) = 0)",
            note="contract: a row of the catalogue has no query, every other has one with words",
        ),
        RowRule("title_has_tokens", "size(item_tokens) > 0", note="an item without a title cannot be found by words: it is left out"),
        RowRule(
            "tokens_in_range",
            f"forall(query_tokens, t -> t > 0 and t < {TOKENS}) and forall(item_tokens, t -> t > 0 and t < {TOKENS})",
            note="contract: an embedding table has so many rows; another value would be read past its end",
        ),
        RowRule("weight_positive", "weight > 0", note="a row of weight 0 teaches nothing and belongs to the books"),
        RowRule("negatives_of_learnt", f"{LEARNT} or size(hard_negatives) = 0", note="contract"),
        RowRule(
            "provenance_of_synthetic",
            "(kind = 'synthetic') = (rewriter is not null and channel is not null and is_new is not null and p_general is not null)",
            note="contract: every synthetic pair says where it comes from, and no other does",
        ),
        RowRule("negative_source_known", f"source in {SOURCES}", note="contract", over="hard_negatives"),
    ),
    expectations=(
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "weight", "max_value": 40},
            note="log2(1 + clicks and pays): 40 is 10^12 of them; above, a unit was lost",
        ),
        Expectation(
            "expect_column_values_to_not_be_in_set",
            {"column": "kind", "value_set": ["synthetic"], "mostly": 0.2},
            severity="warning",
            note="our choice: four of five rows synthetic; the caps hold their weight down, but the pool is far too wide",
        ),
    ),
)
