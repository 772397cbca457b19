"""Contract of `attributions`: each event with the one candidate that it is credited to, or why none."""

from schemas.contract import Account, Column, Contract, Input, Total

CREDITED = ("native", "click_exposed", "click_unexposed", "pay_clicked", "pay_exposed", "pay_unexposed")
UNCREDITED = ("no_candidate", "outside_window", "duplicate", "other_type")

CONTRACT = Contract(
    name="attributions",
    grain=("event_id",),
    join_keys=("user_id", "item_id"),
    owner="ranking",
    keep_days=400,
    version=1,
    may_be_empty=True,
    doc="One row per event of the day it arrived: credited to at most one candidate of one search request.",
    source="UniScale (arXiv 2603.24226), hierarchical label attribution",
    inputs=(
        # 7 days of the longest forward window and one of late arrival; the clicks that make a candidate clicked reach as far
        Input("requests", window=(-8, 1)),
        Input("events", window=(-8, 1), accounts=(Account("events", window=(0, 1), fates=CREDITED + UNCREDITED),)),
    ),
    totals=(
        Total("credited", "if(request_id is not null, 1, 0)", by="request_day"),
        Total("uncredited", "if(request_id is null, 1, 0)"),
    ),
    columns=(
        Column("day", "date", "UTC day the event arrived; the partition."),
        Column("event_id", "string", "Key of events.", references="events.event_id"),
        Column("user_id", "string", "Who acted.", personal=True),
        Column("item_id", "string", "Item acted on."),
        Column("event_type", "string", "detail, click, fav, cart or pay."),
        Column("domain", "string", "Where it happened: search, rec, shop."),
        Column("event_at", "timestamp", "When it happened, UTC."),
        Column("available_at", "timestamp", "When the platform could first have read it, UTC."),
        Column("origin_request_id", "string", "Request that the event itself names, in any domain.", nullable=True),
        Column("order_id", "string", "Order of a pay.", nullable=True),
        Column("fate", "string", "Level that credited it, or why none did: " + ", ".join(CREDITED + UNCREDITED) + "."),
        Column("attribution_level", "int", "Place of that level in the order of precedence, from 1.", nullable=True),
        Column("request_id", "string", "Search request credited.", nullable=True, references="requests.request_id"),
        Column("request_day", "date", "UTC day of that request.", nullable=True),
        Column("requested_at", "timestamp", "When that request arrived, UTC.", nullable=True),
        Column("query_norm", "string", "Query of that request.", nullable=True),
        Column("attribution_lag_s", "double", "event_at - requested_at, seconds, >= 0.", nullable=True),
    ),
)
