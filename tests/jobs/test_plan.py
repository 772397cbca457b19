"""The plan of a backfill: what would run, why, in which order, and what is left of it after a stop."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from jobs import plan as planning
from jobs.plan import Step, job_build, plan, refuse_left_out, run_plan, waves
from jobs.storage import NotPublishedError, open_table
from schemas.contract import load
from tests.jobs.receipts_only import ATTRIBUTIONS, DAY, SMALL, SPACE, STATS, after, days, put, settle, use_small_windows
from tests.jobs.unbuilt import Spark, backfill, same, use_unbuilt

ROOT = Path(__file__).parents[2]
EVENTS, REQUESTS = load("events"), load("requests")


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Raw days from DAY to five days after it; nothing derived."""
    use_small_windows(monkeypatch)
    put(tmp_path, REQUESTS, days(0, 5))
    put(tmp_path, EVENTS, days(0, 5))
    return tmp_path


def steps(lake: Path, table: str, first: int, last: int, **options: Any) -> list[tuple[str, int, str]]:
    """The plan as (table, day counted from DAY, reasons)."""
    found = plan(str(lake), table, after(first), after(last), **options)
    return [(s.table, (s.day - DAY).days, "; ".join(s.reasons)) for s in found]


def refusal(lake: Path, table: str, first: int, last: int, **options: Any) -> str:
    with pytest.raises(NotPublishedError) as error:
        plan(str(lake), table, after(first), after(last), **options)
    return str(error.value)


def test_both_ends_are_in_the_plan_in_order_with_the_reason(lake):
    assert steps(lake, "attributions", 0, 2) == [("attributions", n, "missing") for n in range(3)]
    settle(lake, ATTRIBUTIONS, days(0, 1))
    assert steps(lake, "attributions", 0, 2) == [("attributions", 0, ""), ("attributions", 1, ""), ("attributions", 2, "missing")]
    put(lake, EVENTS, [after(1)], content_hash="two")
    assert [why for _, _, why in steps(lake, "attributions", 0, 1)] == ["", "input changed: events 2026-01-11"]
    facts = plan(str(lake), "attributions", DAY, DAY)[0].as_json()
    assert (facts["table"], facts["day"], facts["reasons"], facts["wave"]) == ("attributions", "2026-01-10", [], 0)
    assert facts["inputs"] == {"requests": {"2026-01-10": "one"}, "events": {"2026-01-10": "one"}}


def test_upstream_reaches_as_far_as_windows_and_raw_days_and_comes_first(lake):
    found = steps(lake, "entire_space", 1, 2, with_upstream=True)
    # entire_space of days 1 and 2 reads attributions of days 0 to 5 and stats of days 0 and 1, and these attributions of -1 to 1
    wanted = [("attributions", n) for n in range(6)] + [("query_item_stats", 0), ("query_item_stats", 1)]
    assert [(table, day) for table, day, _ in found] == [*wanted, ("entire_space", 1), ("entire_space", 2)]
    assert {why for _, _, why in found} == {"missing"}


def test_upstream_ends_where_raw_days_end(lake):
    put(lake, REQUESTS, [after(6)])  # events end the day before
    days_of_attributions = [day for table, day, _ in steps(lake, "entire_space", 4, 5, with_upstream=True) if table == "attributions"]
    assert days_of_attributions == [2, 3, 4, 5]


def test_what_is_up_to_date_may_still_change_by_what_is_built_before_it(lake):
    settle(lake, ATTRIBUTIONS, days(0, 5))
    settle(lake, STATS, days(0, 2))
    settle(lake, SPACE, days(0, 2))
    assert {why for _, _, why in steps(lake, "entire_space", 0, 2, with_upstream=True)} == {""}
    put(lake, EVENTS, [after(1)], content_hash="two")
    found = {(table, day): why for table, day, why in steps(lake, "entire_space", 0, 2, with_upstream=True) if why}
    assert found == {
        ("attributions", 1): "input changed: events 2026-01-11",
        ("query_item_stats", 1): "may change: 1 days of attributions built before it",
        ("entire_space", 0): "may change: 1 days of attributions built before it",
        ("entire_space", 1): "may change: 1 days of attributions built before it",
        ("entire_space", 2): "may change: 1 days of attributions, 1 days of query_item_stats built before it",
    }
    assert {why for _, _, why in steps(lake, "entire_space", 0, 2)} == {""}, "without upstream nothing is built before it"


def test_a_day_whose_own_reason_is_known_keeps_it(lake):
    settle(lake, ATTRIBUTIONS, days(0, 5))
    settle(lake, STATS, [DAY], suite="older")
    put(lake, EVENTS, [DAY], content_hash="two")
    assert steps(lake, "query_item_stats", 0, 0, with_upstream=True)[-1] == ("query_item_stats", 0, "suite changed")


def test_what_is_missing_is_named_with_the_way_out(lake):
    message = refusal(lake, "query_item_stats", 0, 1)
    assert "query_item_stats 2026-01-10 cannot be built: attributions 2026-01-10 is not published" in message
    assert "query_item_stats 2026-01-11 cannot be built" in message
    assert message.endswith("Tables in between can be built along with it: add --with-upstream")
    many = refusal(lake, "attributions", 6, 20)
    assert many.count("cannot be built") == 10 and "... and 5 more days" in many


def test_a_raw_day_that_is_missing_stops_a_plan_with_upstream_too(tmp_path, monkeypatch):
    use_small_windows(monkeypatch)
    put(tmp_path, REQUESTS, days(0, 5))
    put(tmp_path, EVENTS, [DAY, after(1), after(3), after(4), after(5)])
    message = refusal(tmp_path, "query_item_stats", 1, 3, with_upstream=True)
    assert "attributions 2026-01-12 cannot be built: events 2026-01-12 is not published" in message
    assert "query_item_stats 2026-01-12 cannot be built: attributions 2026-01-12 is not published" in message
    assert "query_item_stats 2026-01-11" not in message and "add --with-upstream" not in message


def test_a_plan_beyond_the_raw_days_says_where_these_end(lake):
    message = refusal(lake, "query_item_stats", 5, 6, with_upstream=True)
    assert "hold 2026-01-10..2026-01-15" in message and "sluice ingest SOURCE --days 2026-01-16..2026-01-16" in message


def test_a_raw_table_has_a_source_and_no_plan(lake):
    assert refusal(lake, "events", 0, 1) == "events is a raw table, a source writes it: sluice ingest SOURCE --days 2026-01-10..2026-01-11"


@pytest.fixture
def built(lake: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """What was built; instead of a build, the day is published as it would be. Fails at the fourth."""
    done: list[tuple[str, int]] = []

    def build_day(_spark: Any, lake: Path, contract: Any, build: Any, day: Any, *, options: Any) -> str:
        if len(done) == 3:
            done.append(("stopped", 0))
            raise RuntimeError("stopped")
        assert build is job_build(contract.name)
        done.append((contract.name, (day - DAY).days))
        settle(lake, SMALL[contract.name], [day])
        return f"{contract.name} {options}"

    monkeypatch.setattr(planning, "build_day", build_day)
    yield done


def test_a_plan_that_was_stopped_goes_on_where_it_stopped(lake, built):
    with pytest.raises(RuntimeError):
        list(run_plan(None, lake, plan(str(lake), "query_item_stats", DAY, after(2), with_upstream=True)))
    assert built[:3] == [("attributions", 0), ("attributions", 1), ("attributions", 2)]
    rest = plan(str(lake), "query_item_stats", DAY, after(2), with_upstream=True)
    assert [(s.table, bool(s.reasons)) for s in rest] == [("attributions", False)] * 3 + [("query_item_stats", True)] * 3
    built.clear()
    assert list(run_plan(None, lake, rest, {"x": 1})) == ["query_item_stats {'x': 1}"] * 3
    assert built == [("query_item_stats", 0), ("query_item_stats", 1), ("query_item_stats", 2)]
    assert {s.reasons for s in plan(str(lake), "query_item_stats", DAY, after(2), with_upstream=True)} == {()}


def test_steps_without_a_reason_are_not_run(lake, built):
    assert list(run_plan(None, lake, [Step("attributions", DAY, ())])) == [] == built


def test_a_wave_reads_nothing_that_is_built_in_it(lake):
    found = [
        [(s.table, (s.day - DAY).days) for s in wave] for wave in waves(plan(str(lake), "entire_space", DAY, after(1), with_upstream=True))
    ]
    # entire_space reads stats of the day before; those of the day before the first are empty history
    assert found == [
        [("attributions", n) for n in range(5)],
        [("query_item_stats", 0), ("entire_space", 0)],
        [("entire_space", 1)],
    ]
    settle(lake, ATTRIBUTIONS, days(0, 5))
    settle(lake, STATS, [DAY])
    found = waves(plan(str(lake), "entire_space", DAY, after(1), with_upstream=True))
    assert [[s.table for s in wave] for wave in found] == [["entire_space", "entire_space"]], "what is up to date holds nothing back"


def test_labels_that_would_know_less_than_they_can_are_refused(lake):
    settle(lake, ATTRIBUTIONS, days(0, 2))
    settle(lake, STATS, days(0, 2))
    found = plan(str(lake), "entire_space", DAY, after(2))  # read attributions of up to three days after; raw days are there to 5
    assert [s.left_out for s in found] == [
        ("attributions 2026-01-13",),
        ("attributions 2026-01-13", "attributions 2026-01-14"),
        ("attributions 2026-01-13", "attributions 2026-01-14", "attributions 2026-01-15"),
    ]
    with pytest.raises(NotPublishedError, match=r"entire_space 2026-01-10 would be built without attributions 2026-01-13\n") as told:
        refuse_left_out(found)
    assert "--with-upstream" in str(told.value) and "--open-labels" in str(told.value)
    refuse_left_out(plan(str(lake), "entire_space", DAY, after(2), with_upstream=True))
    settle(lake, ATTRIBUTIONS, days(3, 5))
    refuse_left_out(plan(str(lake), "entire_space", DAY, after(2)))


def test_labels_that_wait_for_days_to_come_are_not_held_back(lake):
    settle(lake, ATTRIBUTIONS, days(0, 5))
    settle(lake, STATS, days(0, 5))
    refuse_left_out(plan(str(lake), "entire_space", after(4), after(5)))


@pytest.mark.parametrize(("die_at", "left"), [(1, 6), (3, 4), (5, 2)])
def test_a_backfill_that_is_killed_goes_on_with_what_is_left(lake, monkeypatch, die_at, left):
    command = [sys.executable, "-m", "tests.jobs.unbuilt", str(lake), str(die_at)]
    died = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert died.returncode == -9, died.stderr
    use_unbuilt(monkeypatch, same)
    rest = backfill(str(lake))
    assert len(rest) == left and {o.status for o in rest} == {"published"}
    found = [(open_table(lake, c), d) for c in (ATTRIBUTIONS, STATS) for d in days(0, 2)]
    assert [(t.receipt(d)["content_hash"], t.publishes(d)) for t, d in found] == [(same("", d), 1) for _, d in found]
    assert backfill(str(lake)) == []


def test_a_label_rule_that_changes_runs_exactly_the_days_that_it_touches(lake, monkeypatch):
    rule, code = {"changes": None}, {"jobs.attributions": "old"}
    monkeypatch.setattr("jobs.run.code_fingerprint", lambda module: code.get(module, "the same"))

    def content(table: str, day: date) -> str:
        """Attributions of one day come out otherwise by the new rule; what is made of them follows its inputs."""
        if table == "attributions":
            return f"{day} {'new' if day == rule['changes'] else 'old'}"
        (inputs,) = [s.inputs for s in plan(str(lake), table, day, day)]
        return str(sorted(inputs["attributions"].items()))

    use_unbuilt(monkeypatch, content)
    assert len(backfill(str(lake), last=5)) == 12
    rule["changes"], code["jobs.attributions"] = after(3), "new"
    planned = {(s.table, s.day): s.reasons for s in plan(str(lake), "query_item_stats", DAY, after(5), with_upstream=True)}
    assert {planned["attributions", d] for d in days(0, 5)} == {("code changed",)}
    done = {(o.table, (o.day - DAY).days): o.status for o in backfill(str(lake), last=5)}
    assert [n for (table, n), status in done.items() if table == "attributions" and status == "published"] == [0, 1, 2, 3, 4, 5]
    # stats of a day read attributions of that day and of the one before: of day 3 only these of 3 and 4 are made
    assert {n: status for (table, n), status in done.items() if table == "query_item_stats"} == {
        **dict.fromkeys([0, 1, 2, 5], "up_to_date"),
        **dict.fromkeys([3, 4], "published"),
    }
    again = plan(str(lake), "query_item_stats", DAY, after(5), with_upstream=True)
    assert {s.reasons for s in again} == {()} and backfill(str(lake), last=5) == []


@pytest.mark.parametrize("parallel", [1, 3])
def test_as_many_days_of_a_wave_run_at_once_as_are_asked_for_each_in_a_session_of_its_own(lake, monkeypatch, parallel):
    running, most, used, lock = set(), [0], [], threading.Lock()
    full = threading.Barrier(parallel)

    def watch(session: Any, table: str, day: date) -> None:
        with lock:
            running.add((table, day))
            most[0] = max(most[0], len(running))
            used.append(session)
            assert {t for t, _ in running} == {table}, "of one wave"
        full.wait(20)
        with lock:
            running.discard((table, day))

    use_unbuilt(monkeypatch, same, watch)
    spark = Spark()
    done = list(run_plan(spark, str(lake), plan(str(lake), "query_item_stats", DAY, after(5), with_upstream=True), parallel=parallel))
    assert {(o.table, o.status) for o in done} == {("attributions", "published"), ("query_item_stats", "published")} and len(done) == 12
    assert most == [parallel]
    assert (len(set(used)), spark.sessions) == ((1, 0) if parallel == 1 else (12, 12))


def test_when_one_of_a_wave_fails_no_other_begins_and_those_that_run_end(lake, monkeypatch):
    meet = threading.Barrier(2)

    def watch(_session: Any, _table: str, day: date) -> None:
        if day in days(0, 1):
            meet.wait(20)
        if day == DAY:
            raise ZeroDivisionError("as planned")
        threading.Event().wait(0.3)

    use_unbuilt(monkeypatch, same, watch)
    with pytest.raises(ZeroDivisionError):
        backfill(str(lake), last=5, parallel=2)
    published = [(d - DAY).days for d in open_table(lake, ATTRIBUTIONS).days]
    assert 1 in published and 0 not in published and len(published) <= 2
    assert not open_table(lake, STATS).days, "no wave after it"
