"""`sluice train` as a user meets it: what it pins, what it prints, what it refuses, how it goes on."""

import json
from functools import partial

import pytest
import torch

from schemas.hhsft_examples import CONTRACT
from tests.commands import sluice_says
from tests.jobs.published import publish_day
from tests.training.examples import FIRST, publish_examples
from training.hhsft.__main__ import load
from training.manifest import create, names

says = partial(sluice_says, "train")


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("train") / "lake"
    publish_examples(folder, 5, 60)
    return folder


def test_days_before_one_are_pinned_and_those_from_it_on_are_tested(lake, tmp_path):
    given = ("hhsft", "--until", "2026-01-04", "--lake", lake, "--out", tmp_path / "run")
    first = says(*given)
    pins = names(lake)
    assert [name.rpartition("-")[0] for name in pins] == ["hhsft_examples-2026-01-01..2026-01-03", "hhsft_examples-2026-01-04..2026-01-05"]
    assert f"train: manifest {pins[0]}, 180 requests, labels known to 2026-01-09 or later" in first.stderr
    assert f"Measures on {pins[1]}" in first.stdout and "popularity" in first.stdout
    assert f"checkpoint and report in {tmp_path / 'run'}" in " ".join(first.stdout.split())
    again = json.loads(says(*given, "--json").stdout)  # finished: nothing is trained, all is measured again
    assert again["metrics"]["search"]["model"]["rows"] == 2 * 20 * 3 and again["manifest"] == pins[0]
    assert names(lake) == pins
    assert load(tmp_path / "run").config.model == "hhsft"


def test_a_manifest_is_trained_on_as_it_was_pinned(lake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    create(lake, "mine", "hhsft_examples", "2026-01-02..2026-01-03", seed=23)
    report = json.loads(says("hhsft", "--manifest", "mine", "--model", "dlrm", "--test-days", "1", "--lake", lake, "--json").stdout)
    assert (report["manifest"], report["seed"], report["requests"]) == ("mine", 23, 120)
    assert report["out"] == "models/mine/dlrm-tiny-entire_space-seed23" and (tmp_path / report["out"] / "report.json").exists()
    assert report["test"].startswith("hhsft_examples-2026-01-04..2026-01-04-")


def test_days_that_were_published_anew_are_pinned_anew(tmp_path):
    lake = tmp_path / "lake"
    publish_examples(lake, 2, 8)
    given = ("hhsft", "--until", "2026-01-02", "--model", "dlrm", "--lake", lake, "--out", tmp_path / "run")
    says(*given)
    publish_day(lake, CONTRACT, FIRST, run="two")
    refused = says(*given, code=1).stderr
    assert "holds no request" in refused and len(names(lake)) == 3


def test_without_later_days_it_trains_and_says_that_it_cannot_evaluate(lake, tmp_path):
    done = says("hhsft", "--until", "2026-02-01", "--days", "1", "--model", "dlrm", "--lake", lake, "--out", tmp_path)
    assert "no day after 2026-01-05 is published: nothing to evaluate on" in done.stderr
    assert "dlrm tiny" in done.stdout and "Measures" not in done.stdout


def test_wrong_use_and_what_is_not_there_are_told(lake, tmp_path):
    wrong = [
        (("hhsft",), ("only when it is pinned", "--manifest NAME", "--until DAY")),
        (("hhsft", "--manifest", "a", "--until", "2026-01-04"), ("not both",)),
        (("hhsft", "--manifest", "a", "--days", "3"), ("--days needs --until",)),
        (("nonsense", "--manifest", "a"), ("'nonsense' cannot be trained",)),
        (("hhsft", "--until", "2026-01-04", "--size", "huge"), ("--size is 'huge'", "tiny, base, large")),
        (("hhsft", "--until", "2026-01-04", "--model", "gpt"), ("--model is 'gpt'", "rankmixer")),
    ]
    missing = [
        (("hhsft", "--manifest", "nothing"), ("no manifest nothing", "sluice manifest create nothing")),
        (("hhsft", "--until", "2026-01-01"), ("no published day before 2026-01-01, it has 2026-01-01..2026-01-05", "sluice backfill")),
        (("hhsft", "--until", "2026-01-04", "--device", "tpu"), ("no device 'tpu'",)),
    ]
    for code, cases in ((2, wrong), (1, missing)):
        for arguments, parts in cases:
            result = says(*arguments, "--lake", lake, "--out", tmp_path, code=code)
            message = " ".join(result.stderr.replace("│", " ").split())
            assert all(part in message for part in parts), f"{arguments}: {message}"
            assert not result.stdout
