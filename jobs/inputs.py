"""What a table-day reads: each input at one published version, which days of its window are there, and which may be absent.

A day before an input could exist is empty history. A day after the one built may not be there yet: it shortens
`label_as_of`. Any other absent day is a hole, and the run says which.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from jobs.commit import check_evolution
from jobs.storage import NotPublishedError, Table, how_to_publish, open_table, withdrawn_sentence
from schemas.contract import Contract, Input, days_of, load


@dataclass(frozen=True)
class Pinned:
    """An input at one version: the days of its window that are read, and those before its first that count as empty."""

    input: Input
    table: Table
    days: tuple[date, ...]
    history: tuple[date, ...]
    receipts: dict[date, dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        hashes = {d.isoformat(): r["content_hash"] for d, r in self.receipts.items()}
        sums = {name: sum(r[name] for r in self.receipts.values()) for name in ("rows", "bytes")}
        return {"version": self.table.version, "days": hashes, "history_days": [d.isoformat() for d in self.history], **sums}


class Tables:
    """Tables of a lake, each opened once, so that all that is asked of one run is asked of one version."""

    def __init__(self, lake: str) -> None:
        self.lake = lake
        self._open: dict[str, Table] = {}

    def __getitem__(self, name: str) -> Table:
        if name not in self._open:
            self._open[name] = open_table(self.lake, load(name))
        return self._open[name]

    def forget(self, name: str) -> None:
        """Open the table anew when it is next asked for."""
        self._open.pop(name, None)

    def first_day(self, name: str) -> date | None:
        """First day that the table can have: of a raw table its first published day, else the latest first day of its inputs."""
        contract = load(name)
        if contract.is_raw:
            return self[name].days_ever[0] if self[name].days_ever else None  # a first day that was withdrawn is a hole, no history
        firsts = [self.first_day(i.table) for i in contract.inputs if i.window[0] <= 0 < i.window[1]]
        return None if None in firsts else max(firsts)

    def last_day(self, name: str) -> date | None:
        """Last day that the table can have, by the same rule."""
        contract = load(name)
        if contract.is_raw:
            return self[name].days[-1] if self[name].days else None
        lasts = [self.last_day(i.table) for i in contract.inputs if i.window[0] <= 0 < i.window[1]]
        return None if None in lasts else min(lasts)


def pin(tables: Tables, contract: Contract, day: date) -> dict[str, Pinned]:
    """Every input with its days.

    Raises NotPublishedError that names all holes of all inputs and what would fill them, ContractError for an input whose
    table has other columns than its contract.
    """
    pinned = {i.table: _pin(tables, i, day) for i in contract.inputs}
    holes = [hole for _, missing in pinned.values() for hole in missing]
    if holes:
        raise NotPublishedError(f"{contract.name} {day} cannot be built: " + "; ".join(holes))
    return {name: found for name, (found, _) in pinned.items()}


def _pin(tables: Tables, source: Input, day: date) -> tuple[Pinned, list[str]]:
    table, window = tables[source.table], days_of(source.window, day)
    check_evolution(table.delta, table.contract)  # an engine would fail in a task, or cast in silence
    published = [d for d in window if table.publishes(d)]
    history, holes = absent_days(tables, source, day, published)
    found = Pinned(source, table, tuple(published), tuple(history), {d: table.receipt(d) for d in published})
    return found, name_holes(table, holes)


def absent_days(tables: Tables, source: Input, day: date, there: Sequence[date]) -> tuple[list[date], list[date]]:
    """Of the days of an input's window that are not there: those that count as empty history, and the holes."""
    window, first, last = days_of(source.window, day), tables.first_day(source.table), max([day, *there])
    absent = [d for d in window if d not in there and d <= last]
    if first is None and window[-1] < day:  # nothing of the input can exist yet, and only days before are asked for
        return absent, []
    history = [d for d in absent if first is not None and d < first and d != day]
    return history, [d for d in absent if d not in history]


def days_left_out(tables: Tables, source: Input, day: date, there: Sequence[date]) -> list[date]:
    """Days of a forward window that could be there and are not, so that labels would know less than they can."""
    last, newest = tables.last_day(source.table), max([day, *there])
    return [d for d in days_of(source.window, day) if last is not None and newest < d <= last]


def name_holes(table: Table, holes: list[date]) -> list[str]:
    """The missing days as ranges, with the command that publishes them."""
    contract = table.contract
    ranges: list[list[date]] = []
    for day in holes:
        if ranges and day - ranges[-1][-1] == timedelta(days=1):
            ranges[-1].append(day)
        else:
            ranges.append([day])
    named = []
    for days in ranges:
        span = f"{days[0]}" if len(days) == 1 else f"{days[0]}..{days[-1]}"
        command = how_to_publish(contract, days[0]) if len(days) == 1 else f"sluice backfill {contract.name} --days {span}"
        command = f"sluice ingest SOURCE --days {days[0]}..{days[-1]}" if contract.is_raw else command
        named.append(f"{contract.name} {span} is not published ({command})")
    return named + [withdrawn_sentence(table.change(d, table.changes(d))) for d in holes if table.changes(d)]


def label_as_of(contract: Contract, pinned: dict[str, Pinned], day: date) -> date | None:
    """Last day whose arrivals the labels know, or None for a table without labels.

    Labels are made of the days after the one built, or taken from an input that has them: they know what its receipts say.
    """
    if not contract.matures_after:
        return None
    forward = [max([day, *p.days]) for p in pinned.values() if p.input.window[1] > 1]
    taken = [r["label_as_of"] for p in pinned.values() if p.table.contract.matures_after for r in p.receipts.values()]
    return min([*forward, *map(date.fromisoformat, taken)])


def left_sides(contract: Contract, pinned: dict[str, Pinned], day: date) -> list[dict[str, Any]]:
    """The left side of each account: what the receipts of the input's days say went in."""
    sides = []
    for each in contract.inputs:
        receipts = pinned[each.table].receipts
        for account in each.accounts:
            window = days_of(account.window or each.window, day)
            totals = [r["rows"] if account.total == "rows" else r["totals"][account.total] for d, r in receipts.items() if d in window]
            counts = [t.get(day.isoformat(), 0) if account.keyed_by_day else t for t in totals]
            sides.append({"account": account.name, "input": each.table, "in": sum(counts)})
    return sides
