"""Commands that rebuild the past: `backfill`, by a plan that a person can sign, `withdraw`, and `retire`."""

import json
import sys
from datetime import date
from typing import Annotated, Any

import typer

from sluice.options import LAKE, Conf, Day, Days, Json, Lake, Master, Table, a_contract, a_day, a_span, do, opener

app = typer.Typer(rich_markup_mode=None)
MOST_LISTED = 30


@app.command()
def backfill(
    table: Table,
    days: Days,
    with_upstream: Annotated[bool, typer.Option("--with-upstream", help="Build the tables that it is made of along with it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    parallel: Annotated[int, typer.Option("--parallel", min=1, help="So many table-days of a wave at once, in one Spark session.")] = 1,
    reviewed: Annotated[
        str | None, typer.Option("--plan-hash", help="Run the plan of this hash, or what is left of it, and no other.")
    ] = None,
    open_labels: Annotated[
        bool, typer.Option("--open-labels", help="Build though days after it, which labels could know, are not there.")
    ] = False,
    lake: Lake = LAKE,
    as_json: Json = False,
    master: Master = None,
    conf: Conf = None,
) -> None:
    """Print what would run, why, at what cost; then run it.

    What is up to date is left alone, so a stopped backfill resumes. The plan names published days that it makes stale.

    \b
    Example: sluice backfill entire_space --days 2026-01-01..2026-01-10 --with-upstream --parallel 2
    """
    found, span = a_contract(table), a_span(days)

    def work() -> None:
        from jobs.plan import plan, refuse_left_out, run_plan
        from jobs.review import check_reviewed, document, keep
        from jobs.storage import check_lake, lake_address
        from sluice.work import begin, refuse_raw, report

        refuse_raw(found, *span)
        check_lake(lake, must_exist=True)
        address = lake_address(lake)
        steps = plan(address, found.name, *span, with_upstream=with_upstream)
        whole = document(address, steps, parallel)
        if dry_run and as_json:
            print(json.dumps(whole, indent=1))
        else:
            show(whole, sys.stderr if as_json else sys.stdout)
        if reviewed:
            check_reviewed(address, reviewed, steps)
        if any(s.reasons for s in steps):
            keep(address, whole)
        if dry_run:
            return
        if not open_labels:
            refuse_left_out(steps)
        todo = sum(1 for s in steps if s.reasons)
        report(begin(opener(master, conf), lambda spark: run_plan(spark, address, steps, parallel=parallel)) if todo else [], todo, as_json)

    do(work)


@app.command()
def withdraw(
    table: Table,
    day: Day,
    because: Annotated[str, typer.Option("--because", help="Why; recorded in the receipt.")],
    to: Annotated[
        int | None, typer.Option("--to", min=0, help="The day as it was at this version of the table. Default: as before.")
    ] = None,
    lake: Lake = LAKE,
    as_json: Json = False,
) -> None:
    """Take a published day back: what stood before stands again.

    A commit with a receipt of its own; nothing is built. The day stays withdrawn until it is run with --force, or until its inputs
    or code change. Names the published days that read it and become stale.

    \b
    Example: sluice withdraw attributions --day 2026-01-05 --because "half of the logs was missing"
    """
    found, of_day = a_contract(table), a_day(day)
    if not because.strip():
        raise typer.BadParameter("say why: the receipt records it", param_hint="--because")

    def work() -> None:
        from jobs.review import downstream_of
        from jobs.storage import check_lake, lake_address
        from jobs.withdraw import withdraw as take_back

        check_lake(lake, must_exist=True)
        address = lake_address(lake)
        stale = downstream_of(address, found.name, of_day)
        receipt = take_back(address, found, of_day, because.strip(), to)
        if as_json:
            print(json.dumps({"receipt": receipt, "downstream": [{"table": t, "day": str(d)} for t, d in stale]}, indent=1))
            return
        facts = receipt["withdrawal"]
        again = f"publish {facts['restores']} stands again, {receipt['rows']} rows" if facts["restores"] else "nothing stands in its place"
        print(f"{table} {of_day}: publish {facts['withdraws']} withdrawn as version {receipt['version']}; {again}")
        print(_stale(stale))

    do(work)


@app.command()
def retire(
    table: Table,
    version: Annotated[int, typer.Option("--version", min=1, help="The old version of the contract.")],
    lose_days: Annotated[bool, typer.Option("--lose-days", help="Though the version in use lacks days of it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed and stop.")] = False,
    lake: Lake = LAKE,
    as_json: Json = False,
) -> None:
    """Remove an old version of a table that nobody reads any more.

    Refuses while the version in use lacks a day of it, or while a manifest names its files.

    \b
    Example: sluice retire attributions --version 1 --dry-run
    """
    found = a_contract(table)

    def work() -> None:
        from jobs.retire import retire as remove
        from jobs.storage import check_lake

        check_lake(lake, must_exist=True)
        removed = remove(lake, found, version, lose_days=lose_days, dry_run=dry_run)
        if as_json:
            print(json.dumps(removed, indent=1))
            return
        for fact in removed:
            print(f"{'would remove' if dry_run else 'removed'} {fact['path']} ({fact['files']} files, {_size(fact['bytes'])})")

    do(work)


def show(plan: dict[str, Any], file: Any) -> None:
    """The plan for a person: steps, waves, totals, what becomes stale, what is left out, its hash."""
    from rich.console import Console

    from sluice.screens import grid

    todo = [s for s in plan["steps"] if s["reasons"]]
    for note in dict.fromkeys(s["note"] for s in plan["steps"] if s["note"]):
        print(note, file=file)
    if not todo:
        print(f"up to date: {len(plan['steps'])} table-days, nothing to build", file=file)
        return
    print(f"{len(todo)} of {len(plan['steps'])} table-days to build, in this order:", file=file)
    numbers = ("wave", "reads", "core s", "seconds", "receipts")
    shown = grid("", "", "table", "day", "why", *numbers, numbers=numbers)
    for number, s in enumerate(todo[:MOST_LISTED], start=1):
        costs = (_size(s["bytes"]), _number(s["core_s"]), _number(s["wall_s"]), str(s["from_receipts"]))
        shown.add_row(str(number), s["table"], s["day"], "; ".join(s["reasons"]), str(s["wave"]), *costs)
    screen = Console(file=file, width=None if file.isatty() else 160)
    screen.print(shown)
    if len(todo) > MOST_LISTED:
        print(f"... and {len(todo) - MOST_LISTED} more (--dry-run --json lists all)", file=file)
    for w in plan["waves"]:
        tables = ", ".join(f"{n} of {table}" for table, n in w["tables"].items())
        print(f"wave {w['wave']}: {tables}; reads {_size(w['bytes'])}, {_costs(w)}", file=file)
    of_all = plan["expected"]
    at_once = f", {plan['parallel']} at once" if plan["parallel"] > 1 else ""
    print(f"in all{at_once}: reads {_size(of_all['bytes'])}, {_costs(of_all)}, by past receipts of the same tables", file=file)
    if plan["unknown"]:
        print(f"unknown: {plan['unknown']} table-days have no receipt to judge by", file=file)
    if plan["left_out"]:
        print(f"labels of {len(plan['left_out'])} table-days would know less than they can (--with-upstream)", file=file)
    print(_stale([(s["table"], date.fromisoformat(s["day"])) for s in plan["downstream"]]), file=file)
    print(f"plan hash {plan['plan_hash']}: --plan-hash {plan['plan_hash']} runs this and nothing else", file=file)


def _stale(days: list[tuple[str, date]]) -> str:
    """Published days that read what changes, by table."""
    by_table: dict[str, list[date]] = {}
    for table, day in days:
        by_table.setdefault(table, []).append(day)
    named = (f"{table} {held[0]}..{held[-1]} ({len(held)} days)" for table, held in by_table.items())
    return f"stale after it, or may be: {', '.join(named)}" if days else "no published day outside of it becomes stale"


def _costs(facts: dict[str, Any]) -> str:
    return f"{_number(facts['core_s'])} core seconds, {_number(facts['wall_s'])} seconds"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f}"


def _size(value: float | None) -> str:
    return "unknown" if value is None else f"{value / 1e6:,.1f} MB"
