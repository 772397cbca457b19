"""`sluice costs`: sums over the steps of each receipt, the day that stands out and why, and receipts of an older Sluice."""

import json
from datetime import date, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from schemas.contract import load
from sluice.costs import of_receipts
from sluice.main import app
from tests.jobs.published import publish_day
from tests.sluice.report.planted import facts_of

EVENTS = load("events")
FIRST = date(2026, 1, 1)


def receipt(number: int, core_s: float = 10.0, rows: int = 1_000_000, **more: Any) -> dict[str, Any]:
    """A receipt whose stage cost four times its audit."""
    stage = {"wall_s": core_s / 2, "core_s": core_s * 0.8, "spill_bytes": 5, "bytes_read": 100, "shuffle_bytes": 7}
    steps = {"plan": {"wall_s": 0.5}, "stage": stage, "audit": {"wall_s": 1.0, "core_s": core_s * 0.2, "spill_bytes": 1}}
    known = {"day": str(FIRST + timedelta(days=number)), "rows": rows // 2, "bytes": rows * 10, "steps": steps}
    return known | {"inputs": {"requests": {"rows": rows, "days": {}}}} | more


def usual(*more: dict[str, Any]) -> list[dict[str, Any]]:
    """Eight days that cost about the same, and then these."""
    return of_receipts([*(receipt(n, core_s=10 + n % 3 / 10) for n in range(8)), *more])


def test_figures_are_sums_over_the_steps() -> None:
    day = usual()[0]
    assert (day["core_s"], day["wall_s"], day["spill_bytes"], day["bytes_read"], day["rows_written"]) == (10.0, 6.5, 6, 100, 0)
    assert day["steps"] == {"plan": 0.5, "stage": 5.0, "audit": 1.0}
    assert (day["rows_in"], day["rows"], day["us_per_row"]) == (1_000_000, 500_000, 10.0)
    assert [d["stands_out"] for d in usual()] == [None] * 8


@pytest.mark.parametrize(
    ("core_s", "rows", "why"),
    [
        (31.0, 3_000_000, ["it had 3.0 times the rows"]),
        (31.0, 1_100_000, ["each row cost 2.8 times as much"]),
        (60.0, 2_000_000, ["it had 2.0 times the rows", "each row cost 3.0 times as much"]),
        (20.5, 1_400_000, ["it had 1.4 times the rows, and each cost 1.4 times as much"]),
        (19.0, 1_000_000, None),
    ],
)
def test_a_day_stands_out_for_its_rows_or_for_the_cost_of_each(core_s: float, rows: int, why: list[str] | None) -> None:
    *others, day = usual(receipt(8, core_s, rows))
    assert (day["stands_out"] and day["stands_out"]["why"]) == why
    assert not any(o["stands_out"] for o in others), "one day does not make the others stand out"


def test_noise_is_no_news() -> None:
    small = [receipt(n, core_s=0.1) for n in range(8)] + [receipt(8, core_s=0.9)]
    assert not any(d["stands_out"] for d in of_receipts(small)), "less than a second"
    wild = [receipt(n, core_s=c) for n, c in enumerate((4, 30, 8, 25, 12, 40, 6, 33))] + [receipt(8, core_s=45)]
    assert not any(d["stands_out"] for d in of_receipts(wild)), "the others differ as much"
    assert not any(d["stands_out"] for d in of_receipts([receipt(0), receipt(1, 90.0)])), "two days have no usual cost"


def test_receipts_of_an_older_sluice_and_of_raw_tables() -> None:
    old = {"day": "2026-01-01", "rows": 4, "bytes": 9, "core_s": 2.0, "build_s": 1.0, "gate_s": 0.5, "inputs": {"requests": {"days": {}}}}
    (day,) = of_receipts([old])
    assert (day["core_s"], day["wall_s"], day["rows_in"], day["spill_bytes"], day["steps"]) == (2.0, 1.5, None, None, {})
    assert day["us_per_row"] == 500_000.0
    (raw,) = of_receipts([receipt(0, inputs={}, accounts=[{"account": "lines", "in": 12}])])
    assert raw["rows_in"] == 12


def test_the_command_shows_days_the_one_that_stands_out_and_hot_keys(tmp_path: Any) -> None:
    for number in range(6):
        cost = receipt(number, core_s=50.0 if number == 4 else 10.0)
        keys = {"user_id": [{"rows": 9}, {"rows": 4}], "item_id": [{"key": "[i7]", "rows": 5}]}
        facts = facts_of(EVENTS, 1) | {"steps": cost["steps"], "inputs": cost["inputs"], "hot_keys": keys}
        publish_day(tmp_path, EVENTS, FIRST + timedelta(days=number), [{"event_id": "e"}], **facts)
    done = CliRunner().invoke(app, ["costs", "events", "--lake", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "2026-01-05 stands out: 5.0 times the usual cost; each row cost 5.0 times as much" in done.stdout
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith(" 2026-01-0")}
    assert len(lines) == 6 and lines["2026-01-05"].count("█") == 16 and "◀" in lines["2026-01-05"] and lines["2026-01-04"].count("█") == 3
    assert "rows of the hottest item_id on 2026-01-06: [i7] 5" in done.stdout and "hottest user_id on 2026-01-06: 9, 4" in done.stdout
    found = json.loads(CliRunner().invoke(app, ["costs", "events", "--json", "--lake", str(tmp_path)]).stdout)
    assert found["table"] == "events" and [bool(d["stands_out"]) for d in found["days"]] == [False] * 4 + [True, False]
    none = CliRunner().invoke(app, ["costs", "items", "--lake", str(tmp_path)])
    assert none.exit_code == 1 and "items has no published day" in none.stderr
