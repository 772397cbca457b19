"""Which clicks become pseudo-requests, which of them are paid, and what their samples say."""

from datetime import UTC, date, datetime, timedelta

import pytest
from pyspark.sql import functions as F

from features.es3 import Params
from features.searchify import clicks_to_searchify, pays_of_clicks, pseudo_samples
from schemas.attributions import CONTRACT as ATTRIBUTIONS
from schemas.derive import spark_schema
from schemas.entire_space import CONTRACT as ENTIRE_SPACE
from tests.frames import frame

DAY = date(2026, 1, 5)
AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 1, 5, tzinfo=UTC)
MICRO, HOUR = timedelta(microseconds=1), timedelta(hours=1)
DAYS_7, DAYS_8 = timedelta(days=7), timedelta(days=8)
PARAMS = Params(max_per_user_day=3, max_per_item_day=4)


def event(name: str, **more: object) -> dict[str, object]:
    facts = {
        "event_id": name,
        "user_id": name,
        "item_id": name,
        "domain": "rec",
        "fate": "no_candidate",
        "event_at": AT,
        "available_at": AT,
    }
    return facts | more


EVENTS = [
    event("kept"), event("shop", domain="shop"), event("outside", fate="outside_window"),
    event("twice", fate="duplicate", event_type="pay", domain="search"), event("looked", event_type="detail", domain="search"),
    event("paid", event_type="pay"), event("searched", domain="search", event_at=MIDNIGHT - MICRO),
    event("evening", event_at=MIDNIGHT - MICRO), event("midnight", event_at=MIDNIGHT),
    event("last", event_at=MIDNIGHT + timedelta(days=1) - MICRO),
    *(event(f"often-{n}", user_id="often") for n in range(5)),
    *(event(f"often-pay-{n}", user_id="often", event_type="pay") for n in range(5)),
    *(event(f"liked-{n}", item_id="liked") for n in range(6)),
    *(event(f"both-{n}", user_id="both", item_id="liked2") for n in range(4)), *(event(f"more-{n}", item_id="liked2") for n in range(2)),
]  # fmt: skip


def judged(spark, params: Params = PARAMS) -> dict[str, str | None]:
    rows = clicks_to_searchify(frame(spark, ATTRIBUTIONS, EVENTS), DAY, params).collect()
    assert len(rows) == len(EVENTS)
    return {row.event_id: row.fate for row in rows}


@pytest.fixture(scope="module")
def fates(spark):
    return judged(spark)


def test_every_event_has_the_first_fate_that_holds(fates):
    named = {name: fate for name, fate in fates.items() if "-" not in name}
    assert named == {
        "kept": None, "shop": None, "outside": None, "twice": "duplicate", "looked": "not_a_click", "paid": "not_a_click",
        "searched": "search_click", "evening": "late", "midnight": None, "last": None,
    }  # fmt: skip


def test_caps_of_a_user_come_before_those_of_an_item_and_count_clicks_only(fates):
    def kept(prefix: str) -> int:
        return sum(fate is None for name, fate in fates.items() if name.startswith(prefix))

    assert kept("often-") == 3 and {fate for name, fate in fates.items() if name.startswith("often-pay")} == {"not_a_click"}
    assert kept("liked-") == 4
    # three of four by the user's cap, then four of the five left by the item's
    assert kept("both-") + kept("more-") == 4 and kept("both-") <= 3
    assert {fate for fate in fates.values() if fate} == {"duplicate", "not_a_click", "search_click", "late", "capped"}


def test_the_draw_keeps_a_share_and_more_of_it_keeps_the_same(spark):
    loose = {"max_per_user_day": 99, "max_per_item_day": 99}
    half, most = (judged(spark, Params(pseudo_share=share, **loose)) for share in (0.5, 0.9))
    drawn = [{name for name, fate in found.items() if fate is None} for found in (half, most)]
    assert set(half.values()) == {None, "not_drawn", "duplicate", "not_a_click", "search_click", "late"}
    assert 5 <= len(drawn[0]) < len(drawn[1]) and drawn[0] < drawn[1]
    assert not any(fate is None for fate in judged(spark, Params(pseudo_share=0.0)).values())


def test_which_are_drawn_does_not_depend_on_partitions(spark, fates):
    rows = clicks_to_searchify(frame(spark, ATTRIBUTIONS, EVENTS).repartition(4, F.rand(3)), DAY, PARAMS).collect()
    assert {row.event_id: row.fate for row in rows} == fates


def pair(name: str, *events: dict[str, object]) -> list[dict[str, object]]:
    """Events of one user and item, named by the case."""
    return [each | {"event_id": f"{name}-{each['event_id']}", "user_id": name, "item_id": name} for each in events]


def click(name: str, at: datetime = AT, **more: object) -> dict[str, object]:
    return event(name, event_at=at, available_at=at, **more)


def pay(name: str, at: datetime, **more: object) -> dict[str, object]:
    return event(name, **({"event_type": "pay", "event_at": at, "available_at": at} | more))


ACTS = [
    *pair("latest", click("a"), click("b", AT + HOUR), pay("p", AT + 2 * HOUR), click("c", AT + 3 * HOUR)),
    *pair("several", click("a"), pay("p", AT + HOUR), pay("q", AT + 2 * HOUR), click("b", AT + 3 * HOUR), pay("r", AT + 4 * HOUR)),
    *pair("inside", click("a"), pay("p", AT + DAYS_7 - MICRO)),
    *pair("at-end", click("a"), pay("p", AT + DAYS_7)),
    *pair("same-time", click("a"), click("b"), pay("0", AT)),
    *pair("too-early", click("a"), pay("p", AT - MICRO)),
    *pair("late", click("a"), pay("p", AT + HOUR, available_at=AT + DAYS_8 - MICRO)),
    *pair("too-late", click("a"), pay("p", AT + HOUR, available_at=AT + DAYS_8)),
    *pair("credited", click("a"), pay("p", AT + HOUR, request_id="r", fate="pay_clicked")),
    *pair("searched", click("a", domain="search"), pay("p", AT + HOUR)),
    *pair("by-search", click("a"), click("b", AT + HOUR, domain="search"), pay("p", AT + 2 * HOUR, domain="search")),
    *pair("repeated", click("a"), click("b", AT + HOUR, fate="duplicate"), pay("p", AT + 2 * HOUR)),
    *pair("repeated-pay", click("a"), pay("p", AT + HOUR, fate="duplicate")),
    *pair("of-credit", click("a", request_id="r", fate="click_exposed"), pay("p", AT + HOUR)),
    *pair("alone", pay("p", AT)),
]
PAID = ["latest-b", "several-a", "several-b", "inside-a", "same-time-b", "late-a", "by-search-a", "repeated-a"]


def test_a_pay_goes_to_the_latest_click_before_it_and_counts_once(spark):
    rows = pays_of_clicks(frame(spark, ATTRIBUTIONS, ACTS).repartition(3, F.rand(3)), Params()).collect()
    assert sorted((row.event_id, row.is_paid) for row in rows) == sorted((name, True) for name in PAID)


def test_samples_are_the_click_and_its_negatives_without_what_only_a_search_logs(spark):
    kind = spark_schema(ENTIRE_SPACE)["items"].dataType.elementType
    text = "array(struct('n1' as item_id, 5L as price_cents), struct('n2' as item_id, cast(null as bigint) as price_cents))"
    rows = spark.createDataFrame([("e", "i", AT, AT - HOUR, 7, True), ("f", "i", AT, AT, None, None)],
                                 "event_id string, item_id string, event_at timestamp, requested_at timestamp, price_cents bigint, "
                                 "is_paid boolean")  # fmt: skip
    made = rows.withColumn("negatives", F.expr(text)).select("event_id", pseudo_samples(kind).alias("items"))
    assert made.schema["items"].dataType.elementType.simpleString() == kind.simpleString()
    found = {row.event_id: row["items"] for row in made.collect()}
    common = {
        "stage": "exposed",
        "is_exposed": True,
        "position": None,
        "propensity": None,
        "score": None,
        "p_inclusion": 1.0,
        "weight": 1.0,
    }
    label = {"label_source": "searchified", "attributed_event_id": "e", "attribution_lag_s": 3600.0, "y_click": 1, "y_pay": 1}
    unlabelled = {"label_source": None, "attributed_event_id": None, "attribution_lag_s": None, "y_click": 0, "y_pay": 0}
    assert [each.asDict() for each in found["e"]] == [
        {"item_id": "i", "price_cents": 7, "sample_type": "click", **common, **label},
        {"item_id": "n1", "price_cents": 5, "sample_type": "exposed", **common, **unlabelled},
        {"item_id": "n2", "price_cents": None, "sample_type": "exposed", **common, **unlabelled},
    ]
    first = found["f"][0]
    assert (first.y_click, first.y_pay, first.attribution_lag_s, first.price_cents) == (1, 0, 0.0, None)
