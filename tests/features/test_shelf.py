"""The catalogue as of a moment, with two snapshots: what could be read only later does not count."""

from datetime import UTC, datetime, timedelta

from pyspark.sql import functions as F

from features.shelf import fact_as_of, item_facts, off_shelf_by_request
from schemas.items import CONTRACT as ITEMS
from schemas.requests import CONTRACT as REQUESTS
from tests.frames import frame

FIRST, SECOND = datetime(2026, 1, 4, 1, tzinfo=UTC), datetime(2026, 1, 5, 1, tzinfo=UTC)
MICRO = timedelta(microseconds=1)
SNAPSHOTS = [
    {"item_id": item, "status": status, "available_at": at, "day": at.date(), "category_path": path, "price_cents": cents}
    for item, at, status, path, cents in [
        ("leaves", FIRST, "on_shelf", ["all", "shoe"], 100),
        ("leaves", SECOND, "off_shelf", ["all", "boot"], 200),
        ("returns", FIRST, "off_shelf", ["all"], 100),
        ("returns", SECOND, "on_shelf", [], 100),
        ("gone", FIRST, "off_shelf", None, None),
        ("new", SECOND, "off_shelf", None, None),
        ("stays", FIRST, "on_shelf", None, None),
    ]
]
TIMES = {"before": FIRST, "first": FIRST + MICRO, "second": SECOND, "after": SECOND + MICRO}


def test_facts_are_read_as_of_a_moment_and_equality_is_the_future(spark):
    facts = item_facts(frame(spark, ITEMS, SNAPSHOTS))
    seen = facts.select("item_id", *(fact_as_of(F.col("facts"), F.lit(at)).alias(name) for name, at in TIMES.items()))
    found = {
        row.item_id: [row[name] and (row[name].status, row[name].leaf, row[name].price_cents) for name in TIMES] for row in seen.collect()
    }
    on, off = ("on_shelf", "shoe", 100), ("off_shelf", "boot", 200)
    assert found["leaves"] == [None, on, on, off]
    assert found["returns"] == [None, ("off_shelf", "all", 100), ("off_shelf", "all", 100), ("on_shelf", None, 100)]
    assert found["new"] == [None, None, None, ("off_shelf", None, None)]


def test_a_request_names_the_items_that_were_off_the_shelf_when_it_was_made(spark):
    listed = [{"item_id": item} for item in ("leaves", "leaves", "returns", "gone", "new", "stays", "unknown")]
    requests = [{"request_id": name, "requested_at": at, "candidates": listed} for name, at in TIMES.items()]
    requests += [{"request_id": "clean", "requested_at": SECOND, "candidates": [{"item_id": "stays"}]}, {"request_id": "empty"}]
    off = off_shelf_by_request(frame(spark, REQUESTS, requests), frame(spark, ITEMS, SNAPSHOTS))
    found = {row.request_id: sorted(row.off_shelf) for row in off.collect()}
    assert found == {"first": ["gone", "returns"], "second": ["gone", "returns"], "after": ["gone", "leaves", "new"]}
