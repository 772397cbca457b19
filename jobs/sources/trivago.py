"""Hotel search of the RecSys 2019 challenge (trivago): parquet files of actions, some of which log the list that was shown.

A list is logged when something on it is clicked out of, but was seen before that. So each distinct list of a session is one
request, dated at the last action before its first clickout that can have produced it: start of the session, search for a
destination, item or point of interest, filter, sort order, or a clickout of another list (the next page). Later clickouts of
the same list are further events of that request. What was done in between so finds its exposure.

What the data lacks: titles and catalogue, what was recalled but not shown, lists that nobody clicked out of, domains other
than search, orders. So every candidate is exposed, `items` hold ids alone, and nothing is a pay.

`requests`: query_raw is the city and the active filters, as no text is logged; page_context platform, device, city, filters;
prices (euro) in cents. A line that repeats a list counts with its request, one that logs none is `not_a_list`.
`events`: a clickout is a click with its request_id; image, info, rating, deals and search for an item are detail. Other actions
are `not_an_event`, an item action that names no item is `no_item`. event_id is session, time and step; the same again is `duplicate`.
`items`: one row per item and day on which it was listed, shown or acted on; its lines are those mentions: places in a
list and references of actions, those of the day of a list whose clickout came after midnight counted once.
"""

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, NamedTuple

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from features.text import norm_query
from jobs.sources import RawTable, SourceError
from jobs.sources._rows import KEPT, QUARANTINED, folded, once_each, quarantine, shaped, within
from jobs.storage import filesystem, lake_address, spark_address
from schemas.contract import Contract, load

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyspark.sql import SparkSession

OPTIONS: dict[str, str] = {}
COLUMNS = {
    "user_id": "string",
    "session_id": "string",
    "timestamp": "bigint",
    "step": "bigint",
    "action_type": "string",
    "reference": "string",
    "platform": "string",
    "city": "string",
    "device": "string",
    "current_filters": "string",
    "impressions": "string",
    "prices": "string",
}
CLICKOUT = "clickout item"
DETAILS = (*(f"interaction item {part}" for part in ("image", "info", "rating", "deals")), "search for item")
MAKES_A_LIST = ("search for destination", "search for poi", "search for item", "filter selection", "change of sort order", CLICKOUT)
ITEM = r"^\d+$"
MAX_SECONDS = 1 << 33  # the year 2242; a greater number counts milliseconds


class Found(NamedTuple):
    """What is in the files, counted batch by batch apart from Spark."""

    lines: int
    mentions: int
    first: date
    last: date


def read(spark: "SparkSession", path: str | None, days: tuple[date, date] | None, **options: str) -> dict[str, RawTable]:
    if options:
        raise SourceError(f"trivago has no options, it was given {', '.join(sorted(options))}")
    files = _files(path)
    found = _count(files)
    days = days or (found.first, found.last)
    if days[1] < found.first or days[0] > found.last:
        raise SourceError(
            f"{path} holds {found.first}..{found.last}, nothing of {days[0]}..{days[1]}; ask for days that it holds with --days"
        )
    actions = _actions(spark, files)
    requests = _requests(actions)
    return {
        "items": RawTable(within(_items(actions, requests, load("items")), days), found.mentions),
        "requests": RawTable(within(_request_rows(actions, requests, load("requests")), days), found.lines),
        "events": RawTable(within(_event_rows(actions, load("events")), days), found.lines),
    }


def _files(path: str | None) -> list[str]:
    """Address of the file, or of each parquet file of the folder. Raises SourceError when there is none."""
    from pyarrow import fs as pafs

    if not path:
        raise SourceError("trivago reads a parquet file of the challenge, or a folder of them: name it with --from")
    address = lake_address(path)
    system, inside = filesystem(address)
    kind = system.get_file_info(inside).type
    if kind == pafs.FileType.File:
        return [address]
    found = system.get_file_info(pafs.FileSelector(inside)) if kind == pafs.FileType.Directory else []
    scheme = address[: len(address) - len(inside)] if address.endswith(inside) else ""
    files = sorted(scheme + f.path for f in found if f.is_file and f.path.endswith(".parquet"))
    if not files:
        what = "there is no such file or folder" if kind == pafs.FileType.NotFound else "the folder holds no .parquet file"
        raise SourceError(f"trivago cannot read {path}: {what}; give the parquet of the challenge's actions with --from")
    return files


def _count(files: list[str]) -> Found:
    """Lines, mentions of items and days, batch by batch. Raises SourceError with all that is wrong with the files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    problems, lines, mentions, times = [], 0, 0, []
    for file in files:
        system, inside = filesystem(file)
        try:
            with system.open_input_file(inside) as stream:
                parquet = pq.ParquetFile(stream)
                wrong = _wrong_columns(parquet.schema_arrow)
                problems += [f"{file}: {each}" for each in wrong]
                lines += parquet.metadata.num_rows
                for batch in [] if wrong else parquet.iter_batches(columns=["timestamp", "action_type", "reference", "impressions"]):
                    mentions += _mentions(batch)
                    times += _ends(batch)
        except (pa.ArrowException, OSError) as error:
            problems.append(f"{file} is no whole parquet file ({str(error).splitlines()[0]}); fetch it again")
    if not problems and not times:
        problems = ["there is no line with a time in it"]
    if problems:
        raise SourceError("trivago cannot read its input:\n" + "\n".join(f"- {each}" for each in problems))
    first, last = (datetime.fromtimestamp(edge(times), UTC).date() for edge in (min, max))
    return Found(lines, mentions, first, last)


def _wrong_columns(schema: object) -> list[str]:
    import pyarrow as pa

    accepted = {"bigint": (pa.types.is_integer,), "string": (pa.types.is_string, pa.types.is_large_string, pa.types.is_null)}
    wrong = []
    for name, kind in COLUMNS.items():
        index = schema.get_field_index(name)
        if index < 0:
            wrong.append(f"lacks column {name} ({kind}); it has {', '.join(schema.names)}")
        elif not any(is_kind(schema.field(index).type) for is_kind in accepted[kind]):
            wrong.append(f"column {name} is {schema.field(index).type}, must be {kind}")
    return wrong


def _mentions(batch: "RecordBatch") -> int:
    import pyarrow.compute as pc

    is_list = pc.equal(batch["action_type"], CLICKOUT)
    places = pc.add(pc.count_substring(batch["impressions"], "|"), 1)
    is_act = pc.is_in(batch["action_type"], value_set=_values((CLICKOUT, *DETAILS)))
    named = pc.and_(is_act, pc.match_substring_regex(batch["reference"], ITEM))
    return (pc.sum(pc.if_else(is_list, places, 0)).as_py() or 0) + (pc.sum(named).as_py() or 0)


def _values(texts: tuple[str, ...]) -> object:
    import pyarrow as pa

    return pa.array(texts)


def _ends(batch: "RecordBatch") -> list[int]:
    import pyarrow.compute as pc

    times = batch["timestamp"]
    ends = pc.min_max(times.filter(pc.and_(pc.greater(times, 0), pc.less(times, MAX_SECONDS)))).as_py()
    return [end for end in ends.values() if end is not None]


def _actions(spark: "SparkSession", files: list[str]) -> DataFrame:
    """Every line, with its file and number, its time (null where it is none) and what is wrong with it."""
    ddl = ", ".join(f"`{name}` {kind}" for name, kind in COLUMNS.items())
    lines = spark.read.schema(ddl).parquet(*map(spark_address, files))
    number = F.col("_metadata.row_index") + 1
    is_time = (F.col("timestamp") > 0) & (F.col("timestamp") < MAX_SECONDS)
    at = F.when(is_time, F.timestamp_seconds("timestamp"))
    names = lines.select(*COLUMNS, F.col("_metadata.file_name").alias("_file"), number.alias("_number"), at.alias("at"))
    return names.withColumns(
        {
            "_line": F.concat("_file", F.lit(":"), F.col("_number").cast("string")),
            "day": F.to_date("at"),
            "_fate": F.lit(KEPT),
            "shown": F.split("impressions", r"\|"),
            "costs": F.split("prices", r"\|"),
        }
    )


def _fates(lines: DataFrame) -> DataFrame:
    """The lines, quarantined where they cannot be read."""
    raw = F.to_json(F.struct(*COLUMNS))
    is_list = F.col("action_type") == CLICKOUT
    num_shown, num_costs = (F.coalesce(F.size(name), F.lit(0)) for name in ("shown", "costs"))
    is_cost = F.forall("costs", lambda cost: cost.rlike(r"^\d{1,9}$"))
    faults = {
        "unreadable_timestamp": (
            F.col("at").isNull(),
            F.concat(
                F.lit("timestamp "), F.coalesce(F.col("timestamp").cast("string"), F.lit("null")), F.lit(" is not seconds since 1970")
            ),
        ),
        "no_impressions": (is_list & (num_shown == 0), F.lit("a clickout that logs no list")),
        "prices_unlike_impressions": (
            is_list & (num_shown != num_costs),
            F.concat(num_shown.cast("string"), F.lit(" impressions, "), num_costs.cast("string"), F.lit(" prices")),
        ),
        "unreadable_prices": (is_list & ~is_cost, F.lit("a price is not a whole number of euro")),
    }
    return quarantine(lines, {name: (F.coalesce(is_bad, F.lit(False)), reason) for name, (is_bad, reason) in faults.items()}, raw)


def _requests(actions: DataFrame) -> DataFrame:
    """One row for each distinct list of a session: when it was asked for, its first clickout, and how many lines log it."""
    order = ("timestamp", "step", "_file", "_number")
    before = Window.partitionBy("session_id").orderBy(*order).rowsBetween(Window.unboundedPreceding, -1)
    start = F.first("at").over(Window.partitionBy("session_id").orderBy(*order).rowsBetween(Window.unboundedPreceding, 0))
    produced = F.max(F.when(F.col("action_type").isin(*MAKES_A_LIST), F.col("at"))).over(before)
    lists = (
        _fates(actions)
        .where(F.col("_fate") == KEPT)
        .select(*actions.columns, F.coalesce(produced, start).alias("produced_at"))
        .where(F.col("action_type") == CLICKOUT)
    )
    details = ("user_id", "produced_at", "platform", "device", "city", "current_filters", "shown", "costs", "_line")
    first = F.min(F.struct(*order, *(F.col(name) for name in details if name not in order)))
    grouped = lists.groupBy("session_id", "impressions").agg(first.alias("first"), F.count("*").alias("_num_lines"))
    return grouped.select("session_id", "impressions", "_num_lines", *(F.col(f"first.{name}").alias(name) for name in details)).withColumns(
        {"day": F.to_date("produced_at"), "request_id": _request_id(), "_fate": F.lit(KEPT)}
    )


def _request_id() -> Column:
    return F.concat("session_id", F.lit(":"), F.lower(F.hex(F.xxhash64("impressions"))))


def _request_rows(actions: DataFrame, requests: DataFrame, contract: Contract) -> DataFrame:
    filters = F.regexp_replace("current_filters", r"\|", " ")
    query = F.concat_ws(" ", "city", filters)

    def candidate(item: Column, place: Column) -> Column:
        none = F.lit(None)
        return F.struct(
            item.alias("item_id"),
            F.lit("exposed").alias("stage"),
            F.lit(True).alias("is_exposed"),
            (place + 1).alias("position"),
            none.cast("double").alias("propensity"),
            none.cast("double").alias("score"),
            (F.get("costs", place).cast("bigint") * 100).alias("price_cents"),
        )

    kept = requests.withColumns(
        {
            "domain": F.lit("search"),
            "requested_at": F.col("produced_at"),
            "query_raw": query,
            "query_norm": norm_query(query),
            "page_context": _context({"platform": "platform", "device": "device", "city": "city", "filters": "current_filters"}),
            "candidates": F.transform("shown", candidate),
        }
    )
    rest = _fates(actions)
    others = rest.where((F.col("_fate") == KEPT) & ~F.coalesce(F.col("action_type") == CLICKOUT, F.lit(False)))
    folds = others.select("day", F.lit("not_a_list").alias("_fate"), F.lit(1).alias("_num_lines"))
    broken = rest.where(F.col("_fate") == QUARANTINED).withColumn("domain", F.lit("search")).withColumn("requested_at", F.col("at"))
    return shaped(kept, contract).unionByName(shaped(broken, contract)).unionByName(folded(folds, contract))


def _context(names: dict[str, str]) -> Column:
    """A map of those columns that are not null."""
    pairs = F.array(
        *(
            F.when(F.col(column).isNotNull(), F.struct(F.lit(name).alias("key"), F.col(column).alias("value")))
            for name, column in names.items()
        )
    )
    return F.map_from_entries(F.array_compact(pairs))


def _event_rows(actions: DataFrame, contract: Contract) -> DataFrame:
    is_click = F.col("action_type") == CLICKOUT
    is_event = F.coalesce(is_click | F.col("action_type").isin(*DETAILS), F.lit(False))
    number = F.col("timestamp").cast("string"), F.col("step").cast("string")
    typed = actions.withColumns(
        {
            "event_id": F.concat_ws(":", "session_id", *number),
            "item_id": F.col("reference"),
            "event_type": F.when(is_click, "click").otherwise("detail"),
            "domain": F.lit("search"),
            "event_at": F.col("at"),
            "available_at": F.col("at"),
            "request_id": F.when(is_click & F.col("impressions").isNotNull(), _request_id()),
            "_num_lines": F.lit(1),
        }
    )
    faults = {"unreadable_timestamp": (is_event & F.col("at").isNull(), F.lit("timestamp is not seconds since 1970"))}
    named = quarantine(typed, faults, F.to_json(F.struct(*COLUMNS)))
    is_item = F.coalesce(F.col("reference").rlike(ITEM), F.lit(False))
    fate = F.when(~is_event, "not_an_event").when((F.col("_fate") == KEPT) & ~is_item, "no_item").otherwise(F.col("_fate"))
    fated = named.withColumn("_fate", fate)
    rows = once_each(fated.where(~F.col("_fate").isin("not_an_event", "no_item")), ("event_id",), ("_file", "_number"))
    folds = fated.where(F.col("_fate").isin("not_an_event", "no_item")).select("day", "_fate", "_num_lines")
    return shaped(rows, contract).unionByName(folded(folds, contract))


def _items(actions: DataFrame, requests: DataFrame, contract: Contract) -> DataFrame:
    """One row per day and item that is mentioned; on the day of a list too, where its clickout came after midnight."""
    is_list = F.col("action_type") == CLICKOUT
    is_act = (is_list | F.col("action_type").isin(*DETAILS)) & F.col("reference").rlike(ITEM)
    mentioned = F.concat(
        F.when(is_list, F.coalesce("shown", F.array())).otherwise(F.array()), F.when(is_act, F.array("reference")).otherwise(F.array())
    )
    seen = actions.select("day", F.explode(mentioned).alias("item_id"), F.lit(1).alias("_num_lines"))
    listed = requests.select("day", F.explode("shown").alias("item_id"), F.lit(0).alias("_num_lines"))
    each = seen.unionByName(listed).groupBy("day", "item_id").agg(F.sum("_num_lines").alias("_num_lines"))
    midnight = F.col("day").cast("timestamp")
    dated = each.withColumns({"status": F.lit("on_shelf"), "valid_at": midnight, "available_at": midnight})
    return shaped(dated.withColumn("_fate", F.lit(KEPT)), contract)
