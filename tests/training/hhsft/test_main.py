"""A run whole: from pinned days to a report, resumed at the exact row after a kill, refused where it would mislead."""

import json
import math
import os
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.examples import publish_examples
from training.hhsft.__main__ import REPORT, arg_parser, load, main
from training.hhsft.config import config
from training.loop import CHECKPOINT, TrainingError, read_checkpoint
from training.manifest import create, identity
from training.manifest import load as load_manifest

ROOT = Path(__file__).parents[3]
SETTINGS = config("tiny", table_rows=1 << 10, requests_per_batch=16, epochs=3)
STEPS = 3 * math.ceil(600 / 16)
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """Four days to train on, two to test on."""
    folder = tmp_path_factory.mktemp("hhsft") / "lake"
    days = publish_examples(folder, 6, 150)
    create(folder, "train", "hhsft_examples", (days[0], days[3]))
    create(folder, "test", "hhsft_examples", (days[4], days[5]))
    return folder


@pytest.fixture(scope="module")
def pins(lake):
    return load_manifest(lake, "train"), load_manifest(lake, "test")


@pytest.fixture(scope="module")
def whole(pins, tmp_path_factory):
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole")
    return out, main(*pins, SETTINGS, out, seed=3)


def test_a_run_learns_reports_and_keeps_what_it_read(pins, whole):
    """Chance is AUC 0.5; the chances that were drawn from give 0.9."""
    out, report = whole
    assert report["metrics"]["search"]["model"]["auc"] > 0.8
    assert (report["steps"], report["requests"]) == (STEPS, 600)
    assert (report["manifest"], report["identity"], report["test"]) == ("train", identity(pins[0]), "test")
    assert json.loads((out / REPORT).read_text())["metrics"].keys() == {"search", "candidates", "rec", "shop"}
    assert read_checkpoint(out)["identity"]["manifest"] == "train"
    assert load(out).config == SETTINGS and not load(out).training


def test_the_same_seed_gives_the_same_weights_and_another_one_others(pins, tmp_path):
    settings = replace(SETTINGS, epochs=1, d_H=16)
    for folder, seed in (("one", 3), ("same", 3), ("other", 4)):
        main(pins[0], None, settings, tmp_path / folder, seed=seed)
    weights, same, other = (load(tmp_path / folder).state_dict() for folder in ("one", "same", "other"))
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert not all(torch.equal(weights[name], other[name]) for name in weights)


KILLED = """
import sys, time, torch
from pathlib import Path
from training import loop
from training.hhsft.__main__ import main
from training.manifest import load
from tests.training.hhsft.test_main import SETTINGS
step = loop.train_step
loop.train_step = lambda *given: (time.sleep(0.05), step(*given))[1]
main(load(sys.argv[1], "train"), None, SETTINGS, Path(sys.argv[2]), seed=3, checkpoint_steps=3)
"""


@pytest.mark.slow
def test_a_run_killed_with_no_warning_ends_with_the_weights_of_one_that_was_not(lake, pins, whole, tmp_path):
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(lake), str(tmp_path)], cwd=ROOT)
    end = time.monotonic() + 120
    while not (tmp_path / CHECKPOINT).exists():
        assert child.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    time.sleep(0.3)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    epoch, step = read_checkpoint(tmp_path)["state"]
    assert 3 <= epoch * STEPS // 3 + step < STEPS
    report = main(*pins, SETTINGS, tmp_path, seed=3)
    weights, resumed = (load(folder).state_dict() for folder in (whole[0], tmp_path))
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)
    assert report["metrics"] == whole[1]["metrics"]


def test_what_would_mislead_is_refused(lake, pins, whole, tmp_path):
    train, test = pins
    early = create(lake, "early", "hhsft_examples", "2026-01-04..2026-01-05")
    with pytest.raises(TrainingError, match=r"manifest early begins on 2026-01-04, within the days to train on \(to 2026-01-04\)"):
        main(train, early, SETTINGS, tmp_path, seed=3)
    with pytest.raises(TrainingError, match="is of other_table, not hhsft_examples"):
        main(replace(train, table="other_table"), None, SETTINGS, tmp_path, seed=3)
    with pytest.raises(TrainingError, match="holds no request"):
        main(replace(train, files=()), None, SETTINGS, tmp_path, seed=3)
    with pytest.raises(TrainingError, match=r"holds another run: .*seed was 3, is 5"):
        main(train, test, SETTINGS, whole[0], seed=5)
    with pytest.raises(TrainingError, match="there is no checkpoint"):
        load(tmp_path)


def test_every_stage_and_baseline_trains(pins, tmp_path):
    for stage, model in (("exposed", "dlrm"), ("unexposed", "rankmixer"), ("attributed", "hhfi")):
        report = main(*pins, replace(SETTINGS, stage=stage, model=model), tmp_path / stage, seed=3)
        assert report["metrics"]["search"]["model"]["auc"] > 0.6, stage


def test_the_module_is_a_program_of_its_own(monkeypatch, tmp_path):
    given = arg_parser().parse_args(["--lake", "l", "--manifest", "m", "--out", "o"])
    assert (given.model, given.size, given.test) == ("hhsft", "tiny", None)
    monkeypatch.setattr(sys, "argv", ["hhsft", "--lake", str(tmp_path), "--manifest", "m", "--out", "o"])
    with pytest.raises(SystemExit, match="failed: no manifest m in"):
        runpy.run_module("training.hhsft", run_name="__main__")
