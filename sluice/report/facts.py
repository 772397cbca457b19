"""The facts of the report, as plain dicts: pages are made of them, `--json` prints them, and what is critical decides the exit code."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from jobs.gate import suite_of
from jobs.inputs import Tables
from jobs.storage import NotPublishedError, lake_address
from schemas.contract import Contract, load_all
from sluice.report.contents import DRIFT, Profile, columns, excess, forget_others, label_curves, profile_of, quarantine_samples
from sluice.report.days import CAUSES, Changes, days_of_table, history, staged_drafts
from sluice.report.long_tail import long_tail
from training.manifest import ManifestError, load, names

MOST_REASONS = 5
LAST_DAYS = 60
"""Days shown where none are asked for: up to the newest of the lake."""


def gather(
    lake: str,
    days: tuple[date, date] | None = None,
    until: date | None = None,
    *,
    personal: bool = False,
    truth: Path | None = None,
    kept: Path | None = None,
    watch: Callable[[str], object] = lambda _: None,
) -> dict[str, Any]:
    """All facts of a lake. `kept` is a folder of profiles of days that were looked at before; `watch` hears of each table.

    `truth` is a folder that the simulator planted; synthetic pairs are judged by it.

    Raises NotPublishedError when the lake holds no published day.
    """
    address = lake_address(lake)
    tables, contracts = Tables(address), load_all()
    changes = {c.name: history(tables[c.name]) for c in contracts}
    drafts = {c.name: staged_drafts(tables[c.name], changes[c.name]) for c in contracts}
    span = _span(address, [d for c in contracts for d in [*tables[c.name].days, *drafts[c.name]]], days, until)
    found = []
    for contract in contracts:
        watch(contract.name)
        of_days = days_of_table(tables, contract, changes[contract.name], drafts[contract.name], span, until)
        found.append(_table(tables, contract, of_days, changes[contract.name], personal, kept))
    if kept:
        forget_others(kept, (f["receipt"] for t in found for f in t["days"] if f["receipt"]))
    facts = {"lake": address, "made_at": datetime.now(UTC).isoformat(timespec="seconds"), "until": until and until.isoformat()}
    facts |= {"days": [d.isoformat() for d in span], "critical": [], "warnings": [], "tables": found}
    facts["manifests"] = _manifests(address, tables)
    facts["long_tail"] = long_tail(tables, span, personal, truth)
    for table in found:
        facts["critical"] += _grouped(table, CAUSES)
        facts["warnings"] += [*_grouped(table, {"warned": "an expectation of severity warning failed"}), *_drifted(table)]
    order = list(CAUSES)
    facts["critical"].sort(key=lambda c: (order.index(c["cause"]), c["table"], c["first"]))
    return facts


def _span(lake: str, held: Sequence[date], days: tuple[date, date] | None, until: date | None) -> list[date]:
    """The days shown, in order, without holes."""
    if not held:
        raise NotPublishedError(f"no table of {lake} has a published day; sluice ingest SOURCE --lake {lake}")
    last = days[1] if days else max([*held, *([until] if until else [])])
    first = days[0] if days else max(min(held), last - timedelta(days=LAST_DAYS - 1))
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _table(
    tables: Tables, contract: Contract, found: list[dict[str, Any]], changes: Changes, personal: bool, kept: Path | None
) -> dict[str, Any]:
    table = tables[contract.name]
    receipts = [f["receipt"] for f in found if f["receipt"]]
    profiles: dict[str, Profile] = {r["day"]: profile_of(table, date.fromisoformat(r["day"]), r, kept) for r in receipts}
    for fact in (f for f in found if f["receipt"]):
        fact["quarantine"] = quarantine_samples(tables.lake, contract, fact["receipt"], personal)
    return {
        "table": contract.name,
        "kind": "raw" if contract.is_raw else "derived",
        "contract": _contract(contract),
        "rules": {r.name: {"condition": r.condition, "note": r.note, "over": r.over} for r in suite_of(contract.name).row_rules},
        "days": found,
        "columns": columns(profiles) if profiles else [],
        "labels": label_curves(contract, profiles, changes),
    }


def _contract(contract: Contract) -> dict[str, Any]:
    facts = {k: getattr(contract, k) for k in ("doc", "owner", "version", "keep_days", "source", "matures_after", "may_be_empty")}
    facts |= {"grain": list(contract.grain), "labels": list(contract.labels), "reissue_after": list(contract.reissue_after)}
    facts["columns"] = [vars(c) for c in contract.columns]
    facts["inputs"] = [
        {"table": i.table, "window": list(i.window), "accounts": [{"account": a.name, "fates": list(a.fates)} for a in i.accounts]}
        for i in contract.inputs
    ]
    return facts


def _grouped(table: Mapping[str, Any], causes: Mapping[str, str]) -> list[dict[str, Any]]:
    """One entry for each run of days with the same cause: what, where, what to do."""
    entries: list[dict[str, Any]] = []
    for cause, what in causes.items():
        run: list[Mapping[str, Any]] = []
        for fact in [*table["days"], None]:
            if fact and cause in {fact["state"], *fact["why"]}:
                run.append(fact)
            elif run:
                entries.append(_entry(table, cause, what, run))
                run = []
    return entries


def _entry(table: Mapping[str, Any], cause: str, what: str, run: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first, last = run[0]["day"], run[-1]["day"]
    entry = {"cause": cause, "table": table["table"], "first": first, "last": last, "days": len(run), "what": what}
    commands = {"missing": run[-1]["do"], "stale": f"sluice backfill {table['table']} --days {first}..{last}"}
    commands["overdue"] = commands["stale"]
    if table["kind"] == "raw":
        commands["missing"] = f"sluice ingest SOURCE --days {first}..{last}"
    elif len(run) > 1:
        commands["missing"] = commands["stale"]
    entry["do"] = commands.get(cause) or _command_of(cause, table["table"], last)
    entry["why"] = list(dict.fromkeys(text for fact in reversed(run) for text in fact["why"].get(cause, ())))[:MOST_REASONS]
    return entry


def _command_of(cause: str, table: str, day: str) -> str:
    verbs = {"refused": "gate", "unbalanced": "books"}
    return f"sluice {verbs.get(cause, 'receipts')} {table} --day {day}"


def _drifted(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Columns whose last day is far from the week before it; keys are left out, they are new every day."""
    moved = [c for c in table["columns"] if excess(c["days"][-1]) > DRIFT and not c["column"].endswith("_id")]
    if not moved:
        return []
    last, name = moved[0]["days"][-1]["day"], table["table"]
    entry = {"cause": "drift", "table": name, "first": last, "last": last, "days": 1, "columns": [c["column"] for c in moved]}
    entry["what"] = f"{len(moved)} {'column differs' if len(moved) == 1 else 'columns differ'} from the week before by more than chance"
    told = [f"{c['column']}: {c['days'][-1]['distance']:.0%} of its values, {c['days'][-1]['chance']:.0%} by chance" for c in moved]
    return [entry | {"do": f"sluice receipts {name} --day {last}", "why": told[:MOST_REASONS]}]


def _manifests(lake: str, tables: Tables) -> list[dict[str, Any]]:
    """What training runs have pinned, and which of those days hold other rows by now."""
    found = []
    for name in names(lake):
        try:
            m = load(lake, name)
        except ManifestError as error:
            found.append({"name": name, "table": None, "fault": str(error)})
            continue
        table = tables[m.table]
        now = {d: table.receipt(date.fromisoformat(d))["content_hash"] for d in m.days if table.publishes(date.fromisoformat(d))}
        moved = [d for d in m.days if now.get(d) != m.receipts[d]["content_hash"]]
        facts = {"name": name, "table": m.table, "version": m.version, "first": m.days[0], "last": m.days[-1], "rows": m.rows}
        found.append(facts | {"bytes": m.bytes, "is_mature": m.is_mature, "created_at": m.created_at, "replaced_since": moved})
    return found
