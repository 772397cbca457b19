"""The loop: what is not finite stops it before the step, a killed run ends with the weights of one that never stopped."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from training.loop import CHECKPOINT, Plan, TrainingError, device_named, fit, optimizers, read_checkpoint

ROOT = Path(__file__).parents[2]
STEPS = 12


class Scorer(nn.Module):
    """Draws random numbers in training, so that a generator that is not restored shows."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 4, sparse=True)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(4, 1))

    def forward(self, batch):
        return self.head(self.table(batch["ids"]))[:, 0]


def loss(model, batch):
    return nn.functional.binary_cross_entropy_with_logits(model(batch), batch["labels"])


def batches(epoch, step):
    """The order is a function of (epoch, step) alone."""
    for at in range(step, STEPS):
        generator = torch.Generator().manual_seed(1000 * epoch + at)
        ids = torch.randint(0, 50, (32,), generator=generator)
        yield {"ids": ids, "labels": (ids % 2).float()}


def scorer(seed=3):
    torch.manual_seed(seed)
    model = Scorer()
    return model, optimizers(model, lr_sparse=0.05, lr_dense=1e-3, weight_decay=0.01)


def plan(folder, **changes):
    return Plan(**{"folder": folder, "num_steps": STEPS, "epochs": 2, "checkpoint_steps": 5, "identity": {"seed": 3}} | changes)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class StopError(Exception):
    pass


def stopping_at(epoch, step):
    """The same batches, until the process 'dies' just before this one."""

    def stopped(at_epoch, at_step):
        for done, batch in enumerate(batches(at_epoch, at_step), start=at_step):
            if (at_epoch, done) == (epoch, step):
                raise StopError
            yield batch

    return stopped


def test_a_run_stopped_anywhere_ends_with_the_weights_of_one_that_was_not(tmp_path):
    whole, steppers = scorer()
    fit(whole, loss, batches, steppers, plan(tmp_path / "whole"))
    for number, stop in enumerate([(0, 3), (0, 5), (0, 11), (1, 0), (1, 7)]):
        model, steppers = scorer()
        with pytest.raises(StopError):
            fit(model, loss, stopping_at(*stop), steppers, plan(tmp_path / str(number)))
        again, steppers = scorer(seed=99)  # what it begins with is overwritten, where a checkpoint was reached
        if stop == (0, 3):
            again, steppers = scorer()
        fit(again, loss, batches, steppers, plan(tmp_path / str(number)))
        assert same(again.state_dict(), whole.state_dict()), stop


def test_a_finished_run_is_not_trained_again(tmp_path):
    model, steppers = scorer()
    fit(model, loss, batches, steppers, plan(tmp_path))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(model, loss, lambda epoch, step: pytest.fail("no batch is asked for"), steppers, plan(tmp_path))
    assert same(model.state_dict(), before)
    assert read_checkpoint(tmp_path)["state"] == [2, 0]


def test_a_run_killed_with_no_warning_resumes_at_the_exact_step(tmp_path):
    """A process of its own is killed with signal 9 while it trains; the folder then holds a whole checkpoint."""
    code = (
        "import sys, time; from pathlib import Path; from tests.training.test_loop import *\n"
        "def slowly(epoch, step):\n    for batch in batches(epoch, step):\n        time.sleep(0.05)\n        yield batch\n"
        "model, steppers = scorer(); fit(model, loss, slowly, steppers, plan(Path(sys.argv[1]), checkpoint_steps=1))"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "killed")], cwd=ROOT)
    end = time.monotonic() + 60
    while not (tmp_path / "killed" / CHECKPOINT).exists():
        assert child.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.12)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    epoch, step = read_checkpoint(tmp_path / "killed")["state"]
    assert 1 <= epoch * STEPS + step < 2 * STEPS
    model, steppers = scorer(seed=99)
    fit(model, loss, batches, steppers, plan(tmp_path / "killed"))
    whole, steppers = scorer()
    fit(whole, loss, batches, steppers, plan(tmp_path / "whole"))
    assert same(model.state_dict(), whole.state_dict())


def test_a_checkpoint_of_another_run_is_refused_with_what_differs(tmp_path):
    model, steppers = scorer()
    fit(model, loss, batches, steppers, plan(tmp_path, identity={"seed": 3, "manifest": "a"}))
    with pytest.raises(TrainingError, match="manifest was 'a', is 'b'"):
        fit(model, loss, batches, steppers, plan(tmp_path, identity={"seed": 3, "manifest": "b"}))


@pytest.mark.parametrize("poisoned", ["loss", "gradient"])
def test_what_is_not_finite_stops_before_the_step(tmp_path, poisoned):
    def poison(model, batch):
        value = loss(model, batch)
        if steps.append(0) or len(steps) < 8:
            return value
        before.update({name: w.clone() for name, w in model.state_dict().items()})
        return value * math.nan if poisoned == "loss" else value + (model.head[1].weight.sum() * 0).sqrt()  # 0 / 0 backwards

    steps, before = [], {}
    model, steppers = scorer()
    with pytest.raises(TrainingError, match=rf"epoch 0, step 7: the {poisoned}.* no step was taken") as told:
        fit(model, loss=poison, batches=batches, steppers=steppers, plan=plan(tmp_path))
    assert poisoned == "loss" or "head.1.weight" in str(told.value)
    assert before and same(model.state_dict(), before)
    assert read_checkpoint(tmp_path)["state"] == [0, 5]


def test_a_non_finite_sparse_gradient_is_seen_too(tmp_path):
    model, steppers = scorer()
    with pytest.raises(TrainingError, match=r"gradient of table\.weight is not finite"):
        fit(model, lambda m, b: (m.table(b["ids"]) * 0).sqrt().sum(), batches, steppers, plan(tmp_path))


def test_an_epoch_that_ends_early_is_told(tmp_path):
    model, steppers = scorer()
    with pytest.raises(TrainingError, match="epoch 0 ended after 12 batches, 20 were promised"):
        fit(model, loss, batches, steppers, plan(tmp_path, num_steps=20))


def test_embeddings_are_stepped_sparsely_and_all_else_densely():
    model, steppers = scorer()
    owned = {name: {id(p) for group in s.param_groups for p in group["params"]} for name, s in steppers.items()}
    assert owned["sparse"] == {id(model.table.weight)}
    assert owned["dense"] == {id(p) for p in model.head.parameters()}
    loss(model, next(iter(batches(0, 0)))).backward()
    assert model.table.weight.grad.is_sparse


def test_devices_by_name():
    assert device_named("cpu").type == "cpu"
    assert device_named("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(TrainingError, match="no device 'gpu'"):
        device_named("gpu")
