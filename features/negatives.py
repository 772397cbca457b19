"""Negatives of pseudo-requests: what a user saw beside the clicked item, is like it, and was left alone.

Source: UniScale (arXiv 2603.24226), negatives by similarity in the same exposure; thresholds, widening and ties are our choice.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.es3 import Params
from features.joins import broadcast_if_small
from features.shelf import fact_as_of, item_facts
from features.vectors import with_cosine

POSITIVE_TYPES = ("click", "fav", "cart", "pay")
LATER = 2**63 - 1
CLICK = ("event_id", "user_id", "item_id", "domain", "event_at", "origin_request_id")


def negatives_of(
    clicks: DataFrame, requests: DataFrame, acts: DataFrame, items: DataFrame, vectors: DataFrame, params: Params
) -> DataFrame:
    """What each click was chosen among: requested_at, price_cents of the clicked item, negatives array<struct<item_id, price_cents>>.

    Rows: event_id, one for each click that has at least `min_negatives`. Columns: clicks need CLICK; requests those of the contract; acts
    user_id, item_id, event_type, event_at; items those of the contract; vectors item_id and vector.
    A negative was shown by the click's own request (the one it names, if that showed the item) or, where that gives fewer than
    `min_negatives`, by requests of the same user and domain at most `widen_s` before or after, both ends included; it has
    cosine >= `min_similarity` or the same leaf category; the user did not click, fav, cart or pay it less than
    `pay_window_s` before or after. The `num_negatives` most similar are taken, those of the own request first.
    requested_at is of the own request, else of the latest before the click, else the click's; never after the click. A price is of the
    own list, else of the latest list up to requested_at, else of the snapshot as of requested_at.
    Ties: own request, then cosine, then item_id; the smaller price. Nulls: a click without a vector has a cosine of 0 with all.
    Cost: two scans of the lists outside search, each joined to the day's clicks; what is shuffled is one row per click and item shown.
    """
    placed = _placed(clicks, requests, params)
    shown = _not_acted_on(_others_shown(_lists_around(placed, requests, params)), acts, params)
    named = {"is_widened": ~F.col("is_own"), "far": -F.col("cosine"), "item_id": F.col("shown_id")}
    best = F.struct(*(value.alias(name) for name, value in named.items()), "age", "price_cents")
    lists = (
        _similar(shown, items, vectors, params)
        .repartition("event_id")  # serves both aggregates
        .groupBy("event_id", "requested_at", "clicked_cents", "shown_id")
        .agg(F.min(best).alias("best"))
        .groupBy("event_id", "requested_at", "clicked_cents")
        .agg(F.sort_array(F.collect_list("best")).alias("all"))
    )
    num_own = F.size(F.filter("all", lambda n: ~n["is_widened"]))
    usable = F.when(num_own >= params.min_negatives, F.slice("all", 1, num_own)).otherwise(F.col("all"))
    negatives = F.transform(
        F.slice(usable, 1, params.num_negatives), lambda n: F.struct(n["item_id"].alias("item_id"), n["price_cents"].alias("price_cents"))
    )
    found = lists.select("event_id", "requested_at", F.col("clicked_cents").alias("price_cents"), negatives.alias("negatives"))
    return found.where(F.size("negatives") >= params.min_negatives)


def _lists_around(clicks: DataFrame, requests: DataFrame, params: Params) -> DataFrame:
    """One row per click and list that may serve it: all of clicks, listed_at, is_own, and shown array<struct<item_id, price_cents>>."""
    shown = F.filter("candidates", lambda c: c["is_exposed"])
    lists = requests.where(F.col("domain") != "search").select(
        "user_id",
        "domain",
        F.col("request_id").alias("list_id"),
        F.col("requested_at").alias("listed_at"),
        F.transform(shown, lambda c: F.struct(c["item_id"].alias("item_id"), c["price_cents"].alias("price_cents"))).alias("shown"),
    )
    paired = lists.join(broadcast_if_small(clicks, clicks), on=["user_id", "domain"], how="inner")  # <= max_per_user_day clicks a list
    is_own = (F.col("list_id") == F.col("origin_request_id")) & F.array_contains("shown.item_id", F.col("item_id"))
    gap = F.abs(F.unix_micros("listed_at") - F.unix_micros("event_at"))
    marked = paired.withColumn("is_own", F.coalesce(is_own, F.lit(False)))
    return marked.where(F.col("is_own") | (gap <= params.widen_s * 1_000_000))


def _placed(clicks: DataFrame, requests: DataFrame, params: Params) -> DataFrame:
    """Clicks that have a list, with requested_at and listed_cents, the price that the clicked item had there."""
    price = F.get(F.filter("shown", lambda c: c["item_id"] == F.col("item_id")), F.lit(0))["price_cents"]
    is_known = F.col("is_own") | (F.col("listed_at") <= F.col("event_at"))
    around = _lists_around(clicks.select(*CLICK), requests, params).withColumn("price", price).withColumn("is_known", is_known)
    latest = F.struct("is_own", "listed_at")
    placed = around.groupBy(*CLICK).agg(
        F.max(F.when(F.col("is_known"), latest)).alias("list"),
        F.max(F.when(F.col("is_known") & F.col("price").isNotNull(), F.struct("is_own", "listed_at", "price"))).alias("listed"),
    )
    requested_at = F.least(F.coalesce("list.listed_at", "event_at"), "event_at")
    return placed.select(*CLICK, requested_at.alias("requested_at"), F.col("listed.price").alias("listed_cents"))


def _others_shown(around: DataFrame) -> DataFrame:
    """One row per click, list and item shown beside the clicked one: shown_id, its price_cents where known by then, and age.

    age: microseconds from the list to requested_at, 0 in the own list; the greatest number for a list after it, whose price is null.
    """
    others = F.filter("shown", lambda c: c["item_id"] != F.col("item_id"))
    one = around.withColumn("each", F.explode(others))
    age = F.unix_micros("requested_at") - F.unix_micros("listed_at")
    is_known = F.col("is_own") | (age >= 0)
    return one.select(
        *("event_id", "user_id", "item_id", "event_at", "requested_at", "listed_cents", "is_own"),
        F.col("each.item_id").alias("shown_id"),
        F.when(is_known, F.col("each.price_cents")).alias("price_cents"),
        F.when(F.col("is_own"), 0).when(age >= 0, age).otherwise(LATER).alias("age"),
    )


def _not_acted_on(shown: DataFrame, acts: DataFrame, params: Params) -> DataFrame:
    """Without the items that the user acted on less than `pay_window_s` before or after the click."""
    positive = acts.where(F.col("event_type").isin(*POSITIVE_TYPES)).select(
        F.col("user_id").alias("actor"), F.col("item_id").alias("acted_on"), F.col("event_at").alias("acted_at")
    )
    gap = F.abs(F.unix_micros("acted_at") - F.unix_micros("event_at"))
    is_positive = (F.col("actor") == F.col("user_id")) & (F.col("acted_on") == F.col("shown_id")) & (gap < params.pay_window_s * 1_000_000)
    return shown.join(broadcast_if_small(positive, positive), on=is_positive, how="left_anti")


def _similar(shown: DataFrame, items: DataFrame, vectors: DataFrame, params: Params) -> DataFrame:
    """The shown items that are like the clicked one, with `cosine`, and prices of the catalogue where no list tells them."""
    known = broadcast_if_small(item_facts(items).join(vectors, on=["item_id"], how="left"), vectors)  # one vector an item
    theirs = known.select(F.col("item_id").alias("shown_id"), F.col("facts").alias("their_facts"), F.col("vector").alias("their_vector"))
    mine = known.select("item_id", F.col("facts").alias("my_facts"), F.col("vector").alias("my_vector"))
    pairs = shown.join(theirs, on=["shown_id"], how="left").join(mine, on=["item_id"], how="left")
    their, my = (fact_as_of(F.col(f"{side}_facts"), F.col("requested_at")) for side in ("their", "my"))
    pairs = pairs.withColumns({"their": their, "my": my}).select(
        *("event_id", "requested_at", "shown_id", "is_own", "age", "my_vector", "their_vector"),
        F.coalesce("price_cents", "their.price_cents").alias("price_cents"),
        F.coalesce("listed_cents", "my.price_cents").alias("clicked_cents"),
        F.coalesce(F.col("my.leaf") == F.col("their.leaf"), F.lit(False)).alias("same_leaf"),
    )
    scored = with_cosine(pairs, "my_vector", "their_vector")
    return scored.where(F.col("same_leaf") | (F.col("cosine") >= params.min_similarity))
