"""Days published by their receipts alone, without a row, and small pipelines of real tables, for what decides by receipts."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs import inputs, plan
from jobs.commit import publish
from jobs.inputs import Tables, label_as_of, pin
from jobs.run import facts_now
from jobs.storage import open_table, table_root
from schemas.contract import Account, Contract, Input, load

DAY = date(2026, 1, 10)
ATTRIBUTIONS = replace(load("attributions"), inputs=(Input("requests", (-2, 1)), Input("events", (0, 1))))
STATS = replace(load("query_item_stats"), inputs=(Input("attributions", (-1, 1)),))
SPACE = replace(
    load("entire_space"),
    inputs=(
        Input("requests", (0, 1), (Account("candidates", ("exposed",), total="num_candidates"), Account("lists", ("one",)))),
        Input(
            "attributions",
            (-1, 4),
            (
                Account("credited", ("label",), total="credited", window=(0, 4), keyed_by_day=True),
                Account("uncredited", ("late",), total="uncredited", window=(0, 1)),
            ),
        ),
        Input("query_item_stats", (-1, 0)),
    ),
    matures_after=3,
    reissue_after=(1, 3),
)
SMALL = {c.name: c for c in (load("requests"), load("events"), ATTRIBUTIONS, STATS, SPACE)}


def after(number: int) -> date:
    return DAY + timedelta(days=number)


def days(first: int, last: int) -> list[date]:
    """From the one to the other, both included, counted from DAY."""
    return [after(n) for n in range(first, last + 1)]


def use_small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the spine see the tables above, inputs first, and no others."""
    for module in (inputs, plan):
        monkeypatch.setattr(module, "load", SMALL.__getitem__)
    monkeypatch.setattr(plan, "load_all", lambda: list(SMALL.values()))


def put(lake: Path, contract: Contract, which: Iterable[date], /, **facts: Any) -> None:
    """Publish these days without a row; `facts` go into their receipts."""
    for day in which:
        seen = open_table(lake, contract).changes(day)
        receipt = {
            "table": contract.name,
            "day": day.isoformat(),
            "run_id": f"run-{day}-{seen}",
            "rows": 2,
            "bytes": 0,
            "content_hash": "one",
        }
        publish(table_root(lake, contract), contract, day, [], receipt | facts, seen)


def settle(lake: Path, contract: Contract, which: Iterable[date], /, **facts: Any) -> None:
    """Publish these days of a derived table as if they were built now, from what is published now."""
    for day in which:
        pinned = pin(Tables(str(lake)), contract, day)
        label = label_as_of(contract, pinned, day)
        known = {"inputs": {name: found.as_json() for name, found in pinned.items()}, "label_as_of": label and label.isoformat()}
        put(lake, contract, [day], **(facts_now(contract, f"jobs.{contract.name}", {}) | known | facts))
