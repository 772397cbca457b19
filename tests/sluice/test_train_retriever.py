"""`sluice train retriever` as a user meets it: one day is pinned and learnt, the next is measured, wrong use is told."""

import json
from datetime import timedelta
from functools import partial

import pytest
import torch

from schemas.retriever_examples import CONTRACT
from tests.commands import sluice_says
from tests.jobs.published import publish_day
from tests.training.examples import FIRST
from tests.training.pairs import world
from training.manifest import names
from training.retriever import load

says = partial(sluice_says, "train", "retriever")


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("train") / "lake"
    for n in range(3):
        publish_day(folder, CONTRACT, FIRST + timedelta(days=n), world(range(8), range(8, 12), seed=n))
    return folder


def test_the_last_day_before_one_is_learnt_and_the_next_is_measured(lake, tmp_path):
    given = ("--until", "2026-01-03", "--share", "0.2", "--lake", lake, "--out", tmp_path / "run")
    first = says(*given)
    assert [name.rpartition("-")[0] for name in names(lake)] == [f"retriever_examples-2026-01-0{n}..2026-01-0{n}" for n in (2, 3)]
    assert "retriever_examples-2026-01-02..2026-01-02" in first.stderr and "rows" in first.stderr
    shown = " ".join(first.stdout.split())
    assert "144 observed and 72 synthetic pairs, these 20% of each batch" in shown and "lexical" in shown and "tail" in shown
    again = json.loads(says(*given, "--json").stdout)  # finished: nothing is trained, all is measured again
    assert again["test"].startswith("retriever_examples-2026-01-03") and again["metrics"]["model"]["all"]["queries"] == 12
    assert load(tmp_path / "run").config.share == 0.2
    other = says(*given[:2], "--share", "0.1", *given[4:], code=1)
    assert "holds another run: config was" in other.stderr


def test_the_last_day_is_measured_on_queries_that_it_does_not_learn(lake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = says("--until", "2026-01-04", "--lake", lake, "--seed", "5", "--json")
    assert "measured on evaluation queries of that day, which are not learnt" in done.stderr
    report = json.loads(done.stdout)
    assert report["test"] == report["manifest"] and report["out"].endswith("retriever-tiny-share0.1-seed5")
    assert (tmp_path / report["out"] / "report.json").exists()


def test_wrong_use_is_told(lake, tmp_path):
    wrong = [
        (("--until", "2026-01-03", "--stage", "exposed"), "is of hhsft; retriever has no such thing"),
        (("--until", "2026-01-03", "--days", "2"), "a whole training set"),
        (("--until", "2026-01-03", "--share", "0.7"), "--share is 0.7"),
        (("--until", "2026-01-03", "--size", "huge"), "--size is 'huge'; there is tiny, base, large"),
    ]
    for arguments, part in wrong:
        result = says(*arguments, "--lake", lake, "--out", tmp_path, code=2)
        assert part in " ".join(result.stderr.replace("│", " ").split()), result.stderr
    missing = says("--until", "2026-01-01", "--lake", lake, "--out", tmp_path, code=1)
    assert "retriever_examples has no published day before 2026-01-01" in missing.stderr
