"""Weights and their caps, what is left out, and which items a query should not find: each by rows worked out by hand."""

import pytest
from pyspark.sql import functions as F

from features.retriever import UNIT, Params, catalogue, hard_negatives, observed, scaled, synthetic
from features.splits import is_evaluation
from schemas.items import CONTRACT as ITEMS
from schemas.query_item_stats import CONTRACT as STATS
from schemas.requests import CONTRACT as REQUESTS
from schemas.synthetic_pairs import CONTRACT as PAIRS
from tests.frames import frame

CATALOGUE = {
    "i1": {"title": "Red shoe", "category_path": ["shoe"]},
    "i2": {"title": "Blue shoe", "category_path": ["shoe"]},
    "gone": {"title": "Green shoe", "category_path": ["shoe"], "status": "off_shelf"},
    "blank": {"title": " "},
    "knife": {"title": "Red knife", "category_path": ["knife"]},
    "i3": {"title": "White shoe with lace", "category_path": ["shoe"]},
}


@pytest.fixture(scope="module")
def names(spark):
    """Queries to learn from, and one that is kept for evaluation."""
    asked = spark.createDataFrame([(f"shoe number {n}",) for n in range(40)], "q string").select("q", is_evaluation(F.col("q")).alias("e"))
    rows = asked.collect()
    return [r.q for r in rows if not r.e][:5], next(r.q for r in rows if r.e)


@pytest.fixture(scope="module")
def known(spark):
    return catalogue(frame(spark, ITEMS, [{"item_id": key, **more} for key, more in CATALOGUE.items()]))


def stats(spark, rows):
    return frame(spark, STATS, [{"query_norm": q, "item_id": i, "num_clicks_28d": c, "num_pays_28d": p} for q, i, c, p in rows])


def pairs(spark, rows):
    return frame(spark, PAIRS, [{"query_norm": q, "item_id": i, "p_business": b, "p_general": g} for q, i, b, g in rows])


def test_items_are_on_the_shelf_off_it_or_without_words(known):
    found = {r.item_id: (r.fate, r.leaf, r.title_words) for r in known.collect()}
    assert found["i1"] == ("catalogue", "shoe", ["red", "shoe"])
    assert [found[n][0] for n in ("gone", "blank")] == ["off_shelf", "no_title"] and found["blank"][1:] == (None, None)


def test_observed_pairs_weigh_by_octaves_of_clicks_and_those_of_evaluation_queries_are_not_learnt(spark, known, names):
    (query, *_), held_out = names
    rows = [(query, "i1", 6, 1), (query, "gone", 1, 0), (query, "blank", 9, 0), (query, "never seen", 9, 0), (held_out, "i1", 3, 0)]
    found = {(r.query_norm, r.item_id): r for r in observed(stats(spark, [*rows, (held_out, "gone", 1, 0)]), known).collect()}
    fates = {"i1": "log", "gone": "log", "blank": "no_title", "never seen": "no_title"}
    assert {item: found[query, item].fate for item in fates} == fates
    assert [found[held_out, item].fate for item in ("i1", "gone")] == ["evaluation", "off_shelf"]
    assert found[query, "i1"].micro == 3 * UNIT and found[query, "gone"].micro == UNIT and found[query, "i1"].num_clicks_28d == 7


def test_synthetic_pairs_never_outweigh_observed_ones(spark, known, names):
    (clicked, alone, light, *_), held_out = names
    seen = observed(stats(spark, [(clicked, "i1", 3, 0), (light, "i1", 1, 0), (held_out, "i2", 5, 0)]), known)  # weights 2 and 1
    given = [(clicked, "i1", 0.9, 0.9), (clicked, "i2", 0.9, 0.8), (light, "i2", 0.6, 0.7), (held_out, "i1", 0.9, 0.9)]
    given += [(alone, "blank", 0.9, 0.9)]
    given += [(alone, item, 1.0, 0.5) for item in ("i1", "i2", "i3", "knife")]
    made = {(r.query_norm, r.item_id): r for r in synthetic(pairs(spark, given), seen, known, Params()).collect()}
    assert len(made) == len(given)
    assert {made[k].fate: k for k in made if made[k].micro is None} == {
        "in_log": (clicked, "i1"), "evaluation_query": (held_out, "i1"), "no_title": (alone, "blank"),
    }  # fmt: skip
    assert made[clicked, "i2"].micro == 800_000  # as it is: the lesser of two, below the 2 observed
    assert made[light, "i2"].micro == 600_000
    assert [made[alone, item].micro for item in ("i1", "i2", "i3", "knife")] == [250_000] * 4  # together one click's weight
    little = observed(stats(spark, [(light, "i1", 1, 0)]), known)
    capped = [r.micro for r in synthetic(pairs(spark, given[1:3] + given[5:]), little, known, Params()).collect()]
    assert 0.99 * UNIT < sum(capped) <= UNIT and len(capped) == 6  # 2.4 asked for, 1 observed in all


def test_a_part_of_the_room_is_rounded_down_and_never_nothing(spark):
    rows = spark.createDataFrame([(10, 30, 20), (10, 20, 20), (1, 10**15, 5), (10**12, 10**15, 10**14)], "part long, whole long, room long")
    assert [r[0] for r in rows.select(scaled(F.col("part"), F.col("whole"), F.col("room"))).collect()] == [6, 10, 1, 10**11]


def page(query, *shown, unshown=(), **more):
    listed = [{"item_id": item, "is_exposed": item not in unshown} for item in (*shown, *unshown)]
    return {"query_norm": query, "candidates": listed} | more


def test_hard_negatives_are_shown_often_and_never_known_or_have_a_word_that_is_excluded(spark, known, names):
    (query, other, *_), held_out = names
    excluding = next(q for q in ("shoe without lace", "red shoe without lace", "blue shoes without lace") if not is_held_out(spark, q))
    right = [(query, "i1"), (query, "i2"), (excluding, "i1"), (held_out, "i1")]
    positives = spark.createDataFrame(right, "query_norm string, item_id string")
    pages = [
        page(query, "i1", "i2", "knife", "gone", "i3"), page(query, "i1", "i2", "knife", "gone"), page(query, "knife", unshown=["i3"]),
        page(held_out, "knife"), page(held_out, "knife"), page(other, "knife"), page(other, "knife"),
        page(query, "i3", domain="rec"), page(excluding, "knife", "i2"), page(excluding, "knife", "i2"), page(excluding, "i2", "i2"),
    ]  # fmt: skip
    requests = frame(spark, REQUESTS, pages)
    found = {r.query_norm: r.negatives for r in hard_negatives(positives, requests, known, Params(most_negatives=2)).collect()}
    assert {q: [(n.item_id, n.source) for n in of] for q, of in found.items()} == {
        query: [("knife", "shown")],  # i1, i2 are right, gone is off the shelf, i3 was shown once
        excluding: [("i3", "negated"), ("i2", "shown")],  # i2 on three pages; the third is one too many
    }
    assert found[query][0].item_hash == spark.sql("select xxhash64('knife')").first()[0]


def is_held_out(spark, query):
    return spark.createDataFrame([(query,)], "q string").select(is_evaluation(F.col("q"))).first()[0]
