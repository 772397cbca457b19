"""Attribution: ours, the same by pairs in DuckDB, and the same by pairs in Spark, in turns within one run.

`python -m tests.benchmarks.attribution [--requests 100000]` prints seconds and ratios; all forms must agree on every fate's count.
The other forms read candidates as flat rows and are given the hashes of the draw.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from features.attribution import attribute
from features.es3 import Params

DAY = date(2026, 1, 10)
ROUNDS = 3
MEMORY = "3g"
BY_PAIRS = """
with numbered as (
    select *, row_number() over (partition by request_id, is_exposed, stage = 'ranked' order by hash, item_id) as n,
        sum(case when is_exposed then 1 else 0 end) over (partition by request_id) as num_exposed
    from candidates where domain = 'search'
), samples as (
    select request_id, user_id, item_id, requested_us, is_exposed, position
    from numbered where is_exposed or stage = 'ranked' and n <= 2 * num_exposed
), judged as (
    select *, row_number() over (partition by user_id, item_id, event_type, order_id,
        case when order_id is null then floor(event_us / 1800000000) end,
        case when domain = 'search' then request_id end order by available_us, event_us, event_id) > 1 as is_duplicate
    from events
), clicks as (
    select user_id as c_user, item_id as c_item, request_id as c_request, min(event_us) as clicked_us
    from events where event_type = 'click' and domain = 'search' and request_id is not null group by 1, 2, 3
), pairs as (
    select e.event_id, e.event_type, e.event_us - s.requested_us as lag, e.request_id = s.request_id as is_named, s.*,
        coalesce(c.clicked_us < e.event_us, false) as is_clicked
    from judged e join samples s on e.user_id = s.user_id and e.item_id = s.item_id
    left join clicks c on c_user = s.user_id and c_item = s.item_id and c_request = s.request_id
    where e.day = date '2026-01-10' and not e.is_duplicate
), levelled as (
    select *, case
        when lag < 0 or lag >= case event_type when 'click' then 86400000000 else 604800000000 end then 7
        when is_named and is_exposed then 1 when event_type = 'click' and is_exposed then 2 when event_type = 'click' then 3
        when is_clicked then 4 when is_exposed then 5 else 6 end as level
    from pairs
), chosen as (
    select *, row_number() over (partition by event_id order by level, requested_us desc, position nulls last, request_id) as n
    from levelled
)
select case when j.is_duplicate then 'duplicate' when level is null then 'no_candidate' when level = 7 then 'outside_window'
    when level = 1 then 'native' when level = 2 then 'click_exposed' when level = 3 then 'click_unexposed'
    when level = 4 then 'pay_clicked' when level = 5 then 'pay_exposed' else 'pay_unexposed' end as fate, count(*) as num
from judged j left join (select * from chosen where n = 1) c on j.event_id = c.event_id where j.day = date '2026-01-10' group by 1
"""


def generate(spark: SparkSession, folder: Path, number: int) -> None:
    """Requests of 9 days with 20 candidates each, a user for every 12; 4 shown; events: clicks on shown items, others elsewhere."""
    start, span = 1_767_312_000_000_000, 9 * 86_400_000_000  # 2026-01-02

    def pick(salt: int, of: int) -> Column:
        return F.pmod(F.xxhash64("id", F.lit(salt)), F.lit(of))

    candidate = F.expr(
        "transform(sequence(0, 19), i -> struct('i' || string(20 * pmod(xxhash64(user, i, pmod(id, 5)), 10000) + i) as item_id, "
        "if(i < 4, 'exposed', if(i < 16, 'ranked', 'recalled')) as stage, i < 4 as is_exposed, if(i < 4, i + 1, null) as position, "
        "0.1d * i as score, cast(100 * i as bigint) as price_cents))"
    )
    requests = (
        spark.range(number, numPartitions=4)
        .withColumns({"user": pick(1, number // 12), "requested_us": F.lit(start) + pick(2, span), "candidates": F.lit(None)})
        .withColumns({"candidates": candidate, "request_id": F.concat(F.lit("r"), "id"), "user_id": F.concat(F.lit("u"), "user")})
        .withColumns({"domain": F.when(pick(3, 5) == 0, "rec").otherwise("search"), "requested_at": F.timestamp_micros("requested_us")})
        .withColumns({"day": F.to_date("requested_at"), "query_norm": F.concat(F.lit("query "), pick(4, 5000))})
    )
    requests.write.parquet(str(folder / "requests"))
    written = spark.read.parquet(str(folder / "requests"))
    flat = written.select("request_id", "user_id", "domain", "requested_us", F.inline("candidates"))
    flat.withColumn("hash", F.xxhash64(F.lit(Params().seed), "request_id", "item_id")).write.parquet(str(folder / "candidates"))
    acts = written.select("id", "request_id", "user_id", "domain", "requested_us", F.posexplode("candidates").alias("place", "c"))
    chance = F.pmod(F.xxhash64("id", "place"), F.lit(1000))
    event_us = F.col("requested_us") + F.pmod(F.xxhash64("id", "place", F.lit(5)), F.when(chance < 60, 3_600_000_000).otherwise(span))
    is_native = (chance < 60) & F.col("c.is_exposed")
    events = (
        acts.where(is_native | (chance < 15))
        .withColumns({"event_us": event_us, "available_us": event_us + 60_000_000, "item_id": F.col("c.item_id")})
        .withColumns({
            "event_id": F.concat_ws(".", "id", "place"), "event_type": F.when(F.pmod(chance, F.lit(7)) == 0, "pay").otherwise("click"),
            "domain": F.when(is_native, F.col("domain")).otherwise("shop"), "request_id": F.when(is_native, F.col("request_id")),
            "order_id": F.lit(None).cast("string"), "event_at": F.timestamp_micros("event_us"),
            "available_at": F.timestamp_micros("available_us"), "day": F.to_date(F.timestamp_micros("available_us")),
        })
        .where(F.col("day") <= F.lit(DAY))
    )  # fmt: skip
    events.drop("c", "place", "id", "requested_us").write.parquet(str(folder / "events"))


def forms(spark: SparkSession, folder: Path, threads: int) -> dict[str, Callable[[], dict[str, int]]]:
    def tallied(rows: DataFrame) -> dict[str, int]:
        return {row[0]: row[1] for row in rows.collect()}

    def ours() -> dict[str, int]:
        requests, events = (spark.read.parquet(str(folder / name)) for name in ("requests", "events"))
        return tallied(attribute(requests, events, DAY).groupBy("fate").count())

    def pairs_in_spark() -> dict[str, int]:
        for name in ("candidates", "events"):
            spark.read.parquet(str(folder / name)).createOrReplaceTempView(name)
        return tallied(spark.sql(BY_PAIRS))

    def pairs_in_duckdb() -> dict[str, int]:
        with duckdb.connect(config={"threads": threads, "memory_limit": MEMORY.replace("g", "GB")}) as connection:
            for name in ("candidates", "events"):
                connection.execute(f"create view {name} as select * from '{folder / name}/*.parquet'")
            return dict(connection.execute(BY_PAIRS).fetchall())

    return {"ours": ours, "pairs in DuckDB": pairs_in_duckdb, "pairs in Spark": pairs_in_spark}


def local_session(threads: int) -> SparkSession:
    builder = SparkSession.builder.master(f"local[{threads}]").config("spark.driver.memory", MEMORY).config("spark.ui.enabled", "false")
    settings = {"spark.sql.session.timeZone": "UTC", "spark.sql.shuffle.partitions": "8", "spark.sql.ansi.enabled": "true"}
    for name, value in (settings | {"spark.ui.showConsoleProgress": "false"}).items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def race(contestants: dict[str, Callable[[], object]]) -> None:
    """Seconds of each in turns, the first round as warm-up; the median of the others, and its ratio to the first form."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS + 1):
        answers = {}
        for name, run in contestants.items():
            started = time.perf_counter()
            answers[name] = run()
            seconds[name].append(time.perf_counter() - started)
        first = next(iter(answers.values()))
        wrong = {name: answer for name, answer in answers.items() if answer != first}
        if wrong:
            raise AssertionError(f"forms disagree: {first} against {wrong}")
    print(first)
    medians = {name: sorted(taken[1:])[ROUNDS // 2] for name, taken in seconds.items()}
    ours = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"{name:20} {median:7.2f} s   ours / this {ours / median:5.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--requests", type=int, default=100_000, help="requests, of 20 candidates each")
    parser.add_argument("--threads", type=int, default=2, help="cores for each form")
    options = parser.parse_args()
    spark = local_session(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        generate(spark, Path(folder), options.requests)
        race(forms(spark, Path(folder), options.threads))
    spark.stop()


if __name__ == "__main__":
    main()
