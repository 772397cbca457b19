"""A plan as a document: its hash, what it costs by past receipts, what it makes stale, and whether a later plan is the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs import review
from jobs.inputs import Tables
from jobs.plan import plan
from jobs.review import check_reviewed, document, downstream, downstream_of, keep, past, plan_hash
from schemas.contract import ContractError, load
from tests.jobs.receipts_only import ATTRIBUTIONS, DAY, SMALL, SPACE, STATS, after, days, put, settle, use_small_windows

EVENTS, REQUESTS = load("events"), load("requests")
COST = {"core_s": 8.0, "build_s": 3.0, "gate_s": 1.0}


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Raw days from DAY to five days after it, a megabyte each; nothing derived."""
    use_small_windows(monkeypatch)
    monkeypatch.setattr(review, "load", SMALL.__getitem__)
    monkeypatch.setattr(review, "load_all", lambda: list(SMALL.values()))
    for raw in (REQUESTS, EVENTS):
        put(tmp_path, raw, days(0, 5), bytes=1_000_000)
    return tmp_path


def built(lake: Path) -> None:
    settle(lake, ATTRIBUTIONS, days(0, 5), bytes=500_000, **COST)
    settle(lake, STATS, days(0, 2), bytes=100_000, **COST)
    settle(lake, SPACE, days(0, 2), bytes=900_000, **COST)


def plan_of(lake: Path, table: str = "entire_space", first: int = 0, last: int = 2, **options: Any) -> list[Any]:
    return plan(str(lake), table, after(first), after(last), with_upstream=True, **options)


def test_what_no_receipt_tells_is_unknown(lake):
    found = document(str(lake), plan_of(lake))
    assert found["expected"] == {"table_days": 11, "bytes": None, "core_s": None, "wall_s": None} and found["unknown"] == 11
    of_attributions = [s for s in found["steps"] if s["table"] == "attributions"]
    assert [s["bytes"] for s in of_attributions] == [2_000_000, 3_000_000, 4_000_000, 4_000_000, 4_000_000, 4_000_000]
    assert {s["bytes"] for s in found["steps"] if s["table"] != "attributions"} == {None}, "their inputs have no receipts yet"
    assert {s["from_receipts"] for s in found["steps"]} == {0}


def test_costs_are_those_of_past_receipts_scaled_by_bytes(lake):
    settle(lake, ATTRIBUTIONS, days(0, 1), **COST)  # read 2 and 3 MB
    found = document(str(lake), plan(str(lake), "attributions", DAY, after(2)))
    (step,) = [s for s in found["steps"] if s["reasons"]]
    assert (step["bytes"], step["core_s"], step["wall_s"], step["from_receipts"]) == (4_000_000, 8.0 * 4 / 2.5, 4.0 * 4 / 2.5, 2)
    assert found["expected"] == {"table_days": 1, "bytes": 4_000_000, "core_s": 12.8, "wall_s": 6.4}


def test_only_the_newest_receipts_are_asked_and_those_without_a_cost_are_not(lake, monkeypatch):
    settle(lake, ATTRIBUTIONS, [DAY], **(COST | {"core_s": 1000.0}))
    settle(lake, ATTRIBUTIONS, days(1, 2), **COST)
    settle(lake, ATTRIBUTIONS, [after(3)])
    monkeypatch.setattr(review, "RECENT", 3)
    assert (past(Tables(str(lake)), "attributions").num_receipts, past(Tables(str(lake)), "attributions").core_s) == (2, 8.0)


def test_a_wave_lasts_as_long_as_its_longest_day_or_its_share(lake):
    built(lake)
    put(lake, EVENTS, days(0, 5), content_hash="two", bytes=1_000_000)
    for parallel, wall in ((1, 24.0), (4, 6.0), (64, 4.6)):  # 22 MB at 4 s for 3.67 MB on average; the longest reads 4 MB of them
        waves = document(str(lake), plan_of(lake), parallel)["waves"]
        assert [(w["wave"], w["tables"]) for w in waves] == [
            (1, {"attributions": 6}), (2, {"query_item_stats": 2, "entire_space": 1}), (3, {"entire_space": 2}),
        ]  # fmt: skip
        assert waves[0]["wall_s"] == pytest.approx(wall, abs=0.3)


def test_published_days_outside_of_the_plan_that_read_it_are_named(lake):
    built(lake)
    tables = Tables(str(lake))
    # stats of a day read attributions of it and the day before; entire_space reads those of -1 to +3, and stats of the day before
    assert downstream(tables, {("attributions", after(1))}) == [
        *[("query_item_stats", after(n)) for n in (1, 2)],
        *[("entire_space", after(n)) for n in (0, 1, 2)],
    ]
    assert downstream(tables, {("query_item_stats", DAY)}) == [("entire_space", after(1))]
    assert downstream(tables, {("query_item_stats", after(5))}) == []
    assert downstream(tables, {("attributions", after(1)), ("entire_space", after(1))})[-2:] == [
        ("entire_space", DAY), ("entire_space", after(2)),
    ]  # fmt: skip
    put(lake, EVENTS, [after(1)], content_hash="two")
    found = document(str(lake), plan(str(lake), "attributions", DAY, after(5)))
    assert [(d["table"], d["day"]) for d in found["downstream"]][:2] == [
        ("query_item_stats", "2026-01-11"),
        ("query_item_stats", "2026-01-12"),
    ]


def test_what_becomes_stale_through_another_table_is_named_too(lake):
    built(lake)
    settle(lake, STATS, days(3, 5))
    settle(lake, SPACE, days(3, 5))
    # events of a day reach attributions of it, these stats of two days, and these entire_space of the day after
    assert downstream_of(str(lake), "events", after(4))[-3:] == [("entire_space", after(n)) for n in (3, 4, 5)]


def test_the_hash_is_of_what_would_run_and_of_what_decides_it(lake):
    steps = plan_of(lake)
    assert plan_hash(steps) == plan_hash(plan_of(lake)) and len(plan_hash(steps)) == 16
    others = [
        steps[1:],
        [replace(steps[0], reasons=("forced",)), *steps[1:]],
        [replace(steps[0], facts=steps[0].facts | {"code": "other"}), *steps[1:]],
        [replace(steps[0], facts=steps[0].facts | {"suite": "other"}), *steps[1:]],
        [replace(steps[0], inputs={**steps[0].inputs, "events": {"2026-01-10": "other"}}), *steps[1:]],
    ]
    assert len({plan_hash(other) for other in [steps, *others]}) == 6
    assert plan_hash([replace(steps[0], wave=7, bytes=1), *steps[1:]]) == plan_hash(steps), "costs may be told otherwise"


def reviewed(lake: Path, **options: Any) -> str:
    """The hash of a plan that was made and kept."""
    whole = document(str(lake), plan_of(lake, **options))
    keep(str(lake), whole)
    return whole["plan_hash"]


def refusal(lake: Path, plan_hash: str, **options: Any) -> str:
    with pytest.raises(ContractError) as error:
        check_reviewed(str(lake), plan_hash, plan_of(lake, **options))
    return str(error.value)


def test_the_plan_that_was_reviewed_runs_and_what_is_left_of_it_after_a_stop(lake):
    signed = reviewed(lake)
    check_reviewed(str(lake), signed, plan_of(lake))
    settle(lake, ATTRIBUTIONS, days(0, 5), content_hash="as it came out")
    settle(lake, STATS, [DAY])
    assert plan_hash(plan_of(lake)) != signed
    check_reviewed(str(lake), signed, plan_of(lake))
    settle(lake, STATS, days(0, 2))
    settle(lake, SPACE, days(0, 2))
    check_reviewed(str(lake), signed, plan_of(lake))
    put(lake, EVENTS, [after(2)], content_hash="two")
    assert "input changed: events 2026-01-12" in refusal(lake, signed)


def test_another_plan_is_refused_with_what_differs(lake, monkeypatch):
    signed = reviewed(lake, table="attributions", last=1)
    assert "attributions 2026-01-12 was not to be built, and is now: missing" in refusal(lake, signed, table="attributions", last=2)
    settle(lake, ATTRIBUTIONS, [DAY], suite="older")
    told = refusal(lake, signed, table="attributions", last=1)
    assert "attributions 2026-01-10: to be built because missing, and now because suite changed" in told and signed in told
    with monkeypatch.context() as patched:
        patched.setattr("jobs.run.code_fingerprint", lambda _: "other")
        assert "attributions 2026-01-11: code changed" in refusal(lake, signed, table="attributions", last=1)
    put(lake, REQUESTS, days(0, 1), content_hash="two")
    assert "attributions 2026-01-11: input changed: requests 2026-01-10, 2026-01-11" in refusal(lake, signed, table="attributions", last=1)
    assert "no plan 0123456789abcdef was made in this lake" in refusal(lake, "0123456789abcdef")
