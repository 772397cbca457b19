"""Options and arguments that commands share, how their texts become days, contracts and pairs, and how a command ends."""

import sys
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any

import typer

Lake = Annotated[
    str, typer.Option("--lake", envvar="SLUICE_LAKE", help="Root of all tables: a folder, or an address such as s3://bucket/lake.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output and nothing else there.")]
Day = Annotated[str, typer.Option("--day", help="A UTC day, as 2026-01-05.")]
MaybeDay = Annotated[str | None, typer.Option("--day", help="A UTC day, as 2026-01-05.")]
Days = Annotated[str, typer.Option("--days", help="First and last day, both included, as 2026-01-01..2026-01-10.")]
MaybeDays = Annotated[str | None, typer.Option("--days", help="First and last day, both included, as 2026-01-01..2026-01-10.")]
Master = Annotated[str | None, typer.Option("--master", help="Spark master, as spark://host:7077. Default: all cores of this machine.")]
Conf = Annotated[list[str] | None, typer.Option("--conf", help="A Spark setting, as spark.driver.memory=8g; may be given again.")]
Table = Annotated[str, typer.Argument(help="Name of a table; `sluice tables` lists them.")]
LAKE = "./lake"


def a_day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no day, write it as 2026-01-05", param_hint="--day") from None


def a_span(text: str) -> tuple[date, date]:
    from schemas.contract import parse_days

    try:
        return parse_days(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--days") from None


def a_contract(table: str) -> Any:
    from schemas.contract import ContractError, load

    try:
        return load(table)
    except ContractError as error:
        raise typer.BadParameter(str(error), param_hint="TABLE") from None


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
        pairs[name] = value
    return pairs


def opener(master: str | None, conf: list[str] | None) -> Callable[[], Any]:
    """Opens the Spark session when it is first needed: wrong use is told before that."""
    settings = pairs(conf, "--conf")

    def open_session() -> Any:
        from jobs.session import session

        return session("sluice", master, settings)

    return open_session


def do(work: Callable[[], None]) -> None:
    """Run a command's work; errors become one message and an exit code."""
    from jobs.messages import guarded

    code = guarded(work)
    sys.stdout.flush()
    raise typer.Exit(code)
