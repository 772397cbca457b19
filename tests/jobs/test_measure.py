"""What steps cost: their own jobs, not the clock, and not what runs beside them; the hottest values of the columns that are joined by."""

import threading
import time
from dataclasses import replace

from jobs.measure import HOTTEST, JOB_GROUP, figures, hottest, key_counts, measured
from schemas.contract import load


def work(spark, rows=3_000_000):
    assert spark.range(0, rows, 1, 2).where("sqrt(id) >= 0").count() == rows


def test_core_seconds_are_those_of_tasks_and_not_of_the_clock(spark):
    assert figures(spark, "one")["core_s"] == 0
    with measured(spark, "one") as cost:
        assert cost == {}
        time.sleep(0.3)
        work(spark)
    assert cost["core_s"] > 0 and cost["wall_s"] > 0.3 and cost["tasks"] == 3
    work(spark)
    time.sleep(0.3)
    assert figures(spark, "one") == {name: value for name, value in cost.items() if name != "wall_s"}
    assert spark.sparkContext.getLocalProperty(JOB_GROUP) is None


def test_rows_and_bytes_are_those_of_the_files(spark, tmp_path):
    spark.range(1000).write.parquet(str(tmp_path / "a"))
    with measured(spark, "copy") as cost:
        spark.read.parquet(str(tmp_path / "a")).repartition(3).write.parquet(str(tmp_path / "b"))
    size = sum(f.stat().st_size for f in (tmp_path / "b").glob("*.parquet"))
    assert (cost["rows_read"], cost["rows_written"], cost["bytes_written"]) == (1000, 1000, size)
    assert cost["bytes_read"] > 0 and cost["shuffle_bytes"] > 1000 and cost["spill_bytes"] == 0


def test_runs_in_threads_are_told_apart(spark):
    meet, costs = threading.Barrier(2), {}

    def run(name, rows):
        with measured(spark, name) as costs[name]:
            meet.wait(30)
            work(spark.newSession(), rows)
            meet.wait(30)

    threads = [threading.Thread(target=run, args=args) for args in (("small", 10), ("large", 20_000_000))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert costs["large"]["core_s"] > 5 * costs["small"]["core_s"]
    assert figures(spark, "nobody")["core_s"] == 0


def test_the_hottest_keys_are_named_unless_they_are_personal(spark):
    contract = replace(load("events"), join_keys=("user_id", "item_id"))
    rows = spark.sql("select concat('u', int(sqrt(id))) user_id, if(id < 60, 'hot', concat('i', id)) item_id from range(100)")
    found = hottest(contract, rows.unionByName(rows.limit(5).selectExpr("null user_id", "null item_id")).agg(
        *(column.alias(name) for name, column in key_counts(contract).items())
    ).first().asDict())  # fmt: skip
    assert found["item_id"][0] == {"key": "hot", "rows": 60} and len(found["item_id"]) == HOTTEST
    assert found["user_id"] == [{"rows": 19}, {"rows": 17}, {"rows": 15}], "19 ids have 9 as the root"
    none = spark.createDataFrame([], "user_id string, item_id string").agg(*(c.alias(n) for n, c in key_counts(contract).items()))
    assert hottest(contract, none.first().asDict()) == {"user_id": [], "item_id": []}
    assert key_counts(replace(contract, join_keys=())) == {}
