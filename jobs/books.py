"""The books of a staged day: the fates that its rows were counted under, and whether they add up to what went in."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F
from pyspark.sql.types import LongType, StructField, StructType

from jobs.commit import parquet_files
from jobs.conform import FATE, account_column
from jobs.storage import filesystem, spark_address
from schemas.contract import Contract

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class GateError(RuntimeError):
    """The gate refused to publish: what failed, by how much, and how to look at it.

    Carries the names of the critical expectations that failed, and the accounts that do not balance.
    """

    def __init__(self, message: str, expectations: Sequence[str] = (), accounts: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.expectations, self.accounts = list(expectations), list(accounts)
        self.results: list[dict[str, Any]] = []  # of all that was asked, once the day was audited


def fate_struct(account: str, fates: Sequence[str]) -> StructField:
    return StructField(account_column(account), StructType([StructField(f, LongType()) for f in fates]))


def fate_sums(fates: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    sums = {(a, f): F.sum(f"{account_column(a)}.`{f}`") for a, names in fates.items() for f in names}
    return {f"{a}:{f}": F.coalesce(total, F.lit(0)) for (a, f), total in sums.items()}


def fates_of(fates: Mapping[str, Sequence[str]], values: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    return {a: {f: int(values[f"{a}:{f}"]) for f in names} for a, names in fates.items()}


def add_fates(left: dict[str, dict[str, int]], right: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {a: {f: n + right.get(a, {}).get(f, 0) for f, n in fates.items()} for a, fates in left.items()}


def fates_not_kept(spark: "SparkSession", root: str, folder: str, fates: Mapping[str, Sequence[str]]) -> dict[str, dict[str, int]]:
    """The accounts of staged rows that are not kept."""
    paths = [p for split in ("excluded", "quarantined") for p in split_files(root, f"{folder}/split={split}")]
    if not paths or not fates:
        return {}
    schema = StructType([fate_struct(a, names) for a, names in fates.items()])
    sums = [total.alias(name) for name, total in fate_sums(fates).items()]
    return fates_of(fates, spark.read.schema(schema).option("recursiveFileLookup", "true").parquet(*paths).agg(*sums).first().asDict())


def excluded_by_fate(spark: "SparkSession", root: str, folder: str) -> dict[str, int]:
    """How many rows the build left out, by the name that it gave each."""
    paths = split_files(root, f"{folder}/split=excluded")
    if not paths:
        return {}
    rows = spark.read.schema(f"{FATE} string").option("recursiveFileLookup", "true").parquet(*paths)
    return {row[FATE]: row["count"] for row in sorted(rows.groupBy(FATE).count().collect())}  # <= fates that a job names


def split_files(root: str, folder: str) -> list[str]:
    fs, base = filesystem(f"{root}/{folder}")
    prefix = "" if "://" not in root else root.split("://")[0] + "://"
    return [spark_address(prefix + info.path) for info in parquet_files(fs, base)]


def balance(contract: Contract, day: date, left: Sequence[Mapping[str, Any]], fates: Mapping[str, dict[str, int]]) -> list[dict[str, Any]]:
    """The books: each account with what went in, the fates, and the difference. Raises GateError unless all are 0."""
    accounts = []
    for side in left:
        ends = fates[side["account"]]
        accounts.append({**side, "fates": ends, "difference": side["in"] - sum(ends.values())})
    wrong = [a for a in accounts if a["difference"]]
    if wrong:
        lines = [
            f"  {a['account']} of {a['input']}: {a['in']} in, {sum(a['fates'].values())} accounted for {a['fates']}, "
            f"difference {a['difference']}"
            for a in wrong
        ]
        raise GateError(
            f"{contract.name} {day}: the books do not balance, nothing is published:\n" + "\n".join(lines) + "\n"
            f"The build in jobs/{contract.name}.py loses or repeats rows (or the source does); the staged day is kept.",
            accounts=wrong,
        )
    return accounts
