"""Commands that show facts: tables, contract, receipts, books, quarantine. No Spark: Delta is read by deltalake and pyarrow."""

import json
import sys
from datetime import date
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from jobs.storage import NotPublishedError, check_lake, how_to_publish, lake_address, open_table, versions, withdrawn_sentence
from schemas.contract import Contract, load_all, quarantine_of
from schemas.odcs import document

WIDE = 160  # columns where the output is no terminal


def say(text: str) -> None:
    """What is going on, to whoever watches: standard output belongs to results."""
    print(text, file=sys.stderr, flush=True)


def console() -> Console:
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)


def grid(title: str, *columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """A plain table; `numbers` are aligned to the right."""
    found = Table(title=title, title_justify="left", box=None, title_style="bold", min_width=len(title))
    for name in columns:
        found.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    return found


def progress(total: int | None) -> Progress:
    """A progress bar on standard error: a moving line on a terminal, nothing in a log."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def print_json(facts: Any) -> None:
    print(json.dumps(facts, indent=1, default=str))


def tables(lake: str, as_json: bool) -> None:
    address, facts = lake_address(lake), []
    for each in load_all():
        days = open_table(address, each).days
        older = [v for v in versions(address, each) if v < each.version]
        facts.append(
            {
                "version": each.version, "older_versions": older,
                "table": each.name, "kind": "raw" if each.is_raw else "derived", "grain": list(each.grain), "doc": each.doc,
                "inputs": [{"table": i.table, "window": list(i.window), "conserved": i.conserved} for i in each.inputs],
                "days": [d.isoformat() for d in days],
            }
        )  # fmt: skip
    if as_json:
        print_json(facts)
        return
    shown = grid(f"Tables of {address}", "table", "one row is", "from (days relative to the day built)", "published")
    shown.columns[-1].no_wrap = True
    for fact in facts:
        inputs = ", ".join(f"{i['table']} [{i['window'][0]}, {i['window'][1]})" for i in fact["inputs"]) or "a source"
        days = fact["days"]
        held = f"{len(days)} days, {days[0]}..{days[-1]}" if days else "-"
        held += (
            f" (version {fact['version']}; not retired: {', '.join(map(str, fact['older_versions']))})" if fact["older_versions"] else ""
        )
        shown.add_row(fact["table"], escape(", ".join(fact["grain"])), escape(inputs), held)
    console().print(shown)


def contract(found: Contract, odcs: bool, as_json: bool) -> None:
    if odcs and not as_json:
        _print_yaml(document(found))
        return
    if as_json:
        print_json(document(found) if odcs else json.loads(json.dumps(found, default=vars)))
        return
    print(f"{found.name} version {found.version}, owner {found.owner}, kept {found.keep_days} days\n{found.doc}")
    if found.source:
        print(f"Source: {found.source}")
    shown = grid("Columns", "column", "type", "null", "meaning")
    for c in found.columns:
        personal = " (personal)" if c.personal else ""
        shown.add_row(c.name, escape(c.type), "yes" if c.nullable else "no", escape(c.doc + personal))
    console().print(shown)
    for i in found.inputs:
        print(f"reads {i.table}, days [{i.window[0]}, {i.window[1]}) from the day built")
        for a in i.accounts:
            print(f"  books: {a.name} = {' + '.join(a.fates)} + quarantined")
    if found.matures_after:
        print(
            f"labels are final after {found.matures_after} days; the day is built again at ages {', '.join(map(str, found.reissue_after))}"
        )


def _print_yaml(facts: dict[str, Any]) -> None:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 1000
    yaml.dump(facts, sys.stdout)


def receipts(lake: str, found: Contract, day: date | None, as_json: bool) -> None:
    check_lake(lake, must_exist=True)
    table = open_table(lake_address(lake), found)
    held = [table.receipt(day)] if day else table.receipts()
    if not held and not table.days_ever:
        raise NotPublishedError(f"{found.name} has no published day in {table.root}; {how_to_publish(found, date.today())}")
    withdrawn = [] if day else [table.change(d, table.changes(d)) for d in table.days_ever if d not in table.days]
    if as_json:
        print_json(held[0] if day else held + withdrawn)
        return
    columns = ("day", "version", "rows", "bytes", "quarantined", "labels known to", "gate", "seconds", "content hash")
    shown = grid(f"Receipts of {found.name}", *columns, numbers=("version", "rows", "bytes", "quarantined", "seconds"))
    for r in held:
        failed = [x["name"] for x in r["results"] if not x["success"]]
        gate = (
            f"{len(r['results'])} checks passed" if not failed else f"{len(r['results']) - len(failed)} of {len(r['results'])}: {failed[0]}"
        )
        seconds = f"{r['build_s'] + r['gate_s']:.1f}"
        taken = str(sum(r["quarantined"].values()))
        shown.add_row(
            r["day"],
            str(r["version"]),
            f"{r['rows']:,}",
            f"{r['bytes']:,}",
            taken,
            r["label_as_of"] or "-",
            gate,
            seconds,
            r["content_hash"],
        )
    console().print(shown)
    for receipt in (r for r in held + withdrawn if "withdrawal" in r):
        print(withdrawn_sentence(receipt))
    if day:
        _receipt_details(held[0])


def _receipt_details(receipt: dict[str, Any]) -> None:
    print(f"run {receipt['run_id']} because {'; '.join(receipt['reasons'])}; totals {json.dumps(receipt['totals'])}")
    for name, facts in receipt["inputs"].items():
        days, history = sorted(facts["days"]), len(facts["history_days"])
        held = f"{days[0]}..{days[-1]}" if days else "no day"
        print(f"read {name} version {facts['version']}: {held}" + (f", {history} days before its first" if history else ""))
    if receipt["labels_flipped"]:
        print(f"labels that changed since the day was last published: {json.dumps(receipt['labels_flipped'])}")
    for name, because in receipt["accepted"].items():
        print(f"accepted though it failed: {name}, because {because}")


def books(lake: str, found: Contract, day: date, as_json: bool) -> None:
    check_lake(lake, must_exist=True)
    receipt = open_table(lake_address(lake), found).receipt(day)
    if as_json:
        print_json(receipt["accounts"])
        return
    if left_out := receipt.get("excluded"):  # older receipts do not tell
        print(f"{found.name} {day}: rows left out: {', '.join(f'{n:,} {fate}' for fate, n in left_out.items())}")
    if not receipt["accounts"]:
        print(f"{found.name} conserves no input: its rows are statistics or a selection, not its inputs' rows carried on")
        return
    for account in receipt["accounts"]:
        console().print(account_table(f"{found.name} {day}: {account['account']} of {account['input']}", account))


def account_table(title: str, account: dict[str, Any]) -> Table:
    shown = grid(title, "fate", "rows", "share", numbers=("rows", "share"))
    for fate, n in account["fates"].items():
        if n or fate != "quarantined":
            shown.add_row(fate, f"{n:,}", f"{n / account['in']:.1%}" if account["in"] else "-")
    shown.add_row("in", f"{account['in']:,}", f"difference {account['difference']}", style="bold")
    return shown


def quarantine(lake: str, found: Contract, day: date, limit: int, as_json: bool) -> None:
    import pyarrow.compute as pc

    check_lake(lake, must_exist=True)
    address = lake_address(lake)
    receipt = open_table(address, found).receipt(day)
    rows: list[dict[str, Any]] = []
    if receipt["quarantined"]:
        table = open_table(address, quarantine_of(found), receipt["quarantine_version"])
        wanted = (pc.field("day") == day) & (pc.field("run_id") == receipt["run_id"])
        rows = table.delta.to_pyarrow_dataset().scanner(filter=wanted).head(limit).to_pylist()
    if as_json:
        print_json({"table": found.name, "day": day, "run_id": receipt["run_id"], "by_rule": receipt["quarantined"], "rows": rows})
        return
    total = sum(receipt["quarantined"].values())
    print(
        f"{found.name} {day}: {total} taken out"
        + (f" ({', '.join(f'{n} {rule}' for rule, n in receipt['quarantined'].items())})" if total else "")
    )
    shown = grid("", "rule", "key", "element", "reason", "as it was")
    for row in rows:
        element = "" if row["element"] is None else str(row["element"])
        shown.add_row(*(escape(str(v)) for v in (row["rule"], row["key"], element, row["reason"], row["row"][:300])))
    if rows:
        console().print(shown)
    if total > len(rows):
        print(f"... and {total - len(rows)} more (--limit {total})")
