"""Counts of credited clicks and pays, against DuckDB on generated attributions."""

import random
from datetime import UTC, date, datetime, timedelta

import duckdb

from jobs.query_item_stats import build
from schemas.attributions import CONTRACT as ATTRIBUTIONS
from schemas.derive import spark_schema
from schemas.query_item_stats import CONTRACT
from tests.features.attribution_cases import naive
from tests.frames import frame

DAY = date(2026, 1, 28)
ORACLE = """
select query_norm, item_id, count(*) filter (event_type = 'click'), count(*) filter (event_type = 'pay'), max(event_at)
from attributions where request_id is not null and query_norm is not null group by all order by all
"""


def generated(number: int) -> list[dict[str, object]]:
    rng = random.Random(2)
    rows = []
    for _ in range(number):
        fate = rng.choice(["native", "click_exposed", "pay_unexposed", "no_candidate", "duplicate"])
        is_credited = fate not in ("no_candidate", "duplicate")
        at = datetime(2026, 1, 28, tzinfo=UTC) - timedelta(minutes=rng.randrange(27 * 24 * 60))
        rows.append(
            {
                "day": at.date(),
                "event_at": at,
                "available_at": at,
                "item_id": f"i{rng.randrange(6)}",
                "fate": fate,
                "event_type": rng.choice(["click", "pay"]),
                "request_id": "r" if is_credited else None,
                "query_norm": rng.choice(["lamp", "red shoe", None]) if is_credited else None,
            }
        )
    return rows


def test_counts_equal_the_oracle(spark):
    attributions = frame(spark, ATTRIBUTIONS, generated(800))
    with duckdb.connect() as connection:
        connection.register("attributions", naive(attributions.toArrow()))
        expected = connection.execute(ORACLE).fetchall()
    assert len(expected) == 12
    built = build({"attributions": attributions}, DAY)
    table = naive(built.orderBy("query_norm", "item_id").toArrow()).to_pylist()
    assert [tuple(row.values()) for row in table] == [(DAY, *row) for row in expected]
    assert [(f.name, f.dataType) for f in built.schema] == [(f.name, f.dataType) for f in spark_schema(CONTRACT)]


def test_uncredited_events_and_requests_without_query_count_nothing(spark):
    rows = [{"fate": "no_candidate"}, {"fate": "native", "request_id": "r"}, {"fate": "duplicate", "query_norm": "lamp"}]
    assert build({"attributions": frame(spark, ATTRIBUTIONS, rows)}, DAY).count() == 0
