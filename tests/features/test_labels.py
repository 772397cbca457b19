"""Labels by hand: which event sets which label, which comes too late, and what a sample says of itself."""

from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import functions as F

from features.es3 import Params
from features.labels import candidate_fates, label_of, labels_by_request, num_labels, sample
from schemas.attributions import CONTRACT, CREDITED
from schemas.derive import spark_schema
from schemas.entire_space import CONTRACT as ENTIRE_SPACE
from tests.frames import frame

AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
HORIZON = timedelta(days=8)
MICRO = timedelta(microseconds=1)
HOUR = timedelta(hours=1)


def credit(request: str, item: str, event: str, fate: str = "native", kind: str = "click", **more: object) -> dict[str, object]:
    """An event credited to (request, item) one hour after the request, available at once."""
    at = more.pop("at", AT + HOUR)
    facts = {"event_at": at, "available_at": at, "requested_at": AT, "request_day": AT.date()}
    facts["attribution_lag_s"] = (at - AT).total_seconds()
    return {"event_id": event, "item_id": item, "event_type": kind, "fate": fate, "attribution_level": CREDITED.index(fate) + 1,
            "request_id": request, **facts, **more}  # fmt: skip


CREDITS = [
    credit("pay", "a", "pay-click"),
    credit("pay", "a", "pay-pay", "pay_clicked", "pay", at=AT + 5 * HOUR),
    credit("pay", "b", "pay-only", "pay_exposed", "pay", at=AT + 6 * HOUR),
    credit("order", "a", "order-2", "click_exposed", at=AT + HOUR),
    credit("order", "a", "order-1", "native", at=AT + 2 * HOUR),  # a better level, though later
    credit("order", "b", "order-4", "native", at=AT + 3 * HOUR),
    credit("order", "b", "order-3", "native", at=AT + 2 * HOUR),  # the same level: the earlier
    credit("order", "c", "order-6", "click_unexposed"),
    credit("order", "c", "order-5", "click_unexposed"),  # the same time: the smaller event_id
    credit("order", "d", "order-8", "pay_unexposed", "pay", at=AT + 2 * HOUR),
    credit("order", "d", "order-7", "pay_clicked", "pay", at=AT + 3 * HOUR),
    credit("native", "a", "native-pay", "native", "pay"),  # natively paid without a click: no native click
    credit("end", "a", "end-in", available_at=AT + HORIZON - MICRO),
    credit("end", "b", "end-out", available_at=AT + HORIZON),
    credit("end", "c", "end-out-2", available_at=AT + HORIZON),
    credit("end", "c", "end-in-2", "pay_exposed", "pay", available_at=AT + HORIZON - MICRO),
    credit("late", "a", "late-out", available_at=AT + HORIZON + MICRO),
]


@pytest.fixture(scope="module")
def labels(spark):
    rows = labels_by_request(frame(spark, CONTRACT, CREDITS), Params()).collect()
    return {row.request_id: row for row in rows}


def by_item(row):
    return {each.item_id: each for each in row.labels}


def test_one_row_a_request_and_its_labels_sorted_by_item(labels):
    assert set(labels) == {"pay", "order", "native", "end", "late"}
    assert [each.item_id for each in labels["order"].labels] == ["a", "b", "c", "d"]


def test_a_pay_sets_both_labels_and_names_itself(labels):
    a, b = labels["pay"].labels
    assert (a.y_click, a.y_pay, a.is_native_click, a.num_events) == (1, 1, True, 2)
    assert (a.source, a.event_id, a.lag_s) == ("pay_clicked", "pay-pay", 5 * 3600)
    assert (b.y_click, b.y_pay, b.is_native_click, b.source) == (1, 1, False, "pay_exposed")
    only = labels["native"].labels[0]
    assert (only.y_click, only.y_pay, only.is_native_click, only.source) == (1, 1, False, "native")


def test_the_source_is_of_the_smallest_level_then_the_earliest_then_the_smallest_id(labels):
    found = {item: (each.source, each.event_id, each.lag_s) for item, each in by_item(labels["order"]).items()}
    assert found == {
        "a": ("native", "order-1", 7200), "b": ("native", "order-3", 7200), "c": ("click_unexposed", "order-5", 3600),
        "d": ("pay_clicked", "order-7", 10800),
    }  # fmt: skip
    assert [each.num_events for each in labels["order"].labels] == [2, 2, 2, 2]


def test_a_label_counts_up_to_the_last_microsecond_of_its_horizon(labels):
    found = by_item(labels["end"])
    assert set(found) == {"a", "c"} and labels["end"].num_too_late == 2
    assert (found["c"].event_id, found["c"].num_events, found["c"].is_native_click) == ("end-in-2", 1, False)
    assert labels["late"].labels == [] and labels["late"].num_too_late == 1


@pytest.fixture(scope="module")
def samples(spark):
    """Every candidate once without a label, once with a native click, once with a label from elsewhere."""
    candidate = "named_struct('item_id', item_id, 'stage', 'exposed', 'is_exposed', is_exposed, 'position', position, 'propensity', 0.5D, "
    candidate += "'score', 2.5D, 'price_cents', 900L, 'p_inclusion', p)"
    label = "named_struct('item_id', label, 'y_click', 1, 'y_pay', pay, 'is_native_click', native, 'source', 'native', 'event_id', 'e', "
    label += "'lag_s', 3.0D, 'num_events', 2)"
    rows = spark.createDataFrame(
        [
            ("shown", True, 1, 1.0, "other", 0, True),
            ("clicked", True, 2, 1.0, "clicked", 0, True),
            ("elsewhere", True, 3, 1.0, "elsewhere", 1, False),
            ("drawn", False, None, 0.25, "drawn", 0, True),
        ],
        "item_id string, is_exposed boolean, position int, p double, label string, pay int, native boolean",
    ).select(F.expr(candidate).alias("c"), F.expr(f"array({label})").alias("labels"))
    made = rows.withColumn("sample", sample(F.col("c"), label_of(F.col("labels"), F.col("c.item_id"))))
    counted = made.withColumn("events", num_labels(F.col("labels"), F.array("c")))
    return {row.c.item_id: row for row in counted.collect()}, made


def test_a_sample_is_a_click_only_where_it_was_shown_and_natively_clicked(samples):
    rows, made = samples
    assert {item: row.sample.sample_type for item, row in rows.items()} == {
        "shown": "exposed", "clicked": "click", "elsewhere": "exposed", "drawn": "unexposed",
    }  # fmt: skip
    assert [(row.sample.y_click, row.sample.y_pay, row.sample.label_source) for row in rows.values()] == [
        (0, 0, None), (1, 0, "native"), (1, 1, "native"), (1, 0, "native"),
    ]  # fmt: skip
    assert [row.sample.weight for row in rows.values()] == [1, 1, 1, 4]
    assert [row.events for row in rows.values()] == [0, 2, 2, 2]
    wanted = spark_schema(ENTIRE_SPACE)["items"].dataType.elementType
    assert [(f.name, f.dataType) for f in made.schema["sample"].dataType] == [(f.name, f.dataType) for f in wanted]


def test_counts_of_samples_without_any_labels_are_zero(spark):
    listed = "array(named_struct('item_id', 'a', 'is_exposed', true), named_struct('item_id', 'b', 'is_exposed', false))"
    twice = f"concat({listed}, slice({listed}, 1, 1))"
    none = "cast(null as array<struct<item_id string, num_events int>>)"
    row = spark.range(1).select(F.expr(listed).alias("drawn"), F.expr(twice).alias("candidates"), F.expr(none).alias("labels"))
    row = row.withColumn("on_shelf", F.slice("drawn", 1, 1))
    fates = candidate_fates(F.col("candidates"), F.col("drawn"), F.col("on_shelf"))
    found = row.select(num_labels(F.col("labels"), F.col("drawn")).alias("events"), *(n.alias(name) for name, n in fates.items())).first()
    expected = {"events": 0, "exposed": 1, "unexposed": 0, "off_shelf": 1, "not_drawn": 0, "duplicate": 1}
    assert found.asDict() == expected
