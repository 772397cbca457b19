"""Pseudo-relevance feedback over the catalogue: the words of the items that a query finds by its words or by clicks. Rewriter `feedback`.

Source: RM3 (Abdul-Jaleel et al., TREC 2004), with the items of clicks beside those of words; weights and thresholds are our choice.
"""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features.hardness import content_words
from features.longtail import Params
from features.reformulations import UNIT
from features.text import words


def clicks_by_word(clicked: DataFrame, by_word: DataFrame, params: Params) -> DataFrame:
    """word, item_id, weight: the share of a word's clicks that went to each item, shrunk, in whole ten-thousandths.

    Columns: clicked needs query_norm, item_id, num_sessions. Only words of `by_word`.
    """
    each = clicked.select(F.explode(content_words(F.col("query_norm"))).alias("word"), "item_id", "num_sessions")
    each = each.join(by_word.select("word"), on=["word"], how="left_semi").groupBy("word", "item_id").agg(F.sum("num_sessions").alias("n"))
    total = F.sum("n").over(Window.partitionBy("word"))
    return each.select("word", "item_id", F.round(UNIT * F.col("n") / (total + params.shrink)).cast("int").alias("weight"))


def found_items(pool: DataFrame, by_word: DataFrame, titles: DataFrame, clicked: DataFrame, params: Params) -> DataFrame:
    """The `feedback_items` best items of each query, if they are near the best: query_norm, item_id, weight.

    Weight: over the query's words rarity, times 1 where the title has the word, plus the item's share of the word's clicks.
    Columns: titles need item_id and word. Ties: the smallest item_id.
    """
    by_title = by_word.where(F.col("num_titles") <= params.feedback_max_titles).join(titles, on=["word"], how="inner")
    by_title = by_title.select("query_norm", "item_id", (UNIT * F.col("rarity").cast("bigint")).alias("weight"))
    shares = clicks_by_word(clicked, by_word, params).join(by_word, on=["word"], how="inner")
    by_click = shares.select("query_norm", "item_id", (F.col("rarity").cast("bigint") * F.col("weight")).alias("weight"))
    found = by_title.unionByName(by_click).groupBy("query_norm", "item_id").agg(F.sum("weight").alias("weight"))
    of_query = Window.partitionBy("query_norm").orderBy(F.desc("weight"), "item_id")
    best = F.first("weight").over(of_query.rowsBetween(Window.unboundedPreceding, Window.currentRow))
    ranked = found.withColumns({"place": F.row_number().over(of_query), "best": best})
    is_near = 100 * F.col("weight") >= round(100 * params.feedback_min_weight) * F.col("best")
    return ranked.where(is_near & (F.col("place") <= params.feedback_items)).drop("place", "best")


def by_feedback(pool: DataFrame, by_word: DataFrame, lexicon: DataFrame, items: DataFrame, clicked: DataFrame, params: Params) -> DataFrame:
    """Rewrites of the pool's queries: their words that are in titles, with the words that weigh most in the titles of the items found.

    Rows: (query_norm, rewrite). Columns: query_norm, rewrite, score (ten-thousandths: mean share of the items, by weight, that have
    the words added), evidence (null). Left out as additions: brands, numbers, what the query has or excludes, words of one item only.
    """
    titles = items.select("item_id", F.explode(words(F.col("title"))).alias("word"))
    found = found_items(pool, by_word, titles, clicked, params)
    total = F.sum("weight").over(Window.partitionBy("query_norm"))
    weighed = found.withColumn("total", total).join(titles, on=["item_id"], how="inner")
    shares = weighed.groupBy("query_norm", "word").agg(
        F.round(UNIT * F.sum("weight") / F.max("total")).cast("int").alias("share"), F.count(F.lit(1)).alias("num_items")
    )
    telling = shares.where((F.col("share") >= round(UNIT * params.feedback_min_share)) & (F.col("num_items") > 1))
    telling = telling.join(lexicon.where(F.size("brands") == 0), on=["word"], how="inner").join(
        pool, on=["query_norm"], how="inner"
    )  # one each
    is_new = ~F.array_contains("wanted", F.col("word")) & ~F.array_contains("excluded", F.col("word")) & ~F.col("word").rlike(r"^\d+$")
    rare = F.col("share").cast("bigint") * F.round(1000 / F.log(F.lit(2.0) + F.col("num_titles"))).cast("bigint")  # rarer words tell more
    term = F.struct((-rare).alias("order"), "word", "share")
    best = F.slice(F.sort_array(F.collect_list(term)), 1, params.max_added)
    added = telling.where(is_new).groupBy("query_norm", "kept").agg(best.alias("added"))
    return _composed(added)


def _composed(added: DataFrame) -> DataFrame:
    """Two rewrites of each query: what is kept of it with the best word added, and with all of them."""
    prefixes = F.array_distinct(F.array(F.slice("added", 1, 1), F.col("added")))
    each = added.select("query_norm", "kept", F.explode(prefixes).alias("added"))
    total = F.aggregate("added", F.lit(0), lambda n, term: n + term["share"])
    return each.select(
        "query_norm",
        F.array_join(F.concat("kept", F.col("added.word")), " ").alias("rewrite"),
        F.round(total / F.size("added")).cast("int").alias("score"),
        F.lit(None).cast("struct<from_day: date, to_day: date, num_sessions: bigint>").alias("evidence"),
    )
