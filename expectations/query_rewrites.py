"""Suite of `query_rewrites`: other words than the query's, ranked without holes, none of an evaluation query."""

from expectations.suite import Expectation, RowRule, Suite

SUITE = Suite(
    row_rules=(
        RowRule("texts_present", "trim(query_norm) <> '' and trim(rewrite) <> ''", note="the grain"),
        RowRule("rewrite_is_another_text", "rewrite <> query_norm", note="the same words find the same items"),
        RowRule("rewriter_known", "rewriter in ('sessions', 'feedback', 'model', 'endpoint')", note="contract"),
        RowRule("rank_from_1", "rank >= 1", note="contract"),
        RowRule("score_and_relevance_in_range", "score between 0 and 1 and relevance between 0 and 1", note="contract"),
        RowRule("hardness_known", "hardness in ('question', 'alternative', 'negation', 'knowledge', 'plain')", note="features.hardness"),
        RowRule(
            "evidence_of_the_past",
            "evidence is null or (evidence.num_sessions >= 1 and evidence.from_day <= evidence.to_day and evidence.to_day <= day)",
            note="what speaks for a rewrite was known by the day",
        ),
        RowRule("sessions_have_evidence", "(rewriter = 'sessions') = (evidence is not null)", note="contract"),
        RowRule("no_evaluation_query", "not is_evaluation", note="nothing is learnt from evaluation queries"),
    ),
    expectations=(
        Expectation(
            "expect_compound_columns_to_be_unique",
            {"column_list": ["query_norm", "rewriter", "rank"]},
            note="ranks are places within a query and a rewriter",
        ),
        Expectation(
            "expect_column_value_lengths_to_be_between",
            {"column": "rewrite", "max_value": 120, "mostly": 0.99},
            severity="warning",
            note="our choice: at most 12 words; longer ones are no words that anybody searches",
        ),
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "rank", "max_value": 5},
            note="at most five rewrites of one rewriter for a query: features.longtail.Params.max_rewrites",
        ),
    ),
)
