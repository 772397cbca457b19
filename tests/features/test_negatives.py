"""Negatives by hand: each click is a user of its own, so that one frame holds all cases; and no rule depends on partitions."""

from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import functions as F

from features.es3 import Params
from features.negatives import CLICK, negatives_of
from schemas.attributions import CONTRACT as ATTRIBUTIONS
from schemas.items import CONTRACT as ITEMS
from schemas.requests import CONTRACT as REQUESTS
from tests.frames import frame

AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
MICRO, MINUTE, WEEK = timedelta(microseconds=1), timedelta(minutes=1), timedelta(days=7)
HALF_HOUR = 30 * MINUTE
PARAMS = Params(num_negatives=4, min_negatives=2)
UNIT = 100
VECTORS = {  # cosine to x: far 0, near 0.6, nearer 0.8; same* is x itself
    "x": (UNIT, 0), "far": (0, UNIT), "near": (60, 80), "nearer": (80, 60), "same": (UNIT, 0), "same2": (UNIT, 0), "below": (54, 84),
}  # fmt: skip
LEAVES = {"x": "shoe", "nearer": "shoe", "boot": "boot"} | {f"shoe{n}": "shoe" for n in range(1, 6)}
ITEM_IDS = sorted({*VECTORS, *LEAVES, "plain"})


def click(name: str, item: str = "x", origin: str | None = "own", **more: object) -> dict[str, object]:
    """A click at 12:00 of the user called like the case, in the case's own list."""
    facts = {"event_id": name, "user_id": name, "item_id": item, "domain": "rec", "event_at": AT, **more}
    return facts | {"origin_request_id": origin and f"{name}-{origin}"}


def listed(name: str, which: str, at: datetime, items: dict[str, int | None], **more: object) -> dict[str, object]:
    shown = [{"item_id": item, "is_exposed": True, "price_cents": cents} for item, cents in items.items()]
    hidden = [{"item_id": "shoe5", "is_exposed": False, "price_cents": 1}]
    facts = {"request_id": f"{name}-{which}", "user_id": name, "domain": "rec", "requested_at": at, "candidates": shown + hidden}
    return facts | more


def act(name: str, item: str, at: datetime, kind: str = "click") -> dict[str, object]:
    return {
        "user_id": name,
        "item_id": item,
        "event_at": at,
        "event_type": kind,
        "event_id": f"{name}-{item}-{at}-{kind}",
        "domain": "search",
    }


BEFORE = AT - MINUTE
OWN = {"x": 10, "shoe1": 11, "shoe2": 12, "shoe3": 13}
CLICKS, LISTS, ACTS = [], [], []


def case(name: str, lists: list[dict[str, object]], acts: list[dict[str, object]] = (), **more: object) -> None:
    CLICKS.append(click(name, **more))
    LISTS.extend(lists)
    ACTS.extend(acts)


def own(name: str, items: dict[str, int | None], at: datetime = BEFORE, **more: object) -> dict[str, object]:
    return listed(name, "own", at, items, **more)


case("similar", [own("similar", {"x": 10, "far": 1, "near": 2, "below": 3, "boot": 4, "nearer": 5, "plain": 6})])
case("most", [own("most", {"x": 10, "shoe1": 1, "same2": 2, "same": 3, "near": 4, "nearer": 5, "shoe2": 6})])
case("leaf", [own("leaf", {"x": 10, "shoe2": 2, "shoe1": 1, "shoe3": 3, "shoe4": 4, "boot": 7})])
case("few", [own("few", {"x": 10, "shoe1": 1})])
# the own list suffices: no other is looked at
case("enough", [own("enough", {"x": 10, "shoe1": 1, "shoe2": 2}), listed("enough", "b", BEFORE, {"same": 3, "shoe3": 4})])
# one of its own, then the others, though they are nearer
case("widened", [own("widened", {"x": 10, "shoe1": 1}), listed("widened", "b", AT - HALF_HOUR, {"same": 3, "shoe1": 9, "far": 4})])
case("edges", [listed("edges", "a", AT - HALF_HOUR, {"shoe1": 1}), listed("edges", "b", AT + HALF_HOUR, {"shoe2": 2}),
               listed("edges", "c", AT - HALF_HOUR - MICRO, {"shoe3": 3}), listed("edges", "d", AT + HALF_HOUR + MICRO, {"shoe4": 4})],
     origin=None)  # fmt: skip
case("others", [listed("others", "a", BEFORE, OWN, domain="shop"), listed("others", "b", BEFORE, OWN, domain="search"),
                listed("others", "c", BEFORE, OWN, user_id="somebody")], origin=None)  # fmt: skip
# an own list of any age serves; one that did not show the item is not the own list
case("old", [own("old", OWN, AT - timedelta(hours=5))])
case("wrong", [own("wrong", {"shoe1": 1, "shoe2": 2, "shoe3": 3}, AT - timedelta(hours=5))])
case("clock", [own("clock", OWN, AT + MINUTE)])
case("none", [], origin=None)
acted = {"shoe1": WEEK - MICRO, "shoe2": MICRO - WEEK, "shoe3": WEEK, "shoe4": -WEEK}
for kind in ("click", "fav", "cart", "pay", "detail"):
    case(f"acted-{kind}", [own(f"acted-{kind}", {"x": 10, "shoe1": 1, "shoe2": 2, "shoe3": 3, "shoe4": 4})],
         [act(f"acted-{kind}", item, AT + gap, kind) for item, gap in acted.items()])  # fmt: skip
case("stranger", [own("stranger", OWN)], [act("somebody", "shoe1", AT), act("acted-pay", "shoe2", AT)])
# prices: of the own list, else of the latest list up to the click, else of the snapshot
case("prices", [listed("prices", "a", AT - 20 * MINUTE, {"x": 1, "shoe1": 2, "shoe2": 3}),
                listed("prices", "b", AT - 5 * MINUTE, {"x": 4, "shoe1": 5}),
                listed("prices", "c", AT + MICRO, {"x": 6, "shoe1": 7, "shoe2": 8, "shoe3": 9})], origin="lost")  # fmt: skip
case("unpriced", [own("unpriced", {"x": None, "shoe1": None, "shoe2": 7})])
case("unlisted", [listed("unlisted", "a", AT + MINUTE, {"x": 6, "shoe1": 7, "shoe2": 8})], origin=None)
case("vectorless", [own("vectorless", {"shoe1": 10, "shoe2": 1, "boot": 2, "x": 3})], item="shoe1")


def snapshots() -> list[dict[str, object]]:
    """Two of each item: the price of the second, 02:00, is known by noon, and the third, after the click, is not."""
    rows = []
    for day, price in ((4, 1000), (5, 2000)):
        at = datetime(2026, 1, day, 2, tzinfo=UTC)
        rows += [{"item_id": item, "available_at": at, "day": at.date(), "price_cents": price,
                  "category_path": ["all", LEAVES[item]] if item in LEAVES else None} for item in ITEM_IDS]  # fmt: skip
    later = AT + MICRO
    return rows + [
        {"item_id": item, "available_at": later, "day": later.date(), "price_cents": 3000, "category_path": ["all", "shoe"]}
        for item in ITEM_IDS
    ]


def frames(spark):
    clicks = frame(spark, ATTRIBUTIONS, CLICKS).select(*CLICK)
    vectors = spark.createDataFrame(list(VECTORS.items()), "item_id string, vector array<tinyint>")
    return clicks, frame(spark, REQUESTS, LISTS), frame(spark, ATTRIBUTIONS, ACTS), frame(spark, ITEMS, snapshots()), vectors


@pytest.fixture(scope="module")
def found(spark):
    rows = negatives_of(*frames(spark), PARAMS).collect()
    assert len({row.event_id for row in rows}) == len(rows)
    return {row.event_id: row for row in rows}


def ids(row) -> list[str]:
    return [n.item_id for n in row.negatives]


def prices(row) -> dict[str, int | None]:
    return {n.item_id: n.price_cents for n in row.negatives} | {"clicked": row.price_cents}


def test_negatives_are_like_the_clicked_item_by_vector_or_leaf_nearest_first(found):
    assert ids(found["similar"]) == ["nearer", "near"]  # 0.54 is too far, boot another leaf, plain neither
    assert ids(found["most"]) == ["same", "same2", "nearer", "near"]  # four at most; equal cosines by id; leaves without a vector last
    assert ids(found["leaf"]) == ["shoe1", "shoe2", "shoe3", "shoe4"]
    assert ids(found["vectorless"]) == ["shoe2", "x"]


def test_the_own_list_comes_first_and_is_widened_only_when_short(found):
    assert ids(found["enough"]) == ["shoe1", "shoe2"]
    assert ids(found["widened"]) == ["shoe1", "same"]
    assert prices(found["widened"]) == {"shoe1": 1, "same": 3, "clicked": 10}
    assert not {"few", "none", "others", "wrong"} & set(found)


def test_lists_of_the_same_user_and_domain_half_an_hour_around_both_ends_included(found):
    assert ids(found["edges"]) == ["shoe1", "shoe2"]
    assert ids(found["old"]) == ids(found["clock"]) == ["shoe1", "shoe2", "shoe3"]


@pytest.mark.parametrize("kind", ["click", "fav", "cart", "pay"])
def test_nothing_the_user_acted_on_less_than_a_week_before_or_after(found, kind):
    assert ids(found[f"acted-{kind}"]) == ["shoe3", "shoe4"]


def test_looking_at_an_item_or_another_users_acts_do_not_matter(found):
    assert ids(found["acted-detail"]) == ["shoe1", "shoe2", "shoe3", "shoe4"]
    assert ids(found["stranger"]) == ["shoe1", "shoe2", "shoe3"]


def test_the_request_is_the_own_list_else_the_latest_before_else_the_click(found):
    at = {name: found[name].requested_at.replace(tzinfo=UTC) for name in ("enough", "old", "clock", "edges", "prices", "unlisted")}
    assert at == {
        "enough": BEFORE,
        "old": AT - timedelta(hours=5),
        "clock": AT,
        "edges": AT - HALF_HOUR,
        "prices": AT - 5 * MINUTE,
        "unlisted": AT,
    }


def test_a_price_is_one_that_was_known_by_the_request(found):
    assert prices(found["prices"]) == {"shoe1": 5, "shoe2": 3, "shoe3": 2000, "clicked": 4}
    assert prices(found["unpriced"]) == {"shoe1": 2000, "shoe2": 7, "clicked": 2000}
    assert prices(found["unlisted"]) == {"shoe1": 2000, "shoe2": 2000, "clicked": 2000}


def test_rows_do_not_depend_on_partitions_or_on_broadcast(spark, found, monkeypatch):
    monkeypatch.setattr("features.negatives.broadcast_if_small", lambda given, source: given)
    scattered = [each.repartition(3, F.rand(7)) for each in frames(spark)]
    assert {row.event_id: row for row in negatives_of(*scattered, PARAMS).collect()} == found
