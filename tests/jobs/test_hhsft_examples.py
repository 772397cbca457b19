"""A small day whole: every request and sample kept in the books, and no feature from what could not be known."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

import pytest
from pyspark.sql import functions as F

from features import hhsft
from jobs import hhsft_examples
from jobs.hhsft_examples import FATES, build
from jobs.session import suited_to
from schemas.derive import spark_schema
from schemas.entire_space import CONTRACT as SPACE
from schemas.events import CONTRACT as EVENTS
from schemas.hhsft_examples import CONTRACT, ITEM_FEATURES, REQUEST_FEATURES
from schemas.items import CONTRACT as ITEMS
from schemas.query_item_stats import CONTRACT as STATS
from tests.frames import frame

DAY = date(2026, 1, 10)
NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
MICRO, MINUTE, HOUR, DAYS = timedelta(microseconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CONTRACTS = {"entire_space": SPACE, "events": EVENTS, "items": ITEMS, "query_item_stats": STATS}
NAMES, FIELDS = [f.name for f in REQUEST_FEATURES], [f.name for f in ITEM_FEATURES]


def shown(item: str, **more: object) -> dict[str, object]:
    return {"item_id": item, "is_exposed": True, "sample_type": "exposed", "p_inclusion": 1.0, "weight": 1.0, "price_cents": 500} | more


def request(name: str, user: str, *items: dict[str, object], at: datetime = NOON, **more: object) -> dict[str, object]:
    facts = {"request_id": name, "user_id": user, "requested_at": at, "day": DAY, "query_norm": "red shoe", "query_source": "native"}
    return facts | {"items": list(items)} | more


def event(name: str, user: str, item: str, at: datetime, **more: object) -> dict[str, object]:
    return {"event_id": name, "user_id": user, "item_id": item, "event_at": at, "available_at": at, "day": at.date()} | more


CLICK = {"y_click": 1, "label_source": "native", "attributed_event_id": "own", "attribution_lag_s": 60.0}
SPACES = [
    request("first", "ann", shown("x", sample_type="click", position=1, **CLICK), shown("lamp", position=2),
            shown("mug", is_exposed=False, sample_type="unexposed", p_inclusion=0.5, weight=2.0)),
    request("second", "ann", shown("mug"), shown("x", y_click=1, y_pay=1), at=NOON + 2 * HOUR),
    request("morning", "bob", shown("lamp"), at=NOON - 11 * HOUR, query_norm=None),
    request("stranger", "new", shown("nowhere"), shown("x")),
    # made from the click `own` of bob in a list of rec; what he clicked before and after it are other events
    request("pseudo:own", "bob", shown("x", sample_type="click", **CLICK), shown("lamp"), shown("mug"), domain="rec", is_pseudo=True,
            query_source="item_stats"),
]  # fmt: skip
ACTS = [
    event("old", "ann", "lamp", NOON - 3 * DAYS, event_type="pay"), event("equal", "ann", "mug", NOON),
    event("same-day", "ann", "mug", NOON - HOUR, domain="shop"), event("her-own", "ann", "x", NOON + MINUTE),
    event("before", "bob", "lamp", NOON - MICRO), event("own", "bob", "x", NOON, domain="rec"), event("after", "bob", "mug", NOON + MICRO),
    event("late", "bob", "mug", NOON - 2 * DAYS, available_at=NOON + HOUR, day=DAY),
]  # fmt: skip


def snapshots() -> list[dict[str, object]]:
    """Of the day before and of the day, each to be read from 02:00 on."""
    return [
        {"item_id": item, "day": day, "available_at": datetime(day.year, day.month, day.day, 2, tzinfo=UTC), "title": f"red {item}",
         "category_path": ["all", item], "brand": f"brand of {item}", "shop_id": "s", "price_cents": 700}
        for day in (DAY - DAYS, DAY) for item in ("x", "lamp", "mug")
    ]  # fmt: skip


STATISTICS = [{"query_norm": "red shoe", "item_id": "x", "num_clicks_28d": 5, "day": DAY - DAYS}]
WORLD = {"entire_space": SPACES, "events": ACTS, "items": snapshots(), "query_item_stats": STATISTICS}


def world(spark, **changed):
    return {name: frame(spark, CONTRACTS[name], rows) for name, rows in (WORLD | changed).items()}


def built(spark, inputs, day: date = DAY) -> dict[str, object]:
    with suited_to(spark, 0):
        rows = build(inputs, day).collect()
    assert len({row.request_id for row in rows}) == len(rows)
    return {row.request_id: row for row in rows}


@pytest.fixture(scope="module")
def rows(spark):
    return built(spark, world(spark))


def features(rows) -> dict[str, tuple[object, ...]]:
    """What a model reads of each request."""
    return {key: (*(r[n] for n in NAMES), [tuple(i[n] for n in FIELDS) for i in r["items"]]) for key, r in rows.items()}


def shifted(rows: list[dict[str, object]], by: timedelta) -> list[dict[str, object]]:
    """The same rows with every day and time moved."""
    return [{k: v + by if isinstance(v, (date, datetime)) else v for k, v in row.items()} for row in rows]


def test_columns_are_the_contracts_then_the_books(spark):
    schema, wanted = build(world(spark), DAY).schema, spark_schema(CONTRACT)
    assert [(f.name, f.dataType.simpleString()) for f in schema][: len(wanted)] == [(f.name, f.dataType.simpleString()) for f in wanted]
    assert (
        {name: tuple(schema[f"_{name}"].dataType.names) for name in FATES} == FATES == {"requests": ("example",), "samples": ("example",)}
    )


def test_every_request_and_sample_is_an_example_with_what_it_had(rows):
    assert {key: (r._requests.example, r._samples.example) for key, r in rows.items()} == {
        r["request_id"]: (1, len(r["items"])) for r in SPACES
    }
    for given in SPACES:
        row = rows[given["request_id"]]
        assert (row.user_id, row.query_source, row.is_pseudo) == (given["user_id"], given["query_source"], given.get("is_pseudo", False))
        assert row.requested_at.replace(tzinfo=UTC) == given["requested_at"] and row.day == DAY
        names = ("item_id", "is_exposed", "sample_type", "p_inclusion", "weight", "position", "label_source", "y_click", "y_pay")
        assert [[i[n] for n in names] for i in row["items"]] == [
            [i.get(n, 0 if n[0] == "y" else None) for n in names] for i in given["items"]
        ]
    native = {key: [i.y_click_native for i in r["items"]] for key, r in rows.items()}
    assert native == {"first": [1, 0, 0], "second": [0, 0], "morning": [0], "stranger": [0, 0], "pseudo:own": [0, 0, 0]}


def test_a_click_does_not_see_itself_nor_anything_of_its_moment(rows):
    """`own` made the pseudo-request; it and `equal` are available at the very moment of the request, `late` after it."""
    mug, lamp, x = (rows["pseudo:own"]["items"][n].item_hash for n in (2, 1, 0))
    assert rows["pseudo:own"].seq_item == [lamp] and rows["pseudo:own"].user_activity == 2
    assert rows["first"].seq_item == [mug, lamp] and rows["second"].seq_item == [x, mug, mug, lamp]
    assert rows["morning"].seq_item == [] == rows["stranger"].seq_item


def test_requests_and_pseudo_requests_take_one_path(spark, rows):
    """The same request, once native and once as if made from a click: equal but for the domain, and the match that would tell the click."""
    twin = SPACES[0] | {"request_id": "pseudo:twin", "is_pseudo": True, "domain": "shop", "query_source": "user_history"}
    found = built(spark, world(spark, entire_space=[SPACES[0], twin]))
    first, second = found["first"], found["pseudo:twin"]
    assert {n for n in NAMES if first[n] != second[n]} == {"domain_id"} and (first.domain_id, second.domain_id) == (1, 3)
    for one, other in zip(first["items"], second["items"], strict=True):
        assert {n for n in FIELDS if one[n] != other[n]} == {"match_words", "match_clicks"}
        assert (other.match_words, other.match_clicks) == (0, 0) < (one.match_words, one.match_clicks)


def test_what_comes_after_the_requests_changes_no_feature(spark, rows):
    """Another future each: acts from the last request on, and snapshots that can be read only then; labels of another outcome."""
    last = NOON + 2 * HOUR
    later = [
        event(f"later-{n}", user, item, last + n * MICRO) for n, (user, item) in enumerate([("ann", "x"), ("bob", "lamp"), ("new", "x")])
    ]
    renewed = [
        s | {"available_at": last, "title": "other words", "brand": "other", "category_path": ["z"], "price_cents": 9} for s in snapshots()
    ]
    relabelled = [r | {"items": [i | {"y_click": 1, "y_pay": 1, "sample_type": "click"} for i in r["items"]]} for r in SPACES]
    other = built(spark, world(spark, events=ACTS + later, items=snapshots() + renewed, entire_space=relabelled))
    assert features(other) == features(rows)
    assert other["first"]["items"][1].y_pay == 1 != rows["first"]["items"][1].y_pay


def test_facts_of_the_future_alone_give_nothing(spark, rows):
    """All facts moved past the last request: what is left is what the request itself says."""
    empty = built(spark, world(spark, events=shifted(ACTS, 4 * DAYS), items=shifted(snapshots(), 2 * DAYS), query_item_stats=[]))
    nothing = built(spark, world(spark, events=[], items=[], query_item_stats=[]))
    assert features(empty) == features(nothing)
    own = ("item_id", "item_hash", "item_price", "item_clicks", "match_clicks")
    for key, row in empty.items():
        assert all(row[n] == [] for n in NAMES if n.startswith("seq_")) and (row.user_activity, row.user_pays, row.user_price) == (1, 1, 0)
        assert (row.query_hash, row.user_hash, row.hour) == (rows[key].query_hash, rows[key].user_hash, rows[key].hour)
        assert all(not i[n] for i in row["items"] for n in FIELDS if n not in own)


def test_moving_the_facts_by_one_window_changes_what_it_should(spark, rows):
    """By a day, with the requests: nothing. Acts alone by the window of behaviours: what is older is gone, to the microsecond."""
    moved = {name: shifted(each, DAYS) for name, each in WORLD.items()}
    next_day = built(spark, {name: frame(spark, CONTRACTS[name], each) for name, each in moved.items()}, DAY + DAYS)
    assert features(next_day) == features(rows)
    older = built(spark, world(spark, events=shifted(ACTS, -28 * DAYS)))
    x, mug = (rows["first"]["items"][n].item_hash for n in (0, 2))
    assert (older["first"].seq_item, older["second"].seq_item) == ([x, mug], [])  # `equal` is just as old as may be
    assert older["pseudo:own"].seq_item == [mug, mug, x]  # and so is `own`
    assert [older[key]["items"] for key in rows] == [row["items"] for row in rows.values()]


def test_no_user_is_on_both_sides_of_a_split(spark):
    spaces = [request(f"r{n}", f"u{n % 400}", shown("x"), at=NOON + n * MINUTE, is_pseudo=n % 3 == 0) for n in range(1200)]
    sides, counts = defaultdict(set), defaultdict(int)
    for row in built(spark, world(spark, entire_space=spaces)).values():
        sides[row.user_id].add(row.user_bucket)
        counts[row.user_bucket < 80] += 1
    assert len(sides) == 400 and all(len(buckets) == 1 and 0 <= min(buckets) < 100 for buckets in sides.values())
    assert 0.7 < counts[True] / 1200 < 0.9  # 0.8; users are drawn, not requests: 3 standard deviations are 0.06


def test_rows_do_not_depend_on_partitions_shuffles_or_generated_code(spark, rows, monkeypatch):
    """Compiled, from scattered inputs, over three shuffle partitions, with every join by a shuffle, as where nothing is small."""
    for module in (hhsft, hhsft_examples):
        monkeypatch.setattr(module, "broadcast_if_small", lambda frame, *_: frame)
    before = {key: spark.conf.get(key) for key in ("spark.sql.shuffle.partitions", "spark.sql.autoBroadcastJoinThreshold")}
    try:
        spark.conf.set("spark.sql.shuffle.partitions", "3")
        spark.conf.set("spark.sql.autoBroadcastJoinThreshold", "-1")
        scattered = {name: each.repartition(3, F.rand(5)) for name, each in world(spark).items()}
        made = build(scattered, DAY)
        assert "Broadcast" not in made._jdf.queryExecution().executedPlan().toString()
        other = {row.request_id: row for row in made.collect()}
    finally:
        for key, value in before.items():
            spark.conf.set(key, value)
    assert other == rows


def test_a_day_without_requests_is_empty(spark):
    assert built(spark, world(spark, entire_space=[])) == {}
