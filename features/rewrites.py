"""Which rewrites of a query are kept: relevant to it, different from it and from each other, safe, and none of an evaluation query.

Source: arXiv 2602.23620 and LREM (arXiv 2510.14321), filters; measures and thresholds are our choice (features/longtail.py).
"""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from features.hardness import content_words
from features.longtail import Params
from features.reformulations import UNIT
from features.splits import is_evaluation
from features.text import norm_query, words

REWRITERS = ("sessions", "feedback", "model", "endpoint")
"""In order of precedence: the first to say the same rewrite is its rewriter."""
GENERATED = ("model", "endpoint")
FATES = (
    "same",
    "too_long",
    "evaluation",
    "banned",
    "negated",
    "brand_added",
    "brand_kept",
    "not_in_catalogue",
    "irrelevant",
    "near_duplicate",
    "capped",
)
"""Why a rewrite is dropped, the first that holds."""


def judged(rewrites: DataFrame, pool: DataFrame, lexicon: DataFrame, associations: DataFrame, params: Params) -> DataFrame:
    """Each rewrite once for its query, with its fate (kept or one of FATES), rank and relevance.

    Rows: (query_norm, rewrite), and (query_norm, null, rewriter) of replies, whose fate is their status. Columns: rewrites need
    query_norm, rewriter, rewrite, score (ten-thousandths), evidence, reply (a struct with status; null on rewrites); the pool as made by
    `searchable`, the lexicon by `vocabulary`. Adds relevance (ten-thousandths), and rank from 1 within query and rewriter among those kept.
    Ties: equal scores rank by rewrite. The rewrites are gone through once, whatever it costs to make them.
    """
    seen = _measured(_once(rewrites), pool, lexicon, associations, params)
    order = (_order(F.col("rewriter")), F.desc("score"), F.col("rewrite"))
    alike = Window.partitionBy("query_norm", F.col("fate").isNull()).orderBy(*order).rowsBetween(Window.unboundedPreceding, -1)
    own = words(F.col("rewrite"))
    better = seen.withColumn("fate", _fate(params)).withColumn("better", F.collect_list(own).over(alike))
    is_twin = F.exists("better", lambda other: _overlap(own, other) > params.max_overlap)
    unlike = better.withColumn("fate", F.coalesce("fate", F.when(is_twin, "near_duplicate"))).drop("better")
    place = F.row_number().over(Window.partitionBy("query_norm", "rewriter", F.col("fate").isNull()).orderBy(F.desc("score"), "rewrite"))
    ranked = unlike.withColumn("place", place)
    ranked = ranked.withColumn("fate", F.coalesce("fate", F.when(F.col("place") > params.max_rewrites, "capped"), F.lit("kept")))
    return ranked.withColumn("rank", F.when(F.col("fate") == "kept", F.col("place")))


def _fate(params: Params) -> Column:
    """The first reason against a rewrite that it gives by itself, or the status of a reply; null where there is none."""
    query, rewrite = F.col("query_norm"), F.col("rewrite")
    own, asked = words(rewrite), words(query)
    names_brand, wants_other = F.size("query_brands") > 0, F.col("hardness") == "alternative"
    return (
        F.when(rewrite.isNull(), F.col("reply.status"))
        .when(F.array_sort(own) == F.array_sort(asked), "same")
        .when(F.size(own) > params.max_rewrite_words, "too_long")
        .when(is_evaluation(rewrite), "evaluation")
        .when(F.arrays_overlap(F.array_except(own, asked), F.array(*map(F.lit, params.banned))), "banned")
        .when(F.arrays_overlap(own, "excluded"), "negated")
        .when(names_brand & ~wants_other & (F.size(F.array_except("brands", "query_brands")) > 0), "brand_added")
        .when(wants_other & F.arrays_overlap("brands", "query_brands"), "brand_kept")
        .when(~F.col("in_catalogue"), "not_in_catalogue")
        .when(F.col("relevance") < round(UNIT * params.min_relevance), "irrelevant")
    )


def _once(rewrites: DataFrame) -> DataFrame:
    """One row for each query and rewrite: of the first rewriter that says it, with its best score. Replies stay as they are."""
    text = norm_query(F.col("rewrite"))
    texts = rewrites.withColumn("rewrite", text).where(F.col("rewrite").isNotNull() | F.col("reply").isNotNull())
    said_by = F.when(F.col("rewrite").isNull(), F.col("rewriter")).alias("said_by")
    order = (_order(F.col("rewriter")).alias("order"), (-F.col("score")).alias("far"))
    best = F.min(F.struct(*order, "rewriter", "score", "evidence", "reply")).alias("best")
    found = texts.groupBy("query_norm", "rewrite", said_by).agg(best)
    return found.select("query_norm", "rewrite", "best.rewriter", "best.score", "best.evidence", "best.reply")


def _measured(rewrites: DataFrame, pool: DataFrame, lexicon: DataFrame, associations: DataFrame, params: Params) -> DataFrame:
    """The rewrites with hardness, excluded, query_brands, and relevance, brands, in_catalogue of each.

    relevance: mean over the query's words, by rarity, of the best association with a word of the rewrite, 1 for the word itself; of a
    generated rewrite at least `generated_relevance`. brands: those that the rewrite names with all their words. in_catalogue: some title
    has a content word of it.
    """
    keys = ["query_norm", "rewrite", "rewriter", "score", "evidence", "reply", "hardness", "excluded", "query_brands"]
    asked = rewrites.join(pool.select("query_norm", "hardness", "excluded", "query_brands", "asked"), on=["query_norm"], how="inner")
    content = content_words(F.col("rewrite")).alias("content")
    own = asked.select(*keys, "asked", content, F.explode_outer(words(F.col("rewrite"))).alias("target"))
    about = lexicon.select(F.col("word").alias("target"), "num_titles", "brands")
    told = own.join(about, on=["target"], how="left").withColumn("a", F.explode("asked"))  # one row a word
    meant = associations.select(F.col("word").alias("meant"), "target", "strength")
    pairs = told.withColumn("meant", F.col("a.word")).join(meant, on=["meant", "target"], how="left")  # one row a pair
    strength = F.when(F.col("meant") == F.col("target"), F.lit(UNIT)).otherwise(F.coalesce("strength", F.lit(0)))
    is_content = F.array_contains("content", F.col("target"))
    by_word = pairs.groupBy(*keys, "a").agg(
        F.max(strength).alias("best"),
        F.coalesce(F.max((F.col("num_titles") > 0) & is_content), F.lit(False)).alias("in_catalogue"),
        F.array_sort(F.array_distinct(F.flatten(F.collect_list("brands")))).alias("brands"),
    )
    mean = F.round(F.sum(F.col("a.rarity") * F.col("best").cast("bigint")) / F.sum("a.rarity")).cast("int")
    found = by_word.groupBy(*keys).agg(
        mean.alias("relevance"), F.max("in_catalogue").alias("in_catalogue"), F.max("brands").alias("brands")
    )
    least = F.when(F.col("rewriter").isin(*GENERATED), round(UNIT * params.generated_relevance)).otherwise(0)
    named = brands_in(F.col("brands"), words(F.col("rewrite")))
    return found.withColumns({"relevance": F.greatest("relevance", least), "brands": named})


def brands_in(brands: Column, own: Column) -> Column:
    """Those of the brands (arrays of words) all of whose words are there."""
    return F.filter(brands, lambda brand: F.size(F.array_except(brand, own)) == 0)


def _overlap(a: Column, b: Column) -> Column:
    """Common words as a share of all words of both."""
    return F.size(F.array_intersect(a, b)) / F.size(F.array_union(a, b))


def _order(rewriter: Column) -> Column:
    return F.array_position(F.array(*map(F.lit, REWRITERS)), rewriter)
