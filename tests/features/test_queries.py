"""Synthesised queries by hand: three tiers in order, the draw by clicks, and the nearest title at both ends of its threshold."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import functions as F

from features.es3 import Params
from features.queries import queries_of
from schemas.attributions import CONTRACT as ATTRIBUTIONS
from schemas.query_item_stats import CONTRACT as STATS
from schemas.text_vectors import CONTRACT as VECTORS
from tests.frames import frame

AT = datetime(2026, 1, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PARAMS = Params(stats_top=3)
NUM_DRAWS = 1000
CLICKS = [
    ("own", "u1", "i1"), ("own-again", "u1", "i1"), ("tie", "u2", "i1"), ("stranger", "u3", "i1"), ("no-words", "u4", "i4"),
    ("near", "u5", "n1"), ("near-tie", "u5", "n2"), ("near-at", "u5", "n3"), ("near-below", "u5", "n4"), ("no-vector", "u5", "n5"),
    ("at-three", "u6", "three"), ("below-three", "u6", "two"),
] + [(f"draw-{n}", "u9", "common") for n in range(NUM_DRAWS)]  # fmt: skip
HISTORY = [
    ("u1", "i1", "old", AT), ("u1", "i1", "new", AT + HOUR), ("u1", "i2", "other item", AT + 2 * HOUR), ("u2", "i1", "a", AT),
    ("u2", "i1", "b", AT), ("u1", "i1", None, AT + 3 * HOUR), ("u4", "i4", None, AT),
]  # fmt: skip
COMMON = {"first": 60, "second": 30, "third": 10, "fourth": 10, "fifth": 2}  # of equals the smaller query counts: fourth, not third
STATS_ROWS = [("common", query, n) for query, n in COMMON.items()] + [("i1", "popular", 9), ("three", "at three", 3), ("two", "at two", 2)]
ITEM_VECTORS = {"n1": [100, 0], "n2": [0, 100], "n3": [60, 80], "n4": [-100, 0], "two": [-100, 0]}
QUERY_VECTORS = {"east": [100, 0], "north b": [0, 100], "north a": [0, 100], "blank": None}


def frames(spark):
    clicks = spark.createDataFrame(CLICKS, "event_id string, user_id string, item_id string")
    history = [
        {"event_id": f"h{n}", "user_id": user, "item_id": item, "query_norm": query, "event_at": at}
        for n, (user, item, query, at) in enumerate(HISTORY)
    ]
    stats = [{"item_id": item, "query_norm": query, "num_clicks_28d": clicks} for item, query, clicks in STATS_ROWS]
    vectors = [{"kind": kind, "text_id": text, "vector": vector} for kind, text, vector in vectors_of()]
    shaped = frame(spark, VECTORS, [row | {"vector": row["vector"] or []} for row in vectors])
    return clicks, frame(spark, ATTRIBUTIONS, history), frame(spark, STATS, stats), shaped.where(F.size("vector") > 0)


def vectors_of():
    yield from (("item", item, vector) for item, vector in ITEM_VECTORS.items())
    yield from (("query", query, vector) for query, vector in QUERY_VECTORS.items())


@pytest.fixture(scope="module")
def found(spark):
    rows = queries_of(*frames(spark), PARAMS).collect()
    assert len(rows) == len(CLICKS)
    return {row.event_id: row for row in rows}


def shown(row) -> tuple[object, ...]:
    return row.query_norm, row.query_source, row.query_similarity and round(row.query_similarity, 4)


def test_the_users_latest_query_that_led_to_the_item_comes_first(found):
    assert shown(found["own"]) == shown(found["own-again"]) == ("new", "user_history", None)
    assert shown(found["tie"]) == ("b", "user_history", None)
    assert shown(found["stranger"]) == ("popular", "item_stats", None)
    assert shown(found["no-words"]) == (None, None, None)


def test_a_common_query_needs_three_clicks(found):
    assert shown(found["at-three"]) == ("at three", "item_stats", None)
    assert shown(found["below-three"]) == (None, None, None)


def test_common_queries_are_drawn_in_proportion_to_clicks(found):
    drawn = Counter(found[f"draw-{n}"].query_norm for n in range(NUM_DRAWS))
    assert set(drawn) == {"first", "second", "fourth"} and {row.query_source for e, row in found.items() if e.startswith("draw")} == {
        "item_stats"
    }
    # 60, 30 and 10 of 100; four standard deviations of a binomial of 1,000 are 62, 58 and 38
    assert abs(drawn["first"] - 600) < 62 and abs(drawn["second"] - 300) < 58 and abs(drawn["fourth"] - 100) < 38


def test_the_nearest_query_at_or_above_the_threshold(found):
    assert shown(found["near"]) == ("east", "nearest", 1.0)
    assert shown(found["near-tie"]) == ("north a", "nearest", 1.0)
    assert shown(found["near-at"]) == ("north a", "nearest", 0.8)
    assert shown(found["near-below"]) == shown(found["no-vector"]) == (None, None, None)


def test_the_threshold_is_reached_from_above(spark):
    """The nearest query of n3 has cosine 0.8, which is 8,000 / 10,000 exactly."""
    clicks, history, stats, vectors = frames(spark)
    one = clicks.where("event_id = 'near-at'")
    above, at = (
        queries_of(one, history, stats, vectors, Params(nearest_min_cosine=least)).withColumn("least", F.lit(least))
        for least in (0.8001, 0.8)
    )
    assert [row.query_norm for row in above.unionByName(at).orderBy("least").collect()] == ["north a", None]


def test_another_seed_draws_others_and_partitions_do_not(spark, found, monkeypatch):
    other = queries_of(*frames(spark), Params(stats_top=3, seed=18)).where("event_id like 'draw%'").collect()
    assert 0.2 < sum(row.query_norm != found[row.event_id].query_norm for row in other) / NUM_DRAWS < 0.9
    monkeypatch.setattr("features.queries.broadcast_if_small", lambda given, source: given)
    scattered = [each.repartition(3, F.rand(7)) for each in frames(spark)]
    assert {row.event_id: row for row in queries_of(*scattered, PARAMS).collect()} == found
