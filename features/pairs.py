"""Pairs of rare queries and items that only a rewrite finds: candidates, the rules that drop them, and caps.

Source: Synthetic Data Powers Product Retrieval (arXiv 2602.23620); the difference set from LREM (arXiv 2510.14321).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from features.hardness import negated_words
from features.joins import broadcast_if_small
from features.relevance import ONE, excluded_by_title, judge
from features.retrieval import bm25_impacts, merged, search
from features.text import norm_query, words
from features.vectors import hashed_tfidf, sentence_vectors

SCORES = ("p_business", "p_general")
JUDGED = (*SCORES, "is_negated")
KEYS = ("kind", "id", "rewrite")


@dataclass(frozen=True, kw_only=True)
class Params:
    """Everything left to be chosen; another value gives other rows, so raise the version of the contract with it.

    Our choice where no source is named.
    """

    num_hits: int = 50
    """Items that a text finds by each channel, a count."""
    k1: float = 1.5
    """BM25: how fast repeated words stop to count; usual value."""
    b: float = 0.75
    """BM25: how much long titles are marked down, in [0, 1]; usual value."""
    min_cosine: float = 0.25
    """Least cosine of a hit by vector: hashed texts without a common word reach it once in 30,000 (4 / sqrt(256))."""
    blocks: int = 8
    """Parts of the catalogue that are searched apart; any number gives the same rows."""
    known_share: float = 0.2
    """Share of what the query finds by itself that is kept, so that easy pairs do not vanish; drawn by seeded hash."""
    seed: int = 17
    """Seed of that draw."""
    most_targets: int = 30
    """Title words that may stand for a word of a query, at most."""
    unknown_weight: float = 0.5
    """Weight of a word that neither log nor catalogue knows, relative to one that they do."""
    scorers: tuple[str, ...] = SCORES
    """Who is asked; one that is left out accepts all with 1."""
    min_business: float = 0.85
    """Least business relevance, in [0, 1]: all words of a short query must be said, one of seven may be missing. Chosen on a simulated shop
    of 1,500 items."""
    min_general: float = 0.3
    """Least general relevance, in [0, 1]; 0.5 or more with a model."""
    per_query: int = 20
    """Pairs of a query, at most. Of the notes on arXiv 2602.23620, as the two below."""
    per_item: int = 200
    """Queries of an item, at most."""
    category_share: float = 0.4
    """Share of the pairs left by the other caps that one leaf category may have; items without a category are not capped."""


def texts_of(rewrites: DataFrame, items: DataFrame) -> DataFrame:
    """What is encoded: titles, queries, rewrites, and each query with its rewrite; KEYS identify them.

    Rows out: kind item (id is the item_id), query, rewrite and joint (id is the query_norm; rewrite '' but for the last two).
    """
    titles = items.where(norm_query(F.col("title")).isNotNull())
    of_items = titles.select(
        F.lit("item").alias("kind"), F.col("item_id").alias("id"), F.lit("").alias("rewrite"), F.col("title").alias("text")
    )
    by_query = rewrites.groupBy("query_norm").agg(F.collect_set("rewrite").alias("found"))

    def text(kind: str, rewrite: Column, text: Column) -> Column:
        return F.struct(F.lit(kind).alias("kind"), rewrite.alias("rewrite"), text.alias("text"))

    query = F.col("query_norm")
    reworded = F.transform("found", lambda r: F.array(text("rewrite", r, r), text("joint", r, F.concat_ws(" ", query, r))))
    every = F.concat(F.array(text("query", F.lit(""), query)), F.flatten(reworded))
    asked = by_query.select(query.alias("id"), F.inline(every))
    return of_items.withColumnRenamed("title", "text").unionByName(asked)


def hits_of(rewrites: DataFrame, items: DataFrame, terms: DataFrame, params: Params, model: str | None) -> DataFrame:
    """For each query and each of its rewrites (id, rewrite): the best items by words and by vector, judged.

    Columns: rewrites need query_norm, rewrite; items item_id, title; terms those of `query_terms`. Gives bm25 and dense (`search`).
    """
    texts = texts_of(rewrites, items).withColumn("is_title", F.col("kind") == "item")
    encoded = sentence_vectors(texts, model) if model else hashed_tfidf(texts, KEYS, counted="is_title")
    impacts = bm25_impacts(items, k1=params.k1, b=params.b)
    of_items = impacts.select(F.lit("item").alias("kind"), F.col("item_id").alias("id"), F.col("words").alias("title_words"), "impacts")
    of_queries = terms.select(F.lit("query").alias("kind"), F.col("query_norm").alias("id"), "terms", "negated")
    known = of_items.unionByName(of_queries, allowMissingColumns=True)
    rows = encoded.join(known, on=["kind", "id"], how="left")  # one row of an item, one of a query
    spoken = F.when(F.col("kind").isin("query", "rewrite"), words(F.col("text"))).otherwise(F.col("title_words"))
    negated = F.when(F.col("kind") == "item", excluded_by_title(F.col("text"))).otherwise(F.col("negated"))
    rows = rows.select(*KEYS, "vector", spoken.alias("words"), "impacts", "terms", negated.alias("negated"))
    found = search(rows, num_hits=params.num_hits, min_cosine=params.min_cosine, blocks=params.blocks, judge=judge, judged=JUDGED)
    return merged(found, params.num_hits)


def candidates(hits: DataFrame, logged: DataFrame) -> DataFrame:
    """Each item that a rewrite of a query found, once, as it was found best; a row without item_id where rewrites found nothing.

    Rows: (query_norm, item_id). Columns: rewrite, rank and channel of the best hit (both where the channels agree on the item,
    by whichever rewrites), JUDGED of it, is_known (the query finds it alone), is_logged (in `logged`: query_norm, item_id), and how many
    rewrites the row counts for: num_retrieved, num_nothing. Ties: the smallest rank, then rewrite.
    """

    def listed(channel: str) -> Column:
        return F.transform(
            channel,
            lambda hit, n: F.struct(
                (n + 1).alias("rank"), F.lit(channel).alias("channel"), *(hit[c].alias(c) for c in ("item_id", *JUDGED))
            ),
        )

    is_own = F.col("rewrite") == ""
    found = F.struct("rewrite", F.concat(listed("bm25"), listed("dense")).alias("hits"))
    own = F.max(F.when(is_own, F.concat("bm25.item_id", "dense.item_id")))
    by_query = hits.groupBy(F.col("id").alias("query_norm")).agg(own.alias("own"), F.collect_list(F.when(~is_own, found)).alias("found"))
    bought = logged.groupBy("query_norm").agg(F.collect_set("item_id").alias("logged"))
    by_query = by_query.join(bought, on=["query_norm"], how="left")
    by_rewrite = by_query.select("query_norm", "own", "logged", F.inline("found"))
    single = by_rewrite.select("query_norm", "rewrite", "own", "logged", F.posexplode_outer("hits").alias("n", "hit"))
    is_known, is_logged = F.array_contains("own", F.col("hit.item_id")), F.array_contains("logged", F.col("hit.item_id"))
    best = F.struct("hit.rank", "rewrite", *(f"hit.{name}" for name in JUDGED))
    flat = single.select(
        "query_norm", F.col("hit.item_id").alias("item_id"), F.col("hit.channel").alias("channel"), best.alias("best"),
        is_known.alias("is_known"), F.coalesce(is_logged, F.lit(False)).alias("is_logged"),
        (F.col("n") == 0).cast("int").alias("retrieved"), F.col("hit").isNull().cast("int").alias("nothing"),
    )  # fmt: skip
    channel = F.when(F.min("channel") == F.max("channel"), F.min("channel")).otherwise("both")
    grouped = flat.groupBy("query_norm", "item_id").agg(
        F.min("best").alias("best"), channel.alias("channel"), F.max("is_known").alias("is_known"), F.max("is_logged").alias("is_logged"),
        F.sum(F.coalesce("retrieved", F.lit(0))).alias("num_retrieved"), F.sum("nothing").alias("num_nothing"),
    )  # fmt: skip
    return grouped.select("query_norm", "item_id", "best.*", "channel", "is_known", "is_logged", "num_retrieved", "num_nothing")


def with_fate(pairs: DataFrame, leaves: DataFrame, params: Params) -> DataFrame:
    """The candidates with _fate: kept, or the first rule that drops them. Caps count what the rules before left over.

    Columns: needs those of `candidates`; leaves item_id and leaf. Ties of caps: more relevant (sum of both), smaller rank, then keys.
    """
    pairs = pairs.withColumns({name: F.lit(ONE) for name in SCORES if name not in params.scorers})
    is_drawn = F.pmod(F.xxhash64(F.lit(params.seed), F.lit("known"), "query_norm", "item_id"), F.lit(ONE)) < round(params.known_share * ONE)
    rules = {
        "nothing_found": F.col("item_id").isNull(),
        "negated": F.col("is_negated") == 1,
        "known_to_query": F.col("is_known") & ~is_drawn,
        "in_log": F.col("is_logged"),
        "not_relevant_business": F.col("p_business") < round(params.min_business * ONE),
        "not_relevant_general": F.col("p_general") < round(params.min_general * ONE),
    }
    fate = F.coalesce(*(F.when(is_broken, name) for name, is_broken in rules.items()))
    judged = pairs.withColumn("_fate", fate).join(broadcast_if_small(leaves, leaves), on=["item_id"], how="left")  # one leaf an item
    is_left, query = F.col("_fate").isNull(), F.col("query_norm")
    judged = _capped(judged, "capped_query", [query], F.lit(params.per_query))
    judged = _capped(judged, "capped_item", [F.when(is_left, F.col("item_id")).otherwise(query)], F.lit(params.per_item))
    # to know how many are left they go to one task, `per_query` rows a query; what was dropped stays spread
    judged = judged.withColumn("spread", F.when(is_left, F.lit("")).otherwise(query))
    left = Window.partitionBy("spread").rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    judged = judged.withColumn("num_left", F.count_if(is_left).over(left))
    most = F.when(F.col("leaf").isNotNull(), F.floor(F.lit(params.category_share) * F.col("num_left"))).otherwise(F.col("num_left"))
    judged = _capped(judged, "capped_category", [F.col("spread"), F.col("leaf")], most)
    return judged.withColumn("_fate", F.coalesce("_fate", F.lit("kept")))


def _capped(pairs: DataFrame, name: str, keys: Sequence[Column], most: Column) -> DataFrame:
    """Pairs without a fate beyond the `most` best of their keys get the fate `name`."""
    is_left = F.col("_fate").isNull()
    best = ((-F.col("p_business") - F.col("p_general")), F.col("rank"), F.col("query_norm"), F.col("item_id"))
    placed = pairs.withColumn("place", F.row_number().over(Window.partitionBy(*keys, is_left).orderBy(*best)))
    return placed.withColumn("_fate", F.when(is_left & (F.col("place") > most), name).otherwise(F.col("_fate"))).drop("place")


def guards() -> Column:
    """Names of the rules that a kept pair passed, in order; `negation` only where the query excludes something."""
    new = F.when(F.col("is_known"), "drawn_of_known").otherwise("difference_set")
    negation = F.when(F.size(negated_words(F.col("query_norm"))) > 0, "negation")
    rest = (F.lit(name) for name in ("not_in_log", "business", "general", "query_cap", "item_cap", "category_cap"))
    return F.array_compact(F.array(new, negation, *rest))
