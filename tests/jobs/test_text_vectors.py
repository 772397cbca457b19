from datetime import date

import pytest

from expectations.text_vectors import SUITE
from jobs.text_vectors import arg_parser, build
from schemas.derive import spark_schema
from schemas.items import CONTRACT as ITEMS
from schemas.requests import CONTRACT as REQUESTS
from schemas.text_vectors import CONTRACT
from tests.frames import frame

DAY = date(2026, 1, 5)
TITLES = {"i1": "Red running shoe", "i2": "Kitchen knife", "i3": None, "i4": " ", "i5": "Shoe running red"}
SEARCHES = [("red shoe", "2026-01-04", 2), ("knife", "2025-12-29", 1), ("red shoe", "2025-12-30", 1), (None, "2026-01-04", 3)]


@pytest.fixture(scope="module")
def inputs(spark):
    items = [{"item_id": key, "title": title, "status": "off_shelf" if key == "i2" else "on_shelf"} for key, title in TITLES.items()]
    requests = [{"query_norm": query, "day": day, "domain": "search" if query else "rec"} for query, day, n in SEARCHES for _ in range(n)]
    return {"items": frame(spark, ITEMS, items), "requests": frame(spark, REQUESTS, requests)}


@pytest.fixture(scope="module")
def rows(inputs):
    return build(inputs, DAY).collect()


def test_one_row_for_each_title_and_each_query_searched(rows):
    found = {(row.kind, row.text_id): (row.text, row.num_searches_7d) for row in rows}
    assert found == {
        ("item", "i1"): ("Red running shoe", None),
        ("item", "i2"): ("Kitchen knife", None),
        ("item", "i5"): ("Shoe running red", None),
        ("query", "red shoe"): ("red shoe", 3),
        ("query", "knife"): ("knife", 1),
    }
    assert len(rows) == len(found)
    assert {(row.day, row.encoder, row._fate) for row in rows} == {(DAY, "hashed-tfidf-256", "kept")}


def test_a_query_is_nearest_to_the_title_with_its_words(rows):
    vectors = {row.text_id: row.vector for row in rows}
    products = {i: sum(a * b for a, b in zip(vectors["knife"], vectors[i], strict=True)) for i in ("i1", "i2", "i5")}
    assert max(products, key=products.get) == "i2"
    assert products["i1"] == products["i5"]  # the same words


def test_columns_are_the_contract_and_no_row_breaks_a_rule(spark, rows, inputs):
    built = build(inputs, DAY)
    contract = spark_schema(CONTRACT)
    assert [(f.name, f.dataType) for f in built.schema if f.name != "_fate"] == [(f.name, f.dataType) for f in contract]
    conditions = " and ".join(f"({rule.condition})" for rule in SUITE.row_rules)
    assert spark.createDataFrame([row[:-1] for row in rows], contract).where(conditions).count() == len(rows) == 5


def test_without_texts_there_are_no_rows(spark):
    assert build({"items": frame(spark, ITEMS, []), "requests": frame(spark, REQUESTS, [])}, DAY).collect() == []


def test_the_model_is_an_option_of_the_job():
    parsed = arg_parser().parse_args(["--day", "2026-01-05", "--lake", "lake", "--model", "models/mini"])
    assert (parsed.model, parsed.day) == ("models/mini", DAY)
    assert arg_parser().parse_args(["--day", "2026-01-05"]).model is None
