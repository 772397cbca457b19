"""Features of HHSFT, for requests and pseudo-requests by one path: of domain, user, query and behaviours, and of each sample.

Whatever is read was available strictly before the request. A feature is one entry of a function here that is named `*_features`, and
one line of schemas/hhsft_examples.py, which says what it is.
Source: UniScale (arXiv 2603.24226), groups of features; the features themselves are our choice.
"""

from collections.abc import Sequence
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.buckets import hashed, octave, place_in, tenths
from features.joins import broadcast_if_small
from features.sequences import last_before
from features.shelf import fact_as_of
from features.text import words
from schemas import hhsft_examples as sizes
from schemas.events import EVENT_TYPES
from schemas.requests import DOMAINS

WINDOW_S = 28 * 86_400
"""Older behaviours do not count, seconds. Our choice: the trailing window of the other tables."""
SEQUENCES_BYTES = 64 * 1024 * 1024
"""Files of events up to which the sequences made of them, some four times as large, are sent to the requests."""
PRICE_PARTS = 4
KEPT = ("request_id", "user_id", "requested_at", "is_pseudo", "query_source")
"""Provenance of a request, as in entire_space."""


def asked_features() -> dict[str, Column]:
    """What a request says by itself."""
    query = F.col("query_norm")
    tokens = F.slice(words(query), 1, sizes.WORDS_IN_QUERY)
    return {
        "domain_id": place_in(DOMAINS, F.col("domain")),
        "hour": (F.hour("requested_at") + 1).cast("int"),
        "user_hash": hashed(F.col("user_id"), sizes.USERS),
        "query_hash": hashed(query, sizes.QUERIES),
        "query_tokens": _hashes(tokens, sizes.WORDS),
        "query_length": F.ifnull(F.size(tokens), F.lit(0)),
    }


def snapshot_features() -> dict[str, Column]:
    """What a snapshot of the catalogue says of an item by itself."""
    path = F.when(F.size("category_path") > 0, F.col("category_path"))
    return {
        "item_category": hashed(path, sizes.CATEGORIES),
        "item_top_category": hashed(F.get(path, F.lit(0)), sizes.TOP_CATEGORIES),
        "item_brand": hashed(F.col("brand"), sizes.BRANDS),
        "item_shop": hashed(F.col("shop_id"), sizes.SHOPS),
    }


def title_features() -> dict[str, Column]:
    """What the title of an item says."""
    return {"item_tokens": _hashes(F.slice(words(F.col("title")), 1, sizes.WORDS_IN_TITLE), sizes.WORDS)}


def sample_features() -> dict[str, Column]:
    """What is known of a sample: of its item as of the request, and of query and item together.

    Columns: needs item (of entire_space), request (of `requests_asked`), fact, num_clicks and num_of_query (null where unknown).
    A pseudo-request has no match: its query was chosen to fit the clicked item, so that the match would tell the label.
    """
    item, request, fact = F.col("item"), F.col("request"), F.col("fact")
    tokens, was_asked = F.coalesce(fact["item_tokens"], _no_ids()), (request["query_hash"] > 0) & ~request["is_pseudo"]
    shared = F.when(was_asked & (F.size(tokens) > 0), F.size(F.array_intersect(request["query_tokens"], tokens)))
    return {
        "item_hash": hashed(item["item_id"], sizes.ITEMS),
        "item_category": F.ifnull(fact["item_category"], F.lit(0)),
        "item_top_category": F.ifnull(fact["item_top_category"], F.lit(0)),
        "item_brand": F.ifnull(fact["item_brand"], F.lit(0)),
        "item_shop": F.ifnull(fact["item_shop"], F.lit(0)),
        "item_price": octave(F.coalesce(fact["price_cents"], item["price_cents"]), sizes.PRICES, PRICE_PARTS),
        "item_tokens": tokens,
        "item_clicks": octave(F.ifnull(F.col("num_clicks"), F.lit(0)), sizes.COUNTS),
        "match_words": tenths(shared, request["query_length"]),
        "match_clicks": octave(F.when(was_asked, F.ifnull(F.col("num_of_query"), F.lit(0))), sizes.COUNTS),
    }


def act_features() -> dict[str, Column]:
    """What is known of an act: of the event itself, and of its item by the features of a snapshot (null where there is none)."""
    return {
        "seq_item": hashed(F.col("item_id"), sizes.ITEMS),
        "seq_category": F.ifnull(F.col("item_category"), F.lit(0)),
        "seq_brand": F.ifnull(F.col("item_brand"), F.lit(0)),
        "seq_price": octave(F.col("price_cents"), sizes.PRICES, PRICE_PARTS),
        "seq_type": place_in(EVENT_TYPES, F.col("event_type")),
        "seq_domain": place_in(DOMAINS, F.col("domain")),
    }


def behaviour_features() -> dict[str, Column]:
    """What the latest acts of the user say: sequences, latest first, and figures of them.

    Columns: needs requested_at, num_before and latest, of `last_before` with `act_features` as values.
    """
    sequences = {name: F.col(f"latest.{name}") for name in act_features()}
    age_s = lambda at: (F.unix_micros("requested_at") - F.unix_micros(at)) / 1_000_000  # noqa: E731
    prices = F.filter(sequences["seq_price"], lambda step: step > 0)
    total = F.aggregate(prices, F.lit(0), lambda so_far, step: so_far + step)
    pays = F.filter(sequences["seq_type"], lambda kind: kind == EVENT_TYPES.index("pay") + 1)
    return sequences | {
        "seq_age": F.transform("latest.available_at", lambda at: octave(age_s(at), sizes.COUNTS)),
        "user_activity": octave(F.col("num_before"), sizes.COUNTS),
        "user_pays": octave(F.size(pays), sizes.COUNTS),
        "user_price": F.floor(total / F.greatest(F.size(prices), F.lit(1))).cast("int"),
    }


def requests_asked(spaces: DataFrame) -> DataFrame:
    """Rows of entire_space with `request`: a struct of provenance and of what the request says by itself."""
    user_bucket = F.pmod(F.xxhash64("user_id"), F.lit(100)).cast("int").alias("user_bucket")
    return spaces.withColumn("request", F.struct(*KEPT, user_bucket, *_named(asked_features())))


def samples_by_request(asked: DataFrame, items: DataFrame, stats: DataFrame, fields: Sequence[str]) -> DataFrame:
    """For each request its `items` in the order that they had: structs of these fields, features or those of entire_space.

    Rows: request_id and request, those of `asked`, which are of `requests_asked`. An item that no snapshot knows keeps zeros.
    Columns: items and stats need those of their contracts; of stats all rows count, so that they must lie before the day.
    Cost: samples are taken apart, looked up in the catalogue and among the pairs of query and item (both sent to the samples while they
    fit), and put together by one shuffle by request_id of what is kept of them.
    """
    known = broadcast_if_small(_catalogue(items, stats), items.select("item_id", "title"))  # one row an item
    pairs = stats.select("query_norm", "item_id", F.col("num_clicks_28d").alias("num_of_query"))  # one row a pair
    one = asked.select("request_id", "request", "query_norm", F.posexplode("items").alias("place", "item"))
    found = one.withColumn("item_id", F.col("item.item_id")).join(known, on=["item_id"], how="left")
    found = found.join(broadcast_if_small(pairs, stats), on=["query_norm", "item_id"], how="left")
    found = found.withColumn("fact", fact_as_of(F.col("facts"), F.col("request.requested_at")))
    is_native = (F.col("item.sample_type") == "click") & ~F.col("request.is_pseudo")
    values = sample_features() | {"y_click_native": is_native.cast("int")}
    sample = F.struct(*((values[name] if name in values else F.col(f"item.{name}")).alias(name) for name in fields))
    samples = F.sort_array(F.collect_list(F.struct("place", sample.alias("sample"))))
    rows = found.groupBy("request_id").agg(F.max("request").alias("request"), samples.alias("placed"))  # one value of request in each
    return rows.select("request_id", "request", F.col("placed.sample").alias("items"))


def _catalogue(items: DataFrame, stats: DataFrame) -> DataFrame:
    """One row per item of either side: facts, its snapshots as features, oldest first, and num_clicks over all queries.

    Ties: of snapshots available at the same time the one with the greater hashes counts as the later one.
    """
    fact = F.struct("available_at", *_named(snapshot_features() | title_features()), "price_cents").alias("fact")
    clicks = stats.select("item_id", F.col("num_clicks_28d").alias("num"))
    both = items.select("item_id", fact).unionByName(clicks, allowMissingColumns=True)
    return both.groupBy("item_id").agg(F.sort_array(F.collect_list("fact")).alias("facts"), F.sum("num").alias("num_clicks"))


def behaviours_by_request(asked: DataFrame, events: DataFrame, items: DataFrame, day: date) -> DataFrame:
    """For each request its behaviour features.

    Rows: request_id, those of `asked`. Events of all domains count that were available before the request.
    What an act's item is, the snapshot of the day before says, for acts of any age; one without a snapshot keeps zeros.
    Cost: that of `last_before`; each event of the window is looked up in the catalogue where it lies, while that fits.
    """
    is_earlier = (F.col("day") < F.lit(day)) & (F.col("available_at") < F.lit(day).cast("timestamp"))
    known = items.where(is_earlier).select("item_id", *_named(snapshot_features()), "price_cents")  # one row an item: one day of two
    acts = events.join(broadcast_if_small(known, items.select("item_id", "category_path")), on=["item_id"], how="left")
    acts = acts.select("user_id", "available_at", "event_id", *_named(act_features()))
    latest = last_before(
        asked.select("request_id", "requested_at", "user_id"),
        acts,
        on="user_id",
        key="request_id",
        time="requested_at",
        values=list(act_features()),
        limit=sizes.SEQUENCE_LENGTH,
        max_age_s=WINDOW_S,
    )
    return latest.select("request_id", *_named(behaviour_features()))


def _hashes(texts: Column, size: int) -> Column:
    """Each text hashed; an empty list for null."""
    return F.coalesce(F.transform(texts, lambda text: hashed(text, size)), _no_ids())


def _no_ids() -> Column:
    return F.array().cast("array<int>")


def _named(values: dict[str, Column]) -> list[Column]:
    return [value.alias(name) for name, value in values.items()]
