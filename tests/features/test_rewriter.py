import pytest
from pyspark.sql import functions as F

from features.generated import ANSWERED, instruction, parts, request, rewrites_in
from features.rewriter import Params, completion, prompt, rewarded, taught
from features.splits import is_evaluation
from jobs.replies import Asking
from schemas.query_item_stats import CONTRACT as STATS
from schemas.query_rewriter_examples import NUM_REWRITES
from schemas.query_rewrites import CONTRACT as REWRITES
from schemas.synthetic_pairs import CONTRACT as PAIRS
from tests.frames import frame

PARAMS = Params()
MANY = (0, 1, 2, 5, 6, 7, 8)  # chair 3 and chair 4 are kept for evaluation


@pytest.fixture(scope="module")
def queries(spark):
    """Three queries to learn from, and two that are kept for evaluation."""
    every = spark.range(60).select(F.concat(F.lit("warm seat "), "id").alias("q")).withColumn("e", is_evaluation(F.col("q"))).collect()
    return [r.q for r in every if not r.e][:3], [r.q for r in every if r.e][:2]


def test_a_prompt_is_what_the_rewriter_asks_and_a_reply_is_what_it_reads(spark):
    given = spark.createDataFrame([("lamp 🙂 1: x", ["led lamp", "desk lamp"])], "q string, r array<string>")
    asked, said = given.select(prompt(F.col("q")), completion(F.col("r"))).first()
    assert [(m.role, m.content) for m in asked] == [("system", instruction(NUM_REWRITES)), ("user", request(["lamp 🙂 1: x"]))]
    ((status, line),) = parts(said[0].content, 1)
    assert (said[0].role, status, rewrites_in(line)) == ("assistant", ANSWERED, ["led lamp", "desk lamp"])
    assert Asking(model="m", folder=None).num_rewrites == NUM_REWRITES


def test_rewrites_that_found_something_are_taught_and_each_is_counted(spark, queries):
    (one, two, three), (held_out, other) = queries
    sessions = {"rewriter": "sessions", "evidence": {"num_sessions": 2}}
    rewrites = [
        {"query_norm": one, "rewrite": "wood chair", "relevance": 0.4},  # one pair
        {"query_norm": one, "rewrite": "oak | chair", "relevance": 0.9},  # one pair, more relevant
        {"query_norm": one, "rewrite": "blue chair", "relevance": 0.1},  # two pairs
        {"query_norm": one, "rewrite": "cushion", "relevance": 1.0} | sessions,  # none, but two sessions
        {"query_norm": one, "rewrite": "pillow", "relevance": 1.0} | sessions | {"evidence": {"num_sessions": 1}},
        {"query_norm": one, "rewrite": other, "relevance": 1.0} | sessions,
        {"query_norm": two, "rewrite": "sofa"},
        {"query_norm": held_out, "rewrite": "sofa"},
        *({"query_norm": three, "rewrite": f"chair {n}", "relevance": n / 10} for n in MANY),
    ]
    found = [
        (one, "wood chair", "a"),
        (one, "oak | chair", "a"),
        (one, "blue chair", "a"),
        (one, "blue chair", "b"),
        (held_out, "sofa", "a"),
    ]
    found += [(three, f"chair {n}", "a") for n in MANY]
    pairs = [{"query_norm": q, "rewrite": r, "item_id": i} for q, r, i in found]
    made = taught(frame(spark, REWRITES, [{"rewriter": "feedback"} | r for r in rewrites]), frame(spark, PAIRS, pairs), PARAMS)
    by_query = {r.query_norm: r for r in made.collect()}
    assert by_query[one].said == ["blue chair", "oak chair", "wood chair", "cushion"]
    assert by_query[one].rewriters == ["feedback"] * 3 + ["sessions"]
    counts = {q: (r.num_taught, r.num_no_pair, r.num_capped, r.num_evaluation) for q, r in by_query.items()}
    assert counts == {one: (4, 1, 0, 1), two: (0, 1, 0, 0), three: (NUM_REWRITES, 0, 2, 0), held_out: (0, 0, 0, 1)}
    assert by_query[three].said == [f"chair {n}" for n in MANY[:1:-1]]


def test_good_items_are_those_of_pairs_and_of_clicks_that_are_on_the_shelf(spark, queries):
    (one, two, three), (held_out, _) = queries
    pairs = [{"query_norm": q, "item_id": i} for q, i in ((one, "b"), (one, "gone"), (held_out, "a"))]
    clicks = [(one, "a", 3, 0), (one, "b", 1, 0), (one, "gone", 9, 0), (one, "c", 0, 0), (two, "c", 0, 1), ("elsewhere", "a", 5, 0)]
    stats = [{"query_norm": q, "item_id": i, "num_clicks_28d": n, "num_pays_28d": p} for q, i, n, p in clicks]
    shelf = spark.createDataFrame([("a",), ("b",), ("c",)], "item_id string")
    asked = spark.createDataFrame([(one,), (two,), (three,)], "query_norm string")
    given = (frame(spark, PAIRS, pairs), frame(spark, STATS, stats), shelf, asked)
    rows = {r.query_norm: tuple(r)[1:] for r in rewarded(*given, PARAMS).collect()}
    assert rows == {one: (["a", "b"], 1, 1, 0), two: (["c"], 0, 0, 0), three: ([], None, None, None), held_out: ([], 0, 0, 1)}
    few = {r.query_norm: r.good_items for r in rewarded(*given, Params(most_clicked=1)).collect()}
    assert few[one] == ["b"]  # the most clicked is gone, and only it was looked at
