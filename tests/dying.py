"""A table-day that can be run in a process of its own, there to die at a named moment: `python -m tests.dying MOMENT LAKE`."""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs import attributions, commit, storage
from jobs.run import Outcome, build_day, facts_now, publish_rows
from jobs.session import session
from jobs.storage import open_table
from schemas.attributions import CONTRACT
from schemas.contract import load
from tests.frames import DAY, frame

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SMALL = {
    "spark.driver.memory": "1g",
    "spark.sql.shuffle.partitions": "1",
}
EVENTS = 6
BROKEN = "e5"
"""The one event whose row breaks a row rule in the second variant."""
SLEEP = "spark_partition_id() = 0 or reflect('java.lang.Thread', 'sleep', 120000L) = 'null'"


def build(inputs: Mapping[str, DataFrame], day: date, *, variant: str = "1") -> DataFrame:
    """Attributions of the day. Variant 2 has one broken row; in variant slow a part file is there long before the next."""
    rows = attributions.build(inputs, day)
    if variant != "1":
        rows = rows.withColumn("request_day", F.when(F.col("event_id") != BROKEN, F.col("request_day")))
    return rows.repartition(2).where(SLEEP) if variant == "slow" else rows


build.__module__ = "jobs.attributions"  # whose code decides the rows, in whatever process this runs


def publish_input(spark: "SparkSession", lake: str, table: str, rows: list[dict[str, Any]], day: date = DAY) -> Outcome:
    """Publish one day of a raw table as ingest does."""
    contract = load(table)
    draft = facts_now(contract, "jobs.attributions", {}) | {"seen": open_table(lake, contract).changes(day), "inputs": {}}
    draft |= {"label_as_of": None, "reasons": ["ingested"], "accounts": []}
    return publish_rows(spark, lake, contract, frame(spark, contract, rows), day, {}, draft)


def publish_inputs(spark: "SparkSession", lake: str, day: date = DAY) -> None:
    """One search, and a click on each of the items that it showed."""
    items = [f"i{n}" for n in range(EVENTS)]
    candidates = [{"item_id": item, "is_exposed": True, "position": n} for n, item in enumerate(items, 1)]
    request = {"request_id": f"r-{day}", "user_id": "u", "query_norm": "shoe", "candidates": candidates, "day": day}
    clicks = [{"event_id": f"e{n}", "user_id": "u", "item_id": item} for n, item in enumerate(items)]
    clicks = [c | {"event_at": f"{day}T12:01:00", "available_at": f"{day}T12:02:00", "day": day} for c in clicks]
    publish_input(spark, lake, "requests", [request], day)
    publish_input(spark, lake, "events", clicks, day)


def run(spark: "SparkSession", lake: str, variant: str, day: date = DAY) -> Outcome:
    return build_day(spark, lake, CONTRACT, build, day, options={"variant": variant})


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(function: Callable[..., Any], when: Callable[..., bool]) -> Callable[..., Any]:
    """The function, but the process is dead before the call for which `when` is true."""
    return lambda *args, **kwargs: die() if when(*args, **kwargs) else function(*args, **kwargs)


def after(function: Callable[..., Any], when: Callable[..., bool]) -> Callable[..., Any]:
    """The function, but the process is dead after the call for which `when` is true."""

    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if when(*args, **kwargs):
            die()
        return result

    return call


def of_quarantine(_table: Any, _contract: Any, _schema: Any, _day: Any, _files: Any, receipt: Any, _transaction: Any) -> bool:
    return receipt is None


def of_day(*args: Any) -> bool:
    return not of_quarantine(*args)


def prepare(moment: str) -> None:
    """Put death where it is wanted."""
    if moment == "after_quarantine":
        commit._commit = after(commit._commit, of_quarantine)
    elif moment == "before_commit":
        commit._commit = before(commit._commit, of_day)
    elif moment == "after_commit":
        commit._commit = after(commit._commit, of_day)
    elif moment == "in_receipt":  # half of the durable copy is written

        def half(root: str, receipt: dict[str, Any]) -> None:
            _, path = storage.filesystem(storage.receipt_path(root, receipt["day"], receipt["publish"]))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(f"{path}.{os.getpid()}.tmp", "w") as stream:
                stream.write('{"table": "attr')
            die()

        commit.write_receipt = half
    elif moment != "staging":
        raise ValueError(f"no moment {moment!r}")


def main(moment: str, lake: str) -> None:
    prepare(moment)
    run(session("dying", master="local[1]", conf=SMALL), lake, "slow" if moment == "staging" else "2")


if __name__ == "__main__":
    main(*sys.argv[1:])
