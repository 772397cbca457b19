"""Contract of `text_vectors`: one vector for each text of an item or a query, all of a day by the same encoder."""

from schemas.contract import Column, Contract, Input

CONTRACT = Contract(
    name="text_vectors",
    grain=("kind", "text_id"),
    owner="ranking",
    keep_days=30,
    version=1,
    may_be_empty=True,
    doc="One row per item with a title, and per query that was searched in the 7 days before the day.",
    inputs=(Input("items", window=(0, 1)), Input("requests", window=(-7, 0))),
    columns=(
        Column("day", "date", "Day whose items are encoded, UTC; the partition."),
        Column("kind", "string", "item or query."),
        Column("text_id", "string", "item_id, or query_norm."),
        Column("text", "string", "What was encoded."),
        Column("num_searches_7d", "bigint", "Times the query was searched in the 7 days before; null for items.", nullable=True),
        Column("vector", "array<tinyint>", "Unit vector times 127, rounded: inner products are exact integers."),
        Column("encoder", "string", "Name of the encoder and its width."),
    ),
)
