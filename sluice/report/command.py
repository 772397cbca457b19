"""The command `sluice report`."""

from typing import Annotated, Any

import typer

from sluice.options import LAKE, Json, Lake, MaybeDays, a_day, a_span, do

app = typer.Typer(rich_markup_mode=None)
OUT = "./sluice-report"
RED = 3
"""Exit code when something critical is red: what a gate or the books would refuse has the same."""


@app.command()
def report(
    out: Annotated[str | None, typer.Option("--out", help=f"Folder to write the site to; default: {OUT}, with --json none.")] = None,
    days: MaybeDays = None,
    until: Annotated[
        str | None, typer.Option("--until", help="Days of tables in use up to this one must be there; default: each table's last.")
    ] = None,
    notify: Annotated[bool, typer.Option("--notify", help="Tell each red thing that no person decided to SLUICE_HOOK too.")] = False,
    personal: Annotated[bool, typer.Option("--personal", help="Show personal columns in samples of quarantine and pairs.")] = False,
    truth: Annotated[
        str | None,
        typer.Option("--truth", help="Folder that the simulator planted: synthetic pairs are judged by it; default: by judgements."),
    ] = None,
    lake: Lake = LAKE,
    as_json: Json = False,
) -> None:
    """What the gates saw, as a static site; exit code 3 if red.

    Red is: a day missing or refused within a table's published days, stale days, labels that are overdue, a critical
    expectation that failed and was accepted, books that do not balance. The last 60 days are shown unless --days says which.

    \b
    Example: sluice report --out ./sluice-report --lake ./lake
    """
    span, expected = a_span(days) if days else None, a_day(until) if until else None

    def work() -> None:
        import sys

        from jobs.storage import check_lake
        from sluice.report import pages
        from sluice.report.facts import gather
        from sluice.report.long_tail import check_truth
        from sluice.report.notify import notify as notify_hook
        from sluice.screens import print_json, progress

        check_lake(lake, must_exist=True)
        planted = check_truth(truth) if truth else None
        folder = None if as_json and out is None else pages.check_folder(out or OUT)
        with progress(None) as bar:
            task = bar.add_task("reading receipts")
            kept = folder / pages.PROFILES if folder else None
            facts = gather(
                lake,
                span,
                expected,
                personal=personal,
                truth=planted,
                kept=kept,
                watch=lambda name: bar.update(task, advance=1, description=name),
            )
        if folder:
            pages.write(facts, folder)
        if as_json:
            print_json(facts)
        else:
            print(_sentence(facts, str(folder)))
        for entry in facts["critical"]:
            print(_line(entry), file=sys.stderr)
        if notify:
            notify_hook(facts)
        if facts["critical"]:
            raise typer.Exit(RED)

    do(work)


def _sentence(facts: dict[str, Any], folder: str) -> str:
    num = len(facts["critical"])
    verdict = "nothing is red" if not num else f"{num} {'thing is' if num == 1 else 'things are'} red"
    return f"{verdict}, {len(facts['warnings'])} worth a look; {facts['days'][0]} to {facts['days'][-1]}: {folder}/index.html"


def _line(entry: dict[str, Any]) -> str:
    span = entry["first"] if entry["days"] == 1 else f"{entry['first']}..{entry['last']}"
    why = f" ({entry['why'][0].splitlines()[0]})" if entry["why"] else ""
    return f"red: {entry['table']} {span}: {entry['what']}{why}; do: {entry['do']}"
