"""One row per item with a title, and per query searched in the 7 days before: the text and its vector.

Left out: titles that are null or blank, queries that are null. `no_vector`: a text whose words cancel each other out.
Not left out: items that are off the shelf. Cost: one shuffle of the words of all texts by word, one by text; with --model
none, but the time of the model.
"""

import argparse
from collections.abc import Mapping
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.text import norm_query
from features.vectors import hashed_tfidf, sentence_vectors
from jobs.run import arg_parser as common_parser
from jobs.run import run
from schemas.text_vectors import CONTRACT

KEYS = ("kind", "text_id")


def arg_parser() -> argparse.ArgumentParser:
    parser = common_parser(__doc__)
    parser.add_argument("--model", help="folder of a sentence-transformers model, readable on every worker (default: hashed TF-IDF)")
    return parser


def build(inputs: Mapping[str, DataFrame], day: date, *, model: str | None = None) -> DataFrame:
    titles = inputs["items"].where(norm_query(F.col("title")).isNotNull())
    items = titles.select(
        F.lit("item").alias("kind"),
        F.col("item_id").alias("text_id"),
        F.col("title").alias("text"),
        F.lit(None).cast("bigint").alias("num_searches_7d"),
    )
    searched = inputs["requests"].where(norm_query(F.col("query_norm")).isNotNull())
    queries = searched.groupBy("query_norm").agg(F.count(F.lit(1)).alias("num_searches_7d"))
    queries = queries.select(
        F.lit("query").alias("kind"), F.col("query_norm").alias("text_id"), F.col("query_norm").alias("text"), "num_searches_7d"
    )
    texts = items.unionByName(queries)
    encoded = sentence_vectors(texts, model) if model else hashed_tfidf(texts, KEYS)
    return encoded.select(
        F.lit(day).alias("day"),
        *("kind", "text_id", "text", "num_searches_7d", "vector", "encoder"),
        F.when(F.col("vector").isNull(), "no_vector").otherwise("kept").alias("_fate"),
    )


if __name__ == "__main__":
    run(CONTRACT, build, **vars(arg_parser().parse_args()))
