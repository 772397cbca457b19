"""Features of HHSFT by hand: of requests, of samples as of the request, of behaviours."""

from datetime import UTC, date, datetime, timedelta

import pytest
from pyspark.sql import functions as F

from features.buckets import hashed
from features.hhsft import behaviours_by_request, requests_asked, sample_features, samples_by_request, snapshot_features, title_features
from schemas import hhsft_examples as sizes
from schemas.entire_space import CONTRACT as SPACE
from schemas.events import CONTRACT as EVENTS
from schemas.items import CONTRACT as ITEMS
from schemas.query_item_stats import CONTRACT as STATS
from tests.frames import frame

DAY, BEFORE = date(2026, 1, 10), date(2026, 1, 9)
NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
MICRO, HOUR, DAYS = timedelta(microseconds=1), timedelta(hours=1), timedelta(days=1)
READABLE = {day: datetime(day.year, day.month, day.day, 2, tzinfo=UTC) for day in (BEFORE, DAY)}
FIELDS = ["item_id", *(f.name for f in sizes.ITEM_FEATURES), "y_click_native"]


def asked(name: str, *items: str, at: datetime = NOON, **more: object) -> dict[str, object]:
    samples = [
        {"item_id": item, "is_exposed": True, "sample_type": "exposed", "p_inclusion": 1.0, "weight": 1.0, "price_cents": 500}
        for item in items
    ]
    facts = {"request_id": name, "user_id": name, "requested_at": at, "day": DAY, "query_norm": "red shoe", "items": samples}
    return facts | more


def snapshot(item: str, day: date, **more: object) -> dict[str, object]:
    facts = {"title": "Red shoe, red as wine", "category_path": ["all", "shoe"], "brand": "old", "shop_id": "s", "price_cents": 1000}
    return {"item_id": item, "day": day, "available_at": READABLE[day]} | facts | more


def act(name: str, user: str, item: str = "x", at: datetime = NOON - HOUR, **more: object) -> dict[str, object]:
    return {"event_id": name, "user_id": user, "item_id": item, "event_at": at, "available_at": at, "day": at.date()} | more


SNAPSHOTS = [
    snapshot("x", BEFORE), snapshot("x", DAY, brand="new", category_path=["all", "boot"], price_cents=2000),
    snapshot("bare", BEFORE, title=None, category_path=[], brand=None, shop_id=None, price_cents=None),
    snapshot("same_leaf", BEFORE, category_path=["kids", "shoe"]),
]  # fmt: skip
STATISTICS = [
    {"query_norm": query, "item_id": item, "num_clicks_28d": n, "day": BEFORE}
    for query, item, n in [("red shoe", "x", 5), ("boot", "x", 3), ("boot", "bare", 1)]
]


@pytest.fixture(scope="module")
def ids(spark):
    """What a text or id is hashed to, as one lookup for all tests."""

    def look_up(value: object, size: int) -> int:
        return spark.range(1).select(hashed(F.lit(value), size)).first()[0]

    return look_up


def test_what_a_request_says_by_itself(spark, ids):
    rows = [
        asked("plain", at=NOON.replace(hour=0)),
        asked("wordless", query_norm=None, domain="rec", is_pseudo=True, at=NOON.replace(hour=23, minute=59)),
        asked("long", query_norm=" ".join(f"w{n}" for n in range(40)), domain="shop"),
        asked("repeats", query_norm="shoe shoe red"),
    ]
    found = {r.request.request_id: r.request for r in requests_asked(frame(spark, SPACE, rows)).collect()}
    plain, wordless, long = found["plain"], found["wordless"], found["long"]
    assert (plain.domain_id, wordless.domain_id, long.domain_id) == (1, 2, 3)
    assert (plain.hour, wordless.hour) == (1, 24)
    assert plain.query_tokens == [ids("red", sizes.WORDS), ids("shoe", sizes.WORDS)] == found["repeats"].query_tokens[::-1]
    assert (plain.query_length, plain.query_hash) == (2, ids("red shoe", sizes.QUERIES))
    assert (wordless.query_tokens, wordless.query_length, wordless.query_hash) == ([], 0, 0)
    assert (len(long.query_tokens), long.query_length) == (16, 16)
    assert plain.user_hash == ids("plain", sizes.USERS) and len({r.user_bucket for r in found.values()}) > 1


def test_a_sample_is_its_item_as_of_the_request_and_what_the_query_has_to_do_with_it(spark, ids):
    spaces = [
        asked("early", "x", at=READABLE[DAY]), asked("late", "x", at=READABLE[DAY] + MICRO),
        asked("mixed", "bare", "unknown", "x", "same_leaf"), asked("wordless", "x", query_norm=None),
        asked("other", "x", query_norm="blue shoe of tin"),
    ]  # fmt: skip
    spaces[2]["items"][2]["sample_type"] = "click"
    frames = frame(spark, SPACE, spaces), frame(spark, ITEMS, SNAPSHOTS), frame(spark, STATS, STATISTICS)
    rows = samples_by_request(requests_asked(frames[0]), *frames[1:], FIELDS).collect()
    found = {r.request_id: {i.item_id: i for i in r["items"]} for r in rows}
    assert len(rows) == len(spaces) and [i for i in found["mixed"]] == ["bare", "unknown", "x", "same_leaf"]
    early, late, bare, unknown = found["early"]["x"], found["late"]["x"], found["mixed"]["bare"], found["mixed"]["unknown"]
    assert (early.item_brand, late.item_brand) == (ids("old", sizes.BRANDS), ids("new", sizes.BRANDS))
    assert early.item_category != late.item_category and early.item_top_category == late.item_top_category == ids(
        "all", sizes.TOP_CATEGORIES
    )
    assert found["mixed"]["same_leaf"].item_category not in (0, early.item_category)  # of another path
    assert (early.item_price, late.item_price, bare.item_price, unknown.item_price) == (41, 45, 37, 37)  # 1000, 2000; 500 as logged
    assert early.item_tokens == [ids(word, sizes.WORDS) for word in ("red", "shoe", "as", "wine")]
    none = {"item_category": 0, "item_top_category": 0, "item_brand": 0, "item_shop": 0, "item_tokens": [], "match_words": 0}
    for item in (bare, unknown):
        assert {name: item[name] for name in none} == none and item.item_hash == ids(item.item_id, sizes.ITEMS)
    # clicks 8, 1 and none over all queries: steps 2 + 3, 2 + 0 and 1; 5 of this query: 2 + 2
    assert [i.item_clicks for i in (late, bare, unknown)] == [5, 2, 1]
    assert [(i.match_words, i.match_clicks) for i in (late, unknown)] == [(11, 4), (0, 1)]
    assert [(i.match_words, i.match_clicks) for i in (found["wordless"]["x"], found["other"]["x"])] == [(0, 0), (3, 1)]  # 1 of 4 words
    assert [i.y_click_native for i in found["mixed"].values()] == [0, 0, 1, 0]


def test_behaviours_are_cut_at_the_request_and_described_by_the_day_before(spark, ids):
    spaces = [asked("doer", "x"), asked("none", "x")]
    first = NOON - 28 * DAYS
    acts = [
        act("at-once", "doer", at=NOON), act("just", "doer", at=NOON - MICRO, event_type="pay", domain="shop"),
        act("second", "doer", "bare", at=NOON - timedelta(seconds=1)), act("unknown", "doer", "nowhere", domain="rec", event_type="cart"),
        act("oldest", "doer", at=first, event_type="detail"), act("too-old", "doer", at=first - MICRO),
    ]  # fmt: skip
    asked_for = requests_asked(frame(spark, SPACE, spaces))
    rows = behaviours_by_request(asked_for, frame(spark, EVENTS, acts), frame(spark, ITEMS, SNAPSHOTS), DAY).collect()
    found = {r.request_id: r for r in rows}
    doer, none = found["doer"], found["none"]
    assert len(rows) == 2 and doer.seq_item == [ids(item, sizes.ITEMS) for item in ("x", "bare", "nowhere", "x")]
    assert (doer.seq_type, doer.seq_domain) == ([5, 2, 4, 1], [3, 1, 2, 1])
    assert doer.seq_age == [1, 2, 13, 23]  # under a second, one, 3,600 and 2,419,200: 2 + 11 and 2 + 21 octaves
    old = ids("old", sizes.BRANDS)
    assert (doer.seq_brand, doer.seq_price) == ([old, 0, 0, old], [41, 0, 0, 41])  # what today's snapshot says is too new
    assert doer.seq_category[0] == doer.seq_category[3] > 0 == doer.seq_category[1]
    assert (doer.user_activity, doer.user_pays, doer.user_price) == (4, 2, 41)  # 5 events before, one pay
    assert all(none[name] == [] for name in none.__fields__ if name.startswith("seq_"))
    assert (none.user_activity, none.user_pays, none.user_price) == (1, 1, 0)


def test_every_feature_is_made_here_and_none_twice(spark):
    """By name: the lines of the contract and the entries of the functions are the same."""
    of_request = set(requests_asked(frame(spark, SPACE, [])).schema["request"].dataType.names)
    frames = frame(spark, EVENTS, []), frame(spark, ITEMS, [])
    of_user = set(behaviours_by_request(requests_asked(frame(spark, SPACE, [])), *frames, DAY).columns)
    names = {f.name for f in sizes.REQUEST_FEATURES}
    assert names <= of_request | of_user and of_request & of_user == {"request_id"}
    assert set(sample_features()) == {f.name for f in sizes.ITEM_FEATURES} > set(snapshot_features() | title_features())
