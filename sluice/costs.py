"""`sluice costs`: what the days of a table cost, step by step, by their receipts; which day stands out, and why."""

from collections.abc import Mapping, Sequence
from datetime import date
from statistics import median
from typing import Any

from rich.markup import escape

from jobs.storage import NotPublishedError, check_lake, how_to_publish, lake_address, open_table
from schemas.contract import Contract
from sluice.screens import console, grid, print_json

TIMES = 2.0
"""A day stands out when it cost so many times the median of the others ..."""
SPREADS = 3.0
"""... and lies so many of their median deviations above it ..."""
AT_LEAST_S = 1.0
"""... and so many core seconds: less is the noise of one machine (all three our choice)."""
GREW = 1.5
"""Rows, or the cost of each, that are so many times the median are a reason."""
FEWEST = 4
"""Days that a median needs."""
WIDTH = 16
STEPS = ("plan", "stage", "audit", "finish")
FIGURES = ("rows_read", "bytes_read", "rows_written", "bytes_written", "shuffle_bytes", "spill_bytes")


def of_receipts(receipts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One fact for each receipt, in their order; figures that a receipt of an older Sluice does not have are None."""
    days = [_day(r) for r in receipts]
    for number, day in enumerate(days):
        day["stands_out"] = _stands_out(day, days[:number] + days[number + 1 :])
    return days


def _day(receipt: Mapping[str, Any]) -> dict[str, Any]:
    steps = receipt.get("steps", {})
    core_s = sum(step.get("core_s", 0.0) for step in steps.values()) if steps else receipt.get("core_s")
    walls = {name: steps[name]["wall_s"] for name in STEPS if name in steps}
    wall_s = sum(walls.values()) if steps else sum(receipt.get(name, 0.0) for name in ("build_s", "gate_s"))
    read = [given.get("rows") for given in receipt.get("inputs", {}).values()] or [a["in"] for a in receipt.get("accounts", ())]
    rows_in = sum(read) if read and None not in read else None
    found = {"day": receipt["day"], "rows": receipt["rows"], "bytes": receipt["bytes"], "rows_in": rows_in}
    found |= {"core_s": None if core_s is None else round(core_s, 3), "wall_s": round(wall_s, 3), "steps": walls}
    found |= {name: sum(step.get(name, 0) for step in steps.values()) if steps else None for name in FIGURES}
    return found | {"us_per_row": _per_row(found), "hot_keys": receipt.get("hot_keys", {})}


def _per_row(day: Mapping[str, Any]) -> float | None:
    """Core microseconds for each row that was read; for each that came out where that is not known."""
    rows = day["rows_in"] or day["rows"]
    return round(day["core_s"] / rows * 1e6, 3) if rows and day["core_s"] is not None else None


def _stands_out(day: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How many times the median of the other days it cost, and why: more rows, or more for each of them."""
    known = [o["core_s"] for o in others if o["core_s"] is not None]
    if len(known) < FEWEST or day["core_s"] is None:
        return None
    usual = median(known)
    spread, above = median(abs(k - usual) for k in known), day["core_s"] - usual
    if day["core_s"] < TIMES * usual or above < SPREADS * spread or above < AT_LEAST_S:
        return None
    rows = _times("rows_in", day, others) or _times("rows", day, others) or 0.0
    each = _times("us_per_row", day, others) or 0.0
    why = [f"it had {rows:.1f} times the rows"] * (rows >= GREW) + [f"each row cost {each:.1f} times as much"] * (each >= GREW)
    why = why or [f"it had {rows:.1f} times the rows, and each cost {each:.1f} times as much"]
    return {"times": round(day["core_s"] / usual, 2) if usual else None, "rows_times": rows, "row_cost_times": each, "why": why}


def _times(name: str, day: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> float | None:
    known = [o[name] for o in others if o[name] is not None]
    usual = median(known) if known else None
    return round(day[name] / usual, 2) if usual and day[name] is not None else None


def report(lake: str, contract: Contract, as_json: bool) -> None:
    check_lake(lake, must_exist=True)
    table = open_table(lake_address(lake), contract)
    days = of_receipts(table.receipts())
    if not days:
        raise NotPublishedError(f"{contract.name} has no published day in {table.root}; {how_to_publish(contract, date.today())}")
    if as_json:
        print_json({"table": contract.name, "days": days})
        return
    most = max((d["core_s"] or 0.0 for d in days), default=0.0)
    numbers = ("rows in", "rows", "MB", "core s", "us/row", *STEPS, "shuffle MB", "spill MB")
    shown = grid(f"Costs of {contract.name}; plan to finish are wall seconds", "day", *numbers, "core s by day", numbers=numbers)
    for d in days:
        walls = [_text(d["steps"].get(name), 1) for name in STEPS]
        cells = [_text(d["rows_in"], 0), _text(d["rows"], 0), _text(d["bytes"] / 1e6, 2), _text(d["core_s"], 1), _text(d["us_per_row"], 0)]
        cells += [*walls, *(_text(None if d[name] is None else d[name] / 1e6, 1) for name in ("shuffle_bytes", "spill_bytes"))]
        bar = "█" * max(round((d["core_s"] or 0) / most * WIDTH), 1) if most else ""
        shown.add_row(d["day"], *cells, bar + (" ◀" if d["stands_out"] else ""))
    console().print(shown)
    for d in (d for d in days if d["stands_out"]):
        print(f"{d['day']} stands out: {_text(d['stands_out']['times'], 1)} times the usual cost; {', and '.join(d['stands_out']['why'])}")
    for column, keys in days[-1]["hot_keys"].items():
        named = ", ".join(f"{n['key']} {n['rows']:,}" if "key" in n else f"{n['rows']:,}" for n in keys)
        console().print(f"rows of the hottest {column} on {days[-1]['day']}: {escape(named)}")


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
