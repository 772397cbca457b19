"""`sluice reproduce` after its tables are built: what it says, what it prints beside the paper, what it does not run again."""

import json
from dataclasses import replace
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from schemas.contract import load
from sluice import reproduce
from sluice.main import app
from tests.jobs.published import publish_day
from tests.training.examples import publish_examples
from training.hhsft import __main__ as one_run

SCALE = reproduce.Scale(("dlrm", "rankmixer"), seeds=2, users=1, num_days=4, train=(0, 2), test=(3, 3))


@pytest.fixture
def out(tmp_path, monkeypatch):
    """A lake whose examples are published, and the truth of its test day: a chance for each row."""
    torch.set_num_threads(1)
    publish_examples(tmp_path / "lake", 4, 60)
    places = [(f"2026-01-04-{n}", k) for n in range(60) for k in range(4)]
    rows = [{"request_id": request, "item_id": f"i{k}", "p_click": 0.1 * k, "preference": 0.2} for request, k in places]
    (tmp_path / "truth" / "candidates").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "truth" / "candidates" / "part.parquet")
    monkeypatch.setattr(reproduce, "ingest", lambda *_: None)
    monkeypatch.setattr(reproduce, "build", lambda *_: None)
    return tmp_path


def test_runs_are_announced_made_once_and_shown_beside_the_paper(out, capsys, monkeypatch):
    reproduce.hhsft(None, str(out), SCALE, "tiny", "cpu", False)
    said, told = capsys.readouterr()
    assert "4 runs (2 x 2 seeds) of 180 requests: about 1 minute in all. What is done lies in" in told
    assert "4/4 rankmixer, seed 1: AUC" in told
    assert "Trained on 180 requests of 2026-01-01..2026-01-03, tested on 60 exposed search rows" in said
    assert "oracle without position" in said and "+0.38" in said, "the paper's figure of RankMixer"
    assert "Over HHFI" not in said and "One seed" not in said
    monkeypatch.setattr(one_run, "main", None)  # a run that is done is not called again
    reproduce.hhsft(None, str(out), SCALE, "tiny", "cpu", True)
    facts = json.loads(capsys.readouterr().out)
    assert [len(of_run["auc"]) for of_run in facts["values"].values()] == [2, 2] and facts["seeds"] == 2
    assert facts["others"]["oracle_without_position"]["auc"] == 0.5, "all the same"
    assert [each["came_out"] in ("yes", "no", "open") for each in facts["order"]] == [True]


def test_one_seed_claims_no_order(out, capsys):
    reproduce.hhsft(None, str(out), replace(SCALE, names=("dlrm",), seeds=1), "tiny", "cpu", False)
    said = capsys.readouterr().out
    assert "One seed: this shows that all of it runs. It says nothing about the order of models." in said and "Over DLRM" not in said


def test_sessions_are_measured_beside_popularity_and_price(out, capsys):
    for day in ("2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"):
        publish_day(out / "lake", load("requests"), date.fromisoformat(day))
    reproduce.trivago(None, "logs", str(out), 1, "tiny", "cpu", False)
    said = capsys.readouterr().out
    assert "Trained on 180 requests to 2026-01-03, tested on 60 exposed items of 2026-01-04; seeds: 1" in said
    assert all(name in said for name in ("hhsft", "rankmixer", "dlrm", "popularity", "price", "mrr"))


def test_wrong_use_is_told():
    result = CliRunner().invoke(app, ["reproduce", "nonsense"])
    assert result.exit_code == 2
    assert "'nonsense' cannot be reproduced yet; there is hhsft" in " ".join(result.stderr.replace("│", " ").split())
