"""Commands that show what the samples gained, what their storage saves, and what days cost."""

import typer

from sluice.options import LAKE, Day, Json, Lake, Table, a_contract, a_day, do

app = typer.Typer(rich_markup_mode=None)


@app.command()
def stages(day: Day, lake: Lake = LAKE, as_json: Json = False) -> None:
    """What each step of ES3 adds, beside the figures of its paper.

    Relative to samples of exposed candidates only; and what grouping by request saves.

    \b
    Example: sluice stages --day 2026-01-05
    """
    from sluice import stages as table

    of_day = a_day(day)
    do(lambda: table.report(lake, of_day, as_json))


@app.command(name="bytes")
def bytes_(table: Table, day: Day, lake: Lake = LAKE, as_json: Json = False) -> None:
    """What it saves to keep the samples of a request in one row.

    The bytes of a day's rows against the same rows flat, a row for each sample; with behaviour sequences of several lengths
    where the table has them.

    \b
    Example: sluice bytes hhsft_examples --day 2026-01-05
    """
    from sluice import sizes

    found, of_day = a_contract(table), a_day(day)
    do(lambda: sizes.report(lake, found, of_day, as_json))


@app.command()
def costs(table: Table, lake: Lake = LAKE, as_json: Json = False) -> None:
    """What each day of a table cost; which stands out, and why.

    Core seconds, wall seconds of each step, rows, bytes, shuffle and spill by the receipts of the published days. A day stands out
    when it cost twice the median of the others and lies well above their spread.

    \b
    Example: sluice costs entire_space --lake ./lake
    """
    from sluice import costs as of_days

    found = a_contract(table)
    do(lambda: of_days.report(lake, found, as_json))
