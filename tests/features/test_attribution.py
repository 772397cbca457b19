"""Attribution against an oracle that joins all pairs in DuckDB, and the edges by hand."""

from collections import Counter
from datetime import timedelta

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.attribution import LEVELS, Level, attribute
from features.sampling import draw
from schemas.attributions import CONTRACT, CREDITED
from schemas.events import CONTRACT as EVENTS
from schemas.requests import CONTRACT as REQUESTS
from tests.features import attribution_cases as cases
from tests.features.attribution_cases import DAY, MICRO, NOON
from tests.frames import frame

COLUMNS = [column.name for column in CONTRACT.columns if column.name != "day"]


def rows_of(attributed: DataFrame) -> list[tuple[object, ...]]:
    """Rows by event_id, the lag in whole microseconds, timestamps without zone as DuckDB gives them."""
    lag = F.round(F.col("attribution_lag_s") * 1_000_000).cast("bigint").alias("lag_us")
    table = cases.naive(attributed.select(*COLUMNS[:-1], lag).orderBy("event_id").toArrow())
    return [tuple(row.values()) for row in table.to_pylist()]


def samples_of(requests: DataFrame) -> DataFrame:
    drawn = requests.where("domain = 'search'").select(
        "request_id", "user_id", "requested_at", F.col("day").alias("request_day"), "query_norm",
        F.explode(draw(F.col("candidates"), F.col("request_id"))).alias("c"))  # fmt: skip
    return drawn.select("*", "c.item_id", "c.is_exposed", "c.position").drop("c")


@pytest.fixture(scope="module")
def generated(spark):
    requests = cases.requests(seed=5, number=500)
    events = cases.events(seed=6, number=7000, of=requests)
    return frame(spark, REQUESTS, requests), frame(spark, EVENTS, events)


def test_every_row_equals_the_oracle_of_all_pairs(generated):
    requests, events = generated
    expected = cases.oracle(samples_of(requests).toArrow(), events.toArrow())
    fates = Counter(row[9] for row in expected)
    assert set(fates) == {*CREDITED, "no_candidate", "outside_window", "duplicate", "other_type"}
    assert min(fates.values()) >= 5, fates
    assert rows_of(attribute(requests, events, DAY)) == expected


def test_partitions_and_order_of_the_input_change_nothing(spark, generated):
    requests, events = generated
    once = rows_of(attribute(requests, events, DAY))
    spark.conf.set("spark.sql.shuffle.partitions", "5")
    try:
        again = rows_of(attribute(requests.repartition(3, "requested_at"), events.orderBy(F.xxhash64("event_id")).repartition(4), DAY))
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", "1")
    assert again == once
