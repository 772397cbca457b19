"""As-of join: ours, DuckDB's ASOF, and the naive join with row_number in Spark, in turns within one run.

`python -m tests.benchmarks.asof [--rows 200000] [--hot 0.2]` prints seconds and ratios; all forms must agree on the joined values.
A naive join pairs every row of a hot key with every fact of it, so it is left out of a run with `--hot`.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import duckdb
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from features.asof import as_of
from tests.benchmarks.attribution import MEMORY, local_session, race

FACTS_PER_ROW = 5
BY_PAIRS = """
select count(price) as num, sum(price) as total, sum(stock) as stock from (
    select l.row_id, f.price, f.stock, row_number() over (partition by l.row_id order by f.available_at desc, f.fact_id desc) as n
    from labels l join facts f on l.item = f.item and f.available_at < l.asked_at
) where n = 1
"""
BY_ASOF = """
select count(price), sum(price), sum(stock) from labels l
asof left join (select * from facts qualify row_number() over (partition by item, available_at order by fact_id desc) = 1) f
on l.item = f.item and l.asked_at > f.available_at
"""


def generate(spark: SparkSession, folder: Path, number: int, hot: float) -> None:
    """Labels, and five times as many facts: 50 rows an item over 30 days to the second; a share of both on one hot item."""
    rows = {"labels": ("row_id", "asked_at", number), "facts": ("fact_id", "available_at", number * FACTS_PER_ROW)}
    for name, (key, time, size) in rows.items():
        spread = F.pmod(F.xxhash64("id", F.lit(name)), F.lit(max(number // 50, 1)))
        is_hot = F.pmod(F.xxhash64("id", F.lit("hot")), F.lit(1000)) < int(hot * 1000)
        at = F.lit(1_767_225_600) + F.pmod(F.xxhash64("id", F.lit(name + "at")), F.lit(30 * 86_400))
        columns = {"item": F.when(is_hot, F.lit("hot")).otherwise(F.concat(F.lit("i"), spread)), time: F.timestamp_seconds(at)}
        values = {f"value_{n}": F.col("id") * n for n in range(3)} | {"price": F.col("id") % 1000, "stock": F.col("id") % 7}
        written = spark.range(size, numPartitions=4).withColumns(columns | (values if name == "facts" else {}))
        written.withColumnRenamed("id", key).write.parquet(str(folder / name))


def forms(spark: SparkSession, folder: Path, threads: int) -> dict[str, Callable[[], tuple[int, ...]]]:
    def ours() -> tuple[int, ...]:
        labels, facts = (spark.read.parquet(str(folder / name)) for name in ("labels", "facts"))
        joined = as_of(labels, facts, on=["item"], left_time="asked_at", values=["price", "stock"], ties=["fact_id"])
        return tuple(joined.agg(F.count("fact.price"), F.sum("fact.price"), F.sum("fact.stock")).first())

    def asof_in_duckdb() -> tuple[int, ...]:
        with duckdb.connect(config={"threads": threads, "memory_limit": MEMORY.replace("g", "GB")}) as connection:
            for name in ("labels", "facts"):
                connection.execute(f"create view {name} as select * from '{folder / name}/*.parquet'")
            return connection.execute(BY_ASOF).fetchone()

    def pairs_in_spark() -> tuple[int, ...]:
        for name in ("labels", "facts"):
            spark.read.parquet(str(folder / name)).createOrReplaceTempView(name)
        return tuple(spark.sql(BY_PAIRS).first())

    return {"ours": ours, "ASOF in DuckDB": asof_in_duckdb, "pairs in Spark": pairs_in_spark}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rows", type=int, default=200_000, help="labels; facts are five times as many")
    parser.add_argument("--hot", type=float, default=0.0, help="share of both sides on one key")
    parser.add_argument("--threads", type=int, default=2, help="cores for each form")
    options = parser.parse_args()
    spark = local_session(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        generate(spark, Path(folder), options.rows, options.hot)
        contestants = forms(spark, Path(folder), options.threads)
        race({name: run for name, run in contestants.items() if not options.hot or name != "pairs in Spark"})
    spark.stop()


if __name__ == "__main__":
    main()
