"""Micro-behaviours of JD.com (WSDM 2020): one session a line, from five ways to a product up to cart and order.

A line holds tokens `sku+behaviour+category+interval+dwell`: the seconds until the next token, and those spent on the product.

What the data lacks: users, days and times, queries, prices, lists (items that were shown and not entered, places, what was
recalled), order numbers and amounts. So nothing here tells about exposure beyond what was entered. What is derived:
- Days: sessions are laid over `num_days` from `start_day`. A session begins at a second drawn by the hash of its line such that
  it ends within these days; intervals give the rest. A session longer than all days loses what comes after them (`other_day`).
- Users: each session is a user, named by the hash of its line; the same line again is `duplicate_session`.
- `requests`: tokens of behaviour 1-5 enter a product from a list. Entries in a row from the same page and category, each within
  30 minutes of the one before, are one request at the time of the first; its candidates are the items entered, all exposed, in
  that order. 5 SearchList2Product is domain search, 2 ShopList2Product shop, 1 Home, 3 Sale and 4 Cart are rec. There is no query;
  page_context holds the page and the category.
- `events`: each entry is a click with its request_id, 6-8 are detail, 9 cart, 10 pay, with an order_id of its own; these three
  happen in the domain of the last entry to their item, or else of the last entry. available_at is event_at.
- `items`: an item and its category, on each day it is seen.

Lines of all three tables are tokens. What makes no request is `not_an_entry`; a token that cannot be read is quarantined in
`events`, `broken_token` in the others, and takes no time.
"""

import hashlib
import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs.sources import RawTable, SourceError
from jobs.sources._rows import KEPT, QUARANTINED, folded, shaped, within
from jobs.sources._scan import count_each, files_below, in_batches, open_lines, over_pieces
from jobs.sources._text import text_of
from jobs.storage import lake_address
from schemas.contract import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyarrow import RecordBatch
    from pyspark.sql import SparkSession

OPTIONS = {
    "start_day": "first day that sessions are laid on, as 2026-01-01; needed, the data has no days",
    "num_days": "how many days sessions are laid over (7)",
}
PAGES = ("Home2Product", "ShopList2Product", "Sale2Product", "Cart2Product", "SearchList2Product")
DOMAINS = ("rec", "shop", "rec", "rec", "search")
EVENT_TYPES = ("click",) * 5 + ("detail",) * 3 + ("cart", "pay")
TOKEN = re.compile(r"([0-9]+)[+](10|[1-9])[+]([0-9]+)[+]([0-9]{1,9})[+]([0-9]{1,9})")
MAX_GAP_S = 1800  # our choice: who enters nothing for half an hour has left the list
DAY_S = 86_400


def read(
    spark: "SparkSession", path: str | None, days: tuple[date, date] | None, *, start_day: str | None = None, num_days: str = "7"
) -> dict[str, RawTable]:
    root, files = _files(path)
    first, last = _days(start_day, num_days)
    asked = days or (first, last)
    if asked[1] < first or asked[0] > last:
        raise SourceError(
            f"jd lays its sessions on {first}..{last}, nothing on {asked[0]}..{asked[1]}; change --days, start_day or num_days"
        )
    lines = _count(spark, root, files)
    tokens = _tokens(spark, root, files, first, (last - first).days + 1)
    frames = {"items": _items(tokens), "requests": _requests(tokens), "events": _events(tokens)}
    return {name: RawTable(within(frame, asked), lines) for name, frame in frames.items()}


def _days(start_day: str | None, num_days: str) -> tuple[date, date]:
    try:
        first = date.fromisoformat(start_day or "")
        length = int(num_days)
        if length < 1:
            raise ValueError(num_days)
        return first, first + timedelta(days=length - 1)
    except (ValueError, OverflowError) as error:
        told = f"start_day is {start_day!r}, num_days {num_days!r}"
        raise SourceError(
            f"jd has no days of its own: {told}; give a day as 2026-01-01 and how many to lay sessions over, from 1"
        ) from error


def _files(path: str | None) -> tuple[str, list[str]]:
    if not path:
        raise SourceError("jd reads a folder with files of sessions, one a line: name it with --from")
    root = lake_address(path)
    files = [name for name in files_below(root) if not name.endswith(".md")]
    if not files:
        raise SourceError(
            f"jd cannot read {path}: no file in it; give the folder that holds HUP_Data/ and JD_Micro_Behaviors_Datasets_sample/"
        )
    return root, files


def _count(spark: "SparkSession", root: str, files: list[str]) -> int:
    """Tokens of all files, counted as words apart from the rows."""

    def count(name: str) -> int:
        with open_lines(f"{root}/{name}") as stream:
            return sum(len(line.split()) for line in stream)

    told = list(zip(files, count_each(spark, files, count), strict=True))
    problems = [f"- {name}: {fault}" for name, (_, fault) in told if fault]
    if problems or not any(found for _, (found, _) in told):
        raise SourceError(f"jd cannot read {root}:\n" + "\n".join(problems or ["- there is no token in its files"]))
    return sum(found for _, (found, _) in told)


def _tokens(spark: "SparkSession", root: str, files: list[str], first: date, num_days: int) -> DataFrame:
    """Every token with its parts, its time, its list; `is_duplicate` where the line of its session came before."""
    import pyarrow as pa

    names = {
        "file": pa.string(),
        "number": pa.int64(),
        "word": pa.string(),
        **dict.fromkeys(("item_id", "category", "domain"), pa.string()),
    }
    names |= dict.fromkeys(("step", "behaviour", "dwell_s", "at", "list_number", "list_at"), pa.int64()) | {"session_id": pa.string()}
    schema = pa.schema(list(names.items()))
    begin = int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp())

    def rows(name: str) -> "Iterator[dict[str, object]]":
        with open_lines(f"{root}/{name}") as stream:
            for number, line in enumerate(stream, 1):
                for each in session_of(text_of(line)[0].split(), begin, num_days):
                    yield each | {"file": name, "number": number}

    def batches(name: str) -> "Iterator[RecordBatch]":
        return in_batches(rows(name), schema)

    earliest = F.min(F.struct("file", "number")).over(Window.partitionBy("session_id"))
    is_first = (earliest["file"] == F.col("file")) & (earliest["number"] == F.col("number"))
    tokens = over_pieces(spark, files, batches, schema).withColumn("is_duplicate", ~is_first)
    is_entry, is_broken = F.col("list_number").isNotNull(), F.col("behaviour").isNull()
    return tokens.withColumns(
        {"is_entry": is_entry, "is_broken": is_broken, "_fate": F.when(F.col("is_duplicate"), "duplicate_session").otherwise(KEPT)}
    )


def session_of(words: list[str], begin: int, num_days: int) -> "Iterator[dict[str, object]]":
    """The tokens of one line, oldest first, with times in seconds; a loop, as each depends on those before.

    Columns: list_number (from 1) and list_at, when it began, of an entry; domain of the last entry to the item, or else of the last.
    A token that cannot be read has only `word`, and the time of the next one.
    """
    digest = hashlib.sha256(" ".join(words).encode()).digest()
    parts = [TOKEN.fullmatch(word) for word in words]
    length = sum(int(part[4]) for part in parts if part)
    at = begin + int.from_bytes(digest[8:16]) % max(1, num_days * DAY_S - length)
    domains: dict[str, str] = {}
    domain, number, opened, last = None, 0, 0, None
    for step, (word, part) in enumerate(zip(words, parts, strict=True), 1):
        token = dict.fromkeys(("item_id", "category", "domain", "behaviour", "dwell_s", "list_number", "list_at"))
        token |= {"session_id": digest[:8].hex(), "word": word, "step": step, "at": at}
        if part:
            item, behaviour, category = part[1], int(part[2]), part[3]
            if behaviour <= len(PAGES):
                if last is None or last[:2] != (behaviour, category) or at - last[2] > MAX_GAP_S:
                    number, opened = number + 1, at
                last = (behaviour, category, at)
                domain = domains[item] = DOMAINS[behaviour - 1]
                token |= {"list_number": number, "list_at": opened}
            token |= {"item_id": item, "behaviour": behaviour, "category": category, "dwell_s": int(part[5])}
            token["domain"] = domains.get(item, domain)
            at += int(part[4])
        yield token


def _named(number: Column, names: tuple[str, ...]) -> Column:
    """The name of a number from 1; null where there is none."""
    return F.get(F.array(*map(F.lit, names)), number - 1)


def _day(seconds: str) -> Column:
    return F.to_date(F.timestamp_seconds(seconds))


def _line() -> Column:
    return F.concat("file", F.lit(":"), F.col("number").cast("string"))


def _left_out(tokens: DataFrame, fate: Column) -> DataFrame:
    lines = tokens.select(_day("at").alias("day"), fate.alias("_fate"), F.lit(1).alias("_num_lines"))
    return lines.where(F.col("_fate") != KEPT)


def _requests(tokens: DataFrame) -> DataFrame:
    contract = load("requests")
    is_entry = F.col("is_entry") & ~F.col("is_duplicate")
    entered = F.transform(F.sort_array(F.collect_list(F.struct("step", "item_id"))), lambda e: e["item_id"])
    lists = (
        tokens.where(is_entry)
        .groupBy("session_id", "list_number")
        .agg(
            F.min("list_at").alias("at"),  # the same in all of a list, as are the next three
            F.min("domain").alias("domain"),
            F.min("behaviour").alias("behaviour"),
            F.min("category").alias("category"),
            F.array_distinct(entered).alias("entered"),
            F.count("*").alias("_num_lines"),
            F.min(_line()).alias("_line"),
        )
    )

    def candidate(item: Column, place: Column) -> Column:
        none = {"propensity": "double", "score": "double", "price_cents": "bigint"}
        shown = (item.alias("item_id"), F.lit("exposed").alias("stage"), F.lit(True).alias("is_exposed"), (place + 1).alias("position"))
        return F.struct(*shown, *(F.lit(None).cast(kind).alias(name) for name, kind in none.items()))

    page = _named(F.col("behaviour"), PAGES)
    rows = lists.withColumns(
        {
            "day": _day("at"),
            "request_id": _request_id(),
            "user_id": F.col("session_id"),
            "requested_at": F.timestamp_seconds("at"),
            "page_context": F.create_map(F.lit("page"), page, F.lit("category"), "category"),
            "candidates": F.transform("entered", candidate),
        }
    )
    fate = F.when(F.col("is_duplicate"), F.col("_fate")).when(F.col("is_broken"), "broken_token").when(~F.col("is_entry"), "not_an_entry")
    return shaped(rows, contract).unionByName(folded(_left_out(tokens, fate), contract))


def _request_id() -> Column:
    return F.concat("session_id", F.lit(":"), F.col("list_number").cast("string"))


def _events(tokens: DataFrame) -> DataFrame:
    contract = load("events")
    number = F.concat("session_id", F.lit(":"), F.col("step").cast("string"))
    is_broken, event_type = F.col("is_broken"), _named(F.col("behaviour"), EVENT_TYPES)
    reason = F.concat(F.lit("token "), F.col("step").cast("string"), F.lit(" is not sku+behaviour+category+interval+dwell"))
    rows = tokens.where(~F.col("is_duplicate")).withColumns(
        {
            "day": _day("at"),
            "event_id": F.concat(F.lit("e"), number),
            "user_id": F.col("session_id"),
            "event_type": event_type,
            "event_at": F.timestamp_seconds("at"),
            "available_at": F.timestamp_seconds("at"),
            "request_id": F.when(F.col("is_entry"), _request_id()),
            "order_id": F.when(event_type == "pay", F.concat(F.lit("o"), number)),
            "_fate": F.when(is_broken, QUARANTINED).otherwise(KEPT),
            "_rule": F.when(is_broken, "broken_token"),
            "_reason": F.when(is_broken, reason),
            "_raw": F.when(is_broken, F.col("word")),
            "_line": _line(),
        }
    )
    return shaped(rows, contract).unionByName(folded(_left_out(tokens, F.col("_fate")), contract))


def _items(tokens: DataFrame) -> DataFrame:
    """An item on each day it is seen, and on the day of the request that its entry belongs to."""
    contract = load("items")
    seen = tokens.where(~F.col("is_duplicate") & ~F.col("is_broken"))
    on_day = seen.select(_day("at").alias("day"), "item_id", "category", F.lit(1).alias("_num_lines"))
    of_list = seen.where("is_entry").select(_day("list_at").alias("day"), "item_id", "category", F.lit(0).alias("_num_lines"))
    both = on_day.unionByName(of_list).groupBy("day", "item_id")
    items = both.agg(F.sum("_num_lines").alias("_num_lines"), F.min("category").alias("category"))  # an item has one in all of the data
    midnight = F.col("day").cast("timestamp")
    path = F.array("category")
    rows = items.withColumns({"category_path": path, "status": F.lit("on_shelf"), "valid_at": midnight, "available_at": midnight})
    fate = F.when(F.col("is_duplicate"), F.col("_fate")).when(F.col("is_broken"), "broken_token")
    return shaped(rows, contract).unionByName(folded(_left_out(tokens, fate), contract))
