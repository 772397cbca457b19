"""What a run costs: task seconds of the Spark jobs that one thread started, also while others run beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JOB_GROUP = "spark.jobGroup.id"


@contextmanager
def measured(spark: "SparkSession", group: str) -> Iterator[None]:
    """The jobs that this thread starts meanwhile belong to the group: other threads run table-days beside it."""
    context = spark.sparkContext
    before = context.getLocalProperty(JOB_GROUP)
    context.setLocalProperty(JOB_GROUP, group)
    try:
        yield
    finally:
        context.setLocalProperty(JOB_GROUP, before)


def task_seconds(spark: "SparkSession", group: str) -> float:
    """Seconds that tasks of the group's jobs ran, over all executors. (The executors' own sums do not do: the driver's is wall time.)"""
    context = spark.sparkContext
    context._jsc.sc().listenerBus().waitUntilEmpty()
    jobs = map(context.statusTracker().getJobInfo, context.statusTracker().getJobIdsForGroup(group))
    stages = {stage for job in jobs if job for stage in job.stageIds}
    nothing = context._gateway.new_array(context._jvm.double, 0), context._jvm.java.util.ArrayList()
    found = context._jsc.sc().statusStore().stageList(None, False, False, *nothing)
    ran = [found.apply(n) for n in range(found.size())] if stages else []
    return sum(stage.executorRunTime() for stage in ran if stage.stageId() in stages) / 1000
