"""Suite of `hhsft_examples`: features in their ranges, sequences that agree, labels that imply each other, shares to watch."""

from expectations.suite import Expectation, RowRule, Suite
from schemas.features import in_range
from schemas.hhsft_examples import ITEM_FEATURES, REQUEST_FEATURES, SEQUENCE_LENGTH, WORDS_IN_TITLE

SEQUENCES = [f for f in REQUEST_FEATURES if f.kind == "sequence"]
IN_RANGE = "contract: an embedding table has so many rows; another value would be read past its end"

SUITE = Suite(
    row_rules=(
        RowRule("items_listed", "size(items) > 0", note="a request without samples teaches nothing"),
        RowRule("user_bucket_in_range", "user_bucket >= 0 and user_bucket < 100", note="contract: splits by user are ranges of it"),
        RowRule("features_in_range", in_range(REQUEST_FEATURES), note=IN_RANGE),
        RowRule(
            "sequences_aligned",
            " and ".join(f"size({f.name}) = size(seq_age)" for f in SEQUENCES) + f" and size(seq_age) <= {SEQUENCE_LENGTH}",
            note="place n of each sequence is of the same act",
        ),
        RowRule("latest_act_first", "seq_age = array_sort(seq_age)", note="contract: models cut sequences after the first n"),
        RowRule("query_has_words", "(query_hash = 0) = (query_length = 0)", note="features.text: every query that is not empty has words"),
        RowRule("query_words_counted", "query_length = size(query_tokens)", note="contract"),
        RowRule("domain_known", "domain_id > 0", note="experts and losses are chosen by it"),
        RowRule("pseudo_outside_search", "is_pseudo = (domain_id <> 1)", note="UniScale: pseudo-requests come from clicks outside search"),
        RowRule("item_features_in_range", in_range(ITEM_FEATURES), note=IN_RANGE, over="items"),
        RowRule("title_is_cut", f"size(item_tokens) <= {WORDS_IN_TITLE}", note="contract: the first words of a title", over="items"),
        RowRule("item_known_by_id", "item_hash > 0", note="contract of entire_space: every sample has an item", over="items"),
        RowRule(
            "labels_binary",
            "y_click in (0, 1) and y_pay in (0, 1) and y_click_native in (0, 1)",
            note="losses take nothing else",
            over="items",
        ),
        RowRule("pay_implies_click", "y_pay <= y_click", note="UniScale notes, step 2: a credited pay also sets the click", over="items"),
        RowRule(
            "native_click_was_shown",
            "y_click_native = 0 or (is_exposed and y_click = 1)",
            note="only what was shown can be clicked; a native click is credited first",
            over="items",
        ),
        RowRule("weight_is_inverse", "abs(weight * p_inclusion - 1) <= 1e-9", note="contract: weight = 1 / p_inclusion", over="items"),
    ),
    expectations=(
        Expectation(
            "expect_column_values_to_not_be_in_set",
            {"column": "item_category", "value_set": [0], "mostly": 0.5},
            severity="warning",
            note="our choice: a catalogue that knows fewer than half of the samples was read on the wrong day, or holds ids alone",
            over="items",
        ),
        Expectation(
            "expect_column_values_to_not_be_in_set",
            {"column": "user_activity", "value_set": [1], "mostly": 0.2},
            severity="warning",
            note="our choice: four of five requests by users who did nothing in 28 days; on the first days of a log it is so",
        ),
        Expectation(
            "expect_column_mean_to_be_between",
            {"column": "y_click", "min_value": 0.0001, "max_value": 0.5},
            severity="warning",
            note="as in entire_space: click rates are 1 to 10 %; a fresh day is below, its labels have not arrived",
            over="items",
        ),
    ),
)
