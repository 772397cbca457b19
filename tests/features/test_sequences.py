"""The last events before a request against a brute-force answer in Python, and the edges by hand."""

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import functions as F

from features.sequences import last_before

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
MICRO = timedelta(microseconds=1)
REQUESTS = "request_id string, user_id string, requested_at timestamp"
EVENTS = "event_id string, user_id string, available_at timestamp, item int"
GIVEN = {"on": "user_id", "key": "request_id", "time": "requested_at", "values": ["event_id", "item"]}


def sequences(spark, requests, events, limit=3, max_age_s=3600):
    frames = spark.createDataFrame(requests, REQUESTS), spark.createDataFrame(events, EVENTS)
    rows = last_before(*frames, **GIVEN, limit=limit, max_age_s=max_age_s).collect()
    assert len(rows) == len(requests)
    return {row.request_id: ([e.event_id for e in row.latest], row.num_before) for row in rows}


def test_edges_of_time_age_and_number(spark):
    """An event at the very moment is the future; the oldest that counts is max_age_s old to the microsecond."""
    hour = timedelta(hours=1)
    requests = [(name, name, NOON) for name in ("equal", "before", "oldest", "too_old", "many", "nothing")] + [("no_user", None, NOON)]
    events = [
        ("e0", "equal", NOON, 1), ("e1", "before", NOON - MICRO, 1), ("e2", "oldest", NOON - hour, 1),
        ("e3", "too_old", NOON - hour - MICRO, 1),
        *((f"m{n}", "many", NOON - n * MICRO, n) for n in range(6)), ("o", "other", NOON - MICRO, 1), ("n", None, NOON - MICRO, 1),
        ("t", "nothing", None, 1),
    ]  # fmt: skip
    assert sequences(spark, requests, events) == {
        "equal": ([], 0), "before": (["e1"], 1), "oldest": (["e2"], 1), "too_old": ([], 1), "many": (["m1", "m2", "m3"], 5),
        "nothing": ([], 0), "no_user": ([], 0),
    }  # fmt: skip


def test_ties_go_by_the_key_of_the_event_and_nulls_stay_in_their_event(spark):
    then = NOON - MICRO
    events = [("b", "u", then, None), ("a", "u", then, 1), ("c", "u", then, 3)]
    frames = spark.createDataFrame([("r", "u", NOON)], REQUESTS), spark.createDataFrame(events, EVENTS)
    (row,) = last_before(*frames, **GIVEN, limit=2, max_age_s=60).collect()
    assert [tuple(e)[1:] for e in row.latest] == [("c", 3), ("b", None)] and row.num_before == 3


def generated(seed: int) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Users of many habits on a coarse grid of times so that they tie, one hot on both sides, one that only asks, one that only acts."""
    rng = random.Random(seed)
    requests, events = [], []
    for user in range(60):
        asks, acts = (400, 700) if user == 0 else (0, 50) if user == 1 else (50, 0) if user == 2 else (rng.randrange(9), rng.randrange(40))
        grid = rng.choice([5, 60, 2000])
        when = lambda grid=grid: NOON + timedelta(minutes=rng.randrange(-grid, grid))  # noqa: E731
        requests += [(f"r{user}-{n}", f"u{user}", when()) for n in range(asks)]
        events += [(f"e{user}-{n}", f"u{user}", when(), n) for n in range(acts)]
    return requests, events


def brute_force(requests, events, limit, max_age_s):
    of_user = defaultdict(list)
    for event_id, user, at, _ in events:
        of_user[user].append((at, event_id))
    found = {}
    for request_id, user, at in requests:
        before = sorted((e for e in of_user[user] if e[0] < at), reverse=True)
        young = [event_id for then, event_id in before[:limit] if at - then <= timedelta(seconds=max_age_s)]
        found[request_id] = (young, len(before))
    return found


@pytest.mark.parametrize(("limit", "max_age_s"), [(1, 3600), (7, 10**7), (100, 10**7), (7, 1800)])
def test_every_request_equals_the_brute_force_answer(spark, limit, max_age_s):
    requests, events = generated(limit)
    expected = brute_force(requests, events, limit, max_age_s)
    assert sequences(spark, requests, events, limit, max_age_s) == expected
    assert len({len(found) for found, _ in expected.values()}) >= min(limit, 4)


def test_partitions_and_the_order_of_rows_change_nothing(spark):
    requests, events = generated(5)
    frames = spark.createDataFrame(requests, REQUESTS), spark.createDataFrame(events, EVENTS)
    once = last_before(*frames, **GIVEN, limit=7, max_age_s=7200).orderBy("request_id").collect()
    spark.conf.set("spark.sql.shuffle.partitions", "5")
    try:
        scattered = [frame.orderBy(F.rand(n)).repartition(3) for n, frame in enumerate(frames)]
        again = last_before(*scattered, **GIVEN, limit=7, max_age_s=7200).orderBy("request_id").collect()
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", "1")
    assert again == once and len(once) == len(requests) > 500


def test_one_shuffle_moves_all(spark):
    spark.conf.set("spark.sql.shuffle.partitions", "3")
    try:
        frames = spark.createDataFrame([], REQUESTS), spark.createDataFrame([], EVENTS)
        plan = last_before(*frames, **GIVEN, limit=7, max_age_s=7200)._jdf.queryExecution().executedPlan().toString()
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", "1")
    assert plan.count("Exchange hashpartitioning(user_id") == plan.count("Exchange") == 1


def test_repeated_rows_of_either_side_do_not_multiply(spark):
    twice = [("r", "u", NOON), ("r", "u", NOON)]
    frames = spark.createDataFrame(twice, REQUESTS), spark.createDataFrame([("e", "u", NOON - MICRO, 1)] * 3, EVENTS)
    rows = last_before(*frames, **GIVEN, limit=2, max_age_s=60).collect()
    assert [([e.event_id for e in row.latest], row.num_before) for row in rows] == [(["e", "e"], 3)] * 2


def test_what_makes_no_sense_is_refused(spark):
    frames = spark.createDataFrame([], REQUESTS), spark.createDataFrame([], EVENTS)
    with pytest.raises(ValueError, match="limit is 0, max_age_s 60; both must be >= 1"):
        last_before(*frames, **GIVEN, limit=0, max_age_s=60)
