"""`sluice train`: pins what is read where that is not done yet, hands over to the model, prints what came out."""

import hashlib
import math
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from jobs.messages import UsageError
from jobs.storage import NotPublishedError, check_lake, lake_address, open_table
from schemas.contract import load as contract_of
from sluice.screens import console, grid, print_json
from training import hhsft, manifest
from training.hhsft.__main__ import main as fit_and_evaluate
from training.hhsft.config import MODELS, SIZES, STAGES, config
from training.manifest import Manifest

MEASURES = ("auc", "gauc", "hr@5", "mrr")


def settings_of(model: str, size: str, stage: str) -> Any:
    """The configuration of these names. Raises UsageError that lists what there is."""
    for option, value, known in (("--model", model, MODELS), ("--size", size, SIZES), ("--stage", stage, STAGES)):
        if value not in known:
            raise UsageError(f"{option} is {value!r}; there is {', '.join(known)}")
    return config(size, model=model, stage=stage)


def pinned(lake: str, name: str | None, until: date | None, days: int | None) -> Manifest:
    """The manifest of this name; or one of the published days before `until`, the last `days` of them, made now if it is not there."""
    if name:
        return manifest.load(lake, name)
    held = open_table(lake_address(lake), contract_of(hhsft.TABLE)).days
    before = [d for d in held if until is None or d < until][-(days or 0) :]
    if not before:
        raise NotPublishedError(
            f"{hhsft.TABLE} has no published day before {until}{f', it has {held[0]}..{held[-1]}' if held else ''}; "
            f"sluice backfill {hhsft.TABLE} --days A..B --with-upstream"
        )
    return _pin(lake, before)


def later(lake: str, train: Manifest, days: int) -> Manifest | None:
    """A manifest of the first published days after those to train on; None where there are none."""
    held = open_table(lake_address(lake), contract_of(hhsft.TABLE)).days
    after = [d for d in held if d.isoformat() > train.days[-1]][:days]
    return _pin(lake, after) if after else None


def _pin(lake: str, days: Sequence[date]) -> Manifest:
    """The manifest whose name says its days and their content: the same days with the same rows are pinned once."""
    receipts = open_table(lake_address(lake), contract_of(hhsft.TABLE)).receipts(days)
    content = hashlib.sha256("\n".join(r["content_hash"] for r in receipts).encode()).hexdigest()[:8]
    name = f"{hhsft.TABLE}-{days[0]}..{days[-1]}-{content}"
    return manifest.load(lake, name) if name in manifest.names(lake) else manifest.create(lake, name, hhsft.TABLE, (days[0], days[-1]))


def train(
    lake: str,
    name: str | None,
    until: date | None,
    days: int | None,
    test_days: int,
    settings: tuple[str, str, str],
    out: str | None,
    seed: int | None,
    device: str,
    truth: str | None,
    as_json: bool,
) -> None:
    chosen = settings_of(*settings)
    check_lake(lake, must_exist=True)
    read = pinned(lake, name, until, days)
    test = later(lake, read, test_days)
    _say("train", read)
    if test:
        _say("test", test)
    else:
        print(f"no day after {read.days[-1]} is published: nothing to evaluate on", file=sys.stderr)
    seed = read.sampler["seed"] if seed is None else seed
    folder = Path(out or f"./models/{read.name}/{'-'.join(settings)}-seed{seed}")
    report = fit_and_evaluate(read, test, chosen, folder, seed=seed, device=device, truth=Path(truth) if truth else None)
    if as_json:
        print_json(plain(report | {"out": str(folder)}))
        return
    if test:
        console().print(_screen(report))
    print(
        f"{settings[0]} {settings[1]}: {report['parameters']['dense']:,} weights and {report['parameters']['embeddings']:,} of embeddings, "
        f"{report['steps']} steps over {report['requests']:,} requests, {report['fit_s']:.0f} s of this run on {report['device']}; "
        f"checkpoint and report in {folder}"
    )


def _say(what: str, of: Manifest) -> None:
    known = sorted(day or "-" for day in of.label_as_of.values())[0]
    print(f"{what}: manifest {of.name}, {of.rows:,} requests, labels known to {known} or later", file=sys.stderr, flush=True)


def _screen(report: dict[str, Any]) -> Any:
    numbers = ("samples", "positives", *MEASURES, "calibration")
    shown = grid(f"Measures on {report['test']}", "rows", "scored by", *numbers, numbers=numbers)
    for rows, by_score in report["metrics"].items():
        for who, found in by_score.items():
            ratio = f"{found['calibration']['ratio']:.2f}" if "calibration" in found else ""
            counts = (f"{found['rows']:,}", f"{found['positives']:,}")
            shown.add_row(rows, who.replace("_", " "), *counts, *(f"{found[m]:.4f}" for m in MEASURES), ratio)
    return shown


def plain(facts: Any) -> Any:
    """The same facts with null for what could not be measured: JSON has no NaN."""
    if isinstance(facts, dict):
        return {key: plain(value) for key, value in facts.items()}
    if isinstance(facts, list | tuple):
        return [plain(value) for value in facts]
    return None if isinstance(facts, float) and math.isnan(facts) else facts
