"""Reformulations at both ends of their window, associations by hand, and words replaced as sessions replaced them."""

from datetime import date

import pytest
from pyspark.sql import functions as F

from features.longtail import Params
from features.reformulations import UNIT, associations, by_sessions, clicks_by_query, reformulations, searches_with_clicks, word_events
from features.splits import is_evaluation
from jobs.session import suited_to
from schemas.attributions import CONTRACT as ATTRIBUTIONS
from schemas.items import CONTRACT as ITEMS
from schemas.requests import CONTRACT as REQUESTS
from tests.frames import frame

PARAMS = Params()
DAY = date(2026, 1, 5)
SEARCHES = {  # session: (time, query, items clicked)
    "last_moment": [("12:00:00", "warm seat", ""), ("12:29:59.999999", "chair", "i1")],
    "too_late": [("12:00:00", "warm seat", ""), ("12:30:00", "too late", "i1")],
    "third": [("12:00:00", "warm seat", ""), ("12:01:00", "a", ""), ("12:02:00", "b", ""), ("12:03:00", "stool", "i2 i1")],
    "fourth": [("12:00:00", "x", ""), ("12:01:00", "a", ""), ("12:02:00", "a", ""), ("12:03:00", "a", ""), ("12:04:00", "too far", "i1")],
    "clicked": [("12:00:00", "has a click", "i3"), ("12:01:00", "desk", "i1")],
    "same": [("12:00:00", "desk", ""), ("12:01:00", "desk", "i1")],
    "twice": [("12:00:00", "warm seat", ""), ("12:01:00", "warm seat", ""), ("12:02:00", "chair", "i1")],
    "tie": [("12:00:00", "tied", ""), ("12:00:00", "first by its request_id", "i1"), ("12:00:00", "second", "i1")],
    None: [("12:00:00", "warm seat", ""), ("12:01:00", "without a session", "i1")],
}


@pytest.fixture(scope="module")
def searches(spark):
    requests, clicks = [], []
    for session, asked in SEARCHES.items():
        for n, (at, query, items) in enumerate(asked):
            key = f"{session}{n}"
            requests.append(
                {"request_id": key, "user_id": "u", "session_id": session, "query_norm": query, "requested_at": f"2026-01-05T{at}"}
            )
            clicks += [{"event_id": f"{key}{i}", "request_id": key, "query_norm": query, "item_id": i} for i in items.split()]
    requests.append({"request_id": "rec", "session_id": "last_moment", "domain": "rec", "requested_at": "2026-01-05T12:10:00"})
    clicks.append({"event_id": "pay", "event_type": "pay", "request_id": "same0", "query_norm": "desk", "item_id": "i9"})
    return searches_with_clicks(frame(spark, REQUESTS, requests), frame(spark, ATTRIBUTIONS, clicks))


def test_a_reformulation_is_the_next_search_with_a_click_in_time_and_session(spark, searches):
    with suited_to(spark, 0):
        found = {(r.query_norm, r.follow_up, r.item_id): r.num_sessions for r in reformulations(searches, PARAMS).collect()}
    sessions = {(query, follow): n for (query, follow, item), n in found.items() if item is None}
    assert sessions == {
        ("warm seat", "chair"): 2,  # last_moment, and twice, which counts once
        ("warm seat", "stool"): 1,
        ("a", "stool"): 1,
        ("b", "stool"): 1,
        ("a", "too far"): 1,
        ("tied", "first by its request_id"): 1,
    }
    assert {item: n for (query, follow, item), n in found.items() if (query, follow) == ("warm seat", "stool") and item} == {
        "i1": 1,
        "i2": 1,
    }


def test_clicks_are_of_the_query_and_of_what_followed_it(spark, searches):
    kept = {
        q: not e
        for q, e in spark.range(1)
        .select(*(is_evaluation(F.lit(q)).alias(q) for q in ("desk", "chair", "warm seat")))
        .first()
        .asDict()
        .items()
    }
    assert kept["chair"] and kept["warm seat"]  # else the pair would say nothing
    with suited_to(spark, 0):
        pairs = reformulations(searches, PARAMS)
        clicks = clicks_by_query(searches, pairs)
        of_these = (
            clicks.where("query_norm in ('desk', 'chair', 'warm seat')").groupBy("query_norm", "item_id").sum("num_sessions").collect()
        )
        items = frame(spark, ITEMS, [{"item_id": "i1", "title": "Red Chair"}, {"item_id": "i2"}])
        events = [(r.source, r.target) for r in word_events(clicks, pairs, items).where("array_contains(source, 'seat')").collect()]
    found = {(query, item): n for query, item, n in of_these}
    assert found[("warm seat", "i1")] == 3 and found[("chair", "i1")] == 2
    assert found.get(("desk", "i1"), 0) == (2 if kept["desk"] else 0)
    assert (["warm", "seat"], ["red", "chair"]) in events and (["warm", "seat"], ["chair"]) in events


def test_associations_by_hand(spark):
    rows = [(["a"], ["x", "a"], 3), (["b"], ["y"], 1)]
    events = spark.createDataFrame(rows, "source array<string>, target array<string>, num_sessions bigint")
    events = events.withColumns({"from_day": F.lit(DAY), "to_day": F.lit(DAY)})
    found = {(r.word, r.target): (r.strength, r.num_sessions) for r in associations(events, PARAMS).collect()}
    assert found == {  # 4 sessions
        ("a", "x"): (UNIT * 3 / 4 * (1 - 3 * 3 / (3 * 4)), 3),
        ("b", "y"): (UNIT * 1 / 2 * (1 - 1 * 1 / (1 * 4)), 1),
    }
    only_b = spark.createDataFrame([("b",)], "word string")
    assert [r.word for r in associations(events, PARAMS, only_b).collect()] == ["b"]


def test_words_are_replaced_where_several_sessions_replaced_them(spark):
    seen = {
        ("bright lamp", "bright wool lamp"): 4,
        ("warm seat", "wood chair"): 3,
        ("plush seat", "steel chair"): 2,
        ("bright thing", "lamp"): 4,
        ("odd seat", "bench"): 1,
    }
    sides = spark.createDataFrame([(q,) for pair in seen for q in pair], "q string")
    assert sides.where(is_evaluation(F.col("q"))).count() == 0
    rows = [(query, follow, None, n, DAY, DAY) for (query, follow), n in seen.items()]
    pairs = spark.createDataFrame(
        rows, "query_norm string, follow_up string, item_id string, num_sessions bigint, from_day date, to_day date"
    )
    pool = spark.createDataFrame(
        [
            ("red seat", ["red", "seat"], ["red"], []),
            ("seat not chair", ["seat"], [], ["chair"]),
            ("warm seat", ["warm", "seat"], [], []),
            ("blue scarf", ["blue", "scarf"], ["blue", "scarf"], []),
            ("bright lamp", ["bright", "lamp"], ["bright", "lamp"], []),
        ],
        "query_norm string, wanted array<string>, kept array<string>, excluded array<string>",
    )
    with suited_to(spark, 0):
        rows = sorted(by_sessions(pool, pairs, PARAMS).collect(), key=lambda r: r.score)
    found = {(r.query_norm, r.rewrite): r for r in rows}
    assert found[("warm seat", "wood chair")].score == UNIT  # what all sessions with it searched next, and each word of it replaced
    assert not [key for key in found if key == ("bright lamp", "lamp")]  # bright stays as often as it goes
    rare = found[("red seat", "red chair")]  # 5 of 6 sessions with seat, of 10 in all: 5 / 7 * (1 - 6 * 5 / (5 * 10))
    assert (rare.score, rare.evidence.num_sessions, rare.evidence.from_day) == (round(UNIT * 5 / 7 * (1 - 6 * 5 / (5 * 10))), 5, DAY)
    assert not [key for key in found if key[0] == "blue scarf" or "bench" in key[1].split()]  # nobody replaced these; one session only
    assert not [key for key in found if key[0] == "seat not chair" and "chair" in key[1].split()]
