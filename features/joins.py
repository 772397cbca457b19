"""Joins that keep the wide side where it is."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

BROADCAST_BYTES = 256 * 1024 * 1024  # of the files that a frame is read from, by Spark's own estimate; some 1 GB once in memory
DRIVER_TAKES = "spark.driver.maxResultSize"  # what is broadcast comes through the driver first


def broadcast_if_small(frame: DataFrame, source: DataFrame, limit: int = BROADCAST_BYTES) -> DataFrame:
    """`frame`, marked for broadcast when the files behind `source` are estimated at no more than `limit` bytes.

    Nor at more than a quarter of what the driver takes: a small driver builds the same rows without. No action is run.
    Spark does not dare by itself: after an aggregate or an explode it has no estimate of the size.
    """
    size = int(source._jdf.queryExecution().optimizedPlan().stats().sizeInBytes())
    return F.broadcast(frame) if size <= min(limit, _driver_limit(frame) // 4) else frame


def _driver_limit(frame: DataFrame) -> int:
    spark = frame.sparkSession
    taken = spark.conf.get(DRIVER_TAKES, "1g")
    return int(spark._jvm.org.apache.spark.network.util.JavaUtils.byteStringAsBytes(taken)) or 4 * BROADCAST_BYTES  # 0: whatever comes
