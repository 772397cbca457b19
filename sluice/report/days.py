"""What became of each day of a table: published, refused, missing, stale, immature; and what to do. From receipts, without Spark."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pyarrow.fs import FileSelector

from jobs.inputs import Tables
from jobs.maintain import GRACE
from jobs.run import facts_now, why_build
from jobs.storage import RECEIPTS, NotPublishedError, Table, filesystem, how_to_publish
from schemas.contract import Contract, ContractError

CAUSES = {
    "refused": "the gate refused the day",
    "missing": "the day is not published",
    "unbalanced": "the books do not balance",
    "accepted": "a critical expectation failed and a person accepted it",
    "stale": "the day is not what its inputs and code would give now",
    "overdue": "labels that could be known are not in the day",
}
"""What is critical, the worst first: a day has one of these as its state."""
CALM = {
    "withdrawn": "a person withdrew the day",
    "warned": "published; an expectation of severity warning failed",
    "quarantined": "published; rows were taken out",
    "immature": "published; its labels are not final yet",
    "published": "it passed its gate",
    "open": "could be built, and was not asked for yet",
    "none": "",
}
STATES = CAUSES | CALM


Changes = Mapping[date, Sequence[Mapping[str, Any]]]
Drafts = Mapping[date, Mapping[str, Any]]


def days_of_table(
    tables: Tables, contract: Contract, changes: Changes, drafts: Drafts, span: Sequence[date], until: date | None
) -> list[dict[str, Any]]:
    """One fact for each day of the span, in order. Days up to `until` must be there; without it those up to the table's last."""
    published = tables[contract.name].days
    held = [*published, *(drafts if contract.is_raw or published else ())]
    first, last = (min(held), max([*held, *([until] if until else [])])) if held else (date.max, date.min)
    possible = tables.last_day(contract.name) if published and not contract.is_raw else None
    found = []
    for day in span:
        fact = _day(tables, contract, day, drafts.get(day), changes.get(day, []))
        if fact["state"] == "missing" and not first <= day <= last:
            is_open = possible is not None and last < day <= possible
            fact |= {"state": "open" if is_open else "none", "do": fact["do"] if is_open else ""}
        found.append(fact)
    return found


def _day(
    tables: Tables, contract: Contract, day: date, draft: Mapping[str, Any] | None, changes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    table = tables[contract.name]
    receipt = table.receipt(day) if table.publishes(day) else None
    fact: dict[str, Any] = {"day": day.isoformat(), "state": "missing", "why": {}, "do": how_to_publish(contract, day), "receipt": receipt}
    if receipt:
        fact |= _of_receipt(tables, contract, day, receipt, changes)
    elif changes and "withdrawal" in changes[-1]:
        fact |= {"state": "withdrawn", "why": {"withdrawn": changes[-1]["reasons"]}}
    if draft:
        look = f"sluice gate {contract.name} --day {day}"
        told = draft.get("refused") or "staged, and its audit did not end: the run was stopped, or still works"
        failed = [r for r in draft.get("results", []) if not r["success"]]
        refused = {"run_id": draft["run_id"], "started_at": draft["started_at"], "results": failed}
        fact |= {"state": "refused", "why": {"refused": [told], **fact["why"]}, "do": look, "refused": refused}
    return fact


def _of_receipt(
    tables: Tables, contract: Contract, day: date, receipt: Mapping[str, Any], changes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """State of a published day: the worst that is true of it, with every reason."""
    why: dict[str, list[str]] = {
        "unbalanced": [
            f"{a['account']} of {a['input']}: {a['in']} in, {sum(a['fates'].values())} accounted for"
            for a in receipt["accounts"]
            if a["in"] != sum(a["fates"].values())
        ],
        "accepted": [f"{name}: {because}" for name, because in receipt["accepted"].items()],
        "stale": [],
        "overdue": [],
        "warned": [r["name"] for r in receipt["results"] if not r["success"] and r["name"] not in receipt["accepted"]],
        "quarantined": [f"{n:,} by {rule}" for rule, n in receipt["quarantined"].items()],
        "immature": [],
    }
    for reason in () if contract.is_raw else stale(tables, contract, day):
        why["overdue" if reason.startswith("labels still open") else "stale"].append(reason)
    age = (date.fromisoformat(receipt["label_as_of"]) - day).days if receipt["label_as_of"] else None
    if contract.matures_after and age is not None and age < contract.matures_after:
        why["immature"] = [f"labels known for {age} of {contract.matures_after} days"]
    states = [state for state in STATES if why.get(state)]
    state = states[0] if states else "published"
    fact = {"state": state, "why": {s: why[s] for s in states}, "label_age": age}
    return fact | {"do": _what_to_do(contract, day, state, receipt), "publishes": len(changes)}


def stale(tables: Tables, contract: Contract, day: date) -> list[str]:
    """Why a published day would be built again now; a hole that came into its inputs is a reason too."""
    try:
        return why_build(tables, contract, day, facts_now(contract, f"jobs.{contract.name}", {}))[2]
    except (NotPublishedError, ContractError) as error:
        return [str(error)]


def _what_to_do(contract: Contract, day: date, state: str, receipt: Mapping[str, Any]) -> str:
    name, on = contract.name, f"--day {day}"
    build = how_to_publish(contract, day)
    failed = [r["name"] for r in receipt["results"] if not r["success"]]
    commands = {
        "unbalanced": f"sluice books {name} {on}",
        "accepted": f"sluice receipts {name} {on}",
        "stale": build,
        "overdue": build,
        "warned": f"sluice receipts {name} {on}" + (f"   # {shlex.quote(failed[0])}" if failed else ""),
        "quarantined": f"sluice quarantine {name} {on}",
    }
    return commands.get(state, "")


def staged_drafts(table: Table, changes: Changes) -> dict[date, dict[str, Any]]:
    """Per day the newest run that was staged and is not published: its gate refused it, or it was stopped there.

    A run that may still be at work is left out: one without a refusal, younger than the longest wait that `sluice maintain` has.
    """
    fs, path = filesystem(table.root)
    drafts: dict[date, dict[str, Any]] = {}
    for info in fs.get_file_info(FileSelector(path, recursive=True, allow_not_found=True)):
        if info.base_name != "_staged.json":
            continue
        with fs.open_input_stream(info.path) as stream:
            draft = json.loads(stream.read())
        day = date.fromisoformat(draft["day"])
        is_over = "refused" in draft or ("build_s" in draft and _age(draft) > GRACE)
        count = changes[day][-1]["publish"] if day in changes else 0
        if is_over and draft["seen"] == count and draft["started_at"] > drafts.get(day, {}).get("started_at", ""):
            drafts[day] = draft
    return drafts


def _age(draft: Mapping[str, Any]) -> timedelta:
    return datetime.now(UTC) - datetime.fromisoformat(draft["started_at"])


def history(table: Table) -> dict[date, list[dict[str, Any]]]:
    """Every receipt that the lake keeps of a day, the oldest first: what was published, published again, withdrawn."""
    fs, path = filesystem(f"{table.root}/{RECEIPTS}")
    found: dict[date, dict[int, dict[str, Any]]] = {}
    for info in fs.get_file_info(FileSelector(path, allow_not_found=True)):
        match = re.fullmatch(r"(\d{4}-\d{2}-\d{2})\.([1-9]\d*)\.json", info.base_name)
        if match:
            with fs.open_input_stream(info.path) as stream:
                found.setdefault(date.fromisoformat(match[1]), {})[int(match[2])] = json.loads(stream.read())
    return {day: [receipts[n] for n in sorted(receipts)] for day, receipts in found.items()}
