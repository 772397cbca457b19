"""Contract of `synthetic_pairs`: a rare query and an item that only a rewrite of it finds, made offline, with provenance."""

from schemas.contract import Account, Column, Contract, Input

CONTRACT = Contract(
    name="synthetic_pairs",
    grain=("query_norm", "item_id"),
    owner="retrieval",
    keep_days=100,
    version=1,
    may_be_empty=True,
    doc="One row per query of the pool and item that its rewrites find and that both relevance scorers accept, less what caps leave out.",
    source="Synthetic Data Powers Product Retrieval (arXiv 2602.23620), pairs; difference set of LREM (arXiv 2510.14321)",
    inputs=(
        Input("query_rewrites", window=(0, 1), accounts=(Account("rewrites", fates=("retrieved", "nothing_found", "evaluation")),)),
        Input("items", window=(0, 1)),
        Input("query_item_stats", window=(0, 1)),
        Input("requests", window=(-27, 1)),
        Input("attributions", window=(-27, 1)),
    ),
    columns=(
        Column("day", "date", "Day of the rewrites and of the catalogue, UTC; the partition."),
        Column("query_norm", "string", "The original query, after features.text.norm_query; never an evaluation query.", personal=True),
        Column("item_id", "string", "Item on the shelf.", references="items.item_id"),
        Column("rewrite", "string", "The rewrite that found the item best; provenance, as all up to guards.", personal=True),
        Column("rewriter", "string", "Who made it, as in query_rewrites."),
        Column("channel", "string", "bm25, dense, or both: by which the query's rewrites found the item."),
        Column("rank", "int", "Best place of the item in a list that the rewrite found, from 1."),
        Column("p_business", "double", "Relevance to the original query by the log's words, in [0, 1]."),
        Column("p_general", "double", "Cosine of the query with that rewrite and the title, in [0, 1]."),
        Column("is_new", "boolean", "The query alone does not find the item; false for the share that is kept of what it does find."),
        Column("hardness", "string", "Type of the query, as in query_stats."),
        Column(
            "evidence",
            "struct<from_day: date not null, to_day: date not null, num_sessions: bigint not null>",
            "Sessions that speak for the rewrite, as in query_rewrites; null where there are none.",
            nullable=True,
        ),
        Column("guards", "array<string>", "Rules that the pair passed, in order."),
    ),
)
