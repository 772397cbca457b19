"""The Spark session: one set of settings for every entrance.

Jobs read and stage plain parquet files by Delta's own file list, so they need no Delta in the JVM; its jars are put there for
whoever opens a table as `spark.read.format("delta")`.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.jars import check_java, jar_paths, s3_jar_paths

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",  # INT96 files have no time statistics
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.sources.partitionOverwriteMode": "static",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",  # a commit says so, not a file _SUCCESS
    "spark.sql.caseSensitive": "true",  # a column ID is not id
    "spark.sql.maxPlanStringLength": "4096",
    "spark.python.sql.dataFrameDebugging.enabled": "false",  # it tells the JVM the caller's line at every F.*: half of a plan's making
}
LOCAL_SETTINGS = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.sql.adaptive.enabled": "false",  # its re-planning costs more than it saves on one machine
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",  # file lists are short: list them in the driver
}
SMALL = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN", "spark.sql.shuffle.partitions": "1"}
SMALL_BYTES = 8 << 20  # of parquet; a day of 1,000 requests took 5 s interpreted, 12 s compiled; compiled wins from some 100,000 on


def session(name: str = "sluice", master: str | None = None, conf: Mapping[str, str] | None = None, delta: bool = False) -> "SparkSession":
    """The running session, or a new one: on `master`, else on what spark-submit chose, else on this machine's cores."""
    from pyspark import SparkConf, SparkContext
    from pyspark.logger import PySparkLogger
    from pyspark.sql import SparkSession

    if "PYSPARK_GATEWAY_PORT" in os.environ:
        SparkContext._ensure_initialized()  # spark-submit started this process: what it was told is known to its JVM alone
    submitted = SparkConf()
    is_submitted = submitted.contains("spark.master") or "SPARK_REMOTE" in os.environ or SparkSession.getActiveSession() is not None
    builder = SparkSession.builder.appName(name)
    if master or not is_submitted:
        builder = builder.master(master or "local[*]")
        check_java()
    is_local = (master or submitted.get("spark.master", "local")).startswith("local")
    settings = SETTINGS | (_local_settings() if is_local else _cluster_settings()) | (_delta_settings() if delta else {})
    settings |= _s3_settings() | dict(conf or {})
    for key, value in settings.items():
        if key in SETTINGS or not is_submitted or not submitted.contains(key):
            builder = builder.config(key, value)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    SparkContext.PACKAGE_EXTENSIONS = (*{*SparkContext.PACKAGE_EXTENSIONS, ".whl"},)  # a wheel of --py-files is a zip like any other
    spark = builder.getOrCreate()
    # a failed task's trace is pages long and its cause is told in one line: jobs.messages.cause
    spark.sparkContext.setLogLevel(os.environ.get("SLUICE_SPARK_LOG", "FATAL"))
    for logger in ("DataFrameQueryContextLogger", "SQLQueryContextLogger"):
        PySparkLogger.getLogger(logger).disabled = "SLUICE_SPARK_LOG" not in os.environ
    return spark


@contextmanager
def suited_to(spark: "SparkSession", num_bytes: int) -> Iterator[None]:
    """While a small input is worked on, let Spark interpret plans and shuffle into one task: to compile costs more than to run."""
    if num_bytes > SMALL_BYTES:
        yield
        return
    before = {key: spark.conf.get(key) for key in SMALL}
    try:
        for key, value in SMALL.items():
            spark.conf.set(key, value)
        yield
    finally:
        for key, value in before.items():
            spark.conf.set(key, value)


def _local_settings() -> dict[str, str]:
    memory = os.environ.get("SLUICE_DRIVER_MEMORY", "4g")
    cores = str(os.cpu_count() or 2)
    progress = str(sys.stderr.isatty()).lower() if os.environ.get("SLUICE_SPARK_PROGRESS") else "false"
    own = {"spark.driver.memory": memory, "spark.sql.shuffle.partitions": cores, "spark.ui.showConsoleProgress": progress}
    quiet = Path(__file__).with_name("log4j2.properties")
    own |= {"spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={quiet}"} if quiet.exists() else {}
    jars = [str(p) for p in (*jar_paths(), *s3_jar_paths())]
    return LOCAL_SETTINGS | own | ({"spark.driver.extraClassPath": os.pathsep.join(jars)} if jars else {})


def _cluster_settings() -> dict[str, str]:
    """Executors get the jars for s3a:// from the driver; a job that was submitted brings its own."""
    jars = ",".join(map(str, s3_jar_paths()))
    return {"spark.jars": jars} if jars else {}


def _s3_settings() -> dict[str, str]:
    """Where s3a:// finds its server, by the environment. Keys are no settings: Spark itself takes them from the environment."""
    endpoint, region = os.environ.get("AWS_ENDPOINT_URL"), os.environ.get("AWS_REGION")
    found = {"spark.hadoop.fs.s3a.endpoint": endpoint, "spark.hadoop.fs.s3a.path.style.access": "true"} if endpoint else {}
    return found | ({"spark.hadoop.fs.s3a.endpoint.region": region} if region else {})


def _delta_settings() -> dict[str, str]:
    return {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    }
