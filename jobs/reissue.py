"""What a day that is issued again changed: the labels that flipped since it was last published."""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from jobs.commit import StagedFile
from jobs.storage import open_table, read_files, table_root
from schemas.contract import Contract

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def labels_flipped(
    spark: "SparkSession", lake: str, contract: Contract, day: date, files: Sequence[StagedFile]
) -> dict[str, dict[str, int]]:
    """For a day that is issued again: how many labels became 1, and how many 0, since it was last published."""
    table = open_table(lake, contract)
    if not table.publishes(day):
        return {}
    root = table_root(lake, contract)
    old = _positives(table.read(spark, [day]), contract, -1)
    new = _positives(read_files(spark, contract, [f"{root}/{f.path}" for f in files]), contract, 1)
    keys = [c for c in old.columns if c not in contract.labels]
    change = old.unionByName(new).groupBy(*keys).agg(*(F.sum(label).alias(label) for label in contract.labels))
    counts = [F.count_if(F.col(label) == sign).alias(f"{label}:{sign}") for label in contract.labels for sign in (1, -1)]
    flips = change.agg(*counts).first().asDict()
    return {label: {"to_1": flips[f"{label}:1"], "to_0": flips[f"{label}:-1"]} for label in contract.labels}


def _positives(rows: "DataFrame", contract: Contract, sign: int) -> "DataFrame":
    """Keys of the samples with any positive label, and sign * label."""
    grain, elements = list(contract.grain), contract.elements
    if elements:
        any_positive = " or ".join(f"e.{label} = 1" for label in contract.labels)
        rows = rows.select(*grain, F.explode(F.expr(f"filter({elements.column}, e -> {any_positive})")).alias("e"))
        rows = rows.select(*grain, f"e.{elements.key}", *(f"e.{label}" for label in contract.labels))
        grain = [*grain, elements.key]
    return rows.select(*grain, *((F.col(label) * sign).alias(label) for label in contract.labels))
