"""Which side is broadcast, and that it changes no row."""

import pytest

from features.joins import broadcast_if_small


@pytest.fixture(scope="module")
def sides(spark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sides")
    for name in ("left", "right"):
        spark.range(100).selectExpr("id % 10 as key", f"id as {name}").write.parquet(str(folder / name))
    return [spark.read.parquet(str(folder / name)) for name in ("left", "right")]


def hinted(frame) -> bool:
    return "broadcast" in frame._jdf.queryExecution().analyzed().toString()


def test_the_size_of_the_source_decides_and_no_action_is_run(spark, sides):
    right = sides[1]
    small = right.groupBy("key").count()
    jobs = len(spark.sparkContext.statusTracker().getJobIdsForGroup(None))
    assert hinted(broadcast_if_small(small, right)) and not hinted(broadcast_if_small(small, right, limit=10))
    size = int(right._jdf.queryExecution().optimizedPlan().stats().sizeInBytes())
    assert hinted(broadcast_if_small(small, right, limit=size)) and not hinted(broadcast_if_small(small, right, limit=size - 1))
    assert len(spark.sparkContext.statusTracker().getJobIdsForGroup(None)) == jobs


def test_a_driver_that_takes_little_is_sent_little(spark, sides, monkeypatch):
    right = sides[1]
    small, size = right.groupBy("key").count(), int(right._jdf.queryExecution().optimizedPlan().stats().sizeInBytes())
    monkeypatch.setattr("features.joins.DRIVER_TAKES", "test.driver.takes")  # Spark's own cannot be changed in a session
    for taken, is_hinted in ((str(4 * size), True), (str(4 * size - 1), False), ("1k", False), ("0", True)):
        spark.conf.set("test.driver.takes", taken)
        assert hinted(broadcast_if_small(small, right)) == is_hinted, taken
    spark.conf.unset("test.driver.takes")


def test_either_way_gives_the_same_rows(spark, sides):
    left, right = sides
    counts = right.groupBy("key").count()
    rows = [
        sorted(map(tuple, left.join(broadcast_if_small(counts, right, limit=limit), on=["key"], how="left").collect()))
        for limit in (0, 1 << 30)
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 100


def test_only_the_columns_of_the_source_that_are_read_count(spark, sides):
    right = sides[1]
    wide, narrow = (int(f._jdf.queryExecution().optimizedPlan().stats().sizeInBytes()) for f in (right, right.select("key")))
    assert narrow < wide
