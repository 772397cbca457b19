"""The attributions of a generated day: the contract's columns, and books that balance."""

import pytest
from pyspark.sql import functions as F

from features.books import tally
from jobs.attributions import build
from schemas.attributions import CONTRACT, CREDITED, UNCREDITED
from schemas.derive import spark_schema
from schemas.events import CONTRACT as EVENTS
from schemas.requests import CONTRACT as REQUESTS
from tests.features import attribution_cases as cases
from tests.frames import frame


@pytest.fixture(scope="module")
def inputs(spark):
    requests = cases.requests(seed=8, number=200)
    return {"requests": frame(spark, REQUESTS, requests), "events": frame(spark, EVENTS, cases.events(seed=9, number=2500, of=requests))}


def test_rows_and_fates_are_those_of_the_oracle_and_the_books_balance(inputs):
    from tests.features.test_attribution import samples_of

    expected = cases.oracle(samples_of(inputs["requests"]).toArrow(), inputs["events"].toArrow())
    rows = build(inputs, cases.DAY).orderBy("event_id").collect()
    assert [(row.event_id, row.fate, row.attribution_level, row.request_id) for row in rows] == [
        (row[0], row[9], row[10], row[11]) for row in expected
    ]
    assert {row._fate for row in rows} == {"kept"} and {row.day for row in rows} == {cases.DAY}
    assert all(row._events[row.fate] == sum(row._events) == 1 for row in rows)


def test_columns_are_the_contracts_and_the_account_names_every_fate(inputs):
    built = build(inputs, cases.DAY)
    columns = spark_schema(CONTRACT)
    assert [(f.name, f.dataType) for f in built.schema][: len(columns)] == [(f.name, f.dataType) for f in columns]
    assert built.columns[len(columns) :] == ["_fate", "_events"]
    assert tuple(built.schema["_events"].dataType.names) == CREDITED + UNCREDITED == CONTRACT.input("events").accounts[0].fates


def test_a_day_without_events_or_without_requests(inputs):
    none = {"requests": inputs["requests"], "events": inputs["events"].where("false")}
    assert build(none, cases.DAY).count() == 0
    alone = build({"requests": inputs["requests"].where("false"), "events": inputs["events"]}, cases.DAY)
    fates = {row.fate for row in alone.select("fate").distinct().collect()}
    assert fates == {"no_candidate", "duplicate", "other_type"}


def test_events_of_later_days_and_requests_of_other_domains_change_nothing(inputs):
    """Nothing outside what the contract hands over could matter: here it is handed over, and is not used."""
    shop = inputs["requests"].withColumns({"domain": F.lit("shop"), "request_id": F.concat("request_id", F.lit("s"))})
    more = {"requests": inputs["requests"].unionByName(shop), "events": inputs["events"]}
    given = build(inputs, cases.DAY).drop("_events").exceptAll(build(more, cases.DAY).drop("_events"))
    assert given.count() == 0


def test_tally_counts_a_fate_once(spark):
    rows = spark.createDataFrame([("native",), ("no_candidate",), (None,)], "fate string")
    sums = [tuple(row[0]) for row in rows.select(tally(F.col("fate"), ("native", "no_candidate"))).collect()]
    assert sums == [(1, 0), (0, 1), (0, 0)]
