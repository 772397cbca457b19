"""Contract of `events`: behaviours, partitioned by the day they arrived."""

from schemas.contract import Column, Contract

EVENT_TYPES = ("detail", "click", "fav", "cart", "pay")

CONTRACT = Contract(
    name="events",
    grain=("event_id",),
    join_keys=("user_id", "item_id"),
    owner="logs",
    keep_days=400,
    version=1,
    may_be_empty=True,
    doc="One row per behaviour. A late event belongs to the day it arrived, so that no published day changes for it.",
    columns=(
        Column("day", "date", "UTC day of available_at; the partition."),
        Column("event_id", "string", "Key of the event."),
        Column("user_id", "string", "Who acted.", personal=True),
        Column("session_id", "string", "Visit in which it happened.", nullable=True),
        Column("item_id", "string", "Item acted on."),
        Column("event_type", "string", "detail, click, fav, cart or pay."),
        Column("domain", "string", "Where it happened: search, rec, shop."),
        Column("event_at", "timestamp", "When it happened, UTC."),
        Column("available_at", "timestamp", "When the platform could first have read the row, UTC."),
        Column("request_id", "string", "Request that showed the item; null when unknown.", nullable=True),
        Column("query_raw", "string", "Query behind it, where logged.", nullable=True, personal=True),
        Column("order_id", "string", "Order of a pay.", nullable=True),
        Column("amount_cents", "bigint", "Value of a pay, cents.", nullable=True),
        Column("dwell_s", "double", "Time spent on the item, seconds.", nullable=True),
    ),
)
