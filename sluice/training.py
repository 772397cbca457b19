"""`sluice train`: pins what is read where that is not done yet, hands over to the model, prints what came out."""

import hashlib
import math
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from jobs.messages import UsageError
from jobs.storage import NotPublishedError, check_lake, lake_address, open_table
from schemas.contract import load as contract_of
from sluice.screens import console, grid, print_json
from training import hhsft as ranker
from training import manifest
from training import retriever as two_towers
from training.hhsft.__main__ import main as fit_ranker
from training.hhsft.config import MODELS, SIZES, STAGES, config
from training.manifest import Manifest
from training.retrieval import MEASURES as LIST_MEASURES

MEASURES = ("auc", "gauc", "hr@5", "mrr")
TEST_DAYS = 3


def check_known(option: str, value: str, known: Collection[str]) -> None:
    """Raises UsageError that lists what there is."""
    if value not in known:
        raise UsageError(f"{option} is {value!r}; there is {', '.join(known)}")


def settings_of(model: str, size: str, stage: str) -> Any:
    """The configuration of these names. Raises UsageError that lists what there is."""
    for option, value, known in (("--model", model, MODELS), ("--size", size, SIZES), ("--stage", stage, STAGES)):
        check_known(option, value, known)
    return config(size, model=model, stage=stage)


def pinned(lake: str, table: str, name: str | None, until: date | None, days: int | None) -> Manifest:
    """The manifest of this name; or one of the published days before `until`, the last `days` of them, made now if it is not there."""
    if name:
        return manifest.load(lake, name)
    held = open_table(lake_address(lake), contract_of(table)).days
    before = [d for d in held if until is None or d < until][-(days or 0) :]
    if not before:
        raise NotPublishedError(
            f"{table} has no published day before {until}{f', it has {held[0]}..{held[-1]}' if held else ''}; "
            f"sluice backfill {table} --days A..B --with-upstream"
        )
    return _pin(lake, table, before)


def later(lake: str, train: Manifest, days: int) -> Manifest | None:
    """A manifest of the first published days after those to train on; None where there are none."""
    held = open_table(lake_address(lake), contract_of(train.table)).days
    after = [d for d in held if d.isoformat() > train.days[-1]][:days]
    return _pin(lake, train.table, after) if after else None


def _pin(lake: str, table: str, days: Sequence[date]) -> Manifest:
    """The manifest whose name says its days and their content: the same days with the same rows are pinned once."""
    receipts = open_table(lake_address(lake), contract_of(table)).receipts(days)
    content = hashlib.sha256("\n".join(r["content_hash"] for r in receipts).encode()).hexdigest()[:8]
    name = f"{table}-{days[0]}..{days[-1]}-{content}"
    return manifest.load(lake, name) if name in manifest.names(lake) else manifest.create(lake, name, table, (days[0], days[-1]))


def hhsft(
    lake: str,
    pins: tuple[str | None, date | None, int | None],
    test_days: int | None,
    settings: tuple[str, str, str],
    out: str | None,
    seed: int | None,
    device: str,
    truth: str | None,
    as_json: bool,
) -> None:
    """Train it on the days that `pins` (name, until, days) says, test it on `test_days` later ones."""
    chosen = settings_of(*settings)
    check_lake(lake, must_exist=True)
    read = pinned(lake, ranker.TABLE, *pins)
    test = later(lake, read, test_days or TEST_DAYS)
    _say("train", read)
    if test:
        _say("test", test)
    else:
        print(f"no day after {read.days[-1]} is published: nothing to evaluate on", file=sys.stderr)
    seed = read.sampler["seed"] if seed is None else seed
    folder = Path(out or f"./models/{read.name}/{'-'.join(settings)}-seed{seed}")
    report = fit_ranker(read, test, chosen, folder, seed=seed, device=device, truth=Path(truth) if truth else None)
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


def retriever(
    lake: str,
    pins: tuple[str | None, date | None, int | None],
    size: str,
    share: float | None,
    out: str | None,
    seed: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Train it on the last day that `pins` (name, until, days) says, and test it on the next; without one, on queries it has not seen."""
    check_known("--size", size, two_towers.SIZES)
    if share is not None and not 0 <= share <= 0.5:
        raise UsageError(f"--share is {share}, must be from 0 to 0.5: synthetic pairs never outweigh observed ones")
    chosen = two_towers.SIZES[size]()
    chosen = chosen if share is None else replace(chosen, share=share)
    check_lake(lake, must_exist=True)
    name, until, days = pins
    read = pinned(lake, two_towers.TABLE, name, until, days or 1)
    test = later(lake, read, 1)
    _say("train", read, "rows")
    if test:
        _say("test", test, "rows")
    else:
        print(
            f"no day after {read.days[-1]} is published: measured on evaluation queries of that day, which are not learnt", file=sys.stderr
        )
    seed = read.sampler["seed"] if seed is None else seed
    folder = Path(out or f"./models/{read.name}/retriever-{size}-share{chosen.share:g}-seed{seed}")
    report = two_towers.main(read, test, chosen, folder, seed=seed, device=device)
    if as_json:
        print_json(plain(report | {"out": str(folder)}))
        return
    console().print(_lists(report))
    pairs = report["pairs"]
    print(
        f"retriever {size}: {report['parameters']['dense']:,} weights and {report['parameters']['embeddings']:,} of embeddings, "
        f"{report['steps']} steps over {pairs['log']:,} observed and {pairs['synthetic']:,} synthetic pairs, these {chosen.share:.0%} of "
        f"each batch, {report['fit_s']:.0f} s of this run on {report['device']}; checkpoint and report in {folder}"
    )


def query_rewriter(
    lake: str,
    pins: tuple[str | None, date | None, int | None],
    model: str,
    size: str,
    lora: int | None,
    out: str | None,
    seed: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Train the language model in a folder on the last day that `pins` (name, until, days) says."""
    from training import query_rewriter as rewriter  # TRL takes seconds, and only this needs it

    check_known("--size", size, rewriter.SIZES)
    chosen = rewriter.SIZES[size]()
    chosen = rewriter.with_lora(chosen, lora) if lora else chosen
    check_lake(lake, must_exist=True)
    name, until, days = pins
    read = pinned(lake, rewriter.TABLE, name, until, days or 1)
    _say("train", read, "rows")
    seed = read.sampler["seed"] if seed is None else seed
    folder = Path(out or f"./models/{read.name}/query_rewriter-{Path(model).name}{f'-lora{lora}' if lora else ''}-seed{seed}")
    report = rewriter.main(read, model, chosen, folder, seed=seed, device=device)
    if as_json:
        print_json(plain(report | {"out": str(folder)}))
        return
    numbers = (*rewriter.MEASURES, "rewrites")
    shown = grid(f"Replies to {report['rows']['held_out']} queries that were not learnt", "after", *numbers, numbers=numbers)
    for stage, found in report["metrics"].items():
        shown.add_row(stage, *(f"{found[name]:.4f}" if name in found else "" for name in numbers))
    console().print(shown)
    rows, sft, grpo = report["rows"], report["sft"], report["grpo"]
    print(
        f"query_rewriter: {sft['steps']} steps over {rows['sft']:,} replies, loss {sft['loss']['first']:.3f} to {sft['loss']['last']:.3f}; "
        f"{grpo['steps']} steps over {rows['grpo']:,} queries, reward {grpo['reward']['first']:.3f} to {grpo['reward']['last']:.3f}, on "
        f"{report['device']}; a model for `--model` of query_rewrites, with the report, in {folder}"
    )


def _lists(report: dict[str, Any]) -> Any:
    """Measures by segment and type of query, beside the model before its first step."""
    numbers = ("queries", *LIST_MEASURES)
    shown = grid(f"Evaluation queries of {report['test']}, by items that were clicked", "queries of", "found by", *numbers, numbers=numbers)
    for group in report["metrics"].get("model", {}):
        for who, found in report["metrics"].items():
            shown.add_row(
                group,
                who,
                f"{found[group]['queries']:,}",
                *("" if (value := found[group][m]) is None else f"{value:.4f}" for m in LIST_MEASURES),
            )
    return shown


def _say(what: str, of: Manifest, rows: str = "requests") -> None:
    ages = [day for day in of.label_as_of.values() if day]
    known = f", labels known to {min(ages)} or later" if ages else ""
    print(f"{what}: manifest {of.name}, {of.rows:,} {rows}{known}", file=sys.stderr, flush=True)


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
