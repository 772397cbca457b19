"""The command `sluice`. Each command imports what it needs when it runs, so that `sluice --help` answers at once.

Facts go to standard output (with --json one document and nothing else), progress and messages to standard error.
Exit codes: 0 done or up to date, 1 failed, 2 wrong use, 3 refused by a gate or by the books, or red in the report.
"""

import json
import os
from typing import Annotated, Any

import typer

from sluice import backfill, figures, manifests, models, services
from sluice.options import (
    LAKE,
    Conf,
    Day,
    Json,
    Lake,
    Master,
    MaybeDay,
    MaybeDays,
    Table,
    a_contract,
    a_day,
    a_span,
    do,
    opener,
    pairs,
)
from sluice.report import command as report

app = typer.Typer(
    name="sluice",
    add_completion=False,
    no_args_is_help=False,
    rich_markup_mode=None,
    help="E-commerce logs into training tables that can be trusted.\n\nExit codes: 0 done or up to date, 1 failed, 2 wrong use, "
    "3 refused by a gate or by the books, or red in the report.",
)
app.add_typer(manifests.app, name="manifest")
app.add_typer(backfill.app)
app.add_typer(figures.app)
app.add_typer(models.app)
app.add_typer(report.app)
app.add_typer(services.app)

FIRST_STEPS = """Sluice turns e-commerce logs into training tables that can be trusted.

  sluice demo                                   ten days of a simulated shop, built and shown (4 minutes)
  sluice doctor                                 is everything here that it needs?
  sluice tables                                 what it builds, and from what
  sluice ingest files --from LOGS --lake L      your own logs through the gates
  sluice backfill entire_space --days A..B --with-upstream --lake L
                                                samples with labels from them
  sluice --help                                 all commands; `sluice COMMAND --help` shows an example of each
"""


@app.callback(invoke_without_command=True)
def first_steps(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(FIRST_STEPS, nl=False)


def main() -> None:
    """Entry point of the console command."""
    app()


def _print_json(document: Any) -> None:
    print(json.dumps(document, indent=1, default=str))


@app.command()
def tables(as_json: Json = False, lake: Lake = LAKE) -> None:
    """Every table: grain, inputs, and the days that the lake holds.

    \b
    Example: sluice tables --lake ./lake
    """
    from sluice import screens

    do(lambda: screens.tables(lake, as_json))


@app.command()
def contract(
    table: Table,
    odcs: Annotated[bool, typer.Option("--odcs", help="As an Open Data Contract Standard document (YAML).")] = False,
    as_json: Json = False,
) -> None:
    """What a table promises: columns, meaning, inputs, books.

    \b
    Example: sluice contract entire_space --odcs > entire_space.odcs.yaml
    """
    from sluice import screens

    found = a_contract(table)
    do(lambda: screens.contract(found, odcs, as_json))


@app.command()
def doctor(
    lake: Lake = LAKE,
    as_json: Json = False,
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch jars that are not there: Delta's, and those for a lake on S3.")] = False,
) -> None:
    """Say what is missing on this machine, and what to do about it.

    Looks at Java, Delta's jars, the lake and its space, installed versions.

    \b
    Example: sluice doctor --fetch
    """
    from sluice import doctor as checks

    do(lambda: checks.report(lake, as_json, fetch))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def ingest(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="simulator, files, trivago, jd, bestbuy or home_depot; what each is: --help-source.")],
    path: Annotated[str | None, typer.Option("--from", help="Folder or file that the source reads.")] = None,
    days: MaybeDays = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", help="An option of the source, as users=200; --users 200 does the same.")
    ] = None,
    rename: Annotated[
        list[str] | None, typer.Option("--rename", help="files: a column's name in your logs, as uid=user_id; may be given again.")
    ] = None,
    help_source: Annotated[
        bool, typer.Option("--help-source", help="Say what the source reads, derives and lacks, and its options.")
    ] = False,
    lake: Lake = LAKE,
    as_json: Json = False,
    master: Master = None,
    conf: Conf = None,
) -> None:
    """Raw logs through their gates into items, requests, events and judgements. Ingesting a day again replaces it.

    \b
    Example: sluice ingest simulator --days 2026-01-01..2026-01-10 --users 200 --lake ./lake
    """
    from sluice import work

    options = pairs(option, "--set") | _extra_options(context.args) | ({"rename": ",".join(rename)} if rename else {})
    span = a_span(days) if days else None
    if help_source:
        do(lambda: work.describe_source(source))
    do(lambda: work.ingest(opener(master, conf), lake, source, path, span, options, as_json))


def _extra_options(arguments: list[str]) -> dict[str, str]:
    """`--users 200`, `--users=200` and `--start-day D` as options of a source."""
    options: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("--") or (not equals and not rest):
            raise typer.BadParameter(f"{name!r} is neither an option of this command nor one of the source with its value")
        options[name[2:].replace("-", "_")] = value if equals else rest.pop(0)
    return options


@app.command()
def run(
    table: Table,
    day: Day,
    force: Annotated[bool, typer.Option("--force", help="Build again though up to date, and compare the content.")] = False,
    lake: Lake = LAKE,
    as_json: Json = False,
    master: Master = None,
    conf: Conf = None,
) -> None:
    """Build one day of one table, or find it up to date.

    \b
    Example: sluice run attributions --day 2026-01-05
    """
    from sluice import work

    found, of_day = a_contract(table), a_day(day)
    do(lambda: work.run(opener(master, conf), lake, found, of_day, force, as_json))


@app.command()
def gate(
    table: Table,
    day: Day,
    accept: Annotated[
        list[str] | None, typer.Option("--accept", help="A failed expectation to overrule, by its name; needs --because.")
    ] = None,
    because: Annotated[str, typer.Option("--because", help="Why; recorded in the receipt.")] = "",
    lake: Lake = LAKE,
    as_json: Json = False,
    master: Master = None,
    conf: Conf = None,
) -> None:
    """Audit a refused day again; publish it or accept its faults.

    The day lies staged since the gate refused it; it is published when it passes now, or when each fault is accepted by name.

    \b
    Example: sluice gate events --day 2026-01-05 --accept "expect_table_row_count_to_be_between()" --because "the shop was closed"
    """
    from sluice import work

    found, of_day = a_contract(table), a_day(day)
    if bool(accept) != bool(because.strip()):
        raise typer.BadParameter("--accept and --because belong together: the receipt records who waved what through, and why")
    do(lambda: work.gate(opener(master, conf), lake, found, of_day, {name: because for name in accept or []}, as_json))


@app.command()
def receipts(table: Table, day: MaybeDay = None, lake: Lake = LAKE, as_json: Json = False) -> None:
    """What each published day is made of: rows, inputs, cost.

    \b
    Example: sluice receipts entire_space --day 2026-01-05 --json
    """
    from sluice import screens

    found, of_day = a_contract(table), a_day(day) if day else None
    do(lambda: screens.receipts(lake, found, of_day, as_json))


@app.command()
def books(table: Table, day: Day, lake: Lake = LAKE, as_json: Json = False) -> None:
    """Where every row of the inputs went: accounts and their fates.

    \b
    Example: sluice books entire_space --day 2026-01-05
    """
    from sluice import screens

    found, of_day = a_contract(table), a_day(day)
    do(lambda: screens.books(lake, found, of_day, as_json))


@app.command()
def quarantine(
    table: Table,
    day: Day,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most rows to show.")] = 20,
    lake: Lake = LAKE,
    as_json: Json = False,
) -> None:
    """What a gate took out, rows and list elements, with the reason.

    \b
    Example: sluice quarantine events --day 2026-01-05 --limit 5
    """
    from sluice import screens

    found, of_day = a_contract(table), a_day(day)
    do(lambda: screens.quarantine(lake, found, of_day, limit, as_json))


@app.command()
def maintain(
    retention_days: Annotated[int, typer.Option("--retention-days", min=1, help="Keep what was replaced, or refused, for so long.")] = 7,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed and stop.")] = False,
    lake: Lake = LAKE,
    as_json: Json = False,
) -> None:
    """Remove leftovers of dead runs, and files that were replaced.

    \b
    Example: sluice maintain --dry-run
    """
    from sluice import work

    do(lambda: work.maintain(lake, retention_days, dry_run, as_json))


@app.command()
def demo(
    lake: Annotated[str | None, typer.Option("--lake", help="Where to build it; default: ./demo-lake.")] = None,
    users: Annotated[int, typer.Option("--users", min=20, help="Size of the simulated shop.")] = 150,
    as_json: Json = False,
    master: Master = None,
    conf: Conf = None,
) -> None:
    """Ten days of a simulated shop, from logs to training tables.

    Ends in one screen: what the samples gained, the books, the gates, how old the labels are, what rare queries were paired with.

    \b
    Example: sluice demo --lake /tmp/demo-lake
    """
    from sluice import demo as show

    target = lake or os.environ.get("SLUICE_DEMO_LAKE", "./demo-lake")
    do(lambda: show.run(opener(master, conf), target, users, as_json))


if __name__ == "__main__":
    main()
