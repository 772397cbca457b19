"""What a gate took out of a staged day: counted by rule, and published to `<table>_quarantine` before the day itself."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from jobs.books import split_files
from jobs.commit import append, staged_files
from jobs.conform import QUARANTINE, QUARANTINE_TYPE
from jobs.storage import open_table, spark_address, table_root
from schemas.contract import Contract, quarantine_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def quarantined_by_rule(spark: "SparkSession", root: str, folder: str) -> dict[str, int]:
    paths = split_files(root, f"{folder}/split=quarantined")
    if not paths:
        return {}
    counts = _quarantine_rows(spark, paths).groupBy("rule").count().collect()  # <= rules of a suite
    return {row["rule"]: row["count"] for row in sorted(counts)}


def _quarantine_rows(spark: "SparkSession", paths: Sequence[str]) -> "DataFrame":
    schema = f"{QUARANTINE} {QUARANTINE_TYPE}"
    return spark.read.schema(schema).option("recursiveFileLookup", "true").parquet(*paths).select(f"{QUARANTINE}.*")


def publish_quarantine(spark: "SparkSession", lake: str, contract: Contract, day: date, draft: Mapping[str, Any]) -> int:
    """Append what was taken out to `<table>_quarantine` before the day itself: an orphan there harms nobody. Returns its version.

    A run that is admitted again, since its process died in between, finds its rows there: the files that they lie in stay.
    """
    target = quarantine_of(contract)
    root, folder, there = table_root(lake, target), draft["folder"], open_table(lake, target)
    if any(f"/{folder}/" in file for file in there.files([day])):
        return there.delta.version()
    rows = _quarantine_rows(spark, split_files(table_root(lake, contract), f"{folder}/split=quarantined"))
    staged = rows.select(F.lit(draft["run_id"]).alias("run_id"), "rule", "key", "element", "row", "reason")
    staged.write.mode("overwrite").parquet(spark_address(f"{root}/{folder}"))
    return append(root, target, day, staged_files(root, target, folder))
