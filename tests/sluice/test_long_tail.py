"""`sluice reproduce synthetic_pairs` after its tables are built: what it says, what it prints beside the paper, what it makes once."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from schemas.contract import load
from sluice import long_tail
from sluice.main import app
from tests.jobs.published import publish_day
from tests.training.pairs import hash_of, row, world
from training import questions as asking
from training.retriever import tiny

SCALE = long_tail.Scale(users=1, items=1, num_days=1, seeds=2, shares=(0.0, 0.2))
SMALL = replace(tiny(), pairs_per_batch=32, num_drawn=32, d=16, d_hidden=16, table_rows=1 << 12, epochs=2)


@pytest.fixture
def out(tmp_path, monkeypatch):
    """A lake as the tables leave it, the truth of its hard queries, and evaluation queries by type."""
    torch.set_num_threads(1)
    lake, day = tmp_path / "lake", SCALE.day
    publish_day(lake, load("retriever_examples"), day, world(range(8), range(8, 12)))
    made = {"rewrite": "r", "rewriter": "sessions", "channel": "both", "is_new": True, "hardness": "knowledge", "guards": []}
    made |= {"rank": 1, "p_business": 0.9, "p_general": 0.9}
    pairs = [("hard one", "i1"), ("hard one", "i2"), ("hard two", "i3"), ("hard two", "wrong")]
    publish_day(lake, load("synthetic_pairs"), day, [{"query_norm": q, "item_id": i, **made} for q, i in pairs])
    fates = {"not_in_pool": 9, "rewritten": 3, "all_dropped": 1, "no_rewrite": 0}
    publish_day(lake, load("query_rewrites"), day, accounts=[{"account": "queries", "fates": fates}])
    stats = [{"query_norm": q, "decile": n} for n, q in enumerate(("hard one", "hard two"), start=9)]
    publish_day(lake, load("query_stats"), day, stats)
    truth = [{"query_norm": q, "hardness": "knowledge", "item_id": i} for q, i in pairs if i != "wrong"]
    (tmp_path / "truth" / "queries").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(truth), tmp_path / "truth" / "queries" / "part.parquet")
    monkeypatch.setattr(long_tail, "ingest", lambda *_: None)
    monkeypatch.setattr(long_tail, "build", lambda *_: None)
    monkeypatch.setattr(long_tail, "variant", lambda spark, lake, *_: lake)
    monkeypatch.setattr(long_tail, "write_questions", lambda *given: questions(given[-1]))
    monkeypatch.setattr(long_tail, "SIZES", {"tiny": lambda: SMALL})
    return tmp_path


def questions(folder):
    """Evaluation queries of the world: those of kinds that pairs alone know are hard."""
    folder.mkdir(exist_ok=True)
    asked = [row("evaluation", f"q{k}-9", f"i{k}-0", None) for k in range(12)]
    groups = [["tail", "hard", "knowledge"] if k >= 8 else ["head", "plain"] for k in range(12)]
    table = {"query_norm": [a["query_norm"] for a in asked], "query_tokens": [a["query_tokens"] for a in asked], "groups": groups}
    answers = [{"query_norm": f"q{k}-9", "item_hash": hash_of(f"i{k}-{n}"), "gain": 1.0} for k in range(12) for n in range(8)]
    pq.write_table(pa.table(table), folder / asking.QUESTIONS)
    pq.write_table(pa.Table.from_pylist(answers), folder / asking.ANSWERS)


def test_pairs_and_runs_are_told_once_and_shown_beside_the_paper(out, capsys, monkeypatch):
    long_tail.synthetic_pairs(None, str(out), SCALE, "tiny", "cpu", False)
    said, told = capsys.readouterr()
    assert "4 trainings (2 x 2 seeds): about 1 minute in all. What is done lies in" in told
    assert "8 trainings (4 x 2 seeds)" in told and "8/8 general scorer alone, seed 1" in told
    words = " ".join(said.split())
    assert "of 4 queries of the pool 3 have a rewrite and 2 (50%) have pairs: 4, 75.0% of them true." in words
    assert "+12.95" in said and "+8.62" in said and "no difference set" in said and "One seed" not in said
    monkeypatch.setattr(asking, "fit", None)  # what is done is not trained again
    long_tail.synthetic_pairs(None, str(out), SCALE, "tiny", "cpu", True)
    facts = json.loads(capsys.readouterr().out)
    assert facts["pairs"]["as it is"]["decile"] == {"9": {"precision": 1.0, "pairs": 2}, "10": {"precision": 0.5, "pairs": 2}}
    assert facts["queries"] == {"tail": 4, "head": 8, "hard": 4, "knowledge": 4}
    assert len(facts["values"]["share 20%"]["tail"]["hr@50"]) == 2 and facts["over_none"]["share 0%"]["tail"]["hr@50"]["mean"] == 0
    assert [each["came_out"] for each in facts["claims"][:2]] == ["no", "yes"] and facts["claims"][1]["found"] == "50.0%"
    assert len(facts["claims"]) == 6 and {each["came_out"] for each in facts["claims"]} <= {"yes", "no", "open"}
    assert set(facts["values"]) == {"share 0%", "share 20%", *long_tail.VARIANTS}


def test_one_seed_claims_nothing(out, capsys):
    long_tail.synthetic_pairs(None, str(out), replace(SCALE, seeds=1), "tiny", "cpu", False)
    said = capsys.readouterr().out
    assert "One seed: this shows that all of it runs. It says nothing about what is better." in said
    assert said.count("open") == 4, "of tail and head"


@pytest.mark.parametrize(
    ("ours", "gains", "is_kept"), [([0.6, 0.61, 0.62], "yes", "yes"), ([0.5, 0.5, 0.502], "open", "yes"), ([0.48, 0.48, 0.47], "no", "no")]
)
def test_a_gain_is_sure_and_a_loss_within_a_standard_error(ours, gains, is_kept):
    over = {measure: long_tail._over(ours, [0.5, 0.5, 0.5]) for measure in ("hr@50", "good_rate@10")}
    pairs, queries = {long_tail.WHOLE: {"precision": None}}, {"with_pairs": 0, "queries": 0}
    found = long_tail.claims({"pairs": pairs, "pool": queries, "share": 0.2, "over_none": {"share 20%": {"tail": over, "head": over}}})
    assert [each["came_out"] for each in found] == ["no", "no", gains, gains, is_kept, is_kept]


def test_a_variant_has_the_tables_before_it_and_builds_those_from_it_on_its_way(tmp_path, monkeypatch):
    lake, built = tmp_path / "lake", []
    for table in ("items", "query_rewrites", "query_rewrites_quarantine", "synthetic_pairs", "retriever_examples", "_plans"):
        (lake / table).mkdir(parents=True)
        (lake / table / "file").write_text(table)

    def build_day(_, target, contract, build, day):
        built.append((contract.name, build.__module__, build.__name__))
        return SimpleNamespace(status="published")

    monkeypatch.setattr(long_tail, "build_day", build_day)
    for _ in range(2):
        made = long_tail.variant(lambda: None, str(lake), tmp_path / "v", SCALE.day, "no difference set")
    names = {path.name: (path / "file").read_text() for path in (tmp_path / "v" / "lake").iterdir()}
    assert names == {n: n for n in ("items", "query_rewrites", "query_rewrites_quarantine")} and made == str(tmp_path / "v" / "lake")
    assert built[:2] == [(name, f"jobs.{name}", "build") for name in ("synthetic_pairs", "retriever_examples")] and len(built) == 4


def test_every_variant_changes_parameters_that_there_are():
    for changed, changes in long_tail.VARIANTS.values():
        module = __import__(f"jobs.{changed}", fromlist=["PARAMS"])
        assert replace(module.PARAMS, **changes) != module.PARAMS
        seen = []
        fake = SimpleNamespace(PARAMS=module.PARAMS, __name__="jobs.x", build=lambda _, __, params, seen=seen: seen.append(params))
        way = long_tail.built_with(fake, changes)
        way({}, SCALE.day)
        assert seen == [replace(module.PARAMS, **changes)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nonsense",), "'nonsense' cannot be reproduced yet; there is hhsft, synthetic_pairs"),
        (("synthetic_pairs", "--trivago", "x"), "is of hhsft; synthetic_pairs has no such thing"),
        (("hhsft", "--home-depot", "x"), "is of synthetic_pairs; hhsft has no such thing"),
        (("synthetic_pairs", "--quick", "--seeds", "2"), "--quick makes one run of each"),
    ],
)
def test_wrong_use_is_told(arguments, said):
    result = CliRunner().invoke(app, ["reproduce", *arguments])
    assert result.exit_code == 2 and said in " ".join(result.stderr.replace("│", " ").split())
