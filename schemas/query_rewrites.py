"""Contract of `query_rewrites`: other wordings of rare and badly served queries, with what speaks for each."""

from schemas.contract import Account, Column, Contract, Figure, Input

CONTRACT = Contract(
    name="query_rewrites",
    grain=("query_norm", "rewrite"),
    owner="retrieval",
    keep_days=100,
    version=1,
    may_be_empty=True,
    doc="One row per query of the pool and rewrite that passed every filter. No row has an evaluation query on either side.",
    source="Synthetic Data Powers Product Retrieval (arXiv 2602.23620), rewrites; filters of LREM (arXiv 2510.14321)",
    inputs=(
        Input(
            "query_stats",
            window=(0, 1),
            accounts=(Account("queries", fates=("not_in_pool", "unreadable", "evaluation", "rewritten", "all_dropped", "no_rewrite")),),
        ),
        Input("requests", window=(-27, 1)),
        Input("attributions", window=(-27, 1)),
        Input("items", window=(0, 1)),
    ),
    figures=(
        Figure(
            "replies",
            ("replies", "prompt_tokens", "completion_tokens", "cost_micros", "digest"),
            "Of language models: how many replies were used, kept ones included; their tokens; price in millionths; sum of their digests.",
        ),
    ),
    columns=(
        Column("day", "date", "Last day of the trailing window, UTC; the partition."),
        Column("query_norm", "string", "Query after features.text.norm_query.", personal=True),
        Column("rewrite", "string", "Another wording of it, in the same form.", personal=True),
        Column("rewriter", "string", "sessions, feedback, model or endpoint: the first of them that said it."),
        Column("rank", "int", "Place among the rewriter's rewrites of the query that are kept, from 1."),
        Column("score", "double", "The rewriter's own, in [0, 1]; ranks, and compares within a rewriter only."),
        Column("relevance", "double", "How much of the query's meaning it keeps by words and the log's associations, in [0, 1]."),
        Column("hardness", "string", "Type of the query, as in query_stats."),
        Column(
            "evidence",
            "struct<from_day: date not null, to_day: date not null, num_sessions: bigint not null>",
            "Sessions of the log that speak for it, and the days of the first and the last; null where the rewriter uses none.",
            nullable=True,
        ),
        Column("is_evaluation", "boolean", "Always false; here so that whoever reads the table can check it."),
    ),
)
