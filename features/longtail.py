"""Rare and badly served queries: which of them get rewrites, what of them is searched by, and all that long-tail synthesis leaves open.

Source of a number: [N] the proposal in our notes on arXiv 2602.23620, which names no numbers itself, [OC] our choice.
"""

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.hardness import content_words, negated_words
from features.text import WORD, words


@dataclass(frozen=True, kw_only=True)
class Params:
    """Everything that query_rewrites leaves to be chosen; another value gives other rows, so raise the version of the contract with it."""

    min_searches: int = 2
    """Queries of the pool were searched at least this often in 28 days. [N]"""
    max_searches: int = 50
    """And at most this often. [N]"""
    few_result_rate: float = 0.3
    """And found few results in at least this share of searches, [N] or"""
    click_share: float = 0.5
    """had a click rate below this share of the median search's. [N]"""
    min_words: int = 2
    """Plain queries of the pool have at least so many words; hard ones any number. [OC]: a plain word needs no rewrite."""
    max_words: int = 24
    """Longer queries are unreadable: pasted text. [OC]"""
    max_characters: int = 200
    """So are those with more characters. [OC]"""
    reformulated_within_s: int = 30 * 60
    """A search follows another when made less than so many seconds later in the same session. [OC]: the usual length of a session's gap."""
    searches_ahead: int = 3
    """And among so many next searches. [OC]"""
    min_sessions: int = 2
    """Sessions that must have replaced a word by another before it is replaced elsewhere. [OC]"""
    min_strength: float = 0.2
    """Least strength of that association, in [0, 1]. [OC]"""
    shrink: int = 1
    """Added to the number of sessions of a word before it divides: what was seen once is half believed. [OC]"""
    max_added: int = 3
    """Words that a rewriter may add to a query, a count. [OC]"""
    feedback_items: int = 10
    """Items whose titles tell of a query. [OC]: RM3 takes 10 documents."""
    feedback_min_weight: float = 0.6
    """Items that weigh less than this share of the best one tell nothing. [OC]: a title with one word of two is of something else."""
    feedback_max_titles: int = 2000
    """Words of more titles than this find no items by themselves. [OC]: bounds the cost of common words."""
    feedback_min_share: float = 0.3
    """Least share of those items, by weight, whose titles have a word that is added. [OC]"""
    max_rewrite_words: int = 12
    """Longer rewrites are dropped. [OC]: titles' and queries' length."""
    banned: tuple[str, ...] = (
        "best",
        "cheap",
        "cheapest",
        "discount",
        "sale",
        "deal",
        "deals",
        "offer",
        "shipping",
        "official",
        "buy",
        "shop",
    )
    """Words that promise instead of describing; a rewrite with one that the query does not have is dropped. [OC]"""
    min_relevance: float = 0.3
    """Least relevance of a rewrite, in [0, 1]. [OC]: measured in words and associations; [N] has 0.6 for a cross-encoder."""
    generated_relevance: float = 0.5
    """Relevance that a generated rewrite has at least: what a language model knows beyond the log no count of words can judge. [OC]"""
    max_overlap: float = 0.8
    """Rewrites of a query whose common words are more than this share of all of theirs are near duplicates. [N]"""
    max_rewrites: int = 5
    """Most rewrites of one rewriter for a query. [N]"""


def pool_fate(median_click_rate: Column, params: Params) -> Column:
    """Why a query of query_stats is not in the pool: not_in_pool, unreadable, evaluation, the first that holds; null for those in it."""
    query, rate = F.col("query_norm"), F.col("num_searches_28d")
    is_rare = (rate >= params.min_searches) & (rate <= params.max_searches)
    is_bad = (F.col("few_result_rate") >= params.few_result_rate) | (F.col("click_rate") < params.click_share * median_click_rate)
    is_worth_it = (F.col("hardness") != "plain") | (F.size(words(query)) >= params.min_words)
    is_long = (F.length(query) > params.max_characters) | (F.size(words(query)) > params.max_words)
    return (
        F.when(~(is_rare & is_bad & is_worth_it), "not_in_pool")
        .when(is_long | ~query.rlike(WORD), "unreadable")
        .when(F.col("is_evaluation"), "evaluation")
    )


def with_pool_fate(stats: DataFrame, params: Params) -> DataFrame:
    """query_norm, num_searches_28d, hardness and pool_fate of each query.

    The median is of searches, so that queries searched once do not make it.
    """
    median = stats.agg(F.percentile("click_rate", 0.5, F.col("num_searches_28d"))).scalar()
    return stats.select("query_norm", "num_searches_28d", "hardness", pool_fate(median, params).alias("pool_fate"))


def vocabulary(items: DataFrame) -> DataFrame:
    """word, num_titles (items whose title has it), brands: the brands whose name begins with it, as arrays of their words.

    Nulls: brands is empty for most words.
    """
    titles = items.select(F.explode(words(F.col("title"))).alias("word")).groupBy("word").agg(F.count(F.lit(1)).alias("num_titles"))
    named = items.select(words(F.col("brand")).alias("brand")).where(F.col("brand").isNotNull())
    by_first = named.groupBy(F.element_at("brand", 1).alias("word")).agg(F.array_sort(F.collect_set("brand")).alias("brands"))
    both = titles.join(by_first, on=["word"], how="full")  # one row a word each
    none = F.array().cast("array<array<string>>")
    return both.select("word", F.coalesce("num_titles", F.lit(0)).alias("num_titles"), F.coalesce("brands", none).alias("brands"))


def query_words(asked: DataFrame, lexicon: DataFrame, items: DataFrame) -> DataFrame:
    """Each content word of each query: query_norm, word, place (from 0), num_titles (0: in none), brands, rarity.

    brands: those that the word begins and the query names in full. Rarity is log((1 + items) / (1 + titles with the word)) + 1, in
    whole hundredths.
    """
    total = items.agg(F.count(F.lit(1))).scalar()
    exploded = asked.select("query_norm", F.posexplode(content_words(F.col("query_norm"))).alias("place", "word"))
    found = exploded.join(lexicon, on=["word"], how="left").withColumn("num_titles", F.coalesce("num_titles", F.lit(0)))  # one row a word
    rarity = F.round(100 * (F.log((1 + total) / (1 + F.col("num_titles"))) + 1)).cast("int")
    none, own = F.array().cast("array<array<string>>"), words(F.col("query_norm"))
    named = F.filter(F.coalesce("brands", none), lambda brand: F.size(F.array_except(brand, own)) == 0)
    return found.select("query_norm", "word", "place", "num_titles", named.alias("brands"), rarity.alias("rarity"))


def searchable(pool: DataFrame, by_word: DataFrame) -> DataFrame:
    """The pool with wanted (content words), kept (those of them in some title), excluded (words that the query negates), query_brands
    (arrays of words), asked (array<struct<word, rarity>> of the content words).

    Rows: those of pool. A query for an alternative does not keep the brand that it wants to replace.
    """
    told = by_word.join(pool.select("query_norm", "hardness"), on=["query_norm"], how="inner")  # one row a query
    is_kept = (F.col("num_titles") > 0) & ~((F.size("brands") > 0) & (F.col("hardness") == "alternative"))
    in_order = F.sort_array(F.collect_list(F.struct("place", "word", "rarity", is_kept.alias("is_kept"), "brands"))).alias("told")
    query, found = F.col("query_norm"), told.groupBy("query_norm", "hardness").agg(in_order)
    return found.select(
        *("query_norm", "hardness"),
        content_words(query).alias("wanted"),
        F.filter("told", lambda w: w["is_kept"])["word"].alias("kept"),
        negated_words(query).alias("excluded"),
        F.array_distinct(F.flatten("told.brands")).alias("query_brands"),
        F.transform("told", lambda w: F.struct(w["word"].alias("word"), w["rarity"].alias("rarity"))).alias("asked"),
    )
