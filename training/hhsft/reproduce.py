"""The runs behind the paper's tables: each model, stage of ES3 and seed once, resumable; then paired differences over seeds.

Source: UniScale (arXiv 2603.24226), the table of models and the ablation, as deltas in points of 100 (a detailed second-hand note).
"""

import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from training import loop
from training.hhsft import __main__ as one_run
from training.hhsft.batches import columns, of_stage
from training.hhsft.config import config
from training.hhsft.loss import loss
from training.hhsft.model import Model
from training.loader import Loader
from training.manifest import Manifest, identity

RUNS: dict[str, dict[str, Any]] = {
    "dlrm": {"model": "dlrm", "stage": "exposed"},
    "rankmixer": {"model": "rankmixer", "stage": "exposed"},
    "hhfi": {"model": "hhfi", "stage": "exposed"},
    "hhsft": {"stage": "exposed"},
    "hhfi + unexposed": {"model": "hhfi", "stage": "unexposed"},
    "hhsft + unexposed": {"stage": "unexposed"},
    "hhfi + attribution": {"model": "hhfi", "stage": "attributed"},
    "hhsft + attribution": {"stage": "attributed"},
    "hhfi + ES3": {"model": "hhfi"},
    "hhfi + DREF + ES3": {"has_dapga": False},
    "hhfi + DAPGA + ES3": {"has_dref": False},
    "hhsft + ES3": {},
}
"""Changes of the configuration. Without a stage it is the entire space; without a model HHSFT, which isolates domains; HHFI does not."""
QUICK = ("dlrm", "rankmixer", "hhsft", "hhsft + ES3")
MEASURES = ("auc", "gauc", "hr@5")
PAPER_MODELS = {"rankmixer": (0.38, 0.32, None), "hhsft": (0.82, 0.62, None), "hhsft + ES3": (1.14, 0.86, None)}
"""Over DLRM-MLP, each trained on search alone but the last."""
PAPER_ABLATION = {
    "hhsft": (0.02, 0.01, 0.02),
    "hhfi + ES3": (-0.43, -0.24, -4.76),
    "hhfi + DREF + ES3": (0.19, 0.25, 0.39),
    "hhfi + DAPGA + ES3": (0.22, 0.18, 0.17),
    "hhsft + ES3": (0.32, 0.26, 0.44),
}
"""Over HHFI trained on search alone. The hit rate of `hhfi + ES3` is ten times out of line in the source."""
ORDER = (("hhsft + ES3", "hhsft"), ("hhsft", "rankmixer"), ("rankmixer", "dlrm"), ("hhfi", "hhfi + ES3"))
"""Pairs (better, worse) that the paper leads to expect."""
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t at 0.975 for 1, 2, ... degrees of freedom."""


def seconds_of_all(names: Sequence[str], seeds: int, train: Manifest, size: str, device: str) -> float:
    """What all runs will take, from a few steps of each on this machine; evaluation counted as a tenth."""
    total = 0.0
    for name in names:
        settings, place = config(size, **RUNS[name]), loop.device_named(device)
        model = Model(settings).to(place)
        steppers = loop.optimizers(model, lr_sparse=settings.lr_sparse, lr_dense=settings.lr_dense, weight_decay=settings.weight_decay)
        loader = Loader(train, columns(settings.stage), requests_per_batch=settings.requests_per_batch, seed=0)
        batches = [loop.to_device(of_stage(batch, settings.stage), place) for batch in islice(loader.at(0), 6)]
        began = time.monotonic()
        for n, batch in enumerate(batches):
            began = time.monotonic() if n == 1 else began  # the first step allocates
            loop.train_step(model, loss, batch, steppers, "trial")
        total += (time.monotonic() - began) / max(len(batches) - 1, 1) * loader.num_steps * settings.epochs
    return 1.1 * total * seeds


def run_all(
    names: Sequence[str], seeds: int, train: Manifest, test: Manifest, out: Path, *, size: str, device: str, truth: Path | None
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(run, seed, report) as they come, seed by seed. A run whose report lies in `out` is not run again, one cut off is resumed."""
    for seed in range(seeds):
        for name in names:
            folder = out / name.replace(" ", "") / f"seed-{seed}"
            settings = config(size, **RUNS[name])
            report = _finished(folder, settings, train, test)
            yield name, seed, report or one_run.main(train, test, settings, folder, seed=seed, device=device, truth=truth)


def _finished(folder: Path, settings: Any, train: Manifest, test: Manifest) -> dict[str, Any] | None:
    """The report of a run of the same configuration and rows that came to its end."""
    path = folder / one_run.REPORT
    if not path.exists():
        return None
    report = json.loads(path.read_text())
    wanted = json.loads(json.dumps(vars(settings)))
    same = (report["config"], report["identity"], report["test_identity"]) == (wanted, identity(train), identity(test))
    return report if same else None


def measured(reports: Mapping[str, Sequence[Mapping[str, Any]]], who: str = "model") -> dict[str, dict[str, list[float]]]:
    """By run and measure the values over seeds, on search-exposed rows with native labels."""
    return {name: {m: [r["metrics"]["search"][who][m] for r in of_run] for m in MEASURES} for name, of_run in reports.items()}


def difference(ours: Sequence[float], base: Sequence[float]) -> dict[str, float | None]:
    """Mean of the paired differences over seeds in points of 100, and half the width of their 95 % interval (None for one seed)."""
    pairs = [100 * (a - b) for a, b in zip(ours, base, strict=True)]
    half = T_975[len(pairs) - 2] * statistics.stdev(pairs) / len(pairs) ** 0.5 if 1 < len(pairs) <= len(T_975) + 1 else None
    return {"mean": statistics.fmean(pairs), "half_width": half}


def differences(values: Mapping[str, Mapping[str, Sequence[float]]], base: str) -> dict[str, dict[str, dict[str, float | None]]]:
    """By run and measure the difference to the run `base`."""
    others = {name: of_run for name, of_run in values.items() if name != base}
    return {name: {m: difference(of_run[m], values[base][m]) for m in MEASURES} for name, of_run in others.items()}


def orders(values: Mapping[str, Mapping[str, Sequence[float]]]) -> list[dict[str, Any]]:
    """For each expected pair whether it came out by AUC: `yes` or `no` where the interval leaves out 0, else `open`."""
    found = []
    for better, worse in ORDER:
        if better in values and worse in values:
            by = difference(values[better]["auc"], values[worse]["auc"])
            is_sure = by["half_width"] is not None and abs(by["mean"]) > by["half_width"]
            found.append({"better": better, "worse": worse, **by, "came_out": ("yes" if by["mean"] > 0 else "no") if is_sure else "open"})
    return found
