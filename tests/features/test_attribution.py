"""Attribution against an oracle that joins all pairs in DuckDB, and the edges by hand."""

from collections import Counter
from datetime import timedelta

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.attribution import LEVELS, Level, attribute
from features.sampling import draw
from schemas.attributions import CONTRACT, CREDITED
from schemas.events import CONTRACT as EVENTS
from schemas.requests import CONTRACT as REQUESTS
from tests.features import attribution_cases as cases
from tests.features.attribution_cases import DAY, MICRO, NOON
from tests.frames import frame

COLUMNS = [column.name for column in CONTRACT.columns if column.name != "day"]


def rows_of(attributed: DataFrame) -> list[tuple[object, ...]]:
    """Rows by event_id, the lag in whole microseconds, timestamps without zone as DuckDB gives them."""
    lag = F.round(F.col("attribution_lag_s") * 1_000_000).cast("bigint").alias("lag_us")
    table = cases.naive(attributed.select(*COLUMNS[:-1], lag).orderBy("event_id").toArrow())
    return [tuple(row.values()) for row in table.to_pylist()]


def samples_of(requests: DataFrame) -> DataFrame:
    drawn = requests.where("domain = 'search'").select(
        "request_id", "user_id", "requested_at", F.col("day").alias("request_day"), "query_norm",
        F.explode(draw(F.col("candidates"), F.col("request_id"))).alias("c"))  # fmt: skip
    return drawn.select("*", "c.item_id", "c.is_exposed", "c.position").drop("c")


@pytest.fixture(scope="module")
def generated(spark):
    requests = cases.requests(seed=5, number=500)
    events = cases.events(seed=6, number=7000, of=requests)
    return frame(spark, REQUESTS, requests), frame(spark, EVENTS, events)


def test_every_row_equals_the_oracle_of_all_pairs(generated):
    requests, events = generated
    expected = cases.oracle(samples_of(requests).toArrow(), events.toArrow())
    fates = Counter(row[9] for row in expected)
    assert set(fates) == {*CREDITED, "no_candidate", "outside_window", "duplicate", "other_type"}
    assert min(fates.values()) >= 5, fates
    assert rows_of(attribute(requests, events, DAY)) == expected


def test_partitions_and_order_of_the_input_change_nothing(spark, generated):
    requests, events = generated
    once = rows_of(attribute(requests, events, DAY))
    spark.conf.set("spark.sql.shuffle.partitions", "5")
    try:
        again = rows_of(attribute(requests.repartition(3, "requested_at"), events.orderBy(F.xxhash64("event_id")).repartition(4), DAY))
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", "1")
    assert again == once


def test_properties_of_every_row(generated):
    """Each event of the day once; a credit never before its request, nor across users or items; a request_id exactly when credited."""
    requests, events = generated
    credited = attribute(requests, events, DAY)
    lists = requests.select("request_id", F.col("user_id").alias("asked_by"), F.col("candidates.item_id").alias("ids"), "domain")
    joined = credited.join(lists.withColumnRenamed("domain", "asked_in"), "request_id", "left").agg(
        F.count("*").alias("rows"),
        F.count_distinct("event_id").alias("events"),
        F.count_if(F.col("attribution_lag_s") < 0).alias("before"),
        F.count_if(F.col("request_id").isNotNull() != F.col("fate").isin(*CREDITED)).alias("half"),
        F.count_if(F.col("request_id").isNotNull()).alias("credited"),
        F.count_if(
            (F.col("asked_by") == F.col("user_id")) & F.array_contains("ids", F.col("item_id")) & (F.col("asked_in") == "search")
        ).alias("fitting"),
    )
    row = joined.first()
    due = events.where(F.col("day") == F.lit(DAY)).count()
    assert (row.rows, row.events, row.before, row.half) == (due, due, 0, 0)
    assert row.credited == row.fitting > 100


HOUR, DAYS = timedelta(hours=1), timedelta(days=1)
SHOWN, HIDDEN = {"item_id": "a", "is_exposed": True, "position": 1}, {"item_id": "b", "is_exposed": False}
REQUEST_ROWS = [  # each case is a user of its own
    *({"request_id": f"{user}.r", "user_id": user, "requested_at": NOON - DAYS} for user in ("click_0", "click_24h", "click_before")),
    *({"request_id": f"{user}.r", "user_id": user, "requested_at": NOON - DAYS} for user in ("other_user", "named_item", "hidden", "fav")),
    {"request_id": "pay_7d.r", "user_id": "pay_7d", "requested_at": NOON - 7 * DAYS},
    {"request_id": "pay_in.r", "user_id": "pay_in", "requested_at": NOON - 7 * DAYS},
    {"request_id": "rec.r", "user_id": "rec", "domain": "rec", "requested_at": NOON - HOUR},
    {"request_id": "rec.s", "user_id": "rec", "requested_at": NOON - 2 * HOUR},
    *({"request_id": f"clicked.{n}", "user_id": "clicked", "requested_at": NOON - n * HOUR} for n in (1, 2, 3)),
    *({"request_id": f"same_time.{n}", "user_id": "same_time", "requested_at": NOON - n * HOUR} for n in (1, 2)),
    *({"request_id": f"skew.{n}", "user_id": "skew", "requested_at": NOON - n * HOUR} for n in (1, 3)),
    *({"request_id": f"ties.{n}", "user_id": "ties", "requested_at": NOON - HOUR} for n in "abcd"),
    {"request_id": "lone.r", "user_id": "lone", "requested_at": NOON - HOUR, "candidates": [HIDDEN]},
]
POSITIONS = {"ties.a": None, "ties.b": 2, "ties.c": 1, "ties.d": 1}
EVENT_ROWS = {
    # name of the case: (user, item, type, domain, event_at, request_id, further columns), the fate and request that it must get
    "click_0": (("click_0", "a", "click", "rec", NOON - DAYS, None), ("click_exposed", "click_0.r")),
    "click_in": (("click_24h", "a", "click", "rec", NOON - MICRO, None), ("click_exposed", "click_24h.r")),
    "click_24h": (("click_24h", "a", "click", "rec", NOON, None), ("outside_window", None)),
    "native_24h": (("click_24h", "a", "click", "search", NOON, "click_24h.r"), ("outside_window", None)),
    "click_before": (("click_before", "a", "click", "shop", NOON - DAYS - MICRO, None), ("outside_window", None)),
    "pay_7d": (("pay_7d", "a", "pay", "search", NOON, "pay_7d.r"), ("outside_window", None)),
    "pay_in": (("pay_in", "a", "pay", "search", NOON - MICRO, "pay_in.r"), ("native", "pay_in.r")),
    "hidden_click": (("hidden", "b", "click", "search", NOON - 20 * HOUR, "hidden.r"), ("click_unexposed", "hidden.r")),
    "hidden_pay": (("hidden", "b", "pay", "shop", NOON - 22 * HOUR, None), ("pay_unexposed", "hidden.r")),  # its click comes later
    "not_drawn": (("lone", "b", "click", "rec", NOON, None), ("no_candidate", None)),  # nothing exposed, so nothing drawn
    "unknown_user": (("nobody", "a", "click", "rec", NOON, None), ("no_candidate", None)),
    "fav": (("fav", "a", "fav", "search", NOON - 20 * HOUR, "fav.r"), ("other_type", None)),
    "other_user": (("other_user", "a", "click", "search", NOON - 20 * HOUR, "named_item.r"), ("click_exposed", "other_user.r")),
    "item_not_listed": (("named_item", "z", "click", "search", NOON - 20 * HOUR, "named_item.r"), ("no_candidate", None)),
    "names_rec": (("rec", "a", "click", "rec", NOON, "rec.r"), ("click_exposed", "rec.s")),
    "clicked": (("clicked", "a", "pay", "shop", NOON, None), ("pay_clicked", "clicked.2")),  # 2 was clicked, 1 is later, 3 is older
    "click_of_2": (("clicked", "a", "click", "search", NOON - 1.5 * HOUR, "clicked.2"), ("native", "clicked.2")),
    "click_of_3": (("clicked", "a", "click", "search", NOON - 1.5 * HOUR, "clicked.3"), ("native", "clicked.3")),
    "paid_at_click": (("same_time", "a", "pay", "shop", NOON, None), ("pay_exposed", "same_time.1")),  # a click at that time is no click
    "click_at_pay": (("same_time", "a", "click", "search", NOON, "same_time.2"), ("native", "same_time.2")),
    "click_of_skew_3": (("skew", "a", "click", "search", NOON - 2.5 * HOUR, "skew.3"), ("native", "skew.3")),
    "click_before_request": (("skew", "a", "click", "search", NOON - 2 * HOUR, "skew.1"), ("click_exposed", "skew.3")),
    "pay_before_request": (("skew", "a", "pay", "shop", NOON - 1.5 * HOUR, None), ("pay_clicked", "skew.3")),  # skew.1 is still to come
    "ties": (("ties", "a", "click", "rec", NOON, None), ("click_exposed", "ties.c")),  # position 1 before 2 before null, then request_id
    "null_user": ((None, "a", "click", "rec", NOON, None), ("no_candidate", None)),
}


def test_edges_by_hand(spark):
    requests = [
        {"candidates": [SHOWN | {"position": POSITIONS.get(row["request_id"], 1)}, HIDDEN], "day": row["requested_at"].date()} | row
        for row in REQUEST_ROWS
    ]
    names = ("user_id", "item_id", "event_type", "domain", "event_at", "request_id")
    events = [
        dict(zip(names, given, strict=True)) | {"event_id": case, "day": DAY, "available_at": NOON + HOUR}
        for case, (given, _) in EVENT_ROWS.items()
    ]
    rows = attribute(frame(spark, REQUESTS, requests), frame(spark, EVENTS, events), DAY).collect()
    assert {row.event_id: (row.fate, row.request_id) for row in rows} == {case: expected for case, (_, expected) in EVENT_ROWS.items()}
    lags = {row.event_id: row.attribution_lag_s for row in rows}
    assert lags["click_0"] == 0.0 and lags["click_in"] == 86399.999999 and lags["fav"] is None


def test_repeated_events_keep_the_first_that_became_available(spark):
    """An earlier day's event is the original; another order, bucket of 30 minutes, item, type or search request is no repetition."""
    base = {"user_id": "u", "item_id": "a", "event_type": "click", "domain": "rec", "event_at": NOON, "available_at": NOON, "day": DAY}
    given = {
        "yesterday": {"event_at": NOON - 12 * HOUR, "available_at": NOON - 12 * HOUR, "day": DAY - DAYS},
        "late_copy": {"event_at": NOON - 12 * HOUR + MICRO, "available_at": NOON + HOUR},
        "a_first": {},
        "b_same_times": {},
        "earlier_but_arrived_later": {"event_at": NOON + MICRO, "available_at": NOON + HOUR},
        "end_of_bucket": {"event_at": NOON + HOUR / 2 - MICRO, "available_at": NOON + HOUR},
        "next_bucket": {"event_at": NOON + HOUR / 2, "available_at": NOON + HOUR},
        "other_domain_without_search": {"domain": "shop", "available_at": NOON + HOUR},
        "in_search": {"domain": "search", "request_id": "r1"},
        "in_other_search": {"domain": "search", "request_id": "r2"},
        "in_search_again": {"domain": "search", "request_id": "r2", "available_at": NOON + MICRO},
        "rec_request_does_not_matter": {"request_id": "r9", "available_at": NOON + HOUR},
        "pay_1": {"event_type": "pay", "order_id": "o1"},
        "pay_2": {"event_type": "pay", "order_id": "o2"},
        "pay_1_again": {"event_type": "pay", "order_id": "o1", "event_at": NOON + 5 * HOUR, "available_at": NOON + 6 * HOUR},
        "pay_no_order": {"event_type": "pay"},
    }
    delivered_again = {"event_id": "again", "item_id": "z", "event_at": NOON - 12 * HOUR}
    both = [base | delivered_again | {"day": DAY - DAYS, "available_at": NOON - 12 * HOUR}, base | delivered_again]
    events = frame(spark, EVENTS, [base | {"event_id": name} | row for name, row in given.items()] + both)
    fates = {row.event_id: row.fate for row in attribute(frame(spark, REQUESTS, []), events, DAY).collect()}
    assert fates.pop("again") == "duplicate"
    repeated = {"late_copy", "b_same_times", "earlier_but_arrived_later", "end_of_bucket", "other_domain_without_search", "in_search_again",
                "rec_request_does_not_matter", "pay_1_again"}  # fmt: skip
    assert fates == {name: "duplicate" if name in repeated else "no_candidate" for name in given if name != "yesterday"}


def test_a_user_with_too_many_items_is_still_exact(spark, monkeypatch, generated):
    requests, events = generated
    expected = rows_of(attribute(requests, events, DAY))
    monkeypatch.setattr("features.attribution.MAX_ITEMS", 3)
    monkeypatch.setattr("features.attribution.BUCKETS", 2)
    assert rows_of(attribute(requests, events, DAY)) == expected


def test_levels_are_data(spark):
    """Another order and other levels: clicked within the named request only."""
    levels = (
        Level(name="late", match="user", sample="exposed", windows={"click": "click_window_s"}),
        Level(name="named_clicked", match="request", sample="clicked", windows={"pay": "click_window_s"}),
    )
    request = {"request_id": "r", "user_id": "u", "requested_at": NOON, "day": DAY, "candidates": [SHOWN]}
    base = {"user_id": "u", "item_id": "a", "domain": "search", "request_id": "r", "day": DAY}
    events = [
        {"event_id": "click", "event_type": "click", "event_at": NOON + HOUR},
        {"event_id": "pay_before_click", "event_type": "pay", "event_at": NOON + HOUR, "order_id": "o1"},
        {"event_id": "pay", "event_type": "pay", "event_at": NOON + 2 * HOUR, "order_id": "o2"},
    ]
    rows = attribute(frame(spark, REQUESTS, [request]), frame(spark, EVENTS, [base | e for e in events]), DAY, levels=levels).collect()
    assert {row.event_id: (row.fate, row.attribution_level) for row in rows} == {
        "click": ("late", 1), "pay_before_click": ("outside_window", None), "pay": ("named_clicked", 2)}  # fmt: skip
    with pytest.raises(ValueError, match="match 'item', sample 'seen'"):
        attribute(None, None, DAY, levels=(Level(name="x", match="item", sample="seen", windows={}),))


def test_fates_are_those_of_the_contract():
    assert tuple(level.name for level in LEVELS) == CREDITED


@pytest.fixture
def long_plans(spark):
    """Plans as text, uncut."""
    names = ("spark.sql.maxPlanStringLength", "spark.sql.maxMetadataStringLength")
    before = {name: spark.conf.get(name) for name in names}
    for name in names:
        spark.conf.set(name, "100000")
    yield
    for name, value in before.items():
        spark.conf.set(name, value)


def test_requests_are_read_once_and_only_matched_samples_are_shuffled(spark, tmp_path, long_plans):
    """The plan: one scan of requests with four fields of the candidates, met by broadcast, and one exchange above it."""
    frame(spark, REQUESTS, [{"candidates": [SHOWN]}]).write.parquet(str(tmp_path / "requests"))
    frame(spark, EVENTS, [{}]).write.parquet(str(tmp_path / "events"))
    attributed = attribute(spark.read.parquet(str(tmp_path / "requests")), spark.read.parquet(str(tmp_path / "events")), DAY)
    plan = attributed._jdf.queryExecution().executedPlan().toString().splitlines()
    scans = [line.split("ReadSchema: ")[1] for line in plan if "FileScan" in line]
    of_requests = [schema for schema in scans if "candidates" in schema]
    assert len(of_requests) == 1 and len(scans) > 1, scans
    assert "candidates:array<struct<item_id:string,stage:string,is_exposed:boolean,position:int>>" in of_requests[0]
    assert sum("REPARTITION_BY_COL" in line for line in plan) == 1
    above = plan[: next(n for n, line in enumerate(plan) if "REPARTITION_BY_COL" in line)]
    assert not any("Exchange" in line or "Join" in line for line in above), above
    assert sum("BroadcastHashJoin" in line for line in plan) == 2 and not any("SortMergeJoin" in line for line in plan)
