"""Contract of `query_item_stats`: how often a query led to an item in the trailing 28 days."""

from schemas.contract import Column, Contract, Input

CONTRACT = Contract(
    name="query_item_stats",
    grain=("query_norm", "item_id"),
    join_keys=("query_norm",),
    owner="ranking",
    keep_days=100,
    version=1,
    may_be_empty=True,
    doc="One row per query and item with credited clicks or pays that arrived in the 28 days up to and with the day.",
    source="UniScale (arXiv 2603.24226), item-query co-occurrence statistics",
    inputs=(Input("attributions", window=(-27, 1)),),
    columns=(
        Column("day", "date", "Last day of the trailing window, UTC; the partition."),
        Column("query_norm", "string", "Query after features.text.norm_query."),
        Column("item_id", "string", "Item."),
        Column("num_clicks_28d", "bigint", "Credited clicks that arrived in the window."),
        Column("num_pays_28d", "bigint", "Credited pays that arrived in the window."),
        Column("last_event_at", "timestamp", "Latest of them, UTC."),
    ),
)
