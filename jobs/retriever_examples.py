"""One row per pair that a retriever learns from or is measured on, and one per item on the shelf: a whole training set for one day.

Left out, by name: pairs whose item has no title in the day's snapshot (`no_title`), observed pairs of evaluation queries and
catalogue items that are off the shelf (`off_shelf`), synthetic pairs that were observed (`in_log`) or are of an evaluation query
(`evaluation_query`; their own table lets none through). Not left out: bots, queries seen once.
Cost: two shuffles of the pairs by query, one of a week's pages by query and item; the catalogue is sent along where it fits.
Source: Synthetic Data Powers Product Retrieval (arXiv 2602.23620); weights and negatives are our choice (features/retriever.py).
"""

from collections.abc import Mapping
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.books import tally
from features.joins import broadcast_if_small
from features.retriever import UNIT, Params, catalogue, hard_negatives, observed, query_ids, synthetic, title_ids, united
from jobs.run import arg_parser, run
from schemas.retriever_examples import CONTRACT, KINDS

FATES = {a.name: a.fates for i in CONTRACT.inputs for a in i.accounts}
COLUMNS = [c.name for c in CONTRACT.columns]
PARAMS = Params()


def build(inputs: Mapping[str, DataFrame], day: date, *, params: Params = PARAMS) -> DataFrame:
    known = catalogue(inputs["items"])
    seen = observed(inputs["query_item_stats"], known)
    made = synthetic(inputs["synthetic_pairs"], seen, known, params)
    pairs = united([seen.withColumn("account", F.lit("observed")), made.withColumn("account", F.lit("pairs"))])
    titles = broadcast_if_small(known.select("item_id", "title_words"), inputs["items"].select("item_id", "title"))
    traffic = inputs["query_stats"].select("query_norm", "segment", "hardness")
    negatives = hard_negatives(pairs, inputs["requests"], known, params)
    pairs = pairs.join(titles, on=["item_id"], how="left")  # one row an item; of the others one a query
    pairs = pairs.join(traffic, on=["query_norm"], how="left").join(negatives, on=["query_norm"], how="left")
    shelf = known.select("item_id", "title_words", "fate", F.lit("").alias("query_norm"), F.lit("items").alias("account"))
    rows = united([pairs, shelf])
    return rows.select(*values(day), F.when(F.col("fate").isin(*KINDS), "kept").otherwise(F.col("fate")).alias("_fate"), *books())


def values(day: date) -> list[Column]:
    """The contract's columns, in its order."""
    is_asked, is_learnt = F.col("query_norm") != "", F.col("fate").isin("log", "synthetic")
    none = F.array().cast("array<struct<item_id: string, item_hash: bigint, source: string>>")
    found = {
        "day": F.lit(day),
        "kind": F.col("fate"),
        "query_hash": F.when(is_asked, F.xxhash64("query_norm")).otherwise(F.lit(0)),
        "item_hash": F.xxhash64("item_id"),
        "query_tokens": query_ids(F.nullif(F.col("query_norm"), F.lit(""))),
        "item_tokens": title_ids(F.col("title_words")),
        "weight": F.when(is_learnt, F.col("micro") / UNIT).otherwise(F.lit(1.0)).cast("float"),
        "hard_negatives": F.coalesce(F.when(is_learnt, F.col("negatives")), none),
        "segment": F.when(is_asked, F.coalesce("segment", F.lit("tail"))),  # not searched within the window: rarer than any
    }
    return [found.get(name, F.col(name)).alias(name) for name in COLUMNS]


def books() -> list[Column]:
    return [tally(F.when(F.col("account") == name, F.col("fate")), fates).alias(f"_{name}") for name, fates in FATES.items()]


if __name__ == "__main__":
    run(CONTRACT, build, **vars(arg_parser(__doc__).parse_args()))
