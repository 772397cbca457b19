"""One day by hand with every fate of every account, its books, and what may not change it: the future, partitions, generated code."""

from datetime import UTC, date, datetime, timedelta

import pytest
from pyspark.sql import functions as F

from jobs.entire_space import COLUMNS, FATES, build
from jobs.session import suited_to
from schemas.attributions import CONTRACT as ATTRIBUTIONS
from schemas.derive import spark_schema
from schemas.entire_space import CONTRACT
from schemas.items import CONTRACT as ITEMS
from schemas.query_item_stats import CONTRACT as STATS
from schemas.requests import CONTRACT as REQUESTS
from schemas.text_vectors import CONTRACT as VECTORS
from tests.frames import frame

DAY, BEFORE = date(2026, 1, 10), date(2026, 1, 9)
NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
MICRO, MINUTE, HOUR, DAYS = timedelta(microseconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SHOES = [f"shoe{n}" for n in range(6)]
ITEM_IDS = ["x", *SHOES, "gone", "leaves", "comes", "lamp", "mug", *(f"u{n}" for n in range(10))]
LABELS = ("sample_type", "y_click", "y_pay", "label_source", "attributed_event_id", "attribution_lag_s")


def shown(*items: str, first: int = 1, cents: int = 100) -> list[dict[str, object]]:
    return [{"item_id": item, "is_exposed": True, "position": first + n, "price_cents": cents + n} for n, item in enumerate(items)]


def hidden(*items: str, stage: str = "ranked") -> list[dict[str, object]]:
    return [{"item_id": item, "is_exposed": False, "stage": stage} for item in items]


def request(name: str, candidates: list[dict[str, object]], at: datetime = NOON, **more: object) -> dict[str, object]:
    facts = {"request_id": name, "user_id": name, "requested_at": at, "day": DAY, "domain": "search", "query_norm": f"query of {name}"}
    return facts | {"candidates": candidates} | more


def feed(user: str, *items: str, at: datetime = NOON, name: str = "", cents: int = 100) -> dict[str, object]:
    """A list of rec in which the user saw these items."""
    return request(name or f"list-{user}", shown(*items, cents=cents), at, user_id=user, domain="rec", query_norm=None)


def event(name: str, user: str, item: str, **more: object) -> dict[str, object]:
    """An uncredited click in rec, a minute after noon, known at once, in the user's own list."""
    facts = {"event_id": name, "user_id": user, "item_id": item, "event_type": "click", "domain": "rec", "fate": "no_candidate", "day": DAY,
             "event_at": NOON + MINUTE, "available_at": NOON + MINUTE, "origin_request_id": f"list-{user}"}  # fmt: skip
    return facts | more


def credit(name: str, of: str, item: str, fate: str, level: int, at: datetime = NOON + HOUR, **more: object) -> dict[str, object]:
    """An event credited to a request of noon."""
    late = more.pop("available_at", at)
    facts = {"fate": fate, "attribution_level": level, "request_id": of, "request_day": DAY, "requested_at": NOON, "query_norm": "q"}
    facts |= {"event_at": at, "available_at": late, "day": late.date(), "attribution_lag_s": (at - NOON).total_seconds()}
    return event(name, of, item, **(facts | more))


SEARCHES = [
    # 4 shown (one off the shelf), 12 ranked of which 8 are drawn, one recalled, one shown item twice
    request("plain", shown("x", "lamp", "mug", "gone") + hidden(*ITEM_IDS[-10:], *SHOES[:2]) + hidden("shoe5", stage="recalled")
            + hidden("lamp", stage="recalled"), session_id="v", page_context={"device": "phone"}),
    request("labelled", shown("x", "lamp", "gone", "mug") + hidden("u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7")),
    request("nothing", shown("gone")), request("unshown", hidden("x", "lamp")), request("empty", []),
    request("early", shown("leaves", "comes"), at=datetime(2026, 1, 10, 1, tzinfo=UTC)), request("later", shown("leaves", "comes")),
]  # fmt: skip
CREDITS = [
    credit("native", "labelled", "x", "native", 1, domain="search"), credit("again", "labelled", "x", "click_exposed", 2),
    credit("paid", "labelled", "x", "pay_clicked", 4, NOON + 2 * HOUR, event_type="pay"),
    credit("back", "labelled", "lamp", "click_exposed", 2), credit("seen", "labelled", "u0", "click_unexposed", 3),
    credit("bought", "labelled", "u1", "pay_unexposed", 6, NOON + 6 * DAYS, event_type="pay"),
    credit("in-time", "labelled", "mug", "click_exposed", 2, available_at=NOON + 8 * DAYS - MICRO),
    credit("too-late", "labelled", "u2", "click_unexposed", 3, available_at=NOON + 8 * DAYS),
    credit("off", "labelled", "gone", "native", 1, domain="search"),
    credit("off-all", "nothing", "gone", "native", 1, domain="search"),
    credit("other-day", "of-another-day", "x", "native", 1, request_day=BEFORE, requested_at=NOON - DAYS),
]  # fmt: skip
FEEDS = [
    feed("own", "x", *SHOES[:3]), feed("common", "x", *SHOES[:3]), feed("near", "lamp", *SHOES[:3], "mug"),
    feed("unlike", "x", "lamp", "mug"),
    feed("wordless", "mug", "lamp", "gone", "comes", "leaves"), feed("paying", "x", *SHOES[:3]), feed("many", "x", *SHOES[:3]),
    feed("crowd", "shoe5", *SHOES[:3]),
    feed("wide", "x", "shoe0"), feed("wide", *SHOES[1:3], at=NOON + 10 * MINUTE, name="after-wide", cents=500),
    feed("acted", "x", *SHOES[:4]),
]  # fmt: skip
CLICKS = [
    event("own", "own", "x"), event("common", "common", "x"), event("near", "near", "lamp"), event("unlike", "unlike", "x"),
    event("wordless", "wordless", "mug"), event("wide", "wide", "x"), event("acted", "acted", "x"),
    event("paying", "paying", "x"),
    event("its-pay", "paying", "x", event_type="pay", event_at=NOON + DAYS, available_at=NOON + DAYS, day=DAY + DAYS),
    event("duplicate", "own", "x", fate="duplicate"), event("cart", "acted", "shoe0", event_type="cart"),
    event("in-search", "own", "lamp", domain="search"), event("late", "own", "x", event_at=NOON - DAYS),
    *(event(f"many-{n:02d}", "many", "x", event_at=NOON + MINUTE + n * MICRO) for n in range(22)),
    # acts of other days: seven days before and after the click are too near, more is not
    event("six-days", "acted", "shoe1", event_at=NOON - 6 * DAYS, day=DAY - 6 * DAYS),
    event("seen-later", "acted", "shoe2", event_at=NOON + 3 * DAYS, day=DAY + 3 * DAYS),
    event("long-ago", "acted", "shoe3", event_at=NOON - 8 * DAYS, day=DAY - 8 * DAYS),
]  # fmt: skip
HISTORY = [
    credit(name, of, "x", "native", 1, request_day=day - DAYS, requested_at=at - DAYS, day=day, event_at=at, query_norm=query)
    for name, of, day, at, query in [
        ("h1", "own", BEFORE - DAYS, NOON - 2 * DAYS, "older words"), ("h2", "own", BEFORE, NOON - DAYS, "own words"),
        ("h3", "common", DAY - 29 * DAYS, NOON - 29 * DAYS, "too old"), ("h4", "common", DAY, NOON - HOUR, "of today"),
    ]
]  # fmt: skip
UNIT = 100
ITEM_VECTORS = {"lamp": [UNIT, 0], "shoe0": [80, 60], "shoe1": [60, 80], "shoe2": [60, 80], "mug": [-UNIT, 0], "gone": [-80, 60],
                "comes": [-80, -60], "leaves": [-60, 80]}  # fmt: skip
QUERY_VECTORS = {"bright": [80, 60], "dark": [0, UNIT]}


def snapshots() -> list[dict[str, object]]:
    """Yesterday's and today's, read from 02:00 on; what today's says of `leaves` and `comes` is news at 01:00."""
    rows = []
    for day, off in ((BEFORE, {"gone", "comes"}), (DAY, {"gone", "leaves"})):
        at = datetime(day.year, day.month, day.day, 2, tzinfo=UTC)
        rows += [{"item_id": item, "day": day, "available_at": at, "status": "off_shelf" if item in off else "on_shelf", "price_cents": 7,
                  "category_path": ["all", "shoe"] if item in {"x", *SHOES} else None} for item in ITEM_IDS]  # fmt: skip
    return rows


def world(spark, changed: dict[str, list[dict[str, object]]] | None = None):
    rows = {
        "requests": SEARCHES + FEEDS, "attributions": CREDITS + CLICKS + HISTORY, "items": snapshots(),
        "query_item_stats": [{"query_norm": "common words", "item_id": "x", "num_clicks_28d": 3, "day": BEFORE}],
        "text_vectors": [{"kind": kind, "text_id": text, "text": text, "vector": vector, "day": DAY} for kind, vectors in
                         (("item", ITEM_VECTORS), ("query", QUERY_VECTORS)) for text, vector in vectors.items()],
    } | (changed or {})  # fmt: skip
    contracts = {"requests": REQUESTS, "attributions": ATTRIBUTIONS, "items": ITEMS, "query_item_stats": STATS, "text_vectors": VECTORS}
    return {name: frame(spark, contracts[name], each) for name, each in rows.items()}


def collected(made) -> dict[str, object]:
    rows = made.collect()
    assert len({row.request_id for row in rows}) == len(rows)
    return {row.request_id: row for row in rows}


def built(spark, inputs) -> dict[str, object]:
    with suited_to(spark, 0):
        return collected(build(inputs, DAY))


@pytest.fixture(scope="module")
def made(spark):
    with suited_to(spark, 0):
        frame = build(world(spark), DAY)
        return frame.schema, collected(frame)


@pytest.fixture(scope="module")
def rows(made):
    return made[1]


def items_of(row) -> dict[str, object]:
    return {each.item_id: each for each in row["items"]}


def test_columns_are_the_contracts_then_the_books(made):
    schema, wanted = made[0], spark_schema(CONTRACT)
    assert [(f.name, f.dataType.simpleString()) for f in schema][: len(wanted)] == [(f.name, f.dataType.simpleString()) for f in wanted]
    assert schema.names[len(wanted) :] == ["_fate", "_candidates", "_credited", "_uncredited"]
    assert {name: tuple(schema[f"_{name}"].dataType.names) for name in FATES} == FATES


def test_every_candidate_has_a_fate(rows):
    fates = {name: {k: n for k, n in rows[name]._candidates.asDict().items() if n} for name in rows if not name.startswith("pseudo:")}
    assert fates["plain"]["exposed"] == 3 and fates["plain"]["duplicate"] == 1
    # 8 of 12 ranked are drawn, so 4 are not, and the recalled one; what is off the shelf is gone after the draw
    assert fates["plain"] == {"exposed": 3, "unexposed": 8, "not_drawn": 5, "off_shelf": 1, "duplicate": 1}
    assert fates["labelled"] == {"exposed": 3, "unexposed": 8, "off_shelf": 1}
    assert fates["nothing"] == {"off_shelf": 1} and fates["unshown"] == {"not_drawn": 2} and fates["empty"] == {}
    assert fates["list-near"] == {"other_domain": 5} and rows["list-near"]._fate == "other_domain"
    assert {name for name, row in rows.items() if row._fate == "no_samples"} == {"nothing", "unshown", "empty"}


def test_the_shelf_is_read_as_of_the_request(rows):
    assert list(items_of(rows["early"])) == ["leaves"] and list(items_of(rows["later"])) == ["comes"]


def test_every_credited_event_has_a_fate_and_the_best_one_labels_its_sample(rows):
    assert rows["labelled"]._credited.asDict() == {"label": 7, "too_late": 1, "off_shelf": 1}
    assert rows["nothing"]._credited.asDict() == {"label": 0, "too_late": 0, "off_shelf": 1}
    items = items_of(rows["labelled"])
    names = ("sample_type", "y_click", "y_pay", "label_source", "attributed_event_id")
    found = {item: tuple(each[name] for name in names) for item, each in items.items() if each.y_click or each.label_source}
    assert found == {
        "x": ("click", 1, 1, "pay_clicked", "paid"), "lamp": ("exposed", 1, 0, "click_exposed", "back"),
        "u0": ("unexposed", 1, 0, "click_unexposed", "seen"), "u1": ("unexposed", 1, 1, "pay_unexposed", "bought"),
        "mug": ("exposed", 1, 0, "click_exposed", "in-time"),
    }  # fmt: skip
    assert items["x"].attribution_lag_s == 7200 and items["u1"].attribution_lag_s == 6 * 86400


def test_samples_stand_in_order_with_what_was_logged(rows):
    plain = rows["plain"]
    assert [each.item_id for each in plain["items"]][:3] == ["x", "lamp", "mug"]
    assert [(each.position, each.price_cents, each.weight) for each in plain["items"]][:3] == [(1, 100, 1), (2, 101, 1), (3, 102, 1)]
    assert {(each.sample_type, each.p_inclusion, each.weight) for each in plain["items"][3:]} == {("unexposed", 8 / 12, 12 / 8)}
    assert (plain.day, plain.session_id, plain.page_context, plain.is_pseudo) == (DAY, "v", {"device": "phone"}, False)
    assert (plain.query_norm, plain.query_source, plain.query_similarity) == ("query of plain", "native", None)


def test_every_uncredited_event_has_a_fate(rows):
    fates = {name.removeprefix("pseudo:"): row for name, row in rows.items() if name.startswith("pseudo:")}
    assert len(fates) == sum(e["day"] == DAY and e["fate"] in ("no_candidate", "duplicate") for e in CLICKS + HISTORY)
    for row in fates.values():
        named = "searchified" if row._fate == "kept" else row._fate
        assert row._uncredited.asDict() == {fate: int(fate == named) for fate in FATES["uncredited"]}
    many = [row._fate for name, row in fates.items() if name.startswith("many")]
    assert (many.count("kept"), many.count("capped")) == (20, 2)
    others = {name: row._fate for name, row in fates.items() if not name.startswith("many") and row._fate != "kept"}
    assert others == {
        "duplicate": "duplicate", "cart": "not_a_click", "in-search": "search_click", "late": "late", "unlike": "no_similar_negative",
        "wordless": "no_query", "acted": "no_similar_negative",
    }  # fmt: skip


def test_the_books_balance(rows):
    left = {
        "candidates": sum(len(r["candidates"]) for r in SEARCHES + FEEDS),
        "credited": sum(e["request_day"] == DAY for e in CREDITS + HISTORY),
        "uncredited": sum(e["day"] == DAY and "request_id" not in e for e in CREDITS + CLICKS + HISTORY),
    }
    right = {name: sum(sum(row[f"_{name}"]) for row in rows.values()) for name in FATES}
    assert right == left


def test_a_pseudo_request_is_the_click_among_its_negatives_with_a_query_of_the_best_tier(rows):
    found = {name: rows[f"pseudo:{name}"] for name in ("own", "common", "near", "wide", "paying")}
    assert {name: (row.query_norm, row.query_source) for name, row in found.items()} == {
        "own": ("own words", "user_history"), "common": ("common words", "item_stats"), "near": ("bright", "nearest"),
        "wide": ("common words", "item_stats"), "paying": ("common words", "item_stats"),
    }  # fmt: skip
    assert found["near"].query_similarity == 0.8 and found["own"].query_similarity is None
    assert [(i.item_id, i.y_click, i.price_cents, i.sample_type) for i in found["own"]["items"]] == [
        ("x", 1, 100, "click"), ("shoe0", 0, 101, "exposed"), ("shoe1", 0, 102, "exposed"), ("shoe2", 0, 103, "exposed"),
    ]  # fmt: skip
    assert list(items_of(found["near"])) == ["lamp", "shoe0", "shoe1", "shoe2"]
    assert [(i.item_id, i.price_cents) for i in found["wide"]["items"]] == [("x", 100), ("shoe0", 101), ("shoe1", 7), ("shoe2", 7)]
    assert (found["paying"]["items"][0].y_pay, found["own"]["items"][0].y_pay) == (1, 0)
    row = found["own"]
    assert (row.is_pseudo, row.domain, row.user_id, row.requested_at.replace(tzinfo=UTC)) == (True, "rec", "own", NOON)
    assert (row.session_id, row.page_context, row["items"][0].attribution_lag_s) == (None, None, 60.0)


def features(rows: dict[str, object]) -> dict[str, tuple[object, ...]]:
    """What a model may read: everything but labels, of the rows published."""
    plain = {}
    for name, row in rows.items():
        if row._fate == "kept":
            items = [tuple(v for k, v in each.asDict().items() if k not in LABELS) for each in row["items"]]
            plain[name] = (*(row[c] for c in COLUMNS if c not in ("items", "page_context")), items)
    return plain


def test_no_fact_after_the_request_changes_a_feature(spark, rows):
    """Each future is another one: snapshots, lists, searches, clicks and labels after the moment they could be known."""
    later = [
        {"item_id": item, "day": DAY, "available_at": NOON, "status": "off_shelf", "price_cents": 9, "category_path": ["all", "later"]}
        for item in ITEM_IDS
    ]
    repriced = [each | {"price_cents": 1, "score": 9.0, "position": 50} for each in shown(*SHOES[1:3])]
    relisted = [r | ({"candidates": repriced} if r["request_id"] == "after-wide" else {}) for r in SEARCHES + FEEDS]
    more = [request("late-search", shown("x", *SHOES), NOON + HOUR, user_id="own", query_norm="words of tomorrow"),
            feed("own", "x", *SHOES, at=NOON + 31 * MINUTE, name="late-list", cents=1)]  # fmt: skip
    today = [credit(f"t{n}", user, "x", "native", 1, NOON - HOUR, request_day=BEFORE, query_norm="words of today") for n, user in
             enumerate(("own", "common", "near", "wide", "paying", "many"))]  # fmt: skip
    unpaid = [e for e in CREDITS + CLICKS + HISTORY if e["event_id"] not in ("its-pay", "native", "back", "seen")]
    bought = [credit("new", "plain", "lamp", "pay_exposed", 5, NOON + DAYS, event_type="pay")]
    changed = world(spark, {"items": snapshots() + later, "requests": relisted + more, "attributions": unpaid + today + bought})
    other = built(spark, changed)
    before, after = features(rows), features(other)
    assert before == after and other["late-search"]._fate == "no_samples"  # all is off the shelf by then
    assert items_of(other["plain"])["lamp"].y_pay == 1 and items_of(other["pseudo:paying"])["x"].y_pay == 0  # the labels did change


def test_a_query_known_a_day_later_is_not_used(spark, rows):
    """The leak that a window one day too long would be: the user's own query, moved from the day before to the click's day."""
    moved = [e | {"day": DAY} if e["event_id"] in ("h1", "h2") else e for e in CREDITS + CLICKS + HISTORY]
    other = built(spark, world(spark, {"attributions": moved}))
    row = other["pseudo:own"]
    assert (row.query_norm, row.query_source) == ("common words", "item_stats") != (rows["pseudo:own"].query_norm, "user_history")


def test_rows_do_not_depend_on_partitions_shuffles_or_generated_code(spark, rows):
    """Compiled, from scattered inputs, over three shuffle partitions; the fixture's are interpreted, over one."""
    before = {key: spark.conf.get(key) for key in ("spark.sql.shuffle.partitions", "spark.sql.autoBroadcastJoinThreshold")}
    try:
        spark.conf.set("spark.sql.shuffle.partitions", "3")
        spark.conf.set("spark.sql.autoBroadcastJoinThreshold", "-1")
        scattered = {name: each.repartition(3, F.rand(5)) for name, each in world(spark).items()}
        other = collected(build(scattered, DAY))
    finally:
        for key, value in before.items():
            spark.conf.set(key, value)
    for name, row in rows.items():
        kept = row._fate == "kept"
        columns = row.__fields__ if kept else [c for c in row.__fields__ if c.startswith("_")]
        assert [other[name][c] for c in columns] == [row[c] for c in columns]
    assert len(other) == len(rows)


def test_a_day_with_nothing_but_searches_or_nothing_at_all(spark):
    none = {name: each.where("false") for name, each in world(spark).items()}
    alone = none | {"requests": world(spark)["requests"].where("domain = 'search'")}
    assert built(spark, none) == {}
    found = built(spark, alone)
    assert set(found) == {r["request_id"] for r in SEARCHES} and found["nothing"]._fate == "kept"  # no snapshot says it is gone
