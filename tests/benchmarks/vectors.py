"""Text vectors and their nearest neighbours: seconds and rows a second on made-up titles and queries.

`python -m tests.benchmarks.vectors [--items 100000] [--queries 50000] [--searched 20000]`; answers are checked by numpy on a sample.
"""

import argparse
import tempfile
import time

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.vectors import hashed_tfidf, matrix, nearest
from jobs.session import session

WORDS = 20_000
CHECKED = 50


def made_up(spark: SparkSession, kind: str, num: int, num_words: int) -> DataFrame:
    """Texts whose words follow Zipf's law: word n of 1..WORDS with a chance that falls as 1 / n."""
    draw = [F.pmod(F.xxhash64(F.lit(kind), "id", F.lit(n)), F.lit(1_000_000)) / 1_000_000 for n in range(num_words)]
    words = [F.concat(F.lit("w"), F.floor(F.pow(F.lit(float(WORDS)), d)).cast("string")) for d in draw]
    key = F.concat(F.lit(kind[0]), F.col("id").cast("string"))
    return spark.range(num).select(F.lit(kind).alias("kind"), key.alias("text_id"), F.concat_ws(" ", *words).alias("text"))


def timed(what: str, num: int, frame: DataFrame, path: str) -> DataFrame:
    started = time.perf_counter()
    frame.write.mode("overwrite").parquet(path)
    seconds = time.perf_counter() - started
    print(f"{what:<40} {seconds:7.1f} s {num / seconds:12,.0f} a second")
    return frame.sparkSession.read.parquet(path)


def check(found: DataFrame, items: DataFrame, queries: DataFrame) -> None:
    """A sample of the answers by numpy, ties included. Small enough to be held here: it is a benchmark."""
    known = queries.orderBy("query").toArrow()
    sample = items.where(F.xxhash64("item") % 97 == 0).orderBy("item").limit(CHECKED)
    asked = sample.toArrow()
    products = matrix(asked["vector"]).astype(np.int64) @ matrix(known["vector"]).astype(np.int64).T
    expected = {i: known["query"][int(n)].as_py() for i, n in zip(asked["item"].to_pylist(), products.argmax(axis=1), strict=True)}
    got = {row.item: row.query for row in found.join(sample, on="item", how="left_semi").collect()}
    assert got == expected and len(got) > 0, (got, expected)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=50_000)
    parser.add_argument("--searched", type=int, default=20_000, help="items whose nearest query is looked for")
    options = parser.parse_args()
    spark = session("benchmark of vectors")
    with tempfile.TemporaryDirectory() as folder:
        texts = made_up(spark, "item", options.items, 12).unionByName(made_up(spark, "query", options.queries, 3))
        texts = timed("make texts", options.items + options.queries, texts, f"{folder}/texts")
        vectors = timed("hashed TF-IDF", options.items + options.queries, hashed_tfidf(texts, ("kind", "text_id")), f"{folder}/vectors")
        items = vectors.where("kind = 'item'").select(F.col("text_id").alias("item"), "vector").limit(options.searched)
        items = timed("copy items", options.searched, items, f"{folder}/items")
        queries = vectors.where("kind = 'query'").select(F.col("text_id").alias("query"), "vector")
        found = nearest(items, queries, left_id="item", right_id="query")
        pairs = options.searched * options.queries
        found = timed("nearest (pairs)", pairs, found, f"{folder}/nearest")
        check(found, items, queries)
    spark.stop()


if __name__ == "__main__":
    main()
