"""`sluice reproduce synthetic_pairs --home-depot`: the log made of grades, lists of judged items, what is printed."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from jobs.storage import lake_address
from schemas.contract import load
from sluice import graded
from tests.jobs.published import NOON, item, publish_day
from training.questions import ANSWERS, QUESTIONS, read_questions
from training.retriever import Examples
from training.tensors import Ragged

NAMES = [f"query {n}" for n in range(12)]


@pytest.fixture(scope="module")
def log(spark, tmp_path_factory):
    """Each query has a perfect, a fair and a bad item; the last two queries are for evaluation."""
    folder = tmp_path_factory.mktemp("graded")
    rows = [
        {"query_norm": q, "query_raw": q, "item_id": f"i{k}", "grade": grade, "relevance": (grade - 1) / 2, "judged_by": "home_depot",
         "is_evaluation": n >= 10, "available_at": NOON}
        for n, q in enumerate(NAMES) for k, grade in enumerate((3.0, 2.33, 2.0))
    ]  # fmt: skip
    publish_day(folder / "graded", load("judgements"), graded.FIRST, rows)
    publish_day(folder / "graded", load("items"), graded.FIRST, [item(f"i{k}", title=f"Title {k}") for k in range(3)])
    graded.write_log(lambda: spark, lake_address(folder / "graded"), folder / "log")
    return {name: pq.read_table(folder / "log" / name).to_pylist() for name in ("requests", "events", "items")}


def test_good_items_of_head_queries_are_clicked_once_and_the_tail_finds_nothing(log):
    searches = {}
    for request in log["requests"]:
        searches.setdefault(request["query_raw"], []).append(request)
    assert set(searches) == set(NAMES[:10]), "an evaluation query is in no log"
    head = {q for q, of in searches.items() if len(of) == graded.HEAD_SEARCHES}
    tail = {q for q, of in searches.items() if len(of) == graded.TAIL_SEARCHES}
    assert head | tail == set(searches) and head and tail
    assert all([sorted(c["item_id"] for c in r["candidates"]) == ["i0", "i1", "i2"] for q in head for r in searches[q]])
    assert not any(r["candidates"] for q in tail for r in searches[q])
    clicks = sorted((event["query_raw"], event["item_id"]) for event in log["events"])
    assert clicks == sorted((q, i) for q in head for i in ("i0", "i1"))
    ids = {request["request_id"] for request in log["requests"]}
    assert len(ids) == len(log["requests"]) and {e["request_id"] for e in log["events"]} <= ids and len(log["items"]) == 3


def test_judged_items_are_listed_by_score_and_the_catalogue_beside_them(tmp_path):
    asked = {"query_norm": ["a", "b"], "query_tokens": [[1], [2]], "groups": [["plain"], ["plain"]], "words": [["red"], ["no"]]}
    answers = {"query_norm": ["a", "a", "b"], "item_hash": [10, 30, 20], "gain": [1.0, 0.0, 1.0]}
    pq.write_table(pa.table(asked), tmp_path / QUESTIONS)
    pq.write_table(pa.table(answers), tmp_path / ANSWERS)
    titles = {"item_hash": [10, 20, 30, 40], "words": [["red", "red", "x"], ["blue"], ["red"], ["red", "y"]]}
    pq.write_table(pa.table(titles), tmp_path / graded.TITLES)
    none = Ragged(torch.empty(0, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    examples = Examples(torch.tensor([10, 20, 30, 40]), none, none, {}, none, torch.arange(4), [], [])
    questions = read_questions(tmp_path, good=0.665)
    scores = torch.tensor([0.1, 0.2, 0.3, 0.4])
    whole, judged = graded.asking.lists_by(lambda n: scores, examples, questions)
    assert whole.tolist() == [[3, 2, 1, 0]] * 2
    assert judged[:, :3].tolist() == [[2, 0, -1], [1, -1, -1]]
    found = graded.lexical(tmp_path, examples, questions)
    assert set(found) == {"BM25", "BM25 + RM3"} and found["BM25"][0]["catalogue"]["all"]["queries"] == 2


def test_differences_are_paired_and_shown(capsys):
    def found(value):
        return {of: {g: dict.fromkeys(graded.MEASURES, value) for g in ("all", "plain", *graded.GROUPS)} for of in ("catalogue", "judged")}

    runs = {"BM25": [found(0.3)], "retriever, 0% pairs": [found(0.4), found(0.5)], "retriever, 20% pairs": [found(0.45), found(0.55)]}
    facts = {
        "seeds": 2,
        "queries": {"held out": 9, "tail": 8},
        "pairs": {"log": 5, "synthetic": 4, "catalogue": 3},
        "found": runs,
        "over_none": graded.over(runs),
    }
    assert facts["over_none"]["judged"]["tail"]["ndcg@10"]["mean"] == pytest.approx(5)
    graded.screen(facts)
    said = capsys.readouterr().out
    assert "9 graded queries held out" in said and "+5.00" in said and "0.4500" in said and "what nobody judged counts as bad" in said
