"""Joins that keep the wide side where it is."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

BROADCAST_BYTES = 256 * 1024 * 1024  # of the files that a frame is read from, by Spark's own estimate; some 1 GB once in memory


def broadcast_if_small(frame: DataFrame, source: DataFrame, limit: int = BROADCAST_BYTES) -> DataFrame:
    """`frame`, marked for broadcast when the files behind `source` are estimated at no more than `limit` bytes.

    Spark does not dare by itself: after an aggregate or an explode it has no estimate of the size. No action is run.
    """
    size = int(source._jdf.queryExecution().optimizedPlan().stats().sizeInBytes())
    return F.broadcast(frame) if size <= limit else frame
