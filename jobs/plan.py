"""What a backfill would run: every table-day, why, and in which order; then the same list, run and resumed."""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from jobs.inputs import Tables
from jobs.run import Outcome, build_day, facts_now, why_build
from jobs.storage import NotPublishedError
from schemas.contract import Contract, days_of, load, load_all

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Step:
    """A table-day of a plan and why it has to be built; no reason means that it is up to date."""

    table: str
    day: date
    reasons: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {"table": self.table, "day": self.day.isoformat(), "reasons": list(self.reasons)}


def plan(lake: str, table: str, first: date, last: date, *, with_upstream: bool = False) -> list[Step]:
    """Every table-day of `table` from first to last, both included, inputs first; with those of the tables it is made of if asked.

    Raises NotPublishedError when a day cannot be built because something it reads is not there and is not in the plan.
    """
    tables, contract = Tables(lake), load(table)
    if contract.is_raw:
        raise NotPublishedError(f"{table} is a raw table, a source writes it: sluice ingest SOURCE --days {first}..{last}")
    wanted = _wanted(tables, contract, first, last, with_upstream)
    steps: list[Step] = []
    problems: list[str] = []
    for each in (c for c in load_all() if c.name in wanted):
        for day in wanted[each.name]:
            try:
                steps.append(Step(each.name, day, tuple(_reasons(tables, each, day, steps))))
            except NotPublishedError as error:
                problems.append(str(error))
    if problems:
        more = f"\n... and {len(problems) - 10} more days" if len(problems) > 10 else ""
        hint = (
            _end_of_raw(tables, contract, last) if with_upstream else "\nTables in between can be built along with it: add --with-upstream"
        )
        raise NotPublishedError("\n".join(problems[:10]) + more + hint)
    return steps


def _end_of_raw(tables: Tables, contract: Contract, last: date) -> str:
    """Where a plan that builds everything in between still ends: the days that its raw tables hold."""
    first_held, last_held = tables.first_day(contract.name), tables.last_day(contract.name)
    if first_held is None or last_held is None or last <= last_held:
        return ""
    more = f"sluice ingest SOURCE --days {last_held + timedelta(days=1)}..{last}"
    return (
        f"\nThe raw tables that it is made of hold {first_held}..{last_held}: ask for days up to the last of these, or ingest more ({more})"
    )


def _wanted(tables: Tables, contract: Contract, first: date, last: date, with_upstream: bool) -> dict[str, list[date]]:
    """Days of each derived table: of the one asked for all of them, of those upstream what the windows reach and raw days allow."""
    wanted = {contract.name: [first + timedelta(days=n) for n in range((last - first).days + 1)]}
    if not with_upstream:
        return wanted
    for each in reversed(load_all()):
        for source in (i for i in each.inputs if each.name in wanted and not load(i.table).is_raw):
            possible = tables.first_day(source.table), tables.last_day(source.table)
            reached = {d for day in wanted[each.name] for d in days_of(source.window, day)}
            days = {d for d in reached if None not in possible and possible[0] <= d <= possible[1]}
            wanted[source.table] = sorted(days | set(wanted.get(source.table, [])))
    return wanted


def _reasons(tables: Tables, contract: Contract, day: date, steps: list[Step]) -> list[str]:
    """Why the day has to be built, given what the plan already builds before it."""
    coming: dict[str, int] = {}
    for source in contract.inputs:
        window = set(days_of(source.window, day))
        count = sum(1 for s in steps if s.table == source.table and s.day in window and s.reasons)
        if count:
            coming[source.table] = count
    facts = facts_now(contract, f"jobs.{contract.name}", {})
    if not coming:
        return why_build(tables, contract, day, facts)[2]
    try:
        reasons = why_build(tables, contract, day, facts)[2]
    except NotPublishedError:
        planned = {(s.table, s.day) for s in steps}
        _refuse_holes(tables, contract, day, planned)
        reasons = [] if tables[contract.name].publishes(day) else ["missing"]
    upstream = ", ".join(f"{n} days of {name}" for name, n in coming.items())
    return reasons or [f"may change: {upstream} built before it"]


def _refuse_holes(tables: Tables, contract: Contract, day: date, planned: set[tuple[str, date]]) -> None:
    """Raises NotPublishedError for days up to the one built that are neither published nor planned, and could exist."""
    holes = [
        f"{source.table} {d}"
        for source in contract.inputs
        for d in days_of(source.window, day)
        if d <= day
        and not tables[source.table].publishes(d)
        and (source.table, d) not in planned
        and _could_exist(tables, source.table, d, day)
    ]
    if holes:
        raise NotPublishedError(f"{contract.name} {day} cannot be built: {', '.join(holes)} is not published")


def _could_exist(tables: Tables, table: str, day: date, built: date) -> bool:
    first = tables.first_day(table)
    return day == built or (first is not None and day >= first)


def job_build(table: str) -> Any:
    """The build function of a table: `build` of `jobs/<table>.py`."""
    return importlib.import_module(f"jobs.{table}").build


def run_plan(spark: "SparkSession", lake: str, steps: list[Step], options: Mapping[str, Any] | None = None) -> Iterator[Outcome]:
    """Run the steps that have a reason, in order; each looks again by itself, so what turns out unchanged is left alone."""
    for step in steps:
        if step.reasons:
            yield build_day(spark, lake, load(step.table), job_build(step.table), step.day, options=options)
