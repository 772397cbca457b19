"""A reply and a goal for each query that found something, the catalogue, the books, evaluation queries nowhere."""

from datetime import date

import pytest
from pyspark.sql import functions as F

from expectations.query_rewriter_examples import SUITE
from features.generated import instruction
from features.splits import is_evaluation
from jobs.query_rewriter_examples import FATES, build
from jobs.session import suited_to
from schemas.attributions import CONTRACT as ATTRIBUTIONS
from schemas.derive import spark_schema
from schemas.items import CONTRACT as ITEMS
from schemas.query_item_stats import CONTRACT as STATS
from schemas.query_rewriter_examples import CONTRACT, KINDS, NUM_REWRITES
from schemas.query_rewrites import CONTRACT as REWRITES
from schemas.requests import CONTRACT as REQUESTS
from schemas.synthetic_pairs import CONTRACT as PAIRS
from tests.frames import frame

DAY = date(2026, 1, 5)
INPUTS = {
    "query_rewrites": REWRITES,
    "synthetic_pairs": PAIRS,
    "items": ITEMS,
    "query_item_stats": STATS,
    "requests": REQUESTS,
    "attributions": ATTRIBUTIONS,
}


@pytest.fixture(scope="module")
def queries(spark):
    """Queries to learn from: two with pairs, one without; and two that are kept for evaluation."""
    rows = spark.range(60).select(F.concat(F.lit("seat without wheels "), "id").alias("q")).withColumn("e", is_evaluation(F.col("q")))
    found = rows.collect()
    return [r.q for r in found if not r.e][:3] + [r.q for r in found if r.e][:2]


@pytest.fixture(scope="module")
def inputs(spark, queries):
    one, two, three, held_out, other = queries
    items = [{"item_id": "i0", "title": "Oak Chair"}, {"item_id": "i1", "title": "Soft chair chair"}, {"item_id": "blank", "title": " "}]
    items += [{"item_id": "i2", "title": "Wool cushion"}, {"item_id": "gone", "title": "Chair", "status": "off_shelf"}]
    texts = [(one, "oak chair"), (one, "blue chair"), (one, other), (two, "sofa"), (three, "stool"), (held_out, "oak chair")]
    rewrites = [{"query_norm": q, "rewrite": r, "rewriter": "feedback", "hardness": "negation", "relevance": 0.5} for q, r in texts]
    found = [
        (one, "oak chair", "i0"),
        (one, "blue chair", "i1"),
        (one, "oak chair", "blank"),
        (two, "sofa", "gone"),
        (held_out, "oak chair", "i0"),
    ]
    key = {"user_id": "u", "session_id": "s"}
    searches = [(one, key), ("chair", key), ("cushion", {"user_id": "v"})]
    requests = [
        {"request_id": f"r{n}", "query_norm": q, "requested_at": f"2026-01-05T12:00:0{n}"} | of for n, (q, of) in enumerate(searches)
    ]
    clicks = [("r1", "chair", "i1"), ("r2", "cushion", "i2")]
    given = {
        "query_rewrites": rewrites,
        "synthetic_pairs": [{"query_norm": q, "rewrite": r, "item_id": i} for q, r, i in found],
        "items": items,
        "query_item_stats": [{"query_norm": three, "item_id": "i1", "num_clicks_28d": 2}],
        "requests": requests,
        "attributions": [{"event_id": r, "request_id": r, "query_norm": q, "item_id": i} for r, q, i in clicks],
    }
    return {name: frame(spark, INPUTS[name], rows) for name, rows in given.items()}


@pytest.fixture(scope="module")
def rows(spark, inputs):
    with suited_to(spark, 0):
        return build(inputs, DAY).collect()


def kept(rows, kind):
    return {r.query_norm or r.item_id: r for r in rows if r._fate == "kept" and r.kind == kind}


def test_what_found_pairs_is_learnt_and_what_has_a_goal_is_rewarded(rows, queries):
    learnt, goals, shelf = (kept(rows, kind) for kind in KINDS)
    assert set(learnt) == set(queries[:2])
    reply = learnt[queries[0]]
    assert reply.completion[0].content == "1: oak chair | blue chair"  # two pairs, then one
    assert [m.content for m in reply.prompt] == [instruction(NUM_REWRITES), f"1: {queries[0]}"]
    assert (reply.rewriters, reply.hardness, reply.terms, reply.item_id) == (["feedback"] * 2, "negation", None, "")
    assert {q: r.good_items for q, r in goals.items()} == {queries[0]: ["i0", "i1"], queries[2]: ["i1"]}
    assert goals[queries[0]].excluded == ["wheels"] and goals[queries[0]].prompt == reply.prompt
    terms = {t.word: dict(zip(t.targets, t.strengths, strict=True)) for t in goals[queries[0]].terms}
    assert "without" not in terms and set(terms["seat"]) >= {"chair"}  # learnt of the session
    assert {i: r.title_words for i, r in shelf.items()} == {"i0": ["oak", "chair"], "i1": ["soft", "chair"], "i2": ["wool", "cushion"]}


def test_each_input_row_has_one_fate_and_the_books_add_up(rows, inputs):
    totals = {name: {fate: sum(getattr(r, f"_{name}")[fate] for r in rows) for fate in fates} for name, fates in FATES.items()}
    assert totals == {
        "rewrites": {"taught": 3, "no_pair": 1, "capped": 0, "evaluation": 2},
        "pairs": {"good": 2, "off_shelf": 2, "evaluation": 1},
        "items": {"catalogue": 3, "off_shelf": 1, "no_title": 1},
    }
    assert {(r.kind, r._fate) for r in rows if r._fate != "kept"} >= {
        ("sft", "nothing_taught"),
        ("sft", "evaluation"),
        ("grpo", "no_good_item"),
    }


def test_no_evaluation_query_is_learnt_said_or_rewarded(spark, rows, queries):
    said = [text for r in kept(rows, "sft").values() for text in (r.query_norm, *r.completion[0].content.removeprefix("1: ").split(" | "))]
    texts = spark.createDataFrame([(t,) for t in [*said, *kept(rows, "grpo")]], "q string")
    assert texts.count() >= 4 and texts.where(is_evaluation(F.col("q"))).count() == 0
    assert not [r for r in rows if r._fate == "kept" and set(queries[3:]) & {r.query_norm, str(r.completion), str(r.prompt)}]


def test_rows_are_the_contract_and_the_same_in_another_order(spark, inputs, rows):
    with suited_to(spark, 0):
        built = build({name: given.repartition(3) for name, given in inputs.items()}, DAY)
        assert sorted(map(str, built.collect())) == sorted(map(str, rows))
    names = spark_schema(CONTRACT).names
    assert built.columns[: len(names)] == names
    good = spark.createDataFrame([r[: len(names)] for r in rows if r._fate == "kept"], spark_schema(CONTRACT))
    conditions = " and ".join(f"({rule.condition})" for rule in SUITE.row_rules)
    assert good.where(conditions).count() == 2 + 2 + 3


def test_without_rewrites_the_catalogue_is_left(spark):
    nothing = {name: frame(spark, contract, []) for name, contract in INPUTS.items()}
    items = frame(spark, ITEMS, [{"item_id": "i0", "title": "Chair"}])
    assert [(r.kind, r.item_id, r._fate) for r in build(nothing | {"items": items}, DAY).collect()] == [("catalogue", "i0", "kept")]
