"""Contract of `hhsft_examples`: what HHSFT reads of each request and its samples, as small integers, with labels and provenance."""

from schemas.contract import Account, Column, Contract, Elements, Input, Total
from schemas.features import Feature, columns, fields

SEQUENCE_LENGTH = 100
WORDS_IN_QUERY, WORDS_IN_TITLE = 16, 32
"""Words that are kept of a text, the first ones."""
USERS, QUERIES, ITEMS, WORDS = 1 << 17, 1 << 17, 1 << 18, 1 << 16
CATEGORIES, TOP_CATEGORIES, BRANDS, SHOPS = 1 << 12, 1 << 10, 1 << 14, 1 << 15
COUNTS, PRICES = 32, 128
"""Steps of a count (an octave each) and of a price (a quarter of an octave each)."""

REQUEST_FEATURES = (
    Feature("domain_id", "domain", "id", 4, "1 search, 2 rec, 3 shop."),
    Feature("hour", "domain", "bucket", 25, "Hour of the day, UTC, from 1."),
    Feature("user_hash", "user", "id", USERS, "Hash of user_id."),
    Feature("user_activity", "user", "bucket", COUNTS, "Events of the user that were available before, of this day and the 28 before it."),
    Feature("user_pays", "user", "bucket", COUNTS, "Pays among the sequence."),
    Feature("user_price", "user", "bucket", PRICES, "Mean price step of the sequence.", table="item_price"),
    Feature("query_hash", "query", "id", QUERIES, "Hash of query_norm."),
    Feature("query_tokens", "query", "tokens", WORDS, "Hashes of its different words, in order, the first 16."),
    Feature("query_length", "query", "bucket", WORDS_IN_QUERY + 1, "Number of its different words, at most 16."),
    Feature("seq_item", "sequence", "sequence", ITEMS, "Items that the user acted on in any domain, latest first.", table="item_hash"),
    Feature("seq_category", "sequence", "sequence", CATEGORIES, "Their leaf categories.", table="item_category"),
    Feature("seq_brand", "sequence", "sequence", BRANDS, "Their brands.", table="item_brand"),
    Feature("seq_price", "sequence", "sequence", PRICES, "Steps of their prices.", table="item_price"),
    Feature("seq_type", "sequence", "sequence", 6, "1 detail, 2 click, 3 fav, 4 cart, 5 pay."),
    Feature("seq_domain", "sequence", "sequence", 4, "Domains of the acts.", table="domain_id"),
    Feature("seq_age", "sequence", "sequence", COUNTS, "Seconds since the act was available, by octaves."),
)
ITEM_FEATURES = (
    Feature("item_hash", "item", "id", ITEMS, "Hash of item_id."),
    Feature("item_category", "item", "id", CATEGORIES, "Hash of the whole category path."),
    Feature("item_top_category", "item", "id", TOP_CATEGORIES, "Hash of its first part."),
    Feature("item_brand", "item", "id", BRANDS, "Hash of the brand."),
    Feature("item_shop", "item", "id", SHOPS, "Hash of the seller."),
    Feature("item_price", "item", "bucket", PRICES, "Price, cents, by quarters of an octave."),
    Feature("item_tokens", "item", "tokens", WORDS, "Hashes of the title's different words, the first 32.", table="query_tokens"),
    Feature("item_clicks", "item", "bucket", COUNTS, "Credited clicks of 28 days, up to the day before."),
    # none for pseudo-requests, whose query was chosen to fit the clicked item: on a simulated week these alone told it with an AUC of
    # 0.92 (words, nearest query) to 0.97 (clicks, query of the item), where native clicks of searches give 0.52 and 0.55
    Feature("match_words", "item", "bucket", 12, "Tenths of the query's words that the title has, from 1."),
    Feature("match_clicks", "item", "bucket", COUNTS, "Credited clicks of 28 days of this query on this item, up to the day before."),
)

CONTRACT = Contract(
    name="hhsft_examples",
    grain=("request_id",),
    join_keys=("user_id",),
    owner="ranking",
    keep_days=400,
    version=1,
    doc="One row per row of entire_space: features of the request, and of its samples as a list, known before it was made.",
    source="UniScale (arXiv 2603.24226), HHSFT",
    elements=Elements("items", key="item_id"),
    inputs=(
        Input(
            "entire_space",
            accounts=(
                Account("requests", fates=("example",)),
                Account("samples", total="samples", fates=("example",), element_fate="'example'"),
            ),
        ),
        Input("items", window=(-1, 1)),  # read as-of the request, not as of the day
        Input("events", window=(-28, 1)),  # by the day they arrived; cut as-of the request
        Input("query_item_stats", window=(-1, 0)),
    ),
    matures_after=8,
    reissue_after=(1, 3, 8),
    labels=("y_click", "y_pay", "y_click_native"),
    totals=(
        Total("samples", "size(items)"),
        Total("clicks", "size(filter(items, i -> i.y_click = 1))"),
        Total("pays", "size(filter(items, i -> i.y_pay = 1))"),
        Total("evaluated", "if(not is_pseudo and domain_id = 1, size(filter(items, i -> i.is_exposed)), 0)"),
    ),
    columns=(
        Column("day", "date", "UTC day of the request; the partition."),
        Column("request_id", "string", "Key of entire_space; provenance, as all up to user_bucket."),
        Column("user_id", "string", "Who asked.", personal=True),
        Column("requested_at", "timestamp", "When the request arrived, UTC."),
        Column("is_pseudo", "boolean", "Made from a click outside search."),
        Column("query_source", "string", "native, user_history, item_stats or nearest."),
        Column("user_bucket", "int", "Hash of user_id in [0, 100): splits by user are ranges of it."),
        *columns(REQUEST_FEATURES),
        Column(
            "items",
            "array<struct<item_id string not null, sample_type string not null, is_exposed boolean not null, position int, "
            f"p_inclusion double not null, label_source string, {fields(ITEM_FEATURES)}, "
            "y_click int not null, y_pay int not null, y_click_native int not null, weight double not null>>",
            "Samples in the order of entire_space: provenance up to label_source, then features, then labels. y_click_native: "
            "clicked in the very list, and so a search; weight = 1 / p_inclusion.",
        ),
    ),
)
