"""Traffic and clicks of queries, against DuckDB on generated logs; hardness, standing and evaluation by hand."""

import random
from datetime import UTC, date, datetime, timedelta

import duckdb
import pytest
from pyspark.sql import functions as F

from expectations.query_stats import SUITE
from features.splits import is_evaluation
from jobs.query_stats import build
from jobs.session import suited_to
from schemas.attributions import CONTRACT as ATTRIBUTIONS
from schemas.derive import spark_schema
from schemas.items import CONTRACT as ITEMS
from schemas.query_stats import CONTRACT
from schemas.requests import CONTRACT as REQUESTS
from tests.features.attribution_cases import naive
from tests.frames import frame

DAY = date(2026, 1, 28)
ORACLE = """
with asked as (
  select query_norm, count(*) searches, count(distinct user_id) users, count(*) filter (len(candidates) < 10) / count(*) few
  from requests where domain = 'search' and query_norm is not null group by all),
credited as (
  select query_norm, count(*) filter (event_type = 'click') clicks, count(*) filter (event_type = 'pay') pays,
    count(distinct request_id) filter (event_type = 'click') clicked
  from attributions where request_id is not null and request_day >= date '2026-01-01' group by all)
select query_norm, searches, users, coalesce(clicks, 0), coalesce(clicked, 0) / searches, coalesce(pays, 0), few
from asked left join credited using (query_norm) order by query_norm
"""
QUERIES = ["lamp", "red lamp", "red shoe", "what lamp", "lamp without cord", "shoe like kavepa", "glow stick", None]
HARDNESS = {"glow stick": "knowledge", "red shoe": "knowledge", "lamp without cord": "negation", "shoe like kavepa": "alternative"}
HARDNESS |= {"lamp": "plain", "red lamp": "plain", "what lamp": "question"}  # red and shoe are in titles, but never in the same one


def generated() -> tuple[list[dict], list[dict]]:
    rng = random.Random(3)
    requests, attributions = [], []
    for n in range(300):
        query = rng.choice(QUERIES)
        at = datetime(2026, 1, 28, 12, tzinfo=UTC) - timedelta(days=rng.randrange(28))
        candidates = [{"item_id": f"i{i}"} for i in range(rng.choice([0, 9, 10, 11]))]
        requests.append(
            {"request_id": f"r{n}", "user_id": f"u{rng.randrange(9)}", "query_norm": query, "requested_at": at, "day": at.date()}
        )
        requests[-1] |= {"candidates": candidates, "domain": rng.choice(["search", "search", "rec"]) if query else "rec"}
        for _ in range(rng.randrange(3) if query and requests[-1]["domain"] == "search" else 0):
            attributions.append(
                {"request_id": f"r{n}", "query_norm": query, "request_day": at.date(), "event_type": rng.choice(["click", "pay"])}
            )
    late = {"request_id": "old", "query_norm": "lamp", "request_day": date(2025, 12, 31), "event_type": "click", "day": DAY}
    return requests, [*attributions, late, {"event_type": "click"}]


@pytest.fixture(scope="module")
def inputs(spark):
    requests, attributions = generated()
    items = [{"item_id": "i1", "title": "Red Lamp", "status": "off_shelf"}, {"item_id": "i2", "title": "Shoe"}, {"item_id": "i3"}]
    rows = {"requests": (REQUESTS, requests), "attributions": (ATTRIBUTIONS, attributions), "items": (ITEMS, items)}
    return {name: frame(spark, contract, given) for name, (contract, given) in rows.items()}


@pytest.fixture(scope="module")
def rows(spark, inputs):
    with suited_to(spark, 0):
        return build(inputs, DAY).orderBy("query_norm").collect()


def test_traffic_and_clicks_equal_the_oracle(inputs, rows):
    with duckdb.connect() as connection:
        for name in ("requests", "attributions"):
            connection.register(name, naive(inputs[name].toArrow()))
        expected = connection.execute(ORACLE).fetchall()
    assert len(expected) == 7
    names = ["query_norm", "num_searches_28d", "num_users_28d", "num_clicks_28d", "click_rate", "num_pays_28d", "few_result_rate"]
    assert [tuple(row[name] for name in names) for row in rows] == expected


def test_type_standing_and_side_of_the_split(spark, rows):
    assert {row.query_norm: row.hardness for row in rows} == HARDNESS
    most = max(rows, key=lambda row: row.num_searches_28d)
    assert (most.decile, most.segment) == (1, "head")
    sides = spark.createDataFrame([(row.query_norm, row.is_evaluation) for row in rows], "query_norm string, found boolean")
    assert sides.where(F.col("found") != is_evaluation(F.col("query_norm"))).count() == 0


def test_columns_are_the_contract_and_no_row_breaks_a_rule(spark, inputs, rows):
    contract = spark_schema(CONTRACT)
    assert [(f.name, f.dataType) for f in build(inputs, DAY).schema] == [(f.name, f.dataType) for f in contract]
    conditions = " and ".join(f"({rule.condition})" for rule in SUITE.row_rules)
    assert spark.createDataFrame(rows, contract).where(conditions).count() == len(rows) == 7


def test_without_searches_there_are_no_rows(spark, inputs):
    assert build(inputs | {"requests": frame(spark, REQUESTS, [{"domain": "rec"}])}, DAY).count() == 0
