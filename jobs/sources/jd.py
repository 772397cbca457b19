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

    from pyarrow import RecordBatch, Schema
    from pyspark.sql import SparkSession

OPTIONS = {
    "start_day": "first day that sessions are laid on, as 2026-01-01; needed, the data has no days",
    "num_days": "how many days sessions are laid over (7)",
}
PAGES = ("Home2Product", "ShopList2Product", "Sale2Product", "Cart2Product", "SearchList2Product")
DOMAINS = ("rec", "shop", "rec", "rec", "search")
EVENT_TYPES = ("click",) * 5 + ("detail",) * 3 + ("cart", "pay")
TOKEN = r"^(\d+)\+(10|[1-9])\+(\d+)\+(\d{1,9})\+(\d{1,9})$"
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
    tokens = _tokens(_sessions(spark, root, files), first, (last - first).days + 1)
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


def _sessions(spark: "SparkSession", root: str, files: list[str]) -> DataFrame:
    """Each line with its words; session_id from the hash of the words, and whether the same line came before."""
    import pyarrow as pa

    schema: Schema = pa.schema([("file", pa.string()), ("number", pa.int64()), ("text", pa.string())])

    def batches(name: str) -> "Iterator[RecordBatch]":
        with open_lines(f"{root}/{name}") as stream:
            yield from in_batches(({"file": name, "number": n, "text": text_of(line)[0]} for n, line in enumerate(stream, 1)), schema)

    same = Window.partitionBy("session_id").orderBy("file", "number")
    words = F.regexp_extract_all("text", F.lit(r"(\S+)"))
    lines = over_pieces(spark, files, batches, schema).select("file", "number", words.alias("words")).where(F.size("words") > 0)
    named = lines.withColumn("session_id", F.substring(F.sha2(F.concat_ws(" ", "words"), 256), 1, 16))
    return named.withColumn("is_duplicate", F.row_number().over(same) > 1)


def _tokens(sessions: DataFrame, first: date, num_days: int) -> DataFrame:
    """Each token with its parts and its time; one row, with the number of tokens, for each session that came before.

    Columns: `entry` is the last entry up to the token (page, category, at), `run` numbers the lists of the session.
    """
    seconds = F.aggregate("words", F.lit(0).cast("bigint"), lambda total, word: total + _interval(word))
    spare = F.greatest(F.lit(num_days * DAY_S) - seconds, F.lit(1))
    begin = F.lit(int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp()))
    placed = sessions.withColumn("begin", begin + F.pmod(F.xxhash64("session_id"), spare))
    once = placed.where(~F.col("is_duplicate")).select("*", F.posexplode("words").alias("step", "word")).drop("words")
    again = placed.where("is_duplicate").select("*", F.size("words").alias("_num_lines")).drop("words")
    return _lists(_timed(once)).unionByName(
        again.withColumns({"at": F.col("begin"), "_fate": F.lit("duplicate_session")}), allowMissingColumns=True
    )


def _interval(word: Column) -> Column:
    return F.coalesce(_part(word, 4).try_cast("bigint"), F.lit(0))


def _part(word: Column, number: int) -> Column:
    """Part of the token from 1, empty where it is none."""
    return F.regexp_extract(word, TOKEN, number)


def _timed(tokens: DataFrame) -> DataFrame:
    word = F.col("word")
    before = Window.partitionBy("session_id").orderBy("step").rowsBetween(Window.unboundedPreceding, -1)
    return tokens.withColumns(
        {
            "is_broken": ~word.rlike(TOKEN),
            "item_id": _part(word, 1),
            "behaviour": _part(word, 2).try_cast("int"),
            "category": _part(word, 3),
            "dwell_s": _part(word, 5).try_cast("double"),
            "at": F.col("begin") + F.coalesce(F.sum(_interval(word)).over(before), F.lit(0)),
            "_fate": F.lit(KEPT),
            "_num_lines": F.lit(1),
        }
    )


def _lists(tokens: DataFrame) -> DataFrame:
    session = Window.partitionBy("session_id").orderBy("step")
    before, until = session.rowsBetween(Window.unboundedPreceding, -1), session.rowsBetween(Window.unboundedPreceding, 0)
    of_item = Window.partitionBy("session_id", "item_id").orderBy("step").rowsBetween(Window.unboundedPreceding, 0)
    is_entry = F.coalesce(F.col("behaviour") <= len(PAGES), F.lit(False))
    entries = tokens.withColumn("is_entry", is_entry).withColumn("entry", F.when(is_entry, F.struct("behaviour", "category", "at")))
    last = F.last("entry", ignorenulls=True)
    at_last = entries.withColumns({"_last": last.over(before), "_latest": last.over(until), "_of_item": last.over(of_item)})
    is_same_list = (F.col("_last.behaviour") == F.col("behaviour")) & (F.col("_last.category") == F.col("category"))
    is_near = F.col("at") - F.col("_last.at") <= MAX_GAP_S
    is_new = F.col("is_entry") & ~F.coalesce(is_same_list & is_near, F.lit(False))
    page = F.coalesce("_of_item.behaviour", "_latest.behaviour")
    return at_last.withColumns(
        {
            "run": F.sum(is_new.cast("bigint")).over(until),
            "domain": _named(page, DOMAINS),
            "page": _named(F.col("behaviour"), PAGES),
        }
    ).drop("_last", "_latest", "_of_item", "entry")


def _named(number: Column, names: tuple[str, ...]) -> Column:
    """The name of a number from 1; null where there is none."""
    return F.get(F.array(*map(F.lit, names)), number - 1)


def _day(seconds: Column) -> Column:
    return F.to_date(F.timestamp_seconds(seconds))


def _line() -> Column:
    return F.concat("file", F.lit(":"), F.col("number").cast("string"))


def _left_out(tokens: DataFrame, fate: Column) -> DataFrame:
    return tokens.select(_day(F.col("at")).alias("day"), fate.alias("_fate"), "_num_lines").where(F.col("_fate") != KEPT)


def _requests(tokens: DataFrame) -> DataFrame:
    contract = load("requests")
    entries = (
        tokens.where("is_entry")
        .groupBy("session_id", "run")
        .agg(
            F.min("at").alias("at"),
            F.min("domain").alias("domain"),  # the same in all of a run, as are page and category
            F.min("page").alias("page"),
            F.min("category").alias("category"),
            F.array_distinct(F.transform(F.sort_array(F.collect_list(F.struct("step", "item_id"))), lambda e: e["item_id"])).alias(
                "entered"
            ),
            F.count("*").alias("_num_lines"),
            F.min(_line()).alias("_line"),
        )
    )

    def candidate(item: Column, place: Column) -> Column:
        none = {"propensity": "double", "score": "double", "price_cents": "bigint"}
        shown = (item.alias("item_id"), F.lit("exposed").alias("stage"), F.lit(True).alias("is_exposed"), (place + 1).alias("position"))
        return F.struct(*shown, *(F.lit(None).cast(kind).alias(name) for name, kind in none.items()))

    rows = entries.withColumns(
        {
            "day": _day(F.col("at")),
            "request_id": _request_id(),
            "user_id": F.col("session_id"),
            "requested_at": F.timestamp_seconds("at"),
            "page_context": F.create_map(F.lit("page"), "page", F.lit("category"), "category"),
            "candidates": F.transform("entered", candidate),
        }
    )
    fate = F.when(F.col("_fate") != KEPT, F.col("_fate")).when(F.col("is_broken"), "broken_token").when(~F.col("is_entry"), "not_an_entry")
    return shaped(rows, contract).unionByName(folded(_left_out(tokens, fate), contract))


def _request_id() -> Column:
    return F.concat("session_id", F.lit(":"), F.col("run").cast("string"))


def _events(tokens: DataFrame) -> DataFrame:
    contract = load("events")
    number = F.concat("session_id", F.lit(":"), (F.col("step") + 1).cast("string"))
    is_broken, event_type = F.col("is_broken"), _named(F.col("behaviour"), EVENT_TYPES)
    rows = tokens.where(F.col("_fate") == KEPT).withColumns(
        {
            "day": _day(F.col("at")),
            "event_id": F.concat(F.lit("e"), number),
            "user_id": F.col("session_id"),
            "event_type": event_type,
            "event_at": F.timestamp_seconds("at"),
            "available_at": F.timestamp_seconds("at"),
            "request_id": F.when(F.col("is_entry"), _request_id()),
            "order_id": F.when(event_type == "pay", F.concat(F.lit("o"), number)),
            "_fate": F.when(is_broken, QUARANTINED).otherwise(KEPT),
            "_rule": F.when(is_broken, "broken_token"),
            "_reason": F.when(
                is_broken,
                F.concat(F.lit("token "), (F.col("step") + 1).cast("string"), F.lit(" is not sku+behaviour+category+interval+dwell")),
            ),
            "_raw": F.when(is_broken, F.col("word")),
            "_line": _line(),
        }
    )
    return shaped(rows, contract).unionByName(folded(_left_out(tokens, F.col("_fate")), contract))


def _items(tokens: DataFrame) -> DataFrame:
    """An item on each day it is seen, and on the day of the request that its entry belongs to."""
    contract = load("items")
    begin = F.min("at").over(Window.partitionBy("session_id", "run", "is_entry"))
    seen = tokens.where((F.col("_fate") == KEPT) & ~F.col("is_broken")).withColumn("begin", begin)
    on_day = seen.select(_day(F.col("at")).alias("day"), "item_id", "category", F.lit(1).alias("_num_lines"))
    on_day_before = seen.where("is_entry").select(_day(F.col("begin")).alias("day"), "item_id", "category", F.lit(0).alias("_num_lines"))
    items = (
        on_day.unionByName(on_day_before)
        .groupBy("day", "item_id")
        .agg(F.sum("_num_lines").alias("_num_lines"), F.min("category").alias("category"))
    )
    midnight = F.col("day").cast("timestamp")
    rows = items.withColumns(
        {
            "category_path": F.array("category"),
            "status": F.lit("on_shelf"),
            "valid_at": midnight,
            "available_at": midnight,
        }
    )
    fate = F.when(F.col("_fate") != KEPT, F.col("_fate")).when(F.col("is_broken"), "broken_token")
    return shaped(rows, contract).unionByName(folded(_left_out(tokens, fate), contract))
