"""`sluice train query_rewriter` as a user meets it: a day is pinned, a model given, one for rewriting comes out; wrong use."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from typer.testing import CliRunner

from features.generated import replies_of_model
from schemas.query_rewriter_examples import CONTRACT, NUM_REWRITES
from sluice.main import app
from tests.commands import sluice_says
from tests.jobs.published import publish_day
from tests.training.examples import FIRST
from tests.training.rewriting import tiny_model, world
from training import query_rewriter
from training.manifest import names

says = partial(sluice_says, "train", "query_rewriter")


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("train") / "lake"
    publish_day(folder, CONTRACT, FIRST, world())
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("given"))


def test_a_model_is_given_and_a_rewriter_comes_out(lake, model, tmp_path, monkeypatch):
    short = replace(query_rewriter.tiny(), sft_epochs=1, grpo_epochs=1, queries_per_step=16, rows_at_once=128)
    monkeypatch.setitem(query_rewriter.SIZES, "tiny", lambda: short)
    given = ("--until", "2026-01-02", "--lake", lake, "--model", model, "--size", "tiny", "--device", "cpu", "--out", tmp_path / "run")
    first = says(*given)
    assert [name.rpartition("-")[0] for name in names(lake)] == ["query_rewriter_examples-2026-01-01..2026-01-01"]
    shown = " ".join(first.stdout.split())
    assert (
        "Replies to 7 queries that were not learnt" in shown and "9 steps over 65 replies" in shown and "4 steps over 65 queries" in shown
    )
    report = json.loads(says(*given, "--json").stdout)  # finished: told again, and nothing but the document
    assert report == json.loads((tmp_path / "run" / "report.json").read_text()) | {"out": str(tmp_path / "run")}
    assert set(report["metrics"]) == {"given", "sft", "grpo"}
    assert len(replies_of_model(report["out"], ["h1 c1", "h2 c2"], NUM_REWRITES, 2)) == 2


def test_wrong_use_is_told(lake, model, tmp_path):
    until = ("--until", "2026-01-02", "--lake", lake, "--out", tmp_path)
    wrong = [
        ((), 2, "starts from a causal language model: give its folder"),
        (("--model", model, "--share", "0.1"), 2, "is of retriever; query_rewriter has no such thing"),
        (("--model", model, "--days", "2"), 2, "a whole training set"),
        (("--model", model, "--test-days", "1"), 2, "is of hhsft; query_rewriter has no such thing"),
        (("--model", model, "--size", "large"), 2, "--size is 'large'; there is tiny, base"),
        (("--model", tmp_path / "absent"), 1, "holds no causal language model"),
    ]
    for arguments, code, part in wrong:
        result = says(*until, *arguments, code=code)
        assert part in " ".join(result.stderr.replace("│", " ").split()), result.stderr
    other = CliRunner().invoke(app, ["train", "retriever", "--until", "2026-01-02", "--lora", "4"])
    assert other.exit_code == 2 and "is of query_rewriter; retriever has no such thing" in " ".join(other.output.replace("│", " ").split())
