"""Contract of `judgements`: people's grades of query and item."""

from schemas.contract import Column, Contract

CONTRACT = Contract(
    name="judgements",
    grain=("query_norm", "item_id"),
    owner="relevance",
    keep_days=400,
    version=1,
    doc="One row per query and item that people graded. Grades measure; only those of queries without is_evaluation may train a scorer.",
    columns=(
        Column("day", "date", "UTC day of available_at; the partition."),
        Column("query_norm", "string", "Query after features.text.norm_query."),
        Column("item_id", "string", "Item judged, key of items."),
        Column("query_raw", "string", "Text as the judges saw it.", personal=True),
        Column("grade", "double", "Mean grade in the source's own units; more is better."),
        Column("relevance", "double", "(grade - least) / (greatest - least) of the source's scale, in [0, 1]."),
        Column("judged_by", "string", "Name of the source."),
        Column("is_evaluation", "boolean", "The query is kept for evaluation (features.splits.is_evaluation); nothing may learn from it."),
        Column("available_at", "timestamp", "When the platform could first have read the row, UTC."),
    ),
)
