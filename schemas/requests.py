"""Contract of `requests`: result lists that were asked for, in any domain, with their candidates as a list."""

from schemas.contract import Column, Contract, Elements, Total

DOMAINS = ("search", "rec", "shop")
STAGES = ("recalled", "pre_ranked", "ranked", "exposed")

CONTRACT = Contract(
    name="requests",
    grain=("request_id",),
    join_keys=("user_id",),
    owner="logs",
    keep_days=400,
    version=1,
    doc="One row per result list that a user asked for; its candidates, shown or not, are a list inside it.",
    elements=Elements("candidates", key="item_id", is_unique=False),
    totals=(Total("num_candidates", "size(candidates)"), Total("num_exposed", "size(filter(candidates, c -> c.is_exposed))")),
    columns=(
        Column("day", "date", "UTC day of requested_at; the partition."),
        Column("request_id", "string", "Key of the request."),
        Column("user_id", "string", "Who asked.", personal=True),
        Column("session_id", "string", "Visit that the request belongs to.", nullable=True),
        Column("domain", "string", "Where it was asked: search, rec, shop."),
        Column("requested_at", "timestamp", "When the request arrived, UTC."),
        Column("query_raw", "string", "Text as the user sent it; null outside search.", nullable=True, personal=True),
        Column("query_norm", "string", "Query after features.text.norm_query; null outside search.", nullable=True),
        Column("page_context", "map<string,string>", "Filters, sort order and the like, as logged.", nullable=True),
        Column(
            "candidates",
            "array<struct<item_id string not null, stage string not null, is_exposed boolean not null, position int, "
            "propensity double, score double, price_cents bigint>>",
            "Items that entered the funnel: furthest stage (recalled, pre_ranked, ranked, exposed), place on the page from 1 "
            "(null when unexposed), logged chance of being shown (if known), score and price in cents at that time.",
        ),
    ),
)
