"""The pool, the books, evaluation queries nowhere, the same rows again, and replies of a server as a pinned input."""

from datetime import date

import pytest
from pyspark.sql import functions as F

from expectations.query_rewrites import SUITE
from features.splits import is_evaluation
from jobs.conform import conform
from jobs.messages import cause
from jobs.query_rewrites import FATES, arg_parser, build
from jobs.session import suited_to
from schemas.attributions import CONTRACT as ATTRIBUTIONS
from schemas.derive import spark_schema
from schemas.items import CONTRACT as ITEMS
from schemas.query_rewrites import CONTRACT
from schemas.query_stats import CONTRACT as QUERY_STATS
from schemas.requests import CONTRACT as REQUESTS
from tests.frames import frame
from tests.jobs.misbehaving import lines, server

DAY = date(2026, 1, 5)
ITEM_TITLES = ["Kavo wood chair", "Lumi steel chair", "Kavo red chair", "Lumi brass lamp", "Kavo steel lamp", "Red wool scarf", None, " "]
STATS = {  # query: searches, share of searches with a click, with few results, type, fate in the books
    "warm seat": (5, 0.0, 0.0, "knowledge", "rewritten"),
    "red seat": (2, 0.0, 0.0, "knowledge", "rewritten"),
    "wool seat": (3, 0.9, 0.3, "knowledge", "rewritten"),  # few results are enough
    "plush seat": (1, 0.0, 1.0, "knowledge", "not_in_pool"),  # searched once
    "bright thing": (51, 0.0, 1.0, "knowledge", "not_in_pool"),  # searched often
    "odd seat": (9, 0.45, 0.29, "knowledge", "not_in_pool"),  # half the median is not below it
    "scarf": (9, 0.0, 1.0, "plain", "not_in_pool"),  # a plain word
    "gizmo": (9, 0.0, 1.0, "knowledge", "no_rewrite"),
    "kavo lamp": (9, 0.1, 0.0, "plain", "all_dropped"),
    "🙂🙃": (9, 0.0, 1.0, "knowledge", "unreadable"),
    "x" * 10_000: (9, 0.0, 1.0, "knowledge", "unreadable"),
    "lamp": (900, 0.9, 0.0, "plain", "not_in_pool"),
}
SESSIONS = [("warm seat", "wood chair", "i0")] * 3 + [("plush seat", "red chair", "i2")] * 2 + [("kavo lamp", "lamp kavo", "i4")]
SESSIONS += [("bright thing", "lamp", "i3")] * 4 + [(None, "lamp", "i3")] * 9


@pytest.fixture(scope="module")
def held_back(spark):
    """Queries of the pool that are kept for evaluation: one that is searched, and one that a session moved on to."""
    seats = spark.range(100).select(F.concat(F.lit("seat "), "id").alias("q")).where(is_evaluation(F.col("q"))).limit(1).first().q
    chairs = spark.range(100).select(F.concat(F.lit("chair "), "id").alias("q")).where(is_evaluation(F.col("q"))).limit(1).first().q
    return seats, chairs


@pytest.fixture(scope="module")
def inputs(spark, held_back):
    seats, chairs = held_back
    names = ("num_searches_28d", "click_rate", "few_result_rate", "hardness")
    every = STATS | {seats: (9, 0.0, 1.0, "knowledge", "evaluation")}
    stats = [{"query_norm": q, **dict(zip(names, row, strict=False)), "is_evaluation": q == seats} for q, row in every.items()]
    requests, clicks = [], []
    for n, (query, follow, item) in enumerate([*SESSIONS, ("warm seat", chairs, "i1"), (seats, "red chair", "i2")]):
        for text, second in ((query, 0), (follow, 30)):
            key = {"request_id": f"{n}-{second}", "query_norm": text}
            requests += [key | {"user_id": f"u{n}", "session_id": f"s{n}", "requested_at": f"2026-01-05T12:00:{second:02}"}] if text else []
        clicks.append({"event_id": f"e{n}", "request_id": f"{n}-30", "query_norm": follow, "item_id": item})
    items = [{"item_id": f"i{n}", "title": t, "brand": t.split()[0] if t and t[0] in "KL" else None} for n, t in enumerate(ITEM_TITLES)]
    given = {
        "query_stats": (QUERY_STATS, stats),
        "requests": (REQUESTS, requests),
        "attributions": (ATTRIBUTIONS, clicks),
        "items": (ITEMS, items),
    }
    return {name: frame(spark, contract, rows) for name, (contract, rows) in given.items()}


@pytest.fixture(scope="module")
def rows(spark, inputs):
    with suited_to(spark, 0):
        return build(inputs, DAY).collect()


def kept(rows):
    return {(r.query_norm, r.rewrite): r for r in rows if r._fate == "kept"}


def test_rare_queries_get_the_words_that_others_went_on_with(rows):
    found = kept(rows)
    assert found[("warm seat", "wood chair")].evidence.num_sessions == 3
    assert found[("red seat", "red chair")].rewriter == "sessions"  # never searched in the log: learnt of warm seat and plush seat
    assert found[("red seat", "red chair")].evidence.num_sessions == 5
    assert {r.rank for r in found.values() if r.query_norm == "warm seat" and r.rewriter == "sessions"} >= {1}


def test_every_query_is_counted_once_under_what_became_of_it(rows, held_back):
    totals = {fate: sum(r._queries[fate] for r in rows) for fate in FATES["queries"]}
    expected = [row[4] for row in STATS.values()] + ["evaluation"]
    assert totals == {fate: expected.count(fate) for fate in FATES["queries"]}
    of_query = {r.query_norm: fate for r in rows for fate in FATES["queries"] if r._queries[fate]}
    assert of_query == {q: row[4] for q, row in STATS.items()} | {held_back[0]: "evaluation"}
    assert next(r._fate for r in rows if r.rewrite == "lamp kavo") == "same"


def test_no_evaluation_query_is_a_query_a_rewrite_or_evidence(spark, rows, held_back):
    texts = spark.createDataFrame([(t,) for pair in kept(rows) for t in pair], "q string")
    assert texts.count() >= 6 and texts.where(is_evaluation(F.col("q"))).count() == 0
    assert [r._fate for r in rows if r.rewrite == held_back[1]] == ["evaluation"]
    assert held_back[1].split()[1] not in {word for _, rewrite in kept(rows) for word in rewrite.split()}
    assert not [r for r in rows if r.query_norm == held_back[0] and r.rewrite]


def test_rows_are_the_contract_and_the_same_in_another_order(spark, inputs, rows):
    with suited_to(spark, 0):
        built = build({name: given.repartition(3, F.rand(5)) for name, given in inputs.items()}, DAY)
        again = built.collect()
    assert sorted(map(str, rows)) == sorted(map(str, again))
    assert [(f.name, f.dataType) for f in built.drop("_fate", "_queries", "_replies").schema] == [
        (f.name, f.dataType) for f in spark_schema(CONTRACT)
    ]
    conditions = " and ".join(f"({rule.condition})" for rule in SUITE.row_rules)
    good = spark.createDataFrame([r[:10] for r in rows if r._fate == "kept"], spark_schema(CONTRACT))
    assert good.where(conditions).count() == len(kept(rows)) >= sum(fate == "rewritten" for *_, fate in STATS.values()) == 3


def test_replies_of_a_server_are_paid_once_and_counted_in_the_receipt(spark, inputs, tmp_path):
    def answer(queries, _):
        return 200, lines(queries, without=("gizmo",)).replace("warm seat one", "heated chair")

    options = {"rewriters": "endpoint", "endpoint": "tiny", "replies": str(tmp_path), "budget_tokens": 100_000, "prices": "2,10"}
    accounts = {a.name: a for i in CONTRACT.inputs for a in i.accounts}
    with server(answer) as running, suited_to(spark, 0):
        environment = spark.sparkContext.environment
        environment |= {"SLUICE_ENDPOINT": running.address, "SLUICE_ENDPOINT_TOKEN": "sk-secret"}
        try:
            first = build(inputs, DAY, **options).collect()
            asked = [query for call in running.calls for query in call]
            again = build(inputs, DAY, **options)
            staged = conform(again, CONTRACT, SUITE.row_rules, accounts).select("_replies.*").groupBy().sum().first()
            assert sorted(map(str, first)) == sorted(map(str, again.collect()))
        finally:
            del environment["SLUICE_ENDPOINT"], environment["SLUICE_ENDPOINT_TOKEN"]
    assert sorted(asked) == ["gizmo", "gizmo", "kavo lamp", "red seat", "warm seat", "wool seat"]  # the odd one once more, by itself
    assert len(running.calls) == 2  # nobody was called again
    assert kept(first)[("warm seat", "heated chair")].rewriter == "endpoint"
    statuses = {r.query_norm: r._fate for r in first if r._fate in ("answered", "refused", "malformed")}
    assert statuses == {"gizmo": "malformed"} | dict.fromkeys(["kavo lamp", "red seat", "warm seat", "wool seat"], "answered")
    prompt, completion = (7 * 5 + 1) + (7 + 1), 3 * 5 + 3
    assert list(staged)[:3] == [5, prompt, completion]
    assert abs(staged[3] - (2 * prompt + 10 * completion)) <= 3 and staged[4] > 0  # the price, rounded for each reply
    assert "sk-secret" not in str(first)


def test_a_server_that_is_down_fails_the_day_in_words(spark, inputs, tmp_path):
    options = {"rewriters": "endpoint", "endpoint": "tiny", "replies": str(tmp_path), "budget_tokens": 100_000}
    with server(lambda *_: (500, b"")) as running:
        pass
    environment = spark.sparkContext.environment
    environment |= {"SLUICE_ENDPOINT": running.address, "SLUICE_ENDPOINT_TRIES": "1"}
    try:
        with pytest.raises(Exception, match="EndpointError") as error, suited_to(spark, 0):
            build(inputs, DAY, **options).collect()
    finally:
        del environment["SLUICE_ENDPOINT"], environment["SLUICE_ENDPOINT_TRIES"]
    assert cause(error.value).startswith(f"jobs.endpoint.EndpointError: {running.address}/chat/completions failed 1 times")


def test_the_options_are_those_of_the_command():
    parsed = arg_parser().parse_args(["--day", "2026-01-05", "--model", "m", "--budget-tokens", "9"])
    assert (parsed.rewriters, parsed.model, parsed.endpoint, parsed.replies, parsed.budget_tokens) == (None, "m", None, None, 9)
