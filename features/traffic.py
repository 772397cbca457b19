"""How much a query is searched, what came of it, and where it stands among all queries."""

from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

WINDOW_DAYS = 28


@dataclass(frozen=True, kw_only=True)
class Params:
    """What is left to be chosen; another value gives other rows, so raise the version of the contract with it. All our choice."""

    few_results: int = 10
    """A search whose list holds fewer candidates than this had few results, a count."""
    head_percent: int = 50
    """Queries that come before this percentage of all searches, the most searched first, are head."""
    torso_percent: int = 80
    """Of the others those that come before this percentage are torso, the rest is tail."""


def searches_by_query(requests: DataFrame, params: Params) -> DataFrame:
    """query_norm, num_searches_28d, num_users_28d, few_result_rate of each query that was searched in these requests."""
    searches = requests.where((F.col("domain") == "search") & F.col("query_norm").isNotNull())
    by_user = searches.groupBy("query_norm", "user_id").agg(
        F.count(F.lit(1)).alias("num"), F.count_if(F.size("candidates.is_exposed") < params.few_results).alias("few")
    )
    return by_user.groupBy("query_norm").agg(
        F.sum("num").alias("num_searches_28d"),
        F.count(F.lit(1)).alias("num_users_28d"),
        (F.sum("few") / F.sum("num")).alias("few_result_rate"),
    )


def clicks_by_query(attributions: DataFrame, day: date) -> DataFrame:
    """query_norm, num_clicks_28d, num_clicked (searches with a click), num_pays_28d, credited to searches of the 28 days up to `day`."""
    first = day - timedelta(days=WINDOW_DAYS - 1)
    credited = attributions.where((F.col("request_day") >= F.lit(first)) & F.col("query_norm").isNotNull())
    by_request = credited.groupBy("query_norm", "request_id").agg(
        F.count_if(F.col("event_type") == "click").alias("clicks"), F.count_if(F.col("event_type") == "pay").alias("pays")
    )
    return by_request.groupBy("query_norm").agg(
        F.sum("clicks").alias("num_clicks_28d"), F.count_if(F.col("clicks") > 0).alias("num_clicked"), F.sum("pays").alias("num_pays_28d")
    )


def with_standing(queries: DataFrame, params: Params) -> DataFrame:
    """`queries` with decile (1: searched most) and segment (head, torso, tail).

    Rows: those of `queries`. Columns: needs num_searches_28d. Ties: queries searched equally often stand equally, so that no order of
    texts decides: the decile is by the share of queries, the segment by the share of searches, that are searched more often.
    """
    sizes = queries.groupBy("num_searches_28d").agg(F.count(F.lit(1)).alias("queries"))
    sizes = sizes.withColumn("searches", F.col("queries") * F.col("num_searches_28d"))
    more = Window.orderBy(F.desc("num_searches_28d")).rowsBetween(Window.unboundedPreceding, -1)  # <= 45,000 rows for 10^9 searches
    every = Window.partitionBy(F.lit(0))
    part = {of: (F.coalesce(F.sum(of).over(more), F.lit(0)), F.sum(of).over(every)) for of in ("queries", "searches")}
    before, total = part["searches"]
    segment = F.when(100 * before < params.head_percent * total, "head").when(100 * before < params.torso_percent * total, "torso")
    decile = (1 + F.floor(10 * part["queries"][0] / part["queries"][1])).cast("int")
    standing = sizes.select("num_searches_28d", decile.alias("decile"), segment.otherwise("tail").alias("segment"))
    return queries.join(F.broadcast(standing), on=["num_searches_28d"], how="left")  # one row a number of searches
