"""What a two-tower retriever learns from: observed and synthetic pairs, the catalogue, weights that are capped, hard negatives.

Weights are counted in millionths, as whole numbers, until the last step, so that sums have no order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from features.hardness import negated_words
from features.joins import broadcast_if_small
from features.splits import is_evaluation
from features.text import words
from features.tokens import token_ids
from schemas import retriever_examples as sizes

UNIT = 1_000_000
PAIR = ("query_norm", "item_id")


@dataclass(frozen=True)
class Params:
    """Everything that decides the rows, beside the inputs. All our choice: the papers tell none of it."""

    unobserved_weight: float = 1.0
    """Sum of the weights of a query's synthetic pairs that no observed one stands against: those of a query with one click."""
    least_shown: int = 2
    """Times that an item was on the pages of a query, of which none was clicked, to be a negative of it."""
    most_negatives: int = 8
    """Hard negatives of a query."""
    negated_per_category: int = 3
    """Items with a word that a query excludes, of each category that the query's pairs lie in."""


def query_ids(query: Column) -> Column:
    """What a model reads of a query."""
    return token_ids(words(query), sizes.TOKENS, most_words=sizes.WORDS_IN_QUERY, most_parts=sizes.PARTS_IN_QUERY)


def title_ids(title_words: Column) -> Column:
    """What a model reads of a title, given its words."""
    return token_ids(title_words, sizes.TOKENS, most_words=sizes.WORDS_IN_TITLE, most_parts=sizes.PARTS_IN_TITLE)


def catalogue(items: DataFrame) -> DataFrame:
    """Each item of the snapshot with `title_words`, `leaf` (last category or null) and `fate`: catalogue, off_shelf or no_title."""
    title_words = words(F.col("title"))
    fate = F.when(title_words.isNull(), "no_title").when(F.col("status") == "off_shelf", "off_shelf").otherwise("catalogue")
    leaf = F.try_element_at("category_path", F.lit(-1))
    return items.select("item_id", title_words.alias("title_words"), leaf.alias("leaf"), fate.alias("fate"))


def observed(stats: DataFrame, known: DataFrame) -> DataFrame:
    """Pairs with clicks or pays: `micro` (weight), `num_clicks_28d` (clicks and pays), `fate`: log, evaluation, off_shelf, no_title.

    Rows: (query_norm, item_id) of `stats`. `known`: of `catalogue`. A pair of an evaluation query is evaluated where its item can be
    found, so only on the shelf; of another query it teaches words off the shelf too. Weight: log2(1 + clicks + pays).
    """
    num = F.col("num_clicks_28d") + F.col("num_pays_28d")
    rows = stats.select(*PAIR, num.alias("num_clicks_28d"), F.round(UNIT * F.log2(1 + num)).cast("bigint").alias("micro"))
    rows = rows.join(known.select("item_id", F.col("fate").alias("item_fate")), on=["item_id"], how="left")
    is_held_out = is_evaluation(F.col("query_norm"))
    fate = F.when(F.coalesce("item_fate", F.lit("no_title")) == "no_title", "no_title").when(~is_held_out, "log")
    fate = fate.when(F.col("item_fate") == "off_shelf", "off_shelf").otherwise("evaluation")
    return rows.select(*PAIR, "num_clicks_28d", "micro", fate.alias("fate"))


def synthetic(pairs: DataFrame, seen: DataFrame, known: DataFrame, params: Params) -> DataFrame:
    """Synthetic pairs with their provenance, `micro` (weight, capped) and `fate`: synthetic, in_log, evaluation_query, no_title.

    Rows: those of `pairs`. `seen`: of `observed`. Weight: the lesser of the two relevances; scaled down so that those of a query add up to
    no more than its observed pairs do (to `unobserved_weight` where it has none), and all of them to no more than all observed ones.
    """
    given = pairs.select(*PAIR, "rewriter", "channel", "is_new", "p_business", "p_general")
    rows = given.join(seen.select(*PAIR, F.lit(True).alias("is_seen")), on=list(PAIR), how="left")
    rows = rows.join(known.select("item_id", F.col("fate").alias("item_fate")), on=["item_id"], how="left")
    fate = F.when(is_evaluation(F.col("query_norm")), "evaluation_query").when(F.col("is_seen"), "in_log")
    fate = fate.when(F.coalesce("item_fate", F.lit("no_title")) == "no_title", "no_title").otherwise("synthetic")
    relevance = F.round(UNIT * F.least("p_business", "p_general")).cast("bigint")
    rows = rows.withColumn("fate", fate).withColumn("raw", F.when(F.col("fate") == "synthetic", F.greatest(relevance, F.lit(1))))
    log = seen.where(F.col("fate") == "log")
    of_query = log.groupBy("query_norm").agg(F.sum("micro").alias("room"))
    of_all = log.agg(F.coalesce(F.sum("micro"), F.lit(0)).alias("room")).scalar()
    rows = rows.join(of_query, on=["query_norm"], how="left").withColumn(
        "room", F.coalesce("room", F.lit(round(UNIT * params.unobserved_weight)))
    )
    query = Window.partitionBy("query_norm").rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    rows = rows.withColumn("capped", scaled(F.col("raw"), F.sum("raw").over(query), F.col("room")))
    total = rows.agg(F.coalesce(F.sum("capped"), F.lit(0)).alias("total")).scalar()
    return rows.select(*given.columns, scaled(F.col("capped"), total, of_all).alias("micro"), "fate")


def scaled(part: Column, whole: Column, room: Column) -> Column:
    """The part as it is where the whole fits the room; else its share of the room, rounded down, at least 1. Null for null."""
    share = F.floor(part.cast("decimal(38,0)") * room / whole)
    return F.when(whole <= room, part).when(part.isNotNull(), F.greatest(share, F.lit(1))).cast("bigint")


def hard_negatives(positives: DataFrame, requests: DataFrame, known: DataFrame, params: Params) -> DataFrame:
    """For each query that has some: negatives array<struct<item_id, source>>, the surest source first, at most `most_negatives`.

    Rows: query_norm. `positives`: all pairs known of any kind, by query_norm and item_id. `requests`: of the last days.
    Ties: within a source the item shown more often first, then by item_id.
    """
    shelf = known.where(F.col("fate") == "catalogue")
    found = negated(positives, shelf, params).unionByName(shown(positives, requests, params))
    others = found.join(positives.select(*PAIR), on=list(PAIR), how="left_anti").join(
        shelf.select("item_id"), on=["item_id"], how="left_semi"
    )
    once = others.groupBy(*PAIR).agg(F.min(F.struct("place", "source")).alias("best"))
    listed = F.sort_array(F.collect_list(F.struct("best.place", "item_id", "best.source")))
    first = F.slice(listed, 1, params.most_negatives)
    fields = F.transform(first, lambda n: F.struct(n["item_id"].alias("item_id"), F.xxhash64(n["item_id"]).alias("item_hash"), n["source"]))
    return once.groupBy("query_norm").agg(fields.alias("negatives"))


def shown(positives: DataFrame, requests: DataFrame, params: Params) -> DataFrame:
    """Items on the pages of each query that has positives, at least `least_shown` times: source, place (more often is first)."""
    queries = positives.select("query_norm").distinct()
    searched = requests.where((F.col("domain") == "search") & ~is_evaluation(F.col("query_norm")))
    pages = searched.join(broadcast_if_small(queries, positives), on=["query_norm"], how="left_semi")
    exposed = F.array_distinct(F.transform(F.filter("candidates", lambda c: c["is_exposed"]), lambda c: c["item_id"]))
    counts = pages.select("query_norm", F.explode(exposed).alias("item_id")).groupBy(*PAIR).agg(F.count(F.lit(1)).alias("times"))
    often = counts.where(F.col("times") >= params.least_shown)
    return often.select(*PAIR, F.lit("shown").alias("source"), (F.lit(UNIT) - F.least(F.col("times"), F.lit(UNIT))).alias("place"))


def negated(positives: DataFrame, shelf: DataFrame, params: Params) -> DataFrame:
    """Items whose title has a word that the query excludes, in the categories that its pairs lie in: source, place (0).

    Cost: titles of the catalogue are taken apart once, and of the excluded words alone a few items a category are kept.
    """
    asked = positives.join(shelf.select("item_id", "leaf"), on=["item_id"], how="inner").select("query_norm", "leaf").distinct()
    asked = asked.select("query_norm", "leaf", F.explode(negated_words(F.col("query_norm"))).alias("word"))
    named = shelf.select("item_id", "leaf", F.explode("title_words").alias("word"))
    named = named.join(asked.select("word").distinct(), on=["word"], how="left_semi")
    draw = Window.partitionBy("leaf", "word").orderBy(F.xxhash64("item_id"), "item_id")
    few = named.withColumn("n", F.row_number().over(draw)).where(F.col("n") <= params.negated_per_category).drop("n")
    found = asked.join(few, on=["leaf", "word"], how="inner").select(*PAIR).distinct()
    return found.select(*PAIR, F.lit("negated").alias("source"), F.lit(0).alias("place"))


def united(frames: Sequence[DataFrame]) -> DataFrame:
    """Rows of all frames; columns that one lacks are null."""
    rows = frames[0]
    for frame in frames[1:]:
        rows = rows.unionByName(frame, allowMissingColumns=True)
    return rows
