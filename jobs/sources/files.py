"""Your own logs: a folder with requests/, events/ and items/, each of parquet, .jsonl, .csv or .tsv files, or one such file beside.

Candidates are a list inside requests (in csv: as JSON), or lines of their own in candidates/ (request_id, item_id, ...). Columns go
by the contract's names (`sluice schema TABLE`); option `rename` tells others: "ts=event_at, candidates.sku=item_id". Times without a
zone are UTC; folders such as day=2026-01-01 are columns. Text may be packed (.gz, .bz2, .zst) and is UTF-8, one record a line.
Text is read by one task a file, parquet by one a row group: split what is large.

What a log may leave out, or null, and what stands for it then:
- `day` of requests and events always follows from requested_at and available_at; that of items from valid_at or available_at.
  Items with none of the three are the catalogue of every day. Where there is no items/, option `items` says what to do.
- domain: search where there is a query. query_norm: from query_raw, in search. available_at: event_at. status: on_shelf.
- event_id: a hash of the event, so that the same event again is a duplicate. valid_at, available_at of items: each other, or the day.
- of a candidate: is_exposed from stage, or else from having a position; stage: exposed, or ranked; position: order of those exposed.

Lines in quarantine: `broken_line` (no JSON, or not as many fields as the first line has), `unreadable_COLUMN`, and in requests
`no_such_request`: candidates/ of a request that is not there. Left out by name: `duplicate` (its key came before on that day),
`other_day` (not in --days). A row of requests stands for its own line and for those of its candidates.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features.text import norm_query
from jobs.sources import RawTable, SourceError
from jobs.sources._find import LogFile
from jobs.sources._given import given
from jobs.sources._rows import KEPT, QUARANTINED, once_each, shaped, within
from jobs.sources._scan import count_each, open_lines
from jobs.sources._text import count
from jobs.sources._typed import Group, columns_of, typed
from schemas.contract import load

if TYPE_CHECKING:
    from pyspark.sql import Column, SparkSession

OPTIONS = {
    "rename": "old=new, or table.old=new where only one table has it; several with commas between",
    "delimiter": "what stands between the fields of a .csv (,)",
    "nulls": "texts that mean null, such as NULL,\\N; several with commas between (none but the empty one)",
    "items": "where there is no items/: derive (a row per item seen, all else null) or leave (the table as it is)",
}
DATED_BY = {"requests": ("requested_at",), "events": ("available_at", "event_at"), "items": ("day", "valid_at", "available_at")}
MAX_DAYS = 366  # more without asking is a time in the wrong unit, not a log
ORDER = ("_file", "_number")


def read(
    spark: "SparkSession",
    path: str | None,
    days: tuple[date, date] | None,
    *,
    rename: str = "",
    delimiter: str = ",",
    nulls: str = "",
    items: str = "",
) -> dict[str, RawTable]:
    groups = given(path, rename, delimiter, nulls, items)
    lines = _count(spark, groups)
    days = _days(spark, groups, days)
    frames = {}
    if "requests" in groups:
        frames["requests"] = _requests(spark, groups, days)
    if "events" in groups:
        frames["events"] = once_each(within(_events(typed(spark, groups["events"])), days), ("event_id", "day"), ORDER)
    if "items" in groups:
        frames["items"] = _items(spark, groups["items"], days)
    tables = {name: RawTable(shaped(frame, load(name)), lines[name]) for name, frame in frames.items()}
    return tables | ({"items": RawTable(_items_seen(tables, days), 0)} if items == "derive" and "items" not in groups else {})


# --- how much is there


def _count(spark: "SparkSession", groups: Mapping[str, Sequence[Group]]) -> dict[str, int]:
    """Records of each table: line ends of text, footers of parquet. Raises SourceError for text that cannot be read to its end."""
    files = [file for table in groups.values() for group in table for file in group.files]
    text = [file for file in files if file.kind != "parquet"]

    def count_lines(file: LogFile) -> int:
        with open_lines(file.address) as stream:
            return count(stream, file.kind, file.delimiter)

    told = dict(zip((f.name for f in text), count_each(spark, text, count_lines), strict=True)) if text else {}
    torn = [f"- {name} cannot be read to its end: {fault}" for name, (_, fault) in told.items() if fault]
    if torn:
        raise SourceError("files cannot read its input:\n" + "\n".join(torn))
    lines = dict.fromkeys(groups, 0)
    for file in files:
        lines["requests" if file.table == "candidates" else file.table] += told[file.name][0] if file in text else sum(file.rows_of_groups)
    return lines


def _days(spark: "SparkSession", groups: Mapping[str, Sequence[Group]], days: tuple[date, date] | None) -> tuple[date, date]:
    """The days asked for, or those found. Raises SourceError where a table has none of them, by one narrow pass over its times."""
    found = {table: _found_days(spark, table, groups[table]) for table in DATED_BY if table in groups}
    found = {table: ends for table, ends in found.items() if ends}
    problems = [f"no line of {table} has a time that can be read" for table, ends in found.items() if ends[0] is None]
    known = {table: ends for table, ends in found.items() if ends[0] is not None}
    if days is None and not problems:
        logs = {table: ends for table, ends in known.items() if table != "items"} or known
        if not logs:
            raise SourceError("the catalogue in items/ has no days of its own; say which days it holds for with --days A..B")
        days = min(first for first, _ in logs.values()), max(last for _, last in logs.values())
        if days[1] - days[0] >= timedelta(MAX_DAYS):
            problems.append(f"its lines span {days[0]}..{days[1]}, more than {MAX_DAYS} days; say with --days which of them you mean")
    for table, (first, last) in known.items() if days else ():
        if days[1] < first or days[0] > last:
            times = " or ".join(DATED_BY[table])
            problems.append(
                f"{table} holds {first}..{last} (by {times}), nothing of {days[0]}..{days[1]}; ask for days it holds with --days"
            )
    if problems or days is None:
        raise SourceError("files cannot read its input:\n" + "\n".join(f"- {each}" for each in problems))
    return days


def _found_days(spark: "SparkSession", table: str, groups: Sequence[Group]) -> tuple[date | None, date | None] | None:
    names = DATED_BY[table]
    if not any(set(names) & set(group.own_names) for group in groups):
        return None
    ends = typed(spark, groups, names).select(_day_of(table).alias("day")).agg(F.min("day"), F.max("day")).first()
    return ends[0], ends[1]


def _day_of(table: str) -> "Column":
    return F.coalesce(*(F.col(name).cast("date") for name in DATED_BY[table]))


# --- what becomes of each line


def _judged(frame: DataFrame) -> DataFrame:
    """The rows with their control columns: quarantined by the first thing found, with all of them as the reason."""
    is_bad = F.size("_found") > 0
    return frame.withColumns(
        {
            "_fate": F.when(is_bad, QUARANTINED).otherwise(KEPT),
            "_rule": F.when(is_bad, F.get("_found.rule", F.lit(0))),
            "_reason": F.when(is_bad, F.concat_ws("; ", "_found.reason")),
            "_raw": F.when(is_bad, F.col("_raw")),
            "_line": F.concat("_file", F.lit(":"), F.col("_number").cast("string")),
            "_num_lines": F.lit(1).cast("bigint"),
        }
    ).drop("_found")


def _blank_to_null(frame: DataFrame, table: str) -> DataFrame:
    """Nullable texts that are empty are null."""
    blanks = [c.name for c in load(table).columns if c.nullable and c.type == "string"]
    return frame.withColumns({name: F.when(F.trim(name) != "", F.col(name)) for name in blanks})


def _domain(queries: Sequence[str]) -> "Column":
    return F.coalesce("domain", F.when(F.coalesce(*queries).isNotNull(), "search"))


def _requests(spark: "SparkSession", groups: Mapping[str, Sequence[Group]], days: tuple[date, date]) -> DataFrame:
    lines = _judged(_blank_to_null(typed(spark, groups["requests"]), "requests"))
    listed = lines.withColumn("domain", _domain(("query_raw", "query_norm"))).withColumns(
        {
            "day": F.to_date("requested_at"),
            "query_norm": F.coalesce("query_norm", F.when(F.col("domain") == "search", norm_query(F.col("query_raw")))),
        }
    )
    dated = within(listed, days)
    if "candidates" in groups:
        dated = within(_with_candidates(dated, _judged(typed(spark, groups["candidates"]))), days)
    return once_each(dated.withColumn("candidates", _completed(F.col("candidates"))), ("request_id", "day"), ORDER)


def _with_candidates(requests: DataFrame, candidates: DataFrame) -> DataFrame:
    """Each request with its lines of candidates; then those that cannot be read, and those of no request, in quarantine.

    Of several requests with one request_id the first that is kept, by file and line, gets them.
    """
    fields = [name for name in columns_of("candidates") if name != "request_id"]
    is_good = (F.col("_fate") == KEPT) & F.col("request_id").isNotNull()
    lists = (
        candidates.where(is_good)
        .groupBy(F.col("request_id").alias("_of"))
        .agg(F.sort_array(F.collect_list(F.struct(*ORDER, F.struct(*fields).alias("candidate")))).alias("_listed"))
    )
    alone = F.when(F.col("request_id").isNull(), F.concat_ws(":", *ORDER))
    same = Window.partitionBy("request_id", alone).orderBy(F.col("_fate") != KEPT, *ORDER)
    keyed = requests.withColumn("_key", F.when(F.row_number().over(same) == 1, F.col("request_id"))).drop("candidates")
    joined = keyed.join(lists, F.col("_key") == F.col("_of"), "full")  # at most one row on each side
    num_listed = F.coalesce(F.size("_listed"), F.lit(0))
    has_request = F.col("_file").isNotNull()
    first = F.get("_listed", F.lit(0))
    known = joined.withColumns(
        {
            "request_id": F.coalesce("request_id", "_of"),
            "candidates": F.coalesce(F.col("_listed.candidate"), F.array()),
            "_fate": F.coalesce("_fate", F.lit(QUARANTINED)),
            "_rule": F.when(has_request, F.col("_rule")).otherwise("no_such_request"),
            "_reason": F.when(has_request, F.col("_reason")).otherwise("there are candidates of it, but no such request"),
            "_line": F.coalesce("_line", F.concat(first["_file"], F.lit(":"), first["_number"].cast("string"))),
            "_num_lines": F.coalesce("_num_lines", F.lit(0)) + num_listed,
            "_file": F.coalesce("_file", first["_file"]),
            "_number": F.coalesce("_number", first["_number"]),
        }
    ).drop("_key", "_of", "_listed")
    told = {
        "_rule": F.coalesce("_rule", F.lit("no_such_request")),
        "_reason": F.coalesce("_reason", F.lit("a candidate without request_id")),
    }
    bad = candidates.where(~is_good).withColumns({**told, "_fate": F.lit(QUARANTINED)}).drop(*fields)
    return known.unionByName(bad, allowMissingColumns=True)


def _completed(candidates: "Column") -> "Column":
    """The list with is_exposed, stage and position where they are not given."""

    def shown(c: "Column") -> "Column":
        is_exposed = F.coalesce(c["is_exposed"], c["stage"] == "exposed", c["position"].isNotNull())
        stage = F.coalesce(c["stage"], F.when(is_exposed, "exposed").otherwise("ranked"))
        return c.withField("is_exposed", is_exposed).withField("stage", stage)

    def placed(c: "Column", place: "Column") -> "Column":
        return c.withField("position", (place + 1).cast("int"))

    known = F.transform(candidates, shown)
    lacks_places = F.exists(known, lambda c: c["is_exposed"]) & ~F.exists(known, lambda c: c["is_exposed"] & c["position"].isNotNull())
    exposed, unexposed = F.filter(known, lambda c: c["is_exposed"]), F.filter(known, lambda c: ~c["is_exposed"])
    return F.when(lacks_places, F.concat(F.transform(exposed, placed), unexposed)).otherwise(known)


def _events(lines: DataFrame) -> DataFrame:
    columns = [name for name in columns_of("events") if name not in ("day", "event_id")]
    known = _judged(_blank_to_null(lines, "events")).withColumn("available_at", F.coalesce("available_at", "event_at"))
    return known.withColumns(
        {
            "domain": _domain(("query_raw",)),
            "day": F.to_date("available_at"),
            "event_id": F.coalesce("event_id", F.substring(F.sha2(F.to_json(F.struct(*columns)), 256), 1, 24)),
        }
    )


def _items(spark: "SparkSession", groups: Sequence[Group], days: tuple[date, date]) -> DataFrame:
    """Dated items on their day; items without any day on every day, their lines counted on the first."""
    dated = [g for g in groups if set(DATED_BY["items"]) & set(g.own_names)]
    parts = []
    if dated:
        lines = _judged(_blank_to_null(typed(spark, dated), "items")).withColumn("day", _day_of("items"))
        parts.append(within(lines, days))
    if len(dated) < len(groups):
        lines = _judged(_blank_to_null(typed(spark, [g for g in groups if g not in dated]), "items"))
        first, last = (F.lit(day) for day in days)
        every = F.when(F.col("_fate") == KEPT, F.sequence(first, last)).otherwise(F.array(first))
        on_days = lines.withColumn("_days", every).select(*(c for c in lines.columns if c != "day"), F.explode("_days").alias("day"))
        parts.append(on_days.withColumn("_num_lines", F.when(F.col("day") == first, 1).otherwise(0).cast("bigint")))
    rows = parts[0] if len(parts) == 1 else parts[0].unionByName(parts[1])
    midnight = F.col("day").cast("timestamp")
    filled = rows.withColumns(
        {
            "status": F.coalesce("status", F.lit("on_shelf")),
            "valid_at": F.coalesce("valid_at", "available_at", midnight),
            "available_at": F.coalesce("available_at", "valid_at", midnight),
        }
    )
    return once_each(filled, ("item_id", "day"), ORDER)


def _items_seen(tables: Mapping[str, RawTable], days: tuple[date, date]) -> DataFrame:
    """A row per item of candidates and events on each day it is seen; it stands for no line."""
    listed = tables["requests"].frame.where(F.col("_fate") == KEPT).select("day", F.explode("candidates.item_id").alias("item_id"))
    seen = listed
    if "events" in tables:
        seen = listed.unionByName(tables["events"].frame.where(F.col("_fate") == KEPT).select("day", "item_id"))
    items = seen.where(F.trim("item_id") != "").groupBy("day", "item_id").agg(F.lit(0).alias("_num_lines"))
    midnight = F.col("day").cast("timestamp")
    return shaped(items.withColumns({"status": F.lit("on_shelf"), "valid_at": midnight, "available_at": midnight}), load("items"))
