from datetime import date

import pytest
from pyspark.sql import functions as F

from expectations.retriever_examples import SUITE
from features.splits import is_evaluation
from jobs.retriever_examples import FATES, build
from schemas.derive import spark_schema
from schemas.items import CONTRACT as ITEMS
from schemas.query_item_stats import CONTRACT as STATS
from schemas.query_stats import CONTRACT as TRAFFIC
from schemas.requests import CONTRACT as REQUESTS
from schemas.retriever_examples import CONTRACT, KINDS, TOKENS
from schemas.synthetic_pairs import CONTRACT as PAIRS
from tests.frames import frame

DAY = date(2026, 1, 5)
INPUTS = {"items": ITEMS, "query_item_stats": STATS, "query_stats": TRAFFIC, "requests": REQUESTS, "synthetic_pairs": PAIRS}


@pytest.fixture(scope="module")
def queries(spark):
    rows = spark.createDataFrame([(f"shoe number {n}",) for n in range(40)], "q string").select("q", is_evaluation(F.col("q")).alias("e"))
    found = rows.collect()
    return [r.q for r in found if not r.e][:2] + [r.q for r in found if r.e][:2]


@pytest.fixture(scope="module")
def rows(spark, queries):
    seen, rare, held_out, held_out_too = queries
    items = [{"item_id": f"i{n}", "title": f"Shoe {n} of leather", "category_path": ["shoe"]} for n in range(4)]
    items += [{"item_id": "gone", "title": "Old shoe", "status": "off_shelf"}, {"item_id": "blank", "title": None}]
    clicks = [(seen, "i0", 3), (seen, "gone", 1), (seen, "blank", 1), (held_out, "i1", 1), (held_out, "gone", 1)]
    pairs = [(rare, "i2"), (rare, "blank"), (seen, "i0"), (held_out_too, "i2")]
    pages = [{"query_norm": seen, "candidates": [{"item_id": "i3", "is_exposed": True}]} for _ in range(2)]
    made = {"rewriter": "sessions", "channel": "both", "is_new": True, "p_business": 0.9, "p_general": 0.8}
    given = {
        "items": items,
        "query_item_stats": [{"query_norm": q, "item_id": i, "num_clicks_28d": n} for q, i, n in clicks],
        "query_stats": [{"query_norm": seen, "segment": "head", "hardness": "plain"}],
        "requests": pages,
        "synthetic_pairs": [{"query_norm": q, "item_id": i, **made} for q, i in pairs],
    }
    return build({table: frame(spark, INPUTS[table], of_table) for table, of_table in given.items()}, DAY).collect()


def test_each_input_row_has_one_fate_and_the_books_add_up(rows):
    assert len(rows) == 5 + 4 + 6
    totals = {name: {fate: sum(getattr(r, f"_{name}")[fate] for r in rows) for fate in fates} for name, fates in FATES.items()}
    assert totals == {
        "observed": {"log": 2, "evaluation": 1, "off_shelf": 1, "no_title": 1},
        "pairs": {"synthetic": 1, "in_log": 1, "evaluation_query": 1, "no_title": 1},
        "items": {"catalogue": 4, "off_shelf": 1, "no_title": 1},
    }
    assert sum(r._fate == "kept" for r in rows) == 2 + 1 + 1 + 4


def test_no_evaluation_query_is_learnt_from(rows, queries):
    learnt = {r.query_norm for r in rows if r._fate == "kept" and r.kind in ("log", "synthetic")}
    assert learnt == set(queries[:2]) and len([r for r in rows if r.kind == "evaluation" and r.query_norm in queries[2:]]) == 1


def test_a_row_holds_tokens_weight_negatives_and_where_it_comes_from(rows, queries):
    found = {(r.kind, r.query_norm, r.item_id): r for r in rows if r._fate == "kept"}
    log, made, shelf = found["log", queries[0], "i0"], found["synthetic", queries[1], "i2"], found["catalogue", "", "i2"]
    assert (log.weight, log.segment, log.hardness, log.num_clicks_28d, log.rewriter) == (2.0, "head", "plain", 3, None)
    assert [(n.item_id, n.source) for n in log.hard_negatives] == [("i3", "shown")]
    assert made.weight == pytest.approx(0.8)
    assert (made.segment, made.hardness, made.rewriter, made.is_new) == (
        "tail",
        None,
        "sessions",
        True,
    )
    assert (shelf.weight, shelf.query_hash, shelf.query_tokens, shelf.hard_negatives, shelf.segment) == (1.0, 0, [], [], None)
    assert made.item_tokens == shelf.item_tokens and made.item_hash == shelf.item_hash
    assert set(log.query_tokens) & set(log.item_tokens) and all(0 < token < TOKENS for token in log.query_tokens + log.item_tokens)


def test_columns_are_the_contract_and_no_row_breaks_a_rule(spark, rows):
    schema = spark_schema(CONTRACT)
    names = [name for name in rows[0].asDict() if not name.startswith("_")]
    assert names == schema.names
    kept = spark.createDataFrame([tuple(r[: len(names)]) for r in rows if r._fate == "kept"], schema)
    conditions = " and ".join(f"({rule.condition})" for rule in SUITE.row_rules if not rule.over)
    assert kept.where(conditions).count() == 8
    assert {r.kind for r in rows if r._fate == "kept"} == set(KINDS)


def test_without_pairs_the_catalogue_is_left(spark):
    nothing = {table: frame(spark, contract, []) for table, contract in INPUTS.items()}
    items = frame(spark, ITEMS, [{"item_id": "i0", "title": "Shoe"}])
    assert [(r.kind, r.item_id, r._fate) for r in build(nothing | {"items": items}, DAY).collect()] == [("catalogue", "i0", "kept")]
