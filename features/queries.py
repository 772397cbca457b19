"""A query for a click that had none, of three tiers: the user's own, a common one of the item, the nearest to its title.

Source: UniScale (arXiv 2603.24226), three-level query synthesis; thresholds, the draw and ties are our choice (features/es3.py).
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.es3 import Params
from features.joins import broadcast_if_small
from features.vectors import nearest


def queries_of(clicks: DataFrame, history: DataFrame, stats: DataFrame, vectors: DataFrame, params: Params) -> DataFrame:
    """query_norm, query_source and query_similarity of each click; all null where no tier has a query.

    Rows: event_id, those of clicks. Columns: clicks need event_id, user_id, item_id; history user_id, item_id, query_norm, event_at
    of credited events; stats those of query_item_stats; vectors kind, text_id, vector. All must lie strictly before the click's day.
    Tiers: the user's latest query that led to the item (`user_history`); one of the item's `stats_top` queries with at least
    `stats_min_clicks`, drawn in proportion to clicks by seeded hash (`item_stats`); the query nearest to the title (`nearest`).
    Ties: of queries at the same time the greatest; of queries with as many clicks the smallest.
    Cost: one shuffle of what is known of the clicked pairs, one of the stats; exact search for the items that are left.
    """
    keyed = clicks.select("event_id", "user_id", "item_id")
    own = (
        history.where(F.col("query_norm").isNotNull())
        .select("user_id", "item_id", "event_at", "query_norm")
        .join(broadcast_if_small(keyed, keyed), on=["user_id", "item_id"], how="inner")  # <= max_per_user_day clicks a pair
        .groupBy("event_id")
        .agg(F.max(F.struct("event_at", "query_norm")).alias("own"))
    )
    popular = F.struct((-F.col("num_clicks_28d")).alias("rank"), "query_norm")
    common = (
        stats.where(F.col("num_clicks_28d") >= params.stats_min_clicks)
        .groupBy("item_id")
        .agg(F.slice(F.sort_array(F.collect_list(popular)), 1, params.stats_top).alias("common"))
    )
    tiers = keyed.join(own, on=["event_id"], how="left").join(broadcast_if_small(common, stats), on=["item_id"], how="left")
    tiers = tiers.select("event_id", "item_id", F.col("own.query_norm").alias("user_history"), _drawn_query(params).alias("item_stats"))
    close = _nearest_queries(tiers.where(F.coalesce("user_history", "item_stats").isNull()), vectors, params)
    tiers = tiers.join(broadcast_if_small(close, vectors), on=["item_id"], how="left")
    source = F.when(F.col("user_history").isNotNull(), "user_history").when(F.col("item_stats").isNotNull(), "item_stats")
    source = source.when(F.col("nearest").isNotNull(), "nearest")
    return tiers.select(
        "event_id",
        F.coalesce("user_history", "item_stats", "nearest").alias("query_norm"),
        source.alias("query_source"),
        F.when(source == "nearest", F.col("cosine")).alias("query_similarity"),
    )


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
    wanted = titles.join(clicks.select("item_id"), on=["item_id"], how="left_semi")
    queries = vectors.where(F.col("kind") == "query").select(F.col("text_id").alias("nearest"), "vector")
    return nearest(wanted, queries, left_id="item_id", right_id="nearest").where(F.col("cosine") >= params.nearest_min_cosine)
