"""Queries and clicks on BestBuy's mobile site (ACM hackathon 2012): csv files, each line a click with the query before it.

Columns user, category (of the item clicked), query, click_time, query_time, and sku but in the competition's test file. Times are taken
for UTC. Lines wrapped in a pair of quotes of their own, as some copies have them, are read twice. categories.json of BestBuy's open data
set beside them names the categories.

What the data lacks: lists (what was shown, where, what was recalled), searches without a click, sessions, titles, prices, orders.
- `requests`: lines with the same user, query and query_time, of whichever file, are one search. Its candidates are the items clicked,
  exposed, in the order of their clicks, as no list is logged; none where no line tells its item. So neither clicks per search nor how
  many candidates there are says anything. The category of a click stays out: it was not known when the search began.
- `events`: a click with its request_id; a line without sku is `no_item`. available_at is click_time.
- `items`: an item on each day it is clicked or its search was made; category_path from root to leaf by name, or the category's own id
  where categories.json has none (or is not there).

Lines of all three tables are lines of the files. One that cannot be read is quarantined in `events` (`broken_line`, `no_user`, `no_query`,
`unreadable_time`, `click_before_query`) and `broken_line` in the others; the same line again is `duplicate`.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.text import norm_query
from jobs.sources import RawTable, SourceError
from jobs.sources._rows import KEPT, QUARANTINED, folded, once_each, quarantine, shaped, within
from jobs.sources._scan import count_each, files_below, in_batches, open_lines, over_pieces
from jobs.sources._text import Record, count, csv_header, records
from jobs.storage import filesystem, lake_address
from schemas.contract import load

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyspark.sql import SparkSession

OPTIONS: dict[str, str] = {}
COLUMNS = ("user", "category", "query", "click_time", "query_time")
SKU, CATEGORIES = "sku", "categories.json"
SUFFIXES = (".csv", ".csv.gz", ".csv.zip")


def read(spark: "SparkSession", path: str | None, days: tuple[date, date] | None, **options: str) -> dict[str, RawTable]:
    if options:
        raise SourceError(f"bestbuy has no options, it was given {', '.join(sorted(options))}")
    root, files = _files(path)
    paths = _category_paths(root)
    lines = _count(spark, root, files)
    clicks = _clicks(spark, root, files, paths)
    first, last = clicks.agg(F.min("query_day"), F.max("day")).first()  # a click comes after its query
    if first is None:
        raise SourceError(f"bestbuy cannot read {root}: no line of {', '.join(files)} has a user, a query and both times")
    asked = days or (first, last)
    if asked[1] < first or asked[0] > last:
        raise SourceError(f"{root} holds {first}..{last}, nothing of {asked[0]}..{asked[1]}; ask for days that it holds with --days")
    frames = {"items": _items(clicks), "requests": _requests(clicks), "events": _events(clicks)}
    return {name: RawTable(within(frame, asked), lines) for name, frame in frames.items()}


def _files(path: str | None) -> tuple[str, list[str]]:
    if not path:
        raise SourceError("bestbuy reads a folder with csv files of clicks: name it with --from")
    root = lake_address(path)
    files = [name for name in files_below(root) if name.endswith(SUFFIXES)]
    if not files:
        raise SourceError(f"bestbuy cannot read {path}: no {', '.join(SUFFIXES)} in it; give the folder that holds train.csv")
    return root, files


def _category_paths(root: str) -> dict[str, list[str]]:
    """Names from root to leaf by category id (<= some thousands); none where the file is not there."""
    from pyarrow import fs as pafs

    system, path = filesystem(f"{root}/{CATEGORIES}")
    if system.get_file_info(path).type == pafs.FileType.NotFound:
        return {}
    try:
        with system.open_input_file(path) as stream:
            return {each["id"]: [step["name"] for step in each["path"]] for each in json.load(stream)}
    except (ValueError, KeyError, TypeError) as error:
        told = f"{type(error).__name__}: {error}"
        raise SourceError(
            f"bestbuy cannot read {root}/{CATEGORIES} ({told}); it must be a list of objects with id and path, or not be there"
        ) from error


def _count(spark: "SparkSession", root: str, files: list[str]) -> int:
    """Lines below the names, counted by line ends apart from the rows."""

    def of_file(name: str) -> int:
        with open_lines(f"{root}/{name}") as stream:
            names = _unwrapped(csv_header(stream, ","))
        missing = [column for column in COLUMNS if column not in names]
        if missing:
            raise ValueError(f"lacks column {', '.join(missing)}; its first line names {', '.join(names) or 'nothing'}")
        with open_lines(f"{root}/{name}") as stream:
            return count(stream, "csv")

    told = list(zip(files, count_each(spark, files, of_file), strict=True))
    problems = [f"- {name}: {fault}" for name, (_, fault) in told if fault]
    if problems or not any(found for _, (found, _) in told):
        raise SourceError(f"bestbuy cannot read {root}:\n" + "\n".join(problems or ["- there is no line below the names of its files"]))
    return sum(found for _, (found, _) in told)


def _unwrapped(fields: list[str]) -> list[str]:
    """The fields of a line that is itself one field."""
    return next(csv.reader(fields), []) if len(fields) == 1 else fields


def values_of(record: Record) -> dict[str, object]:
    """What a line tells: text by column (null where empty), times, and what is wrong with it."""
    fault, values = record.fault, record.values
    if values and len(values) == 1:
        names, fields = _unwrapped(list(values)), _unwrapped([text or "" for text in values.values()])
        fault = None if len(names) == len(fields) else f"{len(fields)} fields, the first line names {len(names)}"
        values = None if fault else dict(zip(names, fields, strict=True))
    told: dict[str, object] = {name: ((values or {}).get(name) or "").strip() or None for name in (*COLUMNS, SKU)}
    times = {name: _microseconds(told[name]) for name in ("click_time", "query_time")}
    return told | times | {"number": record.line, "raw": record.raw, "fault": fault}


def _microseconds(text: object) -> int | None:
    """Since 1970; null for what is no time."""
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    since = at.replace(tzinfo=at.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _clicks(spark: "SparkSession", root: str, files: list[str], paths: Mapping[str, list[str]]) -> DataFrame:
    """Every line with its times, its request, its fate and what is wrong with it."""
    import pyarrow as pa

    texts = ("file", "raw", "fault", "user", SKU, "category", "query")
    fields = [*((name, pa.string()) for name in texts), *((name, pa.int64()) for name in ("number", "click_time", "query_time"))]
    schema = pa.schema([*fields, ("category_path", pa.list_(pa.string()))])

    def rows(name: str) -> Iterator[dict[str, object]]:
        with open_lines(f"{root}/{name}") as stream:
            for record in records(stream, "csv"):
                told = values_of(record)
                category = told["category"]
                yield told | {"file": name, "category_path": category and paths.get(str(category), [category])}

    def batches(name: str) -> "Iterator[RecordBatch]":
        return in_batches(rows(name), schema)

    is_broken, is_timed = F.col("fault").isNotNull(), F.col("click_at").isNotNull() & F.col("query_at").isNotNull()
    faults = {
        "broken_line": (is_broken, F.col("fault")),
        "no_user": (~is_broken & F.col("user").isNull(), F.lit("there is no user")),
        "no_query": (~is_broken & norm_query(F.col("query")).isNull(), F.lit("there is no query")),
        "unreadable_time": (~is_broken & ~is_timed, F.lit("click_time or query_time is no time, such as 2011-09-01 23:44:52.533")),
        "click_before_query": (F.coalesce(F.col("click_at") < F.col("query_at"), F.lit(False)), F.lit("click_time is before query_time")),
    }
    told = over_pieces(spark, files, batches, schema).withColumns(
        {
            "click_at": F.timestamp_micros("click_time"),
            "query_at": F.timestamp_micros("query_time"),
            "_fate": F.lit(KEPT),
            "_line": F.concat("file", F.lit(":"), F.col("number").cast("string")),
        }
    )
    judged = quarantine(told, faults, F.col("raw"))
    is_kept = F.col("_fate") == KEPT
    keyed = judged.withColumns(
        {
            "day": F.when(is_kept, F.to_date("click_at")),
            "query_day": F.when(is_kept, F.to_date("query_at")),
            "request_id": _key("user", "query", "query_time"),
            "event_id": _key("user", "query", "query_time", "click_time", F.coalesce(SKU, F.lit(""))),
        }
    )
    return once_each(keyed, ("event_id",), ("file", "number"))


def _key(*columns: str | Column) -> Column:
    return F.substring(F.sha2(F.to_json(F.array(*(F.col(c).cast("string") if isinstance(c, str) else c for c in columns))), 256), 1, 24)


def _left_out(clicks: DataFrame, no_item: Column) -> DataFrame:
    """Lines that make no row, by fate; those that cannot be read as broken_line."""
    is_quarantined = F.col("_fate") == QUARANTINED
    fate = F.when(is_quarantined, "broken_line").when((F.col("_fate") == KEPT) & no_item, "no_item").otherwise(F.col("_fate"))
    return clicks.select("day", fate.alias("_fate"), F.lit(1).alias("_num_lines")).where(F.col("_fate") != KEPT)


def _requests(clicks: DataFrame) -> DataFrame:
    contract = load("requests")

    def candidate(item: Column, place: Column) -> Column:
        none = {"propensity": "double", "score": "double", "price_cents": "bigint"}
        shown = (item.alias("item_id"), F.lit("exposed").alias("stage"), F.lit(True).alias("is_exposed"), (place + 1).alias("position"))
        return F.struct(*shown, *(F.lit(None).cast(kind).alias(name) for name, kind in none.items()))

    kept = clicks.where(F.col("_fate") == KEPT)
    clicked = F.sort_array(F.collect_list(F.when(F.col(SKU).isNotNull(), F.struct("click_at", SKU))))
    searches = kept.groupBy("request_id", "user", "query", "query_at").agg(
        F.array_distinct(F.transform(clicked, lambda click: click[SKU])).alias("clicked"),
        F.count("*").alias("_num_lines"),
        F.min("_line").alias("_line"),
    )
    rows = searches.withColumns(
        {
            "day": F.to_date("query_at"),
            "user_id": F.col("user"),
            "domain": F.lit("search"),
            "requested_at": F.col("query_at"),
            "query_raw": F.col("query"),
            "query_norm": norm_query(F.col("query")),
            "candidates": F.transform("clicked", candidate),
        }
    )
    return shaped(rows, contract).unionByName(folded(_left_out(clicks, F.lit(False)), contract))


def _events(clicks: DataFrame) -> DataFrame:
    contract = load("events")
    is_row = (F.col("_fate") == QUARANTINED) | ((F.col("_fate") == KEPT) & F.col(SKU).isNotNull())
    rows = clicks.where(is_row).withColumns(
        {
            "user_id": F.col("user"),
            "item_id": F.col(SKU),
            "event_type": F.lit("click"),
            "domain": F.lit("search"),
            "event_at": F.col("click_at"),
            "available_at": F.col("click_at"),
            "query_raw": F.col("query"),
        }
    )
    left_out = _left_out(clicks, F.col(SKU).isNull()).where(F.col("_fate") != "broken_line")
    return shaped(rows, contract).unionByName(folded(left_out, contract))


def _items(clicks: DataFrame) -> DataFrame:
    contract = load("items")
    seen = clicks.where((F.col("_fate") == KEPT) & F.col(SKU).isNotNull())
    on_day = seen.select("day", SKU, "click_at", "category_path", F.lit(1).alias("_num_lines"))
    of_search = seen.select(F.col("query_day").alias("day"), SKU, "click_at", "category_path", F.lit(0).alias("_num_lines"))
    both = on_day.unionByName(of_search).groupBy("day", SKU)
    first = F.min(F.when(F.col("category_path").isNotNull(), F.struct("click_at", "category_path")))["category_path"]
    midnight = F.col("day").cast("timestamp")
    rows = both.agg(first.alias("category_path"), F.sum("_num_lines").alias("_num_lines")).withColumns(
        {"item_id": F.col(SKU), "status": F.lit("on_shelf"), "valid_at": midnight, "available_at": midnight}
    )
    return shaped(rows, contract).unionByName(folded(_left_out(clicks, F.col(SKU).isNull()), contract))
