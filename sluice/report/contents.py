"""What is in the published rows: shares of nulls, means, drift against the days before, label curves, samples of quarantine."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from jobs.storage import Table, filesystem, open_table
from schemas.contract import Contract, quarantine_of
from schemas.derive import parse_type
from training.distributions import Values, compare, merged, profile

MOST_ROWS = 20_000
"""Rows of a day's file that are looked at; drift is told beside what chance alone would give at these numbers."""
WEEK = 7
DRIFT = 0.1
"""A column has drifted when so large a share of its values changed, beyond chance (our choice)."""
MOST_BARS = 24
SAMPLES = 3
HIDDEN = "(hidden)"

Profile = dict[str, Values]


def profile_of(table: Table, day: date, receipt: Mapping[str, Any], kept: Path | None) -> Profile:
    """The profile of a published day; read from `kept` when this content was looked at before, and left there."""
    file = kept and kept / _kept_name(receipt)
    if file and file.exists():
        return _read(json.loads(file.read_text()))
    files = table.files([day])
    fs, _ = filesystem(table.root)
    found = profile(fs, [filesystem(f)[1] for f in files], most=MOST_ROWS)
    promised = {c.name for c in table.contract.columns}  # the files also hold what the gate counted by
    found = {name: v for name, v in found.items() if name.removeprefix("len(").rstrip(")").partition(".")[0] in promised}
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({name: asdict(v) | {"bins": list(v.bins.items())} for name, v in found.items()}))
    return found


def _kept_name(receipt: Mapping[str, Any]) -> str:
    return f"{receipt['table']}/{receipt['day']}-{receipt['content_hash']}-{MOST_ROWS}.json"


def forget_others(kept: Path, receipts: Iterable[Mapping[str, Any]]) -> None:
    """Remove profiles of days that are shown no more, or hold other rows by now."""
    wanted = {kept / _kept_name(r) for r in receipts}
    for file in set(kept.glob("*/*.json")) - wanted:
        file.unlink()


def _read(facts: dict[str, Any]) -> Profile:
    return {name: Values(**v | {"bins": Counter({value: n for value, n in v["bins"]})}) for name, v in facts.items()}


def columns(profiles: Mapping[str, Profile]) -> list[dict[str, Any]]:
    """Every column over the days (ISO, in order), each day against the published days of the week before it; what moved most is first."""
    found: dict[str, dict[str, Any]] = {}
    days, week = list(profiles), {}
    for number, day in enumerate(days):
        week = {}
        for before in days[max(0, number - WEEK) : number]:
            week = merged(week, profiles[before])
        moved = {c["column"]: c for c in compare(week, profiles[day])}
        for name, values in profiles[day].items():
            column = found.setdefault(name, {"column": name, "kind": values.kind, "days": []})
            seen = values.count + values.nulls
            facts = {"day": day, "values": seen, "null_share": values.nulls / seen if seen else None}
            facts["mean"] = values.total / values.count if values.count and values.kind != "string" else None
            column["days"].append(facts | {k: moved[name][k] if name in moved else None for k in ("distance", "chance")})
    for name, column in found.items():
        last = profiles[days[-1]].get(name)
        column["histogram"] = _histogram(last, week.get(name)) if last and column["days"][-1]["day"] == days[-1] else None
    return sorted(found.values(), key=lambda c: (-excess(c["days"][-1]), c["column"]))


def excess(facts: Mapping[str, Any]) -> float:
    """How much more than chance a day differs from the week before it."""
    return facts["distance"] - facts["chance"] if facts["distance"] is not None else -1.0


def _histogram(day: Values, week: Values | None) -> dict[str, Any]:
    """Shares of the values by bar for the last day and the week before it. Strings are counted by a hash: their bars have no name."""
    both = day.bins + (week.bins if week else Counter())
    if day.kind == "string" or len(both) <= MOST_BARS:
        order = sorted(both, key=lambda v: (-both[v], v))[:MOST_BARS] if day.kind == "string" else sorted(both)
        groups, labels = {v: n for n, v in enumerate(order)}, ["" if day.kind == "string" else f"{v:g}" for v in order]
    else:
        values = np.array(sorted(both))
        weights = np.array([both[v] for v in values]).cumsum() / both.total()
        low, high = values[np.searchsorted(weights, 0.01)], values[np.searchsorted(weights, 0.99)]
        edges = np.linspace(low, high, MOST_BARS + 1)
        groups = {v: min(max(int(np.searchsorted(edges, v, "right")) - 1, 0), MOST_BARS - 1) for v in values.tolist()}
        labels = [f"{a:.3g} to {b:.3g}" for a, b in pairwise(edges)]
    return {"labels": labels, "day": _shares(day, groups, len(labels)), "week": _shares(week, groups, len(labels)) if week else None}


def _shares(values: Values, groups: Mapping[float, int], num: int) -> list[float]:
    counts = [0] * num
    for value, n in values.bins.items():
        if value in groups:
            counts[groups[value]] += n
    return [n / values.count if values.count else 0.0 for n in counts]


def label_curves(
    contract: Contract, profiles: Mapping[str, Profile], changes: Mapping[date, Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """For each label and day: the share of positives at each age at which the day was published.

    The last comes from the rows, those before it from the labels that flipped at each publish.
    """
    prefix = f"{contract.elements.column}." if contract.elements else ""
    curves: dict[str, Any] = {label: [] for label in contract.labels}
    for label in curves:
        for day, found in profiles.items():
            published = [r for r in changes.get(date.fromisoformat(day), []) if r.get("label_as_of") and "withdrawal" not in r]
            values = found.get(prefix + label)
            if not published or not values or not values.count:
                continue
            rows = found[contract.grain[0]]
            num = values.count * published[-1]["rows"] / (rows.count + rows.nulls)
            share, points = values.total / values.count, []
            for receipt in reversed(published):
                age = (date.fromisoformat(receipt["label_as_of"]) - date.fromisoformat(day)).days
                points.append({"age": age, "share": max(share, 0.0)})
                flips = receipt["labels_flipped"].get(label, {"to_1": 0, "to_0": 0})
                share -= (flips["to_1"] - flips["to_0"]) / num
            curves[label].append({"day": day, "points": points[::-1]})
    return curves


def quarantine_samples(lake: str, contract: Contract, receipt: Mapping[str, Any], personal: bool) -> dict[str, list[dict[str, Any]]]:
    """A few rows that the gate took out of a day, by rule. Values of personal columns, and what no contract names, are hidden."""
    table = open_table(lake, quarantine_of(contract))
    if not receipt["quarantined"] or table.delta is None:
        return {}
    wanted = (pc.field("day") == date.fromisoformat(receipt["day"])) & (pc.field("run_id") == receipt["run_id"])
    names = ["rule", "key", "element", "row", "reason"]
    samples: dict[str, list[dict[str, Any]]] = {rule: [] for rule in receipt["quarantined"]}
    for batch in table.delta.to_pyarrow_dataset().scanner(columns=names, filter=wanted).to_batches():
        for row in batch.to_pylist():
            held = samples.setdefault(row["rule"], [])
            if len(held) < SAMPLES:
                held.append(row if personal else row | {k: hidden(contract, row[k]) for k in ("key", "row")})
        if all(len(held) >= min(SAMPLES, receipt["quarantined"].get(rule, 0)) for rule, held in samples.items()):
            break
    return samples


def hidden(contract: Contract, text: str) -> str:
    """The JSON of a row with what may tell of a person hidden: personal columns, and all that is not a column of the contract."""
    shown: set[str] = set()
    for column in (c for c in contract.columns if not c.personal):
        parsed = parse_type(column.type)
        shown |= {column.name, *(part.name for element in parsed.parts for part in element.type.parts)}
    try:
        row = json.loads(text)
    except ValueError:
        row = None
    return json.dumps({k: v if k in shown else HIDDEN for k, v in row.items()}, ensure_ascii=False) if isinstance(row, dict) else HIDDEN
