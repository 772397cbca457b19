"""Train HHSFT or a baseline on a manifest, evaluate it on another: `python -m training.hhsft --lake L --manifest NAME --test NAME`."""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from schemas.contract import ContractError
from training import hhsft, loop, manifest
from training.hhsft import evaluate
from training.hhsft.batches import columns, of_stage
from training.hhsft.config import MODELS, SIZES, STAGES, Config, config
from training.hhsft.loss import loss
from training.hhsft.model import Model
from training.loader import Loader
from training.manifest import Manifest, identity

REPORT = "report.json"
TEST_REQUESTS = 512  # of a batch when evaluating; decides nothing but memory


def arg_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.hhsft", description=__doc__, allow_abbrev=False)
    parser.add_argument("--lake", required=True, help="root of all tables")
    parser.add_argument("--manifest", required=True, help="name of the manifest to train on")
    parser.add_argument("--test", help="name of the manifest to evaluate on; none: no evaluation")
    parser.add_argument("--out", required=True, type=Path, help="folder of the checkpoint and the report")
    parser.add_argument("--model", default="hhsft", choices=MODELS)
    parser.add_argument("--size", default="tiny", choices=SIZES)
    parser.add_argument("--stage", default="entire_space", choices=STAGES)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--truth", type=Path, help="folder of the simulator's planted truth")
    return parser


def main(
    train: Manifest,
    test: Manifest | None,
    settings: Config,
    out: Path,
    *,
    seed: int,
    device: str = "auto",
    truth: Path | None = None,
    checkpoint_steps: int = 200,
) -> dict[str, Any]:
    """Fit, or resume what lies in `out`; evaluate; write the report beside the checkpoint and return it."""
    _check(train, test)
    place = loop.device_named(device)
    torch.manual_seed(seed)
    model = Model(settings).to(place)
    if place.type == "cuda":
        model.interaction.compile(dynamic=True)  # where the arithmetic is; the number of items changes with each batch
    steppers = loop.optimizers(model, lr_sparse=settings.lr_sparse, lr_dense=settings.lr_dense, weight_decay=settings.weight_decay)
    loader = _loader(train, columns(settings.stage), settings.requests_per_batch, seed, place)

    def batches(epoch: int, step: int) -> Iterator[dict[str, Any]]:
        return (of_stage(batch, settings.stage) for batch in loader.at(epoch, step))

    facts = {"config": asdict(settings), "seed": seed, "manifest": train.name, "identity": identity(train)}
    plan = loop.Plan(out, loader.num_steps, settings.epochs, checkpoint_steps, facts)
    began = time.monotonic()
    loop.fit(model, loss, batches, steppers, plan)
    report = facts | {
        "parameters": _parameters(model),
        "requests": train.rows,
        "steps": plan.epochs * plan.num_steps,
        "device": str(place),
        "fit_s": round(time.monotonic() - began, 1),
        "test": test.name if test else None,
        "test_identity": identity(test) if test else None,
        "metrics": _metrics(model, test, truth, place) if test else {},
    }
    (out / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def load(out: Path) -> Model:
    """The model of a checkpoint, on the CPU, ready to score."""
    found = loop.read_checkpoint(out)
    if found is None:
        raise loop.TrainingError(f"there is no checkpoint in {out}; train first")
    model = Model(Config(**found["identity"]["config"]))
    model.load_state_dict(found["model"])
    return model.eval()


def _check(train: Manifest, test: Manifest | None) -> None:
    faults = [f"manifest {m.name} is of {m.table}, not {hhsft.TABLE}" for m in (train, test) if m and m.table != hhsft.TABLE]
    faults += [f"manifest {train.name} holds no request"] if not train.rows else []
    if test and test.days and train.days and test.days[0] <= train.days[-1]:
        faults.append(
            f"manifest {test.name} begins on {test.days[0]}, within the days to train on (to {train.days[-1]}); test on later days"
        )
    if faults:
        raise loop.TrainingError("hhsft: " + "; ".join(faults))


def _loader(of: Manifest, names: list[str], requests: int, seed: int, device: torch.device) -> Loader:
    return Loader(of, names, requests_per_batch=requests, seed=seed, pin_memory=device.type == "cuda")


def _metrics(model: Model, test: Manifest, truth: Path | None, device: torch.device) -> dict[str, Any]:
    loader = _loader(test, evaluate.columns(truth is not None), TEST_REQUESTS, 0, device)
    return evaluate.evaluate(model, loader.at(0), truth)


def _parameters(model: Model) -> dict[str, int]:
    embeddings = model.tokens.embeddings.table.weight.numel()
    return {"dense": sum(p.numel() for p in model.parameters()) - embeddings, "embeddings": embeddings}


if __name__ == "__main__":
    given = arg_parser().parse_args()
    try:
        pinned = [manifest.load(given.lake, name) if name else None for name in (given.manifest, given.test)]
        chosen = config(given.size, model=given.model, stage=given.stage)
        print(json.dumps(main(*pinned, chosen, given.out, seed=given.seed, device=given.device, truth=given.truth), indent=1))
    except ContractError as error:
        raise SystemExit(f"failed: {error}") from error
