"""What a step of a run costs: wall and task seconds, rows, bytes, shuffle and spill of the Spark jobs that one thread started in it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from schemas.contract import Contract

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JOB_GROUP = "spark.jobGroup.id"
FIGURES = {
    "rows_read": "inputRecords",
    "bytes_read": "inputBytes",
    "rows_written": "outputRecords",
    "bytes_written": "outputBytes",
    "shuffle_bytes": "shuffleWriteBytes",
    "spill_bytes": "diskBytesSpilled",
}
"""Figures of a step, as Spark's own store of stages names them."""
HOTTEST, TRACKED = 3, 1000
Cost = dict[str, float]


@contextmanager
def measured(spark: "SparkSession", group: str) -> Iterator[Cost]:
    """Jobs that this thread starts meanwhile belong to the group: other threads run table-days too. Yields what they cost in the end."""
    context, cost, began = spark.sparkContext, Cost(), time.monotonic()
    before = context.getLocalProperty(JOB_GROUP)
    context.setLocalProperty(JOB_GROUP, group)
    try:
        yield cost
    finally:
        context.setLocalProperty(JOB_GROUP, before)
    cost |= {"wall_s": round(time.monotonic() - began, 3)} | figures(spark, group)


def figures(spark: "SparkSession", group: str) -> Cost:
    """Sums over all tasks of the group's jobs, on whatever executor. (The executors' own sums do not do: the driver's is wall time.)"""
    context = spark.sparkContext
    context._jsc.sc().listenerBus().waitUntilEmpty()
    jobs = map(context.statusTracker().getJobInfo, context.statusTracker().getJobIdsForGroup(group))
    attempts = [a for stage in {s for job in jobs if job for s in job.stageIds} for a in _attempts(context, stage)]
    sums = {name: sum(getattr(a, figure)() for a in attempts) for name, figure in FIGURES.items()}
    return {"core_s": round(sum(a.executorRunTime() for a in attempts) / 1000, 3), "tasks": sum(a.numTasks() for a in attempts), **sums}


def _attempts(context: Any, stage: int) -> list[Any]:
    """What ran of a stage: nothing where an earlier shuffle was used again, more than once where it was lost."""
    no_quantiles = context._gateway.new_array(context._jvm.double, 0)
    found = context._jsc.sc().statusStore().stageData(stage, False, context._jvm.java.util.ArrayList(), False, no_quantiles)
    ran = [found.apply(n) for n in range(found.size())]
    return [a for a in ran if a.status().toString() != "SKIPPED"]


def key_counts(contract: Contract) -> dict[str, Any]:
    """Aggregates that find the hottest values of the columns by which jobs join or group; counts are estimates past TRACKED values."""
    from pyspark.sql import functions as F

    return {f"hot:{name}": F.expr(f"approx_top_k(`{name}`, {HOTTEST + 1}, {TRACKED})") for name in contract.join_keys}


def hottest(contract: Contract, values: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """For each such column the rows of its hottest values, most first, and the values unless they are personal: a receipt is kept."""
    found = {}
    for name in contract.join_keys:
        top = [(row["item"], row["count"]) for row in values[f"hot:{name}"] or () if row["item"] is not None]  # null is no key
        found[name] = [({} if contract.column(name).personal else {"key": key}) | {"rows": n} for key, n in top[:HOTTEST]]
    return found
