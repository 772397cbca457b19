"""What a person signs: a plan as one document with its hash, what it costs, what it makes stale, and whether another plan is the same.

Costs are those of past receipts of the same table, scaled by the bytes that were read; what no receipt tells is None: unknown.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from jobs.inputs import Tables
from jobs.plan import Step, waves
from jobs.storage import PLANS, filesystem, write_json
from schemas.contract import ContractError, days_of, load, load_all

RECENT = 10
"""Receipts that an expectation rests on, at most: those of the newest days."""
Days = set[tuple[str, date]]


@dataclass(frozen=True)
class Past:
    """What recent receipts of a table say that it costs; None where they do not."""

    num_receipts: int
    core_s: float | None
    """Task seconds of a day, on average."""
    wall_s: float | None
    """Seconds from the first staged row to the publish, on average."""
    bytes: float | None
    """Bytes that a day read, on average."""


def past(tables: Tables, table: str) -> Past:
    """The average of the newest receipts that tell their cost."""
    receipts = [r for r in tables[table].receipts(tables[table].days[-RECENT:]) if r.get("core_s") is not None and "gate_s" in r]
    if not receipts:
        return Past(0, None, None, None)
    read = [_bytes_read(tables, r) for r in receipts]
    mean_bytes = sum(read) / len(read) if None not in read else None
    wall_s = sum(r["build_s"] + r["gate_s"] for r in receipts)
    return Past(len(receipts), sum(r["core_s"] for r in receipts) / len(receipts), wall_s / len(receipts), mean_bytes)


def _bytes_read(tables: Tables, receipt: Mapping[str, Any]) -> int | None:
    """Bytes of the input days that a receipt names, by the receipts that these have now."""
    total = 0
    for name, found in receipt["inputs"].items():
        for day in map(date.fromisoformat, found["days"]):
            if not tables[name].publishes(day):
                return None
            total += tables[name].receipt(day)["bytes"]
    return total


def expected(step: Step, known: Past) -> dict[str, Any]:
    """Core seconds and wall seconds of a step: of an average day, scaled by bytes where both are known."""
    scale = step.bytes / known.bytes if step.bytes is not None and known.bytes else 1.0
    seconds = {"core_s": known.core_s, "wall_s": known.wall_s}
    return {name: None if s is None else round(s * scale, 1) for name, s in seconds.items()} | {"from_receipts": known.num_receipts}


def document(lake: str, steps: list[Step], parallel: int = 1) -> dict[str, Any]:
    """All that there is to know of a plan before it runs, as JSON has it."""
    tables, todo = Tables(lake), [s for s in steps if s.reasons]
    known = {name: past(tables, name) for name in {s.table for s in todo}}
    costs = {(s.table, s.day): expected(s, known[s.table]) for s in todo}
    in_waves = [_wave(number, wave, costs, parallel) for number, wave in enumerate(waves(steps), start=1)]
    stale = downstream(tables, {(s.table, s.day) for s in todo})
    return {
        "plan_hash": plan_hash(steps),
        "parallel": parallel,
        "steps": [s.as_json() | costs.get((s.table, s.day), {}) for s in steps],
        "waves": in_waves,
        "expected": {name: total([w[name] for w in in_waves]) for name in ("table_days", "bytes", "core_s", "wall_s")},
        "unknown": sum(1 for cost in costs.values() if cost["core_s"] is None),
        "downstream": [{"table": table, "day": day.isoformat()} for table, day in stale],
        "left_out": [{"table": s.table, "day": s.day.isoformat(), "days": list(s.left_out)} for s in steps if s.left_out],
    }


def _wave(number: int, steps: list[Step], costs: Mapping[tuple[str, date], dict[str, Any]], parallel: int) -> dict[str, Any]:
    of_wave = [costs[s.table, s.day] for s in steps]
    walls, by_table = [c["wall_s"] for c in of_wave], {s.table: 0 for s in steps}
    for step in steps:
        by_table[step.table] += 1
    wall = None if None in walls else round(max(*walls, sum(walls) / parallel, 0), 1)
    sums = {"bytes": total([s.bytes for s in steps]), "core_s": total([c["core_s"] for c in of_wave]), "wall_s": wall}
    return {"wave": number, "table_days": len(steps), "tables": by_table} | sums


def total(values: list[float | None]) -> float | None:
    """The sum, or None when a part of it is unknown."""
    return None if None in values else round(sum(values), 1)


def plan_hash(steps: list[Step]) -> str:
    """Digest of what would run: table-days, reasons, content of the inputs, fingerprints of code, contract and suite."""
    facts = [[s.table, s.day.isoformat(), s.reasons, s.inputs, s.facts] for s in steps if s.reasons]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def downstream(tables: Tables, changed: Days) -> list[tuple[str, date]]:
    """Published table-days outside of `changed` that read one of these, or read such a one: they become stale, or may."""
    reached, found = set(changed), []
    for contract in load_all():
        readers = {
            day
            for source in contract.inputs
            for table, read in reached
            if table == source.table
            for day in days_of((1 - source.window[1], 1 - source.window[0]), read)
        }
        stale = [day for day in sorted(readers) if (contract.name, day) not in changed and tables[contract.name].publishes(day)]
        found += [(contract.name, day) for day in stale]
        reached |= {(contract.name, day) for day in stale}
    return found


def keep(lake: str, plan: Mapping[str, Any]) -> None:
    """Leave the plan in the lake under its hash, so that what runs later can be compared with what was reviewed."""
    write_json(f"{lake}/{PLANS}/{plan['plan_hash']}.json", dict(plan))


def check_reviewed(lake: str, reviewed: str, steps: list[Step]) -> None:
    """Raises ContractError that says what differs when these steps are not those of the plan with this hash, or what is left of it."""
    if plan_hash(steps) == reviewed or not any(s.reasons for s in steps):
        return
    fs, path = filesystem(f"{lake}/{PLANS}/{reviewed}.json")
    try:
        with fs.open_input_stream(path) as stream:
            before = {(s["table"], s["day"]): s for s in json.loads(stream.read())["steps"] if s["reasons"]}
    except FileNotFoundError:
        raise ContractError(
            f"no plan {reviewed} was made in this lake; what would run now is plan {plan_hash(steps)}: look at it with --dry-run"
        ) from None
    found = [line for s in steps if s.reasons for line in _differences(s, before)]
    if found:
        more = f"\n  ... and {len(found) - 10} more" if len(found) > 10 else ""
        raise ContractError(
            f"what would run now is plan {plan_hash(steps)}, and not {reviewed} as reviewed:\n  " + "\n  ".join(found[:10]) + more
        )


def _differences(step: Step, before: Mapping[tuple[str, str], Mapping[str, Any]]) -> Iterable[str]:
    """What was not reviewed of a step. Inputs that the plan itself publishes may come out as they will."""
    name, reviewed = f"{step.table} {step.day}", before.get((step.table, step.day.isoformat()))
    if reviewed is None:
        yield f"{name} was not to be built, and is now: {'; '.join(step.reasons)}"
        return
    for what, value in step.facts.items():
        if reviewed["facts"].get(what) != value:
            yield f"{name}: {what} changed"
    own = False
    for table, days in step.inputs.items():
        then = reviewed["inputs"].get(table, {})
        own = own or any((table, day) in before for day in {*days, *then})
        changed = [d for d in sorted({*days, *then}) if days.get(d) != then.get(d) and (table, d) not in before]
        if changed:
            yield f"{name}: input changed: {table} {', '.join(changed[:3])}{' ...' if len(changed) > 3 else ''}"
    if not own and list(step.reasons) != reviewed["reasons"]:
        yield f"{name}: to be built because {'; '.join(reviewed['reasons'])}, and now because {'; '.join(step.reasons)}"


def downstream_of(lake: str, table: str, day: date) -> list[tuple[str, date]]:
    """Published table-days that read this one, by the windows of the contracts."""
    return downstream(Tables(lake), {(load(table).name, day)})
