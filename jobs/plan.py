"""What a backfill would run: every table-day, why, from what, and in which wave; then the same list, run and resumed."""

import importlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from jobs.inputs import Tables, absent_days, days_left_out, name_holes
from jobs.run import Outcome, build_day, facts_now, why_build
from jobs.storage import NotPublishedError, withdrawn_sentence
from schemas.contract import Contract, days_of, load, load_all

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Planned = Mapping[tuple[str, date], "Step"]


@dataclass(frozen=True)
class Step:
    """A table-day of a plan and why it has to be built; no reason means that it is up to date, or withdrawn."""

    table: str
    day: date
    reasons: tuple[str, ...]
    wave: int = 0
    """Steps of a wave read nothing that is built in it; 0 is not built."""
    inputs: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    """Content hash of each day of each input; None where the plan itself publishes it first."""
    bytes: int | None = 0
    """Bytes of these days by their receipts; None while a day has none."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Fingerprints of code, contract and suite, and options."""
    left_out: tuple[str, ...] = ()
    """Days after the one built that labels could know, and that are neither published nor in the plan."""
    note: str = ""
    """What else a person should know: who withdrew the day."""

    def as_json(self) -> dict[str, Any]:
        return {
            **{"table": self.table, "day": self.day.isoformat(), "reasons": list(self.reasons), "wave": self.wave},
            **{"bytes": self.bytes, "inputs": self.inputs, "facts": self.facts, "left_out": list(self.left_out), "note": self.note},
        }


def plan(lake: str, table: str, first: date, last: date, *, with_upstream: bool = False) -> list[Step]:
    """Every table-day of `table` from first to last, both included, inputs first; with those of the tables it is made of if asked.

    Raises NotPublishedError when a day cannot be built because something it reads is not there and is not in the plan.
    """
    tables, contract = Tables(lake), load(table)
    if contract.is_raw:
        raise NotPublishedError(f"{table} is a raw table, a source writes it: sluice ingest SOURCE --days {first}..{last}")
    wanted = _wanted(tables, contract, first, last, with_upstream)
    steps: dict[tuple[str, date], Step] = {}
    problems: list[str] = []
    for each in (c for c in load_all() if c.name in wanted):
        for day in wanted[each.name]:
            try:
                steps[each.name, day] = _step(tables, each, day, steps)
            except NotPublishedError as error:
                problems.append(str(error))
    if problems:
        more = f"\n... and {len(problems) - 10} more days" if len(problems) > 10 else ""
        hint = (
            _end_of_raw(tables, contract, last) if with_upstream else "\nTables in between can be built along with it: add --with-upstream"
        )
        raise NotPublishedError("\n".join(problems[:10]) + more + hint)
    return list(steps.values())


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


def _step(tables: Tables, contract: Contract, day: date, planned: Planned) -> Step:
    """The table-day, given what the plan builds before it. Raises NotPublishedError that names the holes of its inputs."""
    facts, table = facts_now(contract, f"jobs.{contract.name}", {}), tables[contract.name]
    coming = {i.table: [d for d in days_of(i.window, day) if _is_built(planned, i.table, d)] for i in contract.inputs}
    there = {i.table: [d for d in days_of(i.window, day) if d in coming[i.table] or tables[i.table].publishes(d)] for i in contract.inputs}
    before = ", ".join(f"{len(days)} days of {name}" for name, days in coming.items() if days)
    try:
        reasons = why_build(tables, contract, day, facts)[2]
    except NotPublishedError:
        holes = [hole for i in contract.inputs for hole in name_holes(tables[i.table], absent_days(tables, i, day, there[i.table])[1])]
        if holes:
            raise NotPublishedError(f"{contract.name} {day} cannot be built: {'; '.join(holes)}") from None
        if not before:
            raise
        reasons = [] if table.changes(day) else ["missing"]
    reasons = reasons or ([f"may change: {before} built before it"] if before else [])
    receipts = {name: {d: tables[name].receipt(d) if tables[name].publishes(d) else None for d in days} for name, days in there.items()}
    held = table.change(day, table.changes(day)) if table.changes(day) else {}
    return Step(
        contract.name,
        day,
        tuple(reasons),
        wave=1 + max((planned[name, d].wave for name, days in coming.items() for d in days), default=0) if reasons else 0,
        inputs={name: {d.isoformat(): r and r["content_hash"] for d, r in days.items()} for name, days in receipts.items()},
        bytes=_sum_known([r and r["bytes"] for days in receipts.values() for r in days.values()]),
        facts=facts,
        left_out=tuple(f"{i.table} {d}" for i in contract.inputs for d in days_left_out(tables, i, day, there[i.table]) if reasons),
        note=withdrawn_sentence(held) if "withdrawal" in held else "",
    )


def _is_built(planned: Planned, table: str, day: date) -> bool:
    return (table, day) in planned and bool(planned[table, day].reasons)


def _sum_known(values: list[int | None]) -> int | None:
    return None if None in values else sum(values)


def refuse_left_out(steps: list[Step]) -> None:
    """Raises NotPublishedError for days that labels could know and that the plan would leave out."""
    named = [f"{s.table} {s.day} would be built without {_in_words(s.left_out)}" for s in steps if s.left_out]
    if named:
        more = f"\n... and {len(named) - 10} more days" if len(named) > 10 else ""
        raise NotPublishedError(
            "\n".join(named[:10]) + more + "\nIts labels would know less than they can. Build these days along with it: --with-upstream; "
            "or leave them out knowingly: --open-labels"
        )


def _in_words(days: tuple[str, ...]) -> str:
    return ", ".join(days[:3]) + (f" and {len(days) - 3} more days" if len(days) > 3 else "")


def job_build(table: str) -> Any:
    """The build function of a table: `build` of `jobs/<table>.py`."""
    return importlib.import_module(f"jobs.{table}").build


def waves(steps: list[Step]) -> list[list[Step]]:
    """The steps to build, those together that can run at the same time."""
    todo = [s for s in steps if s.reasons]
    return [[s for s in todo if s.wave == wave] for wave in sorted({s.wave for s in todo})]


def run_plan(
    spark: "SparkSession", lake: str, steps: list[Step], options: Mapping[str, Any] | None = None, parallel: int = 1
) -> Iterator[Outcome]:
    """Run the steps that have a reason, wave by wave; each looks again by itself, so what turns out unchanged is left alone.

    `parallel` of a wave at once, each in a thread with a session of its own, since a table-day changes settings of its session. When
    one fails, those that run are awaited and no other begins; when it is stopped, their jobs are cancelled.
    """

    def run_step(step: Step) -> Outcome:
        session = spark.newSession() if parallel > 1 else spark
        return build_day(session, lake, load(step.table), job_build(step.table), step.day, options=options)

    for wave in waves(steps):
        if parallel == 1:
            yield from map(run_step, wave)
            continue
        with ThreadPoolExecutor(parallel) as pool:
            running = [pool.submit(run_step, step) for step in wave]
            try:
                yield from (done.result() for done in as_completed(running))
            except BaseException as error:
                pool.shutdown(wait=False, cancel_futures=True)
                if not isinstance(error, Exception):
                    spark.sparkContext.cancelAllJobs()
                raise
