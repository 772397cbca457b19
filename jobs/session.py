"""The Spark session: one set of settings for every entrance, and Delta's jars, fetched once.

Jobs read and stage plain parquet files by Delta's own file list, so they need no Delta in the JVM; the jars are there for
whoever opens a table as `spark.read.format("delta")`.
"""

import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DELTA_JARS = ("delta-spark_4.1_2.13", "delta-storage", "delta-kernel-api", "delta-kernel-defaults", "delta-kernel-unitycatalog")
MIN_JAVA = 17
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


class SetupError(RuntimeError):
    """Something outside Sluice is missing or too old; the message says how to install it."""


def jar_folder() -> Path:
    """Where Delta's jars lie: SLUICE_JARS, or a folder of the user's cache named by the version."""
    default = Path.home() / ".cache" / "sluice" / f"jars-{version('delta-spark')}"
    return Path(os.environ.get("SLUICE_JARS") or default)


def jar_paths() -> list[Path]:
    """The jars that are there, in a fixed order; fewer than DELTA_JARS when they were not fetched."""
    release = version("delta-spark")
    return [p for name in DELTA_JARS if (p := jar_folder() / f"{name}-{release}.jar").exists()]


def fetch_delta_jars() -> Path:
    """Fetch Delta's jars with the Ivy that pyspark brings, unless they are there. Returns their folder."""
    folder, release = jar_folder(), version("delta-spark")
    if len(jar_paths()) == len(DELTA_JARS):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for name in DELTA_JARS:
            command = [java_binary(), "-jar", str(_ivy_jar()), "-cache", f"{scratch}/cache", "-confs", "master"]
            command += ["-dependency", "io.delta", name, release, "-retrieve", f"{scratch}/[artifact]-[revision].[ext]"]
            done = subprocess.run(command, capture_output=True, text=True)
            fetched = Path(scratch) / f"{name}-{release}.jar"
            if done.returncode or not fetched.exists():
                tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
                raise SetupError(f"could not fetch {name} {release} to {folder}; check the network, then run this again:\n{tail}")
            fetched.replace(folder / fetched.name)
    return folder


def _ivy_jar() -> Path:
    import pyspark

    return next((Path(pyspark.__file__).parent / "jars").glob("ivy-*.jar"))


def java_binary() -> str:
    """The Java that Spark would start. Raises SetupError when there is none."""
    home = os.environ.get("JAVA_HOME")
    if home and not Path(home, "bin", "java").exists():
        raise SetupError(f"JAVA_HOME is {home}, which has no bin/java; set it to the folder of Java {MIN_JAVA} or newer, or unset it")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if not found:
        raise SetupError(
            f"no Java {MIN_JAVA} or newer; install it: apt-get install openjdk-17-jre-headless (macOS: brew install openjdk@17)"
        )
    return found


def java_version() -> int:
    """Major version of that Java. Raises SetupError when it does not say one."""
    banner = subprocess.run([java_binary(), "-version"], capture_output=True, text=True).stderr
    match = re.search(r'version "(?:1\.)?(\d+)', banner)
    if not match:
        raise SetupError(f"{java_binary()} does not tell its version: {banner[:200]!r}; set JAVA_HOME to Java {MIN_JAVA} or newer")
    return int(match.group(1))


def check_java() -> None:
    """Raises SetupError when Java is missing or older than Spark needs."""
    if (found := java_version()) < MIN_JAVA:
        raise SetupError(f"Java {found} is too old, Spark needs {MIN_JAVA}; install it: apt-get install openjdk-17-jre-headless")


def session(name: str = "sluice", master: str | None = None, conf: Mapping[str, str] | None = None, delta: bool = False) -> "SparkSession":
    """The running session, or a new one: on `master`, else on what spark-submit chose, else on this machine's cores."""
    from pyspark import SparkConf
    from pyspark.sql import SparkSession

    submitted = SparkConf()
    is_submitted = submitted.contains("spark.master") or "SPARK_REMOTE" in os.environ or SparkSession.getActiveSession() is not None
    builder = SparkSession.builder.appName(name)
    if master or not is_submitted:
        builder = builder.master(master or "local[*]")
        check_java()
    is_local = (master or submitted.get("spark.master", "local")).startswith("local")
    settings = SETTINGS | (_local_settings() if is_local else {}) | (_delta_settings() if delta else {}) | dict(conf or {})
    for key, value in settings.items():
        if key in SETTINGS or not is_submitted or not submitted.contains(key):
            builder = builder.config(key, value)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = builder.getOrCreate()
    # a failed task's trace is pages long and its cause is told in one line: jobs.messages.cause
    spark.sparkContext.setLogLevel(os.environ.get("SLUICE_SPARK_LOG", "FATAL"))
    for logger in ("DataFrameQueryContextLogger", "SQLQueryContextLogger"):
        logging.getLogger(logger).disabled = "SLUICE_SPARK_LOG" not in os.environ
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
    jars = [str(p) for p in jar_paths()]
    return LOCAL_SETTINGS | own | ({"spark.driver.extraClassPath": os.pathsep.join(jars)} if jars else {})


def _delta_settings() -> dict[str, str]:
    return {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    }


if __name__ == "__main__":
    print(f"Delta's jars: {fetch_delta_jars()}", file=sys.stderr)
