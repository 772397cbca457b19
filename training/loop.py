"""The loop that fits a model: two optimisers, a stop before a step that is not finite, checkpoints, resuming at the exact row.

A run that was killed and started again ends with the weights of one that was never stopped: bit by bit on a CPU.
"""

import logging
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim import Optimizer

from schemas.contract import ContractError
from training.loader import Batch, to_device

log = logging.getLogger("training")
CHECKPOINT = "checkpoint.pt"


class TrainingError(ContractError):
    """Training cannot begin or go on; the message says what is wrong, where, and what to do."""


@dataclass(frozen=True)
class Plan:
    """What a run is, apart from model and data."""

    folder: Path
    """Where its checkpoints lie."""
    num_steps: int
    """Batches of an epoch."""
    epochs: int = 1
    checkpoint_steps: int = 200
    """Steps between two checkpoints; there is one at the end of each epoch besides."""
    identity: Mapping[str, Any] = field(default_factory=dict)
    """Plain facts that a checkpoint must agree on to be resumed: model, configuration, seed, manifest."""


def device_named(name: str) -> torch.device:
    """`auto` is the GPU where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name != "cpu" and not (name.partition(":")[0] == "cuda" and torch.cuda.is_available()):
        raise TrainingError(f"no device {name!r} here; write auto, cpu{' or cuda' if torch.cuda.is_available() else ''}")
    return torch.device(name)


def mixed_precision(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where a GPU multiplies it; nothing on a CPU."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


def optimizers(model: nn.Module, *, lr_sparse: float, lr_dense: float, weight_decay: float) -> dict[str, Optimizer]:
    """Adagrad for embeddings whose gradient is sparse, AdamW for all other weights."""
    sparse = [m.weight for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag) and m.sparse]
    ids = {id(p) for p in sparse}
    dense = [p for p in model.parameters() if id(p) not in ids]
    made: dict[str, Optimizer] = {"dense": torch.optim.AdamW(dense, lr=lr_dense, weight_decay=weight_decay)}
    return made | ({"sparse": torch.optim.Adagrad(sparse, lr=lr_sparse)} if sparse else {})


def fit(
    model: nn.Module,
    loss: Callable[[nn.Module, Batch], Tensor],
    batches: Callable[[int, int], Iterable[Batch]],
    steppers: Mapping[str, Optimizer],
    plan: Plan,
) -> None:
    """Train to the end of the last epoch, from the plan's checkpoint where there is one.

    `batches(epoch, step)` gives the batches of an epoch from this step on; the order must follow from its arguments alone.
    Raises: TrainingError where a loss or gradient is not finite (before the step: the weights stay sound), where the checkpoint is of
    another run, or where an epoch ends early.
    """
    device = next(model.parameters()).device
    start = resume(model, steppers, plan)
    model.train()
    with _bar(plan) as bar:
        task = bar.add_task("training", total=plan.epochs * plan.num_steps, completed=start[0] * plan.num_steps + start[1])
        for epoch, step, batch in _remaining(batches, plan, *start):
            value = train_step(model, loss, to_device(batch, device), steppers, f"epoch {epoch}, step {step}")
            bar.update(task, advance=1, description=f"loss {value:.4f}")
            if (step + 1) % plan.checkpoint_steps == 0 or step + 1 == plan.num_steps:
                log.info("epoch %d, step %d of %d: loss %.4f", epoch, step + 1, plan.num_steps, value)
                save(model, steppers, plan, *divmod(epoch * plan.num_steps + step + 1, plan.num_steps))


def _remaining(batches: Callable[[int, int], Iterable[Batch]], plan: Plan, epoch: int, step: int) -> Iterator[tuple[int, int, Batch]]:
    """(epoch, step, batch) from this state to the end of the last epoch."""
    for current in range(epoch, plan.epochs):
        done = step if current == epoch else 0
        for batch in batches(current, done):
            yield current, done, batch
            done += 1
        if done != plan.num_steps:
            raise TrainingError(f"epoch {current} ended after {done} batches, {plan.num_steps} were promised; verify the manifest")


def train_step(
    model: nn.Module, loss: Callable[[nn.Module, Batch], Tensor], batch: Batch, steppers: Mapping[str, Optimizer], where: str
) -> float:
    """One step of all optimisers, and the loss before it."""
    for stepper in steppers.values():
        stepper.zero_grad(set_to_none=True)
    with mixed_precision(next(model.parameters()).device):
        value = loss(model, batch)
    found = float(value.detach())
    if not math.isfinite(found):
        raise TrainingError(f"{where}: the loss is {found}; no step was taken. Look at the batch, or lower the learning rate")
    value.backward()
    wrong = [name for name, p in model.named_parameters() if p.grad is not None and not _is_finite(p.grad)] if _overflows(model) else []
    if wrong:
        raise TrainingError(f"{where}: the gradient of {', '.join(wrong[:5])} is not finite; no step was taken. Lower the learning rate")
    with torch.sparse.check_sparse_tensor_invariants(False):  # else torch warns that nobody decided
        for stepper in steppers.values():
            stepper.step()
    return found


def _values(grad: Tensor) -> Tensor:
    return grad._values() if grad.is_sparse else grad


def _overflows(model: nn.Module) -> bool:
    """One number for all gradients, so that a GPU is waited for once."""
    grads = [_values(p.grad) for p in model.parameters() if p.grad is not None]
    return not math.isfinite(float(nn.utils.get_total_norm(grads)))


def _is_finite(grad: Tensor) -> bool:
    return bool(_values(grad).isfinite().all())


def save(model: nn.Module, steppers: Mapping[str, Optimizer], plan: Plan, epoch: int, step: int) -> None:
    """Write the checkpoint so that a reader, or a run after a crash, sees all of it or the one before."""
    state = {
        "model": model.state_dict(),
        "optimizers": {name: stepper.state_dict() for name, stepper in steppers.items()},
        "state": [epoch, step],
        "random": [torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []],
        "identity": dict(plan.identity),
    }
    plan.folder.mkdir(parents=True, exist_ok=True)
    path = plan.folder / CHECKPOINT
    scratch = path.with_suffix(".tmp")
    with open(scratch, "wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(scratch, path)


def read_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Everything that `save` wrote, on the CPU; None where there is no checkpoint."""
    path = folder / CHECKPOINT
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


def resume(model: nn.Module, steppers: Mapping[str, Optimizer], plan: Plan) -> tuple[int, int]:
    """(epoch, step) to go on from; (0, 0) where there is no checkpoint."""
    found = read_checkpoint(plan.folder)
    if found is None:
        return 0, 0
    check_same_run(plan.folder, found["identity"], dict(plan.identity))
    model.load_state_dict(found["model"])
    for name, stepper in steppers.items():
        stepper.load_state_dict(found["optimizers"][name])
    cpu, gpus = found["random"]
    torch.set_rng_state(cpu)
    if gpus and torch.cuda.is_available() and len(gpus) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(gpus)
    epoch, step = found["state"]
    log.info("resumed from %s at epoch %d, step %d", plan.folder / CHECKPOINT, epoch, step)
    return epoch, step


def check_same_run(folder: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raises TrainingError that says in what the run that lies in the folder differs from the one asked for."""
    other = [name for name in sorted({*theirs, *ours}) if theirs.get(name) != ours.get(name)]
    if other:
        said = "; ".join(f"{name} was {theirs.get(name)!r}, is {ours.get(name)!r}" for name in other)
        raise TrainingError(f"{folder} holds another run: {said}. Give another folder, or the same arguments to resume it")


def _bar(plan: Plan) -> Progress:
    """A moving line on a terminal, nothing in a log: there the checkpoints speak."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
