"""Cross-domain searchification of ES3: a click outside search becomes a pseudo-request among comparable items, with a query.

Source: UniScale (arXiv 2603.24226), negatives by similarity in the same exposure and three-tier query synthesis; thresholds,
caps and ties are our choice (features/es3.py).
"""

from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from features.es3 import Params
from features.joins import broadcast_if_small
from features.vectors import nearest, with_cosine

POSITIVE_TYPES = ("click", "fav", "cart", "pay")
CLICK = ("event_id", "user_id", "item_id", "domain", "event_at", "origin_request_id")


def clicks_to_searchify(uncredited: DataFrame, day: date, params: Params) -> DataFrame:
    """The uncredited events of a day with `fate`: null where the click goes on, else why it does not.

    Fates, first that holds: duplicate, not_a_click, search_click (inside search, but on nothing that it showed), late (happened on an
    earlier day), not_drawn (`pseudo_share`), capped (`max_per_user_day`, then `max_per_item_day`, drawn by seeded hash).
    """
    draw_key = F.xxhash64(F.lit(params.seed), F.lit("searchify"), "event_id")
    early = (
        F.when(F.col("fate") == "duplicate", "duplicate")
        .when(F.col("event_type") != "click", "not_a_click")
        .when(F.col("domain") == "search", "search_click")
        .when(F.to_date("event_at") != F.lit(day), "late")
        .when(F.pmod(draw_key, F.lit(1_000_000)) >= int(params.pseudo_share * 1_000_000), "not_drawn")
    )
    judged = uncredited.select(*CLICK, early.alias("fate"), draw_key.alias("draw_key"))
    capped = _cap(_cap(judged, "user_id", params.max_per_user_day), "item_id", params.max_per_item_day)
    return capped.select(*CLICK, "fate")


def _cap(judged: DataFrame, key: str, limit: int) -> DataFrame:
    """At most `limit` rows without a fate for each key; those beyond it in the order of the draw are `capped`."""
    order = Window.partitionBy(key, F.col("fate").isNull()).orderBy("draw_key", "event_id")
    place = F.row_number().over(order)
    return judged.withColumn("place", place).withColumn("fate", F.coalesce("fate", F.when(F.col("place") > limit, "capped"))).drop("place")


def item_facts(items: DataFrame) -> DataFrame:
    """One row per item with its snapshots of the window, oldest first: struct<available_at, status, leaf>."""
    leaf = F.when(F.size("category_path") > 0, F.element_at("category_path", -1))
    fact = F.struct("available_at", "status", leaf.alias("leaf"))
    return items.groupBy("item_id").agg(F.sort_array(F.collect_list(fact)).alias("facts"))  # <= 2 snapshots


def fact_as_of(facts: Column, at: Column) -> Column:
    """The latest of an item's facts that was available before `at`, null where there is none."""
    return F.try_element_at(F.filter(facts, lambda f: f["available_at"] < at), F.lit(-1))


def off_shelf_by_request(requests: DataFrame, items: DataFrame) -> DataFrame:
    """For each request with such candidates: off_shelf, the set of its items that were not on the shelf when it was made."""
    gone = item_facts(items).where(F.exists("facts", lambda f: f["status"] == "off_shelf"))
    listed = requests.select("request_id", "requested_at", F.explode(F.array_distinct("candidates.item_id")).alias("item_id"))
    seen = listed.join(broadcast_if_small(gone, items.select("item_id", "status")), on=["item_id"], how="inner")  # one row an item
    off = seen.where(fact_as_of(F.col("facts"), F.col("requested_at"))["status"] == "off_shelf")
    return off.groupBy("request_id").agg(F.collect_set("item_id").alias("off_shelf"))


def with_negatives(
    clicks: DataFrame, requests: DataFrame, positives: DataFrame, items: DataFrame, vectors: DataFrame, params: Params
) -> DataFrame:
    """Clicks with what they were chosen among: requested_at, price_cents of the clicked item, and `negatives`.

    Rows: those of clicks, each once. Columns: clicks need CLICK; requests those of the contract; positives user_id, item_id, event_at;
    vectors item_id and vector. negatives: array<struct<item_id, price_cents>>, null where fewer than `min_negatives` were found.
    A negative was shown, not clicked, by the click's own request, or (where that gives fewer than `min_negatives`) by requests of
    the same user and domain within `widen_s`; it has cosine >= `min_similarity` or the same leaf category; the user did not click, fav,
    cart or pay it within `pay_window_s` before or after. The `num_negatives` most similar are taken.
    Ties: own request first, then cosine, then item_id; requested_at is of the own request, else the latest before the click, else the click's.
    """
    around = _lists_around(clicks, requests, params)
    listed = F.get(F.filter("shown", lambda c: c["item_id"] == F.col("item_id")), F.lit(0))["price_cents"]
    own = around.groupBy("event_id").agg(
        F.min(F.when(F.col("is_own"), F.col("requested_at"))).alias("own_at"),
        F.max(F.when(F.col("requested_at") <= F.col("event_at"), F.col("requested_at"))).alias("before_at"),
        F.min(F.when(listed.isNotNull(), F.struct(~F.col("is_own"), "requested_at", listed.alias("price_cents")))).alias("clicked"),
    )
    ranked = _similar(_not_positive(_others_shown(around), positives, params), items, vectors, params)
    best = F.struct(F.col("is_widened"), (-F.col("cosine")).alias("far"), F.col("shown_id").alias("item_id"), "price_cents")
    lists = (
        ranked.repartition("event_id")  # serves both aggregates
        .groupBy("event_id", "shown_id")
        .agg(F.min(best).alias("best"))
        .groupBy("event_id")
        .agg(F.sort_array(F.collect_list("best")).alias("all"))
    )
    num_own = F.size(F.filter("all", lambda n: ~n["is_widened"]))
    usable = F.when(num_own >= params.min_negatives, F.slice("all", 1, num_own)).otherwise(F.col("all"))
    chosen = F.slice(usable, 1, params.num_negatives)
    negatives = F.transform(chosen, lambda n: F.struct(n["item_id"].alias("item_id"), n["price_cents"].alias("price_cents")))
    lists = lists.select("event_id", F.when(F.size(chosen) >= params.min_negatives, negatives).alias("negatives"))
    return (
        clicks.join(broadcast_if_small(own, requests.select("request_id")), on=["event_id"], how="left")
        .join(broadcast_if_small(lists, requests.select("request_id")), on=["event_id"], how="left")
        .withColumns(
            {
                "requested_at": F.least(F.coalesce("own_at", "before_at", "event_at"), F.col("event_at")),
                "price_cents": F.col("clicked.price_cents"),
            }
        )
        .select(*clicks.columns, "requested_at", "price_cents", "negatives")
    )


def _lists_around(clicks: DataFrame, requests: DataFrame, params: Params) -> DataFrame:
    """One row per click and request that may serve it: requested_at, is_own, and what was shown as struct<item_id, price_cents>."""
    shown = F.filter("candidates", lambda c: c["is_exposed"])
    lists = requests.where(F.col("domain") != "search").select(
        "user_id",
        "domain",
        F.col("request_id").alias("list_id"),
        "requested_at",
        F.transform(shown, lambda c: F.struct(c["item_id"].alias("item_id"), c["price_cents"].alias("price_cents"))).alias("shown"),
    )
    narrow = broadcast_if_small(clicks.select(*CLICK), clicks)
    paired = lists.join(narrow, on=["user_id", "domain"], how="inner")  # <= max_per_user_day clicks for each list
    is_own = F.coalesce(F.col("list_id") == F.col("origin_request_id"), F.lit(False))
    gap = F.abs(F.unix_micros("requested_at") - F.unix_micros("event_at"))
    return paired.withColumn("is_own", is_own).where(F.col("is_own") | (gap <= params.widen_s * 1_000_000))


def _others_shown(around: DataFrame) -> DataFrame:
    """One row per click, request and item shown beside the clicked one: shown_id and its price_cents."""
    others = F.filter("shown", lambda c: c["item_id"] != F.col("item_id"))
    one = around.select("event_id", "user_id", "item_id", "event_at", "is_own", F.explode(others).alias("each"))
    return one.select(*one.columns[:-1], F.col("each.item_id").alias("shown_id"), F.col("each.price_cents").alias("price_cents"))


def _not_positive(shown: DataFrame, positives: DataFrame, params: Params) -> DataFrame:
    """Without the items that the user acted on within `pay_window_s` of the click, before or after."""
    acts = positives.where(F.col("event_type").isin(*POSITIVE_TYPES)).select(
        F.col("user_id").alias("actor"), F.col("item_id").alias("acted_on"), F.col("event_at").alias("acted_at")
    )
    gap = F.abs(F.unix_micros("acted_at") - F.unix_micros("event_at"))
    is_positive = (F.col("actor") == F.col("user_id")) & (F.col("acted_on") == F.col("shown_id")) & (gap < params.pay_window_s * 1_000_000)
    return shown.join(broadcast_if_small(acts, acts), on=is_positive, how="left_anti")


def _similar(shown: DataFrame, items: DataFrame, vectors: DataFrame, params: Params) -> DataFrame:
    """The shown items that are similar to the clicked one, with `cosine` and `is_widened`."""
    facts = item_facts(items)
    known = facts.join(vectors, on=["item_id"], how="left")  # one vector an item
    known = broadcast_if_small(known, vectors)
    theirs = known.select(F.col("item_id").alias("shown_id"), F.col("facts").alias("their_facts"), F.col("vector").alias("their_vector"))
    mine = known.select("item_id", F.col("facts").alias("my_facts"), F.col("vector").alias("my_vector"))
    pairs = shown.join(theirs, on=["shown_id"], how="left").join(mine, on=["item_id"], how="left")
    leaf = {side: fact_as_of(F.col(f"{side}_facts"), F.col("event_at"))["leaf"] for side in ("my", "their")}
    pairs = pairs.select(
        "event_id",
        "shown_id",
        "price_cents",
        (~F.col("is_own")).alias("is_widened"),
        "my_vector",
        "their_vector",
        F.coalesce(leaf["my"] == leaf["their"], F.lit(False)).alias("same_leaf"),
    )
    scored = with_cosine(pairs, "my_vector", "their_vector")
    return scored.where(F.col("same_leaf") | (F.col("cosine") >= params.min_similarity))


def with_queries(clicks: DataFrame, history: DataFrame, stats: DataFrame, vectors: DataFrame, params: Params) -> DataFrame:
    """Clicks with query_norm, query_source and query_similarity; all null where no tier has a query.

    Rows: those of clicks, each once. Columns: clicks need event_id, user_id, item_id; history user_id, item_id, query_norm, event_at
    of credited events; stats those of query_item_stats; vectors kind, text_id, vector. All must lie strictly before the click's day.
    Tiers: the user's latest query that led to the item (`user_history`); one of the item's `stats_top` queries with at least
    `stats_min_clicks`, drawn in proportion to clicks by seeded hash (`item_stats`); the query nearest to the title (`nearest`).
    """
    keyed = clicks.select("event_id", "user_id", "item_id")
    own = (
        history.where(F.col("query_norm").isNotNull())
        .groupBy("user_id", "item_id")
        .agg(F.max(F.struct("event_at", "query_norm")).alias("own"))
    )
    popular = F.struct((-F.col("num_clicks_28d")).alias("rank"), "query_norm")
    common = (
        stats.where(F.col("num_clicks_28d") >= params.stats_min_clicks)
        .groupBy("item_id")
        .agg(F.slice(F.sort_array(F.collect_list(popular)), 1, params.stats_top).alias("common"))
    )
    tiers = keyed.join(broadcast_if_small(own, history), on=["user_id", "item_id"], how="left")
    tiers = tiers.join(broadcast_if_small(common, stats), on=["item_id"], how="left")
    tiers = tiers.select("event_id", "item_id", F.col("own.query_norm").alias("user_history"), _drawn_query(params).alias("item_stats"))
    close = _nearest_queries(tiers.where(F.coalesce("user_history", "item_stats").isNull()), vectors, params)
    tiers = tiers.join(broadcast_if_small(close, vectors), on=["item_id"], how="left")
    source = F.when(F.col("user_history").isNotNull(), "user_history").when(F.col("item_stats").isNotNull(), "item_stats")
    source = source.when(F.col("nearest").isNotNull(), "nearest")
    found = tiers.select(
        "event_id",
        F.coalesce("user_history", "item_stats", "nearest").alias("query_norm"),
        source.alias("query_source"),
        F.when(source == "nearest", F.col("cosine")).alias("query_similarity"),
    )
    return clicks.join(broadcast_if_small(found, history), on=["event_id"], how="left")


def _drawn_query(params: Params) -> Column:
    """One of the item's common queries, in proportion to its clicks."""
    total = F.aggregate("common", F.lit(0).cast("bigint"), lambda n, q: n - q["rank"])
    ticket = F.pmod(F.xxhash64(F.lit(params.seed), F.lit("query"), "event_id"), F.greatest(total, F.lit(1)))
    start = F.struct(ticket.alias("left"), F.lit(None).cast("string").alias("query"))

    def step(state: Column, q: Column) -> Column:
        is_hit = state["query"].isNull() & (state["left"] < -q["rank"])
        return F.struct((state["left"] + q["rank"]).alias("left"), F.when(is_hit, q["query_norm"]).otherwise(state["query"]).alias("query"))

    return F.aggregate("common", start, step)["query"]


def _nearest_queries(clicks: DataFrame, vectors: DataFrame, params: Params) -> DataFrame:
    """For each item clicked: nearest, the query whose vector is closest to its title's, and cosine >= `nearest_min_cosine`."""
    titles = vectors.where(F.col("kind") == "item").select(F.col("text_id").alias("item_id"), "vector")
    wanted = titles.join(clicks.select("item_id").distinct(), on=["item_id"], how="left_semi")
    queries = vectors.where(F.col("kind") == "query").select(F.col("text_id").alias("nearest"), "vector")
    return nearest(wanted, queries, left_id="item_id", right_id="nearest").where(F.col("cosine") >= params.nearest_min_cosine)


def pays_of_clicks(attributions: DataFrame, params: Params) -> DataFrame:
    """event_id of the clicks outside search that an uncredited pay of the same user and item followed within `pay_window_s`.

    A pay goes to the latest such click before it, so that each pay counts once. Duplicates count on neither side.
    """
    is_click = (F.col("event_type") == "click") & (F.col("domain") != "search")
    acts = attributions.where(F.col("request_id").isNull() & (F.col("fate") != "duplicate") & (is_click | (F.col("event_type") == "pay")))
    click = F.when(F.col("event_type") == "click", F.struct("event_at", "event_id"))
    before = Window.partitionBy("user_id", "item_id").orderBy("event_at", "event_type", "event_id")
    last = F.last(click, ignorenulls=True).over(before.rowsBetween(Window.unboundedPreceding, Window.currentRow))
    pays = acts.select("event_type", F.col("event_at").alias("paid_at"), "available_at", last.alias("click")).where(
        F.col("event_type") == "pay"
    )
    day_s = 86_400_000_000
    lag = F.unix_micros("paid_at") - F.unix_micros("click.event_at")
    age = F.unix_micros("available_at") - F.unix_micros("click.event_at")
    in_time = (lag < params.pay_window_s * 1_000_000) & (age < params.label_horizon_days * day_s)
    return pays.where(F.col("click").isNotNull() & in_time).select(F.col("click.event_id").alias("event_id")).distinct()
