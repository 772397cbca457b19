"""Contract of `query_stats`: how much each query was searched in the trailing 28 days, what came of it, and what makes it hard."""

from schemas.contract import Column, Contract, Input

CONTRACT = Contract(
    name="query_stats",
    grain=("query_norm",),
    owner="retrieval",
    keep_days=100,
    version=1,
    may_be_empty=True,
    doc="One row per query that was searched in the 28 days up to and with the day.",
    source="Synthetic Data Powers Product Retrieval (arXiv 2602.23620), query pool; types of LREM (arXiv 2510.14321)",
    inputs=(Input("requests", window=(-27, 1)), Input("attributions", window=(-27, 1)), Input("items", window=(0, 1))),
    columns=(
        Column("day", "date", "Last day of the trailing window, UTC; the partition."),
        Column("query_norm", "string", "Query after features.text.norm_query.", personal=True),
        Column("num_searches_28d", "bigint", "Searches of it in the window."),
        Column("num_users_28d", "bigint", "Different users who searched it."),
        Column("num_clicks_28d", "bigint", "Clicks that arrived in the window and are credited to these searches."),
        Column("click_rate", "double", "Share of these searches with at least one such click, in [0, 1]."),
        Column("num_pays_28d", "bigint", "Pays that arrived in the window and are credited to these searches."),
        Column("few_result_rate", "double", "Share of these searches whose list held fewer than 10 candidates, in [0, 1]."),
        Column("decile", "int", "1 + tenths of all queries that are searched more often: 1 to 10, equal for equal searches."),
        Column("segment", "string", "By the share of searches of queries searched more often: head below 0.5, torso below 0.8, else tail."),
        Column(
            "hardness", "string", "question, alternative, negation by its cue words; knowledge: no title has all its content words; plain."
        ),
        Column("is_evaluation", "boolean", "Kept for evaluation (features.splits): nothing is learnt from it."),
    ),
)
