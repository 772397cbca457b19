"""Behaviour sequences: the last events of a key that were available before each of its requests."""

from collections.abc import Sequence

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F


def last_before(
    requests: DataFrame,
    events: DataFrame,
    *,
    on: str,
    key: str,
    time: str,
    values: Sequence[str],
    limit: int,
    max_age_s: int,
    events_time: str = "available_at",
    tie: str = "event_id",
) -> DataFrame:
    """For each request its last `limit` events, latest first, and how many of the events given came before it.

    Rows: those of requests, each once, whatever repeats on either side.
    Columns: requests need `on`, `key`, `time`, events `on`, events_time, `tie` and `values`. Gives key, time,
    num_before (bigint), and latest, array<struct<events_time and values>>.
    Units: an event counts in time - max_age_s <= events_time < time, seconds; num_before has no such limit. Equality is the future.
    Nulls: a null `on` or time, on either side, has no event and is none; then latest is empty.
    Ties: of events at the same time the one with the greatest `tie` comes first.
    Cost: one shuffle of both sides by `on`, narrow columns. Events are numbered in their order, what no request can see is dropped, the
    rest is cut into blocks of `limit`, so that a request looks at two blocks: linear, however many events or requests a key has.
    Raises: ValueError when limit or max_age_s < 1.
    """
    if limit < 1 or max_age_s < 1:
        raise ValueError(f"last_before: limit is {limit}, max_age_s {max_age_s}; both must be >= 1")
    visible = _visible(_timeline(requests, events, on, key, time, values, events_time, tie), on, limit)
    is_event = F.col("event").isNotNull()
    blocks = visible.groupBy(on, F.floor((F.greatest("place", F.lit(1)) - 1) / limit).alias("block")).agg(
        F.sort_array(F.collect_list(F.when(is_event, F.struct("place", "event")))).alias("events"),
        F.collect_list(F.when(~is_event, F.struct("place", "at", key))).alias("requests"),
    )
    before = F.lag("events").over(Window.partitionBy(on).orderBy("block"))
    seen = blocks.withColumn("events", F.concat(F.coalesce(before, F.array()), "events")).select(
        "events", F.explode("requests").alias("of")
    )
    age = lambda e: F.unix_micros("of.at") - F.unix_micros(e["event"][events_time])  # noqa: E731
    is_last = lambda e: (e["place"] <= F.col("of.place")) & (e["place"] > F.col("of.place") - limit)  # noqa: E731
    last = F.filter("events", lambda e: is_last(e) & (age(e) <= max_age_s * 1_000_000))
    asked = F.col(f"of.{key}").alias(key), F.col("of.at").alias(time), F.col("of.place").alias("num_before")
    return seen.select(*asked, F.reverse(last["event"]).alias("latest"))


def _timeline(
    requests: DataFrame, events: DataFrame, on: str, key: str, time: str, values: Sequence[str], events_time: str, tie: str
) -> DataFrame:
    """Both sides in one frame: on, at, tie, key (of requests), event (of events), and place, the number of events up to the row."""
    asked = requests.select(on, F.col(time).alias("at"), key)
    event = F.struct(events_time, *(name for name in values if name != events_time)).alias("event")
    happened = events.dropna("any", subset=[on, events_time]).select(on, F.col(events_time).alias("at"), F.col(tie).alias("tie"), event)
    # equality is the future: at the same time requests (without a tie) come before events
    order = Window.partitionBy(on).orderBy("at", F.col("event").isNotNull(), "tie")
    place = F.count("event").over(order.rowsBetween(Window.unboundedPreceding, Window.currentRow))
    return asked.unionByName(happened, allowMissingColumns=True).withColumn("place", place)


def _visible(timeline: DataFrame, on: str, limit: int) -> DataFrame:
    """The requests, and of the events those that at least one of them can see."""
    everything = Window.partitionBy(on)
    of_request = F.when(F.col("event").isNull(), F.col("place"))
    bounds = {"first": F.min(of_request).over(everything), "last": F.max(of_request).over(everything)}
    is_seen = (F.col("place") > F.col("first") - limit) & (F.col("place") <= F.col("last"))
    return timeline.withColumns(bounds).where(F.col("event").isNull() | is_seen).drop("first", "last")
