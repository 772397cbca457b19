"""Contract of `entire_space`: search requests and pseudo-requests with labelled samples as a list."""

from schemas.contract import Account, Column, Contract, Elements, Input, Total

CONTRACT = Contract(
    name="entire_space",
    grain=("request_id",),
    join_keys=("user_id", "query_norm"),
    owner="ranking",
    keep_days=400,
    version=1,
    doc="One row per search request or pseudo-request; items hold exposed, drawn unexposed and attributed labels.",
    source="UniScale (arXiv 2603.24226), ES3",
    elements=Elements("items", key="item_id"),
    inputs=(
        Input(
            "requests",
            window=(0, 1),
            accounts=(
                Account(
                    "candidates",
                    total="num_candidates",
                    fates=("exposed", "unexposed", "not_drawn", "off_shelf", "duplicate", "other_domain"),
                    element_fate="if(is_exposed, 'exposed', 'unexposed')",
                ),
            ),
        ),
        Input(
            "attributions",
            window=(-28, 9),  # credit arrives up to 8 days later; queries of the user reach 28 days back
            accounts=(
                Account("credited", total="credited", window=(0, 9), keyed_by_day=True, fates=("label", "too_late", "off_shelf")),
                Account(
                    "uncredited",
                    total="uncredited",
                    window=(0, 1),
                    fates=(
                        "searchified",
                        "duplicate",
                        "not_a_click",
                        "search_click",
                        "late",
                        "not_drawn",
                        "capped",
                        "no_similar_negative",
                        "no_query",
                    ),
                ),
            ),
        ),
        Input("items", window=(-1, 1)),  # read as-of the request, not as of the day
        Input("query_item_stats", window=(-1, 0)),
        Input("text_vectors", window=(0, 1)),
    ),
    matures_after=8,
    reissue_after=(1, 3, 8),
    labels=("y_click", "y_pay"),
    totals=(
        Total("samples", "size(items)"),
        Total("search_requests", "if(is_pseudo, 0, 1)"),
        Total("exposed", "if(is_pseudo, 0, size(filter(items, i -> i.is_exposed)))"),
        Total("unexposed", "if(is_pseudo, 0, size(filter(items, i -> not i.is_exposed)))"),
        Total("native_clicks", "if(is_pseudo, 0, size(filter(items, i -> i.sample_type = 'click')))"),
        Total("search_clicks", "if(is_pseudo, 0, size(filter(items, i -> i.y_click = 1)))"),
        Total("search_pays", "if(is_pseudo, 0, size(filter(items, i -> i.y_pay = 1)))"),
        Total("pseudo_requests", "if(is_pseudo, 1, 0)"),
        Total("pseudo_samples", "if(is_pseudo, size(items), 0)"),
        Total("pseudo_clicks", "if(is_pseudo, size(filter(items, i -> i.y_click = 1)), 0)"),
    ),
    columns=(
        Column("day", "date", "UTC day of the request; the partition."),
        Column("request_id", "string", "Key of requests; of a pseudo-request `pseudo:` and the event it comes from."),
        Column("user_id", "string", "Who asked.", personal=True),
        Column("session_id", "string", "Visit that the request belongs to.", nullable=True),
        Column("domain", "string", "Where it was asked; of a pseudo-request the domain of the click."),
        Column("is_pseudo", "boolean", "Made from a click outside search."),
        Column("requested_at", "timestamp", "When the request arrived, UTC."),
        Column("query_norm", "string", "What was searched, or the synthesised query.", nullable=True),
        Column("query_source", "string", "native, user_history, item_stats or nearest; provenance, not a feature."),
        Column("query_similarity", "double", "Cosine of item and query where nearest; provenance.", nullable=True),
        Column("page_context", "map<string,string>", "As logged.", nullable=True),
        Column(
            "items",
            "array<struct<item_id string not null, stage string not null, is_exposed boolean not null, position int, "
            "propensity double, score double, price_cents bigint, sample_type string not null, p_inclusion double not null, "
            "y_click int not null, y_pay int not null, label_source string, attributed_event_id string, "
            "attribution_lag_s double, weight double not null>>",
            "Samples in order of exposure, position, item_id. sample_type: click, exposed, unexposed. p_inclusion: chance of the "
            "draw; weight = 1 / p_inclusion. label_source: level of the event that set the highest label, searchified for "
            "pseudo-requests; attributed_event_id and attribution_lag_s (seconds) of that event.",
        ),
    ),
)
