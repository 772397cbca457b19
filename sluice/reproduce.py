"""`sluice reproduce hhsft`: the paper's tables beside ours, from nothing: a simulated shop, its examples, all runs, intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from jobs.storage import lake_address, open_table
from schemas.contract import load
from sluice.experiments import FIRST, Spark, build, ingest, span
from sluice.screens import console, grid, print_json, say
from training.hhsft import reproduce as runs
from training.manifest import Manifest, create

TABLE = "hhsft_examples"
MEASURES = ("auc", "gauc", "mrr")
"""Of real sessions."""


@dataclass(frozen=True)
class Scale:
    """How much is simulated and run; days count from FIRST."""

    names: tuple[str, ...]
    seeds: int
    users: int
    num_days: int
    train: tuple[int, int]
    """First and last day to train on. Of a few days earlier behaviour is known, and labels are final eight days after the last."""
    test: tuple[int, int]


FULL = Scale(tuple(runs.RUNS), seeds=5, users=400, num_days=22, train=(3, 12), test=(13, 14))
QUICK = Scale(runs.QUICK, seeds=1, users=80, num_days=7, train=(2, 4), test=(5, 6))


def hhsft(spark: Spark, out: str, scale: Scale, size: str, device: str, as_json: bool) -> None:
    """Simulate, build, train, print. Everything lies in `out` and is found there again, so that a run which was cut off goes on."""
    folder = Path(out)
    lake, truth = lake_address(str(folder / "lake")), folder / "truth"
    say("First the logs and the tables of a simulated shop; what the runs will take is measured then, and told before the first of them")
    first, last = FIRST, FIRST + timedelta(days=scale.num_days - 1)
    ingest(spark, lake, "simulator", None, (first, last), {"users": str(scale.users), "truth": str(truth)})
    train, test = (_pinned(spark, lake, name, of) for name, of in (("train", scale.train), ("test", scale.test)))
    reports = _run(train, test, folder / "runs", scale, size, device, truth)
    facts = _facts(reports, train, test)
    print_json(facts) if as_json else _screen(facts)


def trivago(spark: Spark, path: str, out: str, seeds: int, size: str, device: str, as_json: bool) -> None:
    """Real sessions: train on the first day of the logs, test on the last."""
    folder = Path(out)
    lake = lake_address(str(folder / "lake"))
    ingest(spark, lake, "trivago", path, None, {})
    days = open_table(lake, load("requests")).days
    offsets = [(d - FIRST).days for d in (days[0], days[-2], days[-1])]
    train, test = (_pinned(spark, lake, name, of) for name, of in (("train", offsets[:2]), ("test", offsets[2:] * 2)))
    scale = Scale(("dlrm", "rankmixer", "hhsft"), seeds, 0, len(days), tuple(offsets[:2]), tuple(offsets[2:] * 2))
    reports = _run(train, test, folder / "runs", scale, size, device, None)
    facts = _real_facts(reports, train, test)
    print_json(facts) if as_json else _real_screen(facts)


def _pinned(spark: Spark, lake: str, name: str, offsets: tuple[int, int]) -> Manifest:
    """The days of the table, built where they are not up to date, under a manifest of that name."""
    days = (FIRST + timedelta(days=offsets[0]), FIRST + timedelta(days=offsets[1]))
    build(spark, lake, TABLE, days)
    return create(lake, name, TABLE, days)


def _run(
    train: Manifest, test: Manifest, out: Path, scale: Scale, size: str, device: str, truth: Path | None
) -> dict[str, list[dict[str, Any]]]:
    """Reports by run, one for each seed."""
    total = len(scale.names) * scale.seeds
    seconds = runs.seconds_of_all(scale.names, scale.seeds, train, size, device)
    say(
        f"{total} runs ({len(scale.names)} x {scale.seeds} seeds) of {train.rows:,} requests: about {span(seconds)} in all. "
        f"What is done lies in {out}: stopped, the same command goes on"
    )
    reports: dict[str, list[dict[str, Any]]] = {name: [] for name in scale.names}
    done = runs.run_all(scale.names, scale.seeds, train, test, out, size=size, device=device, truth=truth)
    for number, (name, seed, report) in enumerate(done, start=1):
        reports[name].append(report)
        found = report["metrics"]["search"]["model"]
        say(f"  {number}/{total} {name}, seed {seed}: AUC {found['auc']:.4f}, GAUC {found['gauc']:.4f}, {report['fit_s']:.0f} s")
    return reports


def _facts(reports: dict[str, list[dict[str, Any]]], train: Manifest, test: Manifest) -> dict[str, Any]:
    values = runs.measured(reports)
    of_first = next(iter(reports.values()))[0]["metrics"]["search"]
    other = {who: _mean([of_first[who]], runs.MEASURES) for who in ("oracle", "oracle_without_position", "popularity")}
    return {
        "train": {"days": train.days, "requests": train.rows},
        "test": {"days": test.days, "rows": of_first["model"]["rows"]},
        "seeds": len(next(iter(reports.values()))),
        "values": values,
        "others": other,
        "over_dlrm": runs.differences(values, "dlrm"),
        "over_hhfi": runs.differences(values, "hhfi") if "hhfi" in values else {},
        "order": runs.orders(values),
    }


def _mean(of_seeds: Sequence[dict[str, Any]], measures: Sequence[str]) -> dict[str, float]:
    return {measure: sum(r[measure] for r in of_seeds) / len(of_seeds) for measure in measures}


def _screen(facts: dict[str, Any]) -> None:
    out = console()
    out.print(
        f"\nTrained on {facts['train']['requests']:,} requests of {facts['train']['days'][0]}..{facts['train']['days'][-1]}, tested on "
        f"{facts['test']['rows']:,} exposed search rows with native labels of {facts['test']['days'][0]}..{facts['test']['days'][-1]}."
    )
    out.print(_values(facts))
    if facts["seeds"] < 2:
        out.print("One seed: this shows that all of it runs. It says nothing about the order of models.")
        return
    out.print(_beside("Over DLRM, in points of 100 (95 % interval over seeds)", facts["over_dlrm"], runs.PAPER_MODELS))
    if facts["over_hhfi"]:
        out.print(_beside("Over HHFI on search alone, in points of 100", facts["over_hhfi"], runs.PAPER_ABLATION))
    shown = grid("Expected order, by AUC", "better", "worse", "difference", "came out", numbers=("difference",))
    for each in facts["order"]:
        shown.add_row(each["better"], each["worse"], _with_interval(each), each["came_out"])
    out.print(shown)


def _values(facts: dict[str, Any]) -> Any:
    shown = grid("Means over seeds", "run", *runs.MEASURES, numbers=runs.MEASURES)
    for name, of_run in facts["values"].items():
        shown.add_row(name, *(f"{sum(of_run[m]) / len(of_run[m]):.4f}" for m in runs.MEASURES))
    for name, found in facts["others"].items():
        shown.add_row(name.replace("_", " "), *(f"{found[m]:.4f}" for m in runs.MEASURES))
    return shown


def _beside(title: str, found: dict[str, Any], paper: dict[str, tuple[float | None, ...]]) -> Any:
    heads = [head for m in runs.MEASURES for head in (m, "paper")]
    shown = grid(title, "run", *heads, numbers=tuple(heads))
    for name, of_run in found.items():
        theirs = paper.get(name, (None,) * len(runs.MEASURES))
        cells = [
            c for m, p in zip(runs.MEASURES, theirs, strict=True) for c in (_with_interval(of_run[m]), "" if p is None else f"{p:+.2f}")
        ]
        shown.add_row(name, *cells)
    return shown


def _with_interval(found: dict[str, Any]) -> str:
    return f"{found['mean']:+.2f}" + (f" ± {found['half_width']:.2f}" if found["half_width"] is not None else "")


def _real_facts(reports: dict[str, list[dict[str, Any]]], train: Manifest, test: Manifest) -> dict[str, Any]:
    means = {name: _mean([r["metrics"]["search"]["model"] for r in of_run], MEASURES) for name, of_run in reports.items()}
    of_first = next(iter(reports.values()))[0]["metrics"]["search"]
    return {
        "train": {"days": train.days, "requests": train.rows},
        "test": {"days": test.days, "rows": of_first["model"]["rows"]},
        "seeds": len(next(iter(reports.values()))),
        "values": means | {who: _mean([of_first[who]], MEASURES) for who in ("popularity", "price")},
    }


def _real_screen(facts: dict[str, Any]) -> None:
    out = console()
    out.print(
        f"\nTrained on {facts['train']['requests']:,} requests to {facts['train']['days'][-1]}, tested on {facts['test']['rows']:,} "
        f"exposed items of {facts['test']['days'][0]}; seeds: {facts['seeds']}, means over them. MRR of the clicked item "
        "is the challenge's measure."
    )
    shown = grid("Sessions of trivago", "run", *MEASURES, numbers=MEASURES)
    for name, found in facts["values"].items():
        shown.add_row(name, *(f"{found[m]:.4f}" for m in MEASURES))
    out.print(shown)
