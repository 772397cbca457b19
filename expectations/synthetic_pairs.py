"""Suite of `synthetic_pairs`: pairs that say where they come from, within their caps."""

from expectations.suite import Expectation, RowRule, Suite

SUITE = Suite(
    row_rules=(
        RowRule("query_not_empty", "trim(query_norm) <> ''", note="the grain"),
        RowRule("item_id_present", "trim(item_id) <> ''", note="the grain"),
        RowRule("rewrite_differs", "trim(rewrite) <> '' and rewrite <> query_norm", note="a rewrite is another wording"),
        RowRule("rewriter_known", "rewriter in ('sessions', 'feedback', 'model', 'endpoint')", note="contract of query_rewrites"),
        RowRule("channel_known", "channel in ('bm25', 'dense', 'both')", note="contract"),
        RowRule("rank_from_one", "rank between 1 and 50", note="features/pairs.py: 50 hits a channel, counted from 1"),
        RowRule("accepted_business", "p_business between 0.85 and 1", note="features/pairs.py: least business relevance"),
        RowRule("accepted_general", "p_general between 0.3 and 1", note="features/pairs.py: least general relevance"),
        RowRule("hardness_known", "hardness in ('question', 'alternative', 'negation', 'knowledge', 'plain')", note="features/hardness.py"),
        RowRule(
            "evidence_by_the_day",
            "evidence is null or (evidence.from_day <= evidence.to_day and evidence.to_day <= day and evidence.num_sessions >= 1)",
            note="later sessions would leak",
        ),
        RowRule(
            "guards_agree",
            "array_contains(guards, if(is_new, 'difference_set', 'drawn_of_known')) and size(guards) >= 7",
            note="the difference set, the log, both scorers and three caps were asked of every pair",
        ),
    ),
    expectations=(
        Expectation(
            "expect_column_values_to_be_in_set",
            {"column": "is_new", "value_set": [True], "mostly": 0.5},
            severity="warning",
            note="our choice: rewrites that mostly find what the query finds bring nothing",
        ),
        Expectation(
            "expect_column_mean_to_be_between",
            {"column": "p_business", "min_value": 0.88},
            severity="warning",
            note="our choice: pairs that just pass the threshold of 0.85 on average are guesses",
        ),
    ),
)
