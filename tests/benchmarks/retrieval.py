"""Pairs of a made-up shop: seconds of each step, and search by words against one process of bm25s and against a join in Spark.

`python -m tests.benchmarks.retrieval [--items 100000] [--queries 100000] [--pool 10000]`: a log of that many queries, a pool of them
with three rewrites each, 50 hits from each channel. The race by words runs in turns, on `--searched` of the texts.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from features.pairs import Params, candidates, hits_of, texts_of
from features.retrieval import bm25_impacts, merged, search
from features.text import bag, words
from features.vectors import hashed_tfidf
from jobs.session import session
from jobs.synthetic_pairs import build, terms_of
from schemas.query_rewrites import CONTRACT as REWRITES
from tests.benchmarks.attribution import race

DAY = date(2026, 1, 28)
WORDS, IN_TITLE, LEAVES, SEARCHES = 20_000, 12, 60, 3
PARAMS = Params()


def generate(spark: SparkSession, folder: Path, items: int, queries: int, pool: int) -> None:
    """Titles of 12 words after Zipf's law; plain queries are three of an item's words; those of the pool say two of them otherwise.

    Each query is searched three times; of the pool's nothing is clicked, and the user goes on to the plain one and clicks.
    """

    def drawn(salt: Column) -> Column:
        return F.floor(F.pow(F.lit(float(WORDS)), F.pmod(F.xxhash64("item", salt), F.lit(1_000_000)) / 1_000_000)).cast("string")

    word = [F.concat(F.lit("w"), drawn(F.lit(n))) for n in range(IN_TITLE)]
    other = [F.concat(F.lit("h"), drawn(F.lit(n))) for n in range(IN_TITLE)]
    item_id, leaf = F.concat(F.lit("i"), "item"), F.concat(F.lit("leaf"), F.col("item") % LEAVES)
    catalogue = spark.range(items, numPartitions=4).withColumnRenamed("id", "item")
    catalogue.select(
        item_id.alias("item_id"), F.concat_ws(" ", *word).alias("title"), F.array(F.lit("all"), leaf).alias("category_path"),
        F.lit("on_shelf").alias("status"),
    ).write.parquet(str(folder / "items"))  # fmt: skip
    asked = spark.range(queries, numPartitions=4).withColumn("item", F.pmod(F.xxhash64("id"), F.lit(items)))
    plain, hard = F.concat_ws(" ", *word[:3]), F.concat_ws(" ", *other[:2], word[2])
    asked = asked.withColumns({"plain": plain, "hard": F.when(F.col("id") < pool, hard), "item_id": item_id})
    rewrites = F.array(plain, F.concat_ws(" ", *word[:2]), F.concat_ws(" ", *word[1:4]))
    asked.withColumn("rewrites", rewrites).write.parquet(str(folder / "asked"))
    asked = spark.read.parquet(str(folder / "asked"))
    pooled = asked.where(F.col("hard").isNotNull()).groupBy(F.col("hard").alias("query_norm")).agg(F.min("rewrites").alias("rewrites"))
    pooled.select(
        "query_norm", F.explode(F.array_distinct("rewrites")).alias("rewrite"), F.lit("sessions").alias("rewriter"),
        F.lit("knowledge").alias("hardness"), F.lit(None).cast(REWRITES.column("evidence").type).alias("evidence"),
    ).write.parquet(str(folder / "query_rewrites"))  # fmt: skip
    steps = F.array_compact(F.array(F.when(F.col("hard").isNotNull(), F.struct(F.lit(0).alias("step"), F.col("hard").alias("query_norm"))),
                                    F.struct(F.lit(1).alias("step"), F.col("plain").alias("query_norm"))))  # fmt: skip
    times = F.explode(F.sequence(F.lit(1), F.lit(SEARCHES))).alias("time")
    searched = asked.select("id", "item_id", times, steps.alias("steps")).select("id", "item_id", "time", F.inline("steps"))
    searched = searched.select(
        F.concat_ws(".", "id", "time", "step").alias("request_id"), F.concat_ws(".", "id", "time").alias("user_id"),
        F.concat_ws(".", "id", "time").alias("session_id"), F.lit("search").alias("domain"), "query_norm", "item_id", "step",
        F.timestamp_seconds(F.lit(1_769_500_000) + F.col("step") * 60).alias("requested_at"), F.lit(DAY).alias("day"),
    )  # fmt: skip
    searched.drop("step", "item_id").write.parquet(str(folder / "requests"))
    clicked = searched.where(F.col("step") == 1).select("request_id", "item_id", "query_norm", "day", F.lit("click").alias("event_type"))
    clicked.write.parquet(str(folder / "attributions"))
    clicked.groupBy("query_norm", "item_id").agg(F.count(F.lit(1)).alias("num_clicks_28d")).write.parquet(str(folder / "query_item_stats"))


def timed(what: str, frame: DataFrame, path: Path) -> DataFrame:
    started = time.perf_counter()
    frame.write.parquet(str(path))
    written = frame.sparkSession.read.parquet(str(path))
    print(f"{what:<52} {time.perf_counter() - started:7.1f} s {written.count():12,} rows", flush=True)
    return written


def steps(inputs: dict[str, DataFrame], folder: Path) -> None:
    """Each step by itself, from what the one before it wrote."""
    rewrites, items = inputs["query_rewrites"], inputs["items"].select("item_id", "title")
    terms = timed("terms: sessions, clicks, words that stand for words", terms_of(rewrites, items, inputs, PARAMS), folder / "terms")
    texts = texts_of(rewrites, items).withColumn("is_title", F.col("kind") == "item")
    timed("encode titles, queries and rewrites", hashed_tfidf(texts, ("kind", "id", "rewrite"), counted="is_title"), folder / "vectors")
    timed("weigh the words of titles", bm25_impacts(items, k1=PARAMS.k1, b=PARAMS.b), folder / "impacts")
    hits = timed("search and judge, the two steps above included", hits_of(rewrites, items, terms, PARAMS, None), folder / "hits")
    timed("candidates of queries", candidates(hits, inputs["query_item_stats"]), folder / "candidates")


def job(inputs: dict[str, DataFrame], folder: Path) -> None:
    """The whole as it runs, what Spark plans for it, and the fates of pairs."""
    whole = build(inputs, DAY)
    plan = whole._jdf.queryExecution().executedPlan().toString()
    rows = timed("the whole job", whole, folder / "pairs")
    print(
        {name: plan.count(f"{name} ") for name in ("FileScan", "Exchange", "BroadcastExchange", "ReusedExchange", "FlatMapGroupsInArrow")}
    )
    rows.groupBy("_fate").count().orderBy("_fate").show()


def by_words(inputs: dict[str, DataFrame], folder: Path, number: int) -> dict[str, Callable[[], float]]:
    """The same search by words three ways; the answer is the mean over texts of the sum of their scores."""
    spark, items = inputs["items"].sparkSession, inputs["items"].select("item_id", "title")
    texts = inputs["query_rewrites"].groupBy("rewrite").agg(F.min("query_norm").alias("id")).orderBy("rewrite").limit(number)
    texts.write.parquet(str(folder / "searched"))
    texts = spark.read.parquet(str(folder / "searched"))

    def rounded(total: float) -> float:
        return round(total / 10_000 / number, 1)

    def ours() -> float:
        impacts = bm25_impacts(items, k1=PARAMS.k1, b=PARAMS.b).select(
            F.lit("item").alias("kind"), F.col("item_id").alias("id"), "words", "impacts"
        )
        asks = texts.select(F.lit("query").alias("kind"), "id", "rewrite", words(F.col("rewrite")).alias("words"))
        rows = impacts.unionByName(asks, allowMissingColumns=True)
        rows = rows.withColumns({"vector": F.lit(None).cast("array<tinyint>"), "negated": F.lit(None).cast("array<string>")})
        found = search(rows, num_hits=PARAMS.num_hits, min_cosine=1.0, blocks=PARAMS.blocks, judge=lambda *_: {}, judged=())
        total = merged(found, PARAMS.num_hits).agg(F.sum(F.aggregate("bm25", F.lit(0), lambda s, h: s - h["far"])))
        return rounded(total.first()[0])

    def one_process() -> float:
        import bm25s

        titles = [row.words for row in items.select(bag(F.col("title")).alias("words")).toLocalIterator()]
        asked = [row.words for row in texts.select(words(F.col("rewrite")).alias("words")).toLocalIterator()]
        index = bm25s.BM25(k1=PARAMS.k1, b=PARAMS.b, method="lucene")
        index.index(titles, show_progress=False)
        return rounded(10_000 * float(index.retrieve(asked, k=PARAMS.num_hits, show_progress=False).scores.sum()))

    def join_in_spark() -> float:
        found = bm25_impacts(items, k1=PARAMS.k1, b=PARAMS.b).select("item_id", F.arrays_zip("words", "impacts").alias("listed"))
        listed = found.select("item_id", F.inline("listed")).withColumnRenamed("words", "word")
        asked = texts.select("rewrite", F.explode(words(F.col("rewrite"))).alias("word"))
        scores = asked.join(listed, on=["word"], how="inner").groupBy("rewrite", "item_id").agg(F.sum("impacts").alias("score"))
        scores.createOrReplaceTempView("scores")
        ranked = "select score, row_number() over (partition by rewrite order by score desc, item_id) as place from scores"
        return rounded(spark.sql(f"select sum(score) from ({ranked}) where place <= {PARAMS.num_hits}").first()[0])

    return {"ours": ours, "one process of bm25s": one_process, "join in Spark": join_in_spark}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--pool", type=int, default=10_000)
    parser.add_argument("--searched", type=int, default=4000, help="texts of the race by words")
    parser.add_argument("--only", choices=("job", "steps", "peers"), help="default: all")
    options = parser.parse_args()
    spark = session("benchmark of retrieval", conf={"spark.sql.maxPlanStringLength": "10000000"})  # else counts end where it is cut
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(spark, folder, options.items, options.queries, options.pool)
        tables = ("items", "query_rewrites", "query_item_stats", "requests", "attributions")
        inputs = {table: spark.read.parquet(str(folder / table)) for table in tables}
        if options.only in (None, "steps"):
            steps(inputs, folder)
        if options.only in (None, "job"):
            job(inputs, folder)
        if options.only in (None, "peers"):
            race(by_words(inputs, folder, options.searched))
    spark.stop()


if __name__ == "__main__":
    main()
