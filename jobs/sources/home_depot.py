"""Graded search results of homedepot.com (Kaggle 2016): train.csv or train.csv.zip, in latin-1; one (search term, product) a line.

Three or more judges gave each pair 1 (irrelevant), 2 (partly relevant) or 3 (perfect); the file holds their mean.

What the data lacks: days and times, users, what was shown, at which place, and what was clicked. No log was published. So:
- All rows lie on one day, `start_day`; `judgements` and `items` are there from its midnight.
- `requests` and `events`: none, as nobody is known to have searched, seen or clicked; the search terms are in `judgements`.
- `items`: a product with the title that it has in its first line (some have several); no category, brand or price.
- `judgements`: the grade as it is, and relevance = (grade - 1) / 2.

Lines of both tables are lines of the file. One that cannot be read is quarantined in `judgements` (`broken_line`, `no_search_term`,
`no_product`, `unreadable_relevance`) and `broken_line` in `items`; the same term and product again is `duplicate`.
product_descriptions.csv and attributes.csv of the competition are not read; test.csv has no grades.
"""

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING, BinaryIO

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.splits import is_evaluation
from features.text import norm_query
from jobs.sources import RawTable, SourceError
from jobs.sources._rows import KEPT, QUARANTINED, folded, once_each, quarantine, shaped
from jobs.sources._scan import count_each, in_batches, open_lines, over_pieces
from jobs.sources._text import count, csv_header, records
from jobs.storage import filesystem, lake_address
from schemas.contract import load

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyspark.sql import SparkSession

OPTIONS = {"start_day": "the day that all rows are laid on, as 2026-01-01; needed, the data has no days"}
FILES = ("train.csv", "train.csv.zip")
COLUMNS = ("id", "product_uid", "product_title", "search_term", "relevance")
LEAST, GREATEST = 1.0, 3.0


def read(spark: "SparkSession", path: str | None, days: tuple[date, date] | None, *, start_day: str | None = None) -> dict[str, RawTable]:
    file, day = _file(path), _day(start_day)
    if days not in (None, (day, day)):
        raise SourceError(f"home_depot lays all rows on start_day, {day}, not on {days[0]}..{days[1]}; leave out --days")
    ((lines, fault),) = count_each(spark, [file], _count)
    if fault or not lines:
        raise SourceError(f"home_depot cannot read {file}: {fault or 'there is no line below the names'}")
    pairs = _pairs(spark, file, day)
    frames = {"items": _items(pairs), "judgements": _judgements(pairs)}
    return {name: RawTable(frame, lines) for name, frame in frames.items()}


def _day(start_day: str | None) -> date:
    try:
        return date.fromisoformat(start_day or "")
    except ValueError as error:
        given = f", not {start_day!r}" if start_day else ""
        raise SourceError(f"home_depot has no days of its own: give --start-day a day for all its rows, as 2026-01-01{given}") from error


def _file(path: str | None) -> str:
    """Address of the one file. Raises SourceError where there is none, or more than one."""
    from pyarrow import fs as pafs

    if not path:
        raise SourceError(f"home_depot reads {' or '.join(FILES)}, or the folder that holds it: name it with --from")
    address = lake_address(path)
    system, inside = filesystem(address)
    if system.get_file_info(inside).type == pafs.FileType.File:
        return address
    found = [name for name in FILES if system.get_file_info(f"{inside}/{name}").type == pafs.FileType.File]
    if len(found) != 1:
        none = f"no {' and no '.join(FILES)} there; give the folder that holds one, or the file"
        what = f"it holds both {' and '.join(found)}; take one away" if found else none
        raise SourceError(f"home_depot cannot read {path}: {what}")
    return f"{address}/{found[0]}"


def _utf8(stream: BinaryIO) -> Iterator[bytes]:
    """The lines, which are latin-1, as those that read text take them."""
    return (line.decode("latin-1").encode() for line in stream)


def _count(file: str) -> int:
    """Lines below the names, counted by line ends apart from the rows. Raises ValueError where a column is missing."""
    with open_lines(file) as stream:
        names = csv_header(_utf8(stream), ",")
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise ValueError(f"lacks column {', '.join(missing)}; its first line names {', '.join(names) or 'nothing'}")
    with open_lines(file) as stream:
        return count(_utf8(stream), "csv")


def _pairs(spark: "SparkSession", file: str, day: date) -> DataFrame:
    """Every line with its number, its values as text, and what is wrong with it."""
    import pyarrow as pa

    fields = [("number", pa.int64()), ("raw", pa.string()), ("fault", pa.string()), *((name, pa.string()) for name in COLUMNS)]
    schema = pa.schema(fields)

    def rows(name: str) -> Iterator[dict[str, object]]:
        with open_lines(name) as stream:
            for each in records(_utf8(stream), "csv"):
                values = each.values or {}
                told = {"number": each.line, "raw": each.raw, "fault": each.fault}
                yield told | {column: (values.get(column) or "").strip() or None for column in COLUMNS}

    def batches(name: str) -> "Iterator[RecordBatch]":
        return in_batches(rows(name), schema)

    grade = F.col("relevance").try_cast("double")
    is_broken = F.col("fault").isNotNull()
    is_grade = F.coalesce((grade >= LEAST) & (grade <= GREATEST), F.lit(False))
    reason = F.concat(
        F.lit("relevance is "), F.coalesce(F.col("relevance"), F.lit("missing")), F.lit(f", must be {LEAST:g} to {GREATEST:g}")
    )
    faults = {
        "broken_line": (is_broken, F.col("fault")),
        "no_search_term": (~is_broken & norm_query(F.col("search_term")).isNull(), F.lit("there is no search_term")),
        "no_product": (~is_broken & F.col("product_uid").isNull(), F.lit("there is no product_uid")),
        "unreadable_relevance": (~is_broken & ~is_grade, reason),
    }
    midnight = F.lit(day).cast("timestamp")
    named = over_pieces(spark, [file], batches, schema).withColumns(
        {
            "day": F.lit(day),
            "query_raw": F.col("search_term"),
            "query_norm": norm_query(F.col("search_term")),
            "item_id": F.col("product_uid"),
            "grade": grade,
            "valid_at": midnight,
            "available_at": midnight,
            "_fate": F.lit(KEPT),
            "_line": F.concat(F.lit(f"{file.rsplit('/', 1)[-1]}:"), F.col("number").cast("string")),
        }
    )
    return once_each(quarantine(named, faults, F.col("raw")), ("query_norm", "item_id"), ("number",))


def _left_out(pairs: DataFrame) -> DataFrame:
    """Lines that make no item."""
    fate = F.when(F.col("_fate") == QUARANTINED, "broken_line").otherwise(F.col("_fate"))
    return pairs.where(F.col("_fate") != KEPT).select("day", fate.alias("_fate"), F.lit(1).alias("_num_lines"))


def _judgements(pairs: DataFrame) -> DataFrame:
    relevance = (F.col("grade") - LEAST) / (GREATEST - LEAST)
    split = is_evaluation(F.col("query_raw"))
    return shaped(pairs.withColumns({"relevance": relevance, "judged_by": F.lit("home_depot"), "is_evaluation": split}), load("judgements"))


def _items(pairs: DataFrame) -> DataFrame:
    contract = load("items")
    first = F.min(F.when(F.col("product_title").isNotNull(), F.struct("number", "product_title")))["product_title"]
    of_product = pairs.where(F.col("_fate") == KEPT).groupBy("day", "item_id", "valid_at", "available_at")
    items = of_product.agg(first.alias("title"), F.count("*").alias("_num_lines")).withColumn("status", F.lit("on_shelf"))
    return shaped(items, contract).unionByName(folded(_left_out(pairs), contract))
