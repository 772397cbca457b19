"""Hierarchical label attribution of ES3: each event credited to at most one sample of one search request.

Source: UniScale (arXiv 2603.24226); windows, direction in time and ties are our choice (features/es3.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from features.es3 import Params
from features.sampling import NO_POSITION, draw


@dataclass(frozen=True, kw_only=True)
class Level:
    """A kind of sample that may be credited. An event takes the first level, in order of precedence, that has a sample for it."""

    name: str
    match: str
    """Keys that tie event to sample: `request` (request_id, user_id and item_id) or `user` (user_id and item_id)."""
    sample: str
    """exposed, unexposed, or clicked: the user clicked it in that very request before the event."""
    windows: Mapping[str, str]
    """Event type to the field of `Params` that holds the width W in seconds: requested_at <= event_at < requested_at + W."""


LEVELS = (
    Level(name="native", match="request", sample="exposed", windows={"click": "click_window_s", "pay": "pay_window_s"}),
    Level(name="click_exposed", match="user", sample="exposed", windows={"click": "click_window_s"}),
    Level(name="click_unexposed", match="user", sample="unexposed", windows={"click": "click_window_s"}),
    Level(name="pay_clicked", match="user", sample="clicked", windows={"pay": "pay_window_s"}),
    Level(name="pay_exposed", match="user", sample="exposed", windows={"pay": "pay_window_s"}),
    Level(name="pay_unexposed", match="user", sample="unexposed", windows={"pay": "pay_window_s"}),
)
SAMPLES = ("exposed", "unexposed", "clicked")

EVENT_COLUMNS = ("event_id", "user_id", "item_id", "event_type", "domain", "event_at", "available_at", "request_id", "order_id")
BUCKETS = 65_536  # with MAX_ITEMS bounds the broadcast: 65,536 rows of at most 128 item ids, some 300 MB when all are full
MAX_ITEMS = 128  # a bucket with more (a robot, a huge day) lets all its samples through, which costs time and changes nothing


def attribute(
    requests: DataFrame, events: DataFrame, day: date, *, levels: Sequence[Level] = LEVELS, params: Params | None = None
) -> DataFrame:
    """The events that arrived on `day`, each with the one sample that it is credited to, or why none.

    Rows: exactly one for each event of `day`, whatever repeats in `requests`. Samples are what draw() keeps of search requests.
    Columns: requests need request_id, user_id, domain, requested_at, query_norm, candidates, day; events need theirs of the contract.
    Out: the event's, its request_id as origin_request_id; fate, attribution_level (from 1), request_id, request_day, requested_at,
    query_norm, attribution_lag_s; the last six null where no sample is credited.
    Fates, first that holds: `other_type` (no level takes the event type); `duplicate` (an event of the same user, item, type, order_id,
    or without order the same bucket of `duplicate_window_s`, and in search the same request_id, came first by available_at, event_at,
    event_id, over all of `events`); the name of a level; `outside_window` (the user has the item among the samples of `requests`, but
    no level and window fits); `no_candidate`.
    Ties: smallest level, then latest request, then lowest position (nulls last), then smallest request_id.
    Nulls: a null user_id or item_id matches nothing; a null request_id is no request.
    Cost: one scan of requests; each is drawn only if its user acted on one of its items; one shuffle of matched samples and events by
    user and item. Linear in a hot (user, item): running minima over time, no pairs.
    Raises: ValueError when a level asks for an unknown match or sample.
    """
    params = params or Params()
    _check(levels)
    types = sorted({event_type for level in levels for event_type in level.windows})
    is_due = (F.col("day") == F.lit(day)) & F.col("event_type").isin(types)
    acted_on = _acted_on(events.where(is_due))
    earlier = events.where((F.col("day") != F.lit(day)) & F.col("event_type").isin(*types, "click"))
    timeline = _timeline(_samples(requests, acted_on, params), events.where(F.col("day") == F.lit(day)), _among(earlier, acted_on))
    return _credited(_nearest(_matched(timeline, params), day), levels, params)


def _check(levels: Sequence[Level]) -> None:
    wrong = [
        f"{each.name}: match {each.match!r}, sample {each.sample!r}"
        for each in levels
        if each.match not in ("request", "user") or each.sample not in SAMPLES
    ]
    if wrong:
        raise ValueError(f"attribute: levels {'; '.join(wrong)}; match is request or user, sample is one of {', '.join(SAMPLES)}")


def _bucket(user_id: str) -> Column:
    return F.pmod(F.xxhash64(user_id), F.lit(BUCKETS)).cast("int")


def _acted_on(events: DataFrame) -> DataFrame:
    """Items acted on by the users of each bucket, as a set; null where there are more than MAX_ITEMS."""
    items = events.groupBy(_bucket("user_id").alias("bucket")).agg(F.collect_set("item_id").alias("items"))
    return items.select("bucket", F.when(F.size("items") <= MAX_ITEMS, F.col("items")).alias("items"))


def _among(events: DataFrame, acted_on: DataFrame) -> DataFrame:
    """Events of users and items that an event of the day may be about: the others can neither repeat it nor make its sample clicked."""
    may_matter = F.col("items").isNull() | F.array_contains("items", F.col("item_id"))
    bucketed = events.select(*EVENT_COLUMNS, "day", _bucket("user_id").alias("bucket"))
    return bucketed.join(F.broadcast(acted_on), on=["bucket"], how="inner").where(may_matter)  # at most one row a bucket


def _samples(requests: DataFrame, acted_on: DataFrame, params: Params) -> DataFrame:
    """Drawn samples of search requests that an event may match, one row each: a superset, as users share buckets."""
    fields = ("item_id", "stage", "is_exposed", "position")  # all that the draw needs: the scan reads no other field
    search = requests.where((F.col("domain") == "search") & F.col("user_id").isNotNull()).select(
        *("request_id", "user_id", "requested_at", "query_norm", F.col("day").alias("request_day"), _bucket("user_id").alias("bucket")),
        *(F.col(f"candidates.{name}").alias(name) for name in fields),
    )
    near = search.join(F.broadcast(acted_on), on=["bucket"], how="inner")  # at most one row a bucket
    narrow = near.where(F.col("items").isNull() | F.arrays_overlap("item_id", "items"))
    may_match = F.filter(
        draw(F.arrays_zip(*fields), F.col("request_id"), params=params),
        lambda c: F.col("items").isNull() | F.array_contains("items", c["item_id"]),
    )
    best_first = F.struct(
        (-F.unix_micros("requested_at")).alias("latest"),
        F.coalesce("sample.position", F.lit(NO_POSITION)).alias("position"),
        "request_id",
        "sample.is_exposed",
        "requested_at",
        "request_day",
        "query_norm",
    )
    return (
        narrow.select("request_id", "user_id", "requested_at", "query_norm", "request_day", F.explode(may_match).alias("sample"))
        .where(F.col("sample.item_id").isNotNull())
        .select("user_id", F.col("sample.item_id").alias("item_id"), "request_id", best_first.alias("sample"))
    )


def _timeline(samples: DataFrame, *events: DataFrame) -> DataFrame:
    """Samples and events, one below the other; `sample` is null in the rows of events and `event_id` in those of samples."""
    narrow = (frame.select(*EVENT_COLUMNS, "day") for frame in events)
    rows = reduce(lambda above, below: above.unionByName(below, allowMissingColumns=True), narrow, samples)
    return rows.repartition("user_id", "item_id")


def _matched(timeline: DataFrame, params: Params) -> DataFrame:
    """Adds to each row: is_duplicate; named, the sample of the request that the row names; clicked_at, its first native click."""
    width = params.duplicate_window_s * 1_000_000
    at = F.unix_micros("event_at")
    bucket = F.when(F.col("order_id").isNull(), at - F.pmod(at, F.lit(width)))
    own = timeline.withColumns({"bucket": bucket, "search_request": F.when(F.col("domain") == "search", F.col("request_id"))})
    same = Window.partitionBy("user_id", "item_id", "event_type", "order_id", "bucket", "search_request")
    in_request = Window.partitionBy("user_id", "item_id", "request_id")
    arrival = F.struct("available_at", "event_at", "event_id")  # an event delivered again on a later day has the same event_id
    is_native_click = (F.col("event_type") == "click") & (F.col("domain") == "search")
    return own.withColumn("is_duplicate", arrival > F.min(arrival).over(same)).withColumns(
        {"named": F.min("sample").over(in_request), "clicked_at": F.min(F.when(is_native_click, at)).over(in_request)}
    )


def _nearest(matched: DataFrame, day: date) -> DataFrame:
    """Adds the best sample of each kind up to the row's time, over steps in time: requests, first clicks of samples, events of `day`.

    A sample becomes clicked one microsecond after its first click, so that every step up to and with an event's time counts.
    """
    requested, clicked = -F.col("sample.latest"), F.col("clicked_at") + 1
    kind = F.when(F.col("sample.is_exposed"), F.lit("exposed")).otherwise(F.lit("unexposed"))
    is_sample = F.col("sample").isNotNull()
    steps = F.array(
        F.when(F.col("day") == F.lit(day), _step(F.unix_micros("event_at"), F.lit("event"))),
        F.when(is_sample, _step(requested, kind)),
        F.when(is_sample & clicked.isNotNull(), _step(F.greatest(clicked, requested), F.lit("clicked"))),
    )
    pair = Window.partitionBy("user_id", "item_id")
    so_far = pair.orderBy("at").rangeBetween(Window.unboundedPreceding, Window.currentRow)
    best = {f"user_{name}": F.min(F.when(F.col("kind") == name, F.col("sample"))).over(so_far) for name in SAMPLES}
    stepped = matched.withColumn("step", F.explode(F.array_compact(steps)))
    timed = stepped.withColumns({name: F.col(f"step.{name}") for name in ("at", "kind")})
    return timed.withColumns(best).withColumn("has_sample", F.max(F.col("kind") != "event").over(pair))


def _step(at: Column, kind: Column) -> Column:
    return F.struct(at.alias("at"), kind.alias("kind"))


def _credited(nearest: DataFrame, levels: Sequence[Level], params: Params) -> DataFrame:
    """The steps of events, with the first level that holds."""
    places = enumerate(levels, start=1)
    credits = (
        (_holds(each, params), F.struct(F.lit(n).alias("level"), F.lit(each.name).alias("name"), _sample(each).alias("sample")))
        for n, each in places
    )
    credit = F.coalesce(*(F.when(holds, credited) for holds, credited in credits))
    types = sorted({event_type for level in levels for event_type in level.windows})
    exclusion = F.when(~F.col("event_type").isin(types), "other_type").when(F.col("is_duplicate"), "duplicate")
    without = F.when(F.col("has_sample"), "outside_window").otherwise("no_candidate")
    judged = nearest.where(F.col("kind") == "event").withColumns({"excluded": exclusion, "credit": F.when(exclusion.isNull(), credit)})
    return judged.select(
        *(name for name in EVENT_COLUMNS if name != "request_id"),
        F.col("request_id").alias("origin_request_id"),
        F.coalesce("excluded", "credit.name", without).alias("fate"),
        F.col("credit.level").alias("attribution_level"),
        *(F.col(f"credit.sample.{name}").alias(name) for name in ("request_id", "request_day", "requested_at", "query_norm")),
        ((F.col("at") + F.col("credit.sample.latest")) / 1_000_000).alias("attribution_lag_s"),
    )


def _sample(level: Level) -> Column:
    return F.col("named" if level.match == "request" else f"user_{level.sample}")


def _holds(level: Level, params: Params) -> Column:
    """The level's sample exists, is of its kind, and the event is in its window."""
    widths = (F.when(F.col("event_type") == name, F.lit(getattr(params, field) * 1_000_000)) for name, field in level.windows.items())
    lag = F.col("at") + _sample(level)["latest"]
    in_window = (lag >= 0) & (lag < F.coalesce(*widths))
    if level.match == "user":
        return in_window  # _nearest picked the kind
    is_kind = {"exposed": F.col("named.is_exposed"), "unexposed": ~F.col("named.is_exposed"), "clicked": F.col("clicked_at") < F.col("at")}
    return in_window & is_kind[level.sample]
