"""From a source to the raw tables, through their gates: `ingest("simulator", ...)`.

A source's rows are written once to a scratch folder split by day, counted against the source's own independent count, and
then published day by day. Every line has a fate: a row, a named exclusion, or quarantine.
"""

import importlib
import os
import pkgutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from features.books import tally
from jobs.conform import KEPT, QUARANTINED
from jobs.gate import GateError
from jobs.run import Outcome, UsageError, facts_now, new_run_id, publish_rows
from jobs.session import suited_to
from jobs.sources import RawTable
from jobs.storage import OWNER, check_lake, filesystem, lake_address, open_table, spark_address, write_json
from jobs.watch import tell_refused, watched
from schemas.contract import Account, Contract, load

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

RAW_TABLES = ("items", "requests", "events", "judgements")
CONTROL = ("_fate", "_rule", "_reason", "_raw", "_line", "_num_lines")
LINE_BYTES = 500  # of parquet that a line of a raw log takes, at most: a request with 60 candidates


def source_names() -> list[str]:
    """Every source, found by its file."""
    return sorted(m.name for m in pkgutil.iter_modules(importlib.import_module("jobs.sources").__path__) if not m.name.startswith("_"))


def source(name: str) -> Any:
    """The module of a source. Raises UsageError that names those there are."""
    if name not in source_names():
        raise UsageError(f"no source {name!r}; there are {', '.join(source_names())}")
    return importlib.import_module(f"jobs.sources.{name}")


def ingest(
    spark: "SparkSession", lake: str, name: str, path: str | None, days: tuple[date, date] | None, options: Mapping[str, str]
) -> Iterator[Outcome]:
    """Publish each day of each raw table that the source holds, items first; yields each outcome as it comes.

    Raises SourceError for input that cannot be read, GateError when lines are unaccounted for or a gate refuses.
    """
    module, lake = source(name), lake_address(lake)
    unknown = sorted(set(options) - set(module.OPTIONS))
    if unknown:
        known = ", ".join(module.OPTIONS) or "none"
        raise UsageError(
            f"source {name} has no option {', '.join(unknown)}; it has {known}. What they mean: sluice ingest {name} --help-source"
        )
    check_lake(lake, must_exist=False)
    raw = module.read(spark, path, days, **options)
    shown = {k: v for k, v in options.items() if k not in ("truth", "scratch")}
    asked: set[date] = set()
    for table in (t for t in RAW_TABLES if t in raw):
        contract = load(table)
        days_too = asked if contract.may_be_empty else set()  # a day of requests on which nothing happened is no hole in events
        for outcome in _ingest_table(spark, lake, contract, raw[table], days, days_too, {"source": name, **shown}, path):
            asked |= {outcome.day} if table == "requests" else set()
            yield outcome


def _ingest_table(
    spark: "SparkSession",
    lake: str,
    contract: Contract,
    raw: RawTable,
    days: tuple[date, date] | None,
    days_too: set[date],
    options: Mapping[str, Any],
    path: str | None = None,
) -> Iterator[Outcome]:
    with _scratch(lake) as scratch:
        raw.frame.write.partitionBy("day").parquet(spark_address(scratch))
        rows = spark.read.schema(_with_types(raw.frame)).parquet(spark_address(scratch))
        counts = rows.groupBy("day", "_fate").agg(F.sum("_num_lines").alias("lines")).collect()  # <= days x named fates
        lines = {(r["day"], r["_fate"]): r["lines"] for r in counts}
        try:
            _refuse_lost_lines(contract, lines, raw.lines, days)
        except GateError as refusal:
            tell_refused(lake, contract, days or (), refusal, f"sluice ingest {options['source']} --help-source")
            raise
        fates = tuple(sorted({fate for _, fate in lines} | {KEPT, QUARANTINED}))
        for day in _days(lines, days, days_too):
            yield _publish(spark, lake, contract, rows, day, lines, fates, options, path)


def _publish(
    spark: "SparkSession",
    lake: str,
    contract: Contract,
    rows: "DataFrame",
    day: date,
    lines: Mapping[tuple[date, str], int],
    fates: tuple[str, ...],
    options: Mapping[str, Any],
    path: str | None,
) -> Outcome:
    account = Account("lines", fates=fates)
    of_day = rows.where(F.col("day") == F.lit(day)).withColumn("_lines", tally(F.col("_fate"), fates, F.col("_num_lines")))
    facts = facts_now(contract, f"jobs.sources.{options['source']}", options)
    went_in = sum(n for (d, _), n in lines.items() if d == day)
    draft = {
        "run_id": new_run_id(),
        "seen": open_table(lake, contract).changes(day),
        **facts,
        "inputs": {},
        "label_as_of": None,
        "reasons": ["ingested"],
    }
    draft |= {"accounts": [{"account": "lines", "input": options["source"], "in": went_in}], "source": path and lake_address(path)}

    def work() -> Outcome:
        with suited_to(spark, went_in * LINE_BYTES):
            return publish_rows(spark, lake, contract, of_day, day, {"lines": account}, draft)

    return watched(lake, contract, day, draft, work, attrgetter("receipt"), job=f"ingest.{contract.name}")


def _refuse_lost_lines(contract: Contract, lines: Mapping[tuple[Any, str], int], read: int, days: tuple[date, date] | None) -> None:
    """Every line that was read must come back in a row, and every row lie on a day that is going to be published."""
    if sum(lines.values()) != read:
        raise GateError(
            f"{contract.name}: the source read {read} lines, its rows stand for {sum(lines.values())}; nothing is published. "
            f"By fate: {_by_fate(lines)}"
        )
    astray = sorted({str(d) for d, _ in lines if d is None or (days and not days[0] <= d <= days[1])})
    if astray:
        raise GateError(
            f"{contract.name}: the source has rows on {', '.join(astray)}, outside the days asked for; nothing is published. "
            "A source names such rows other_day and gives them a day of the range"
        )


def _by_fate(lines: Mapping[tuple[date, str], int]) -> dict[str, int]:
    return {fate: sum(n for (_, f), n in lines.items() if f == fate) for fate in sorted({f for _, f in lines})}


def _days(lines: Mapping[tuple[date, str], int], days: tuple[date, date] | None, days_too: set[date]) -> list[date]:
    """All days from the first to the last that the source holds, those without rows included: an empty day is a fact too."""
    found = sorted({day for day, _ in lines} | days_too)
    if not days and not found:
        return []
    first, last = days or (found[0], found[-1])
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _with_types(frame: "DataFrame") -> Any:
    """The frame's schema, all nullable, as it is read back."""
    from pyspark.sql.types import StructField, StructType

    return StructType([StructField(f.name, f.dataType, True) for f in frame.schema.fields])


@contextmanager
def _scratch(lake: str) -> Iterator[str]:
    """A folder of the lake for rows on their way; removed at the end. Its name keeps Delta readers away, its owner's facts the sweep."""
    folder = f"{lake}/_scratch/{new_run_id()}"
    fs, path = filesystem(folder)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        write_json(f"{folder}/{OWNER}", {"pid": os.getpid(), "host": socket.gethostname(), "started_at": started})
        yield f"{folder}/rows"
    finally:
        if fs.get_file_info(path).type.name == "Directory":
            fs.delete_dir(path)
