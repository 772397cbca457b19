"""What a table-day reads: days of a window, empty history, holes by name, days that labels still wait for, left sides of the books."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.inputs import Tables, label_as_of, left_sides, pin
from jobs.storage import NotPublishedError
from schemas.contract import Input, load
from tests.jobs.receipts_only import ATTRIBUTIONS, DAY, SMALL, SPACE, STATS, after, days, put, use_small_windows

EVENTS, REQUESTS = load("events"), load("requests")


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    use_small_windows(monkeypatch)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Raw days from DAY to four days after it."""
    put(tmp_path, REQUESTS, days(0, 4))
    put(tmp_path, EVENTS, days(0, 4))
    return tmp_path


def refusal(lake: Path, contract: object, day: object) -> str:
    with pytest.raises(NotPublishedError) as error:
        pin(Tables(str(lake)), contract, day)
    return str(error.value)


def test_an_input_is_pinned_with_the_days_of_its_window_at_one_version(lake):
    tables = Tables(str(lake))
    pinned = pin(tables, ATTRIBUTIONS, after(3))
    assert {name: p.days for name, p in pinned.items()} == {"requests": tuple(days(1, 3)), "events": (after(3),)}
    put(lake, REQUESTS, [after(3)], content_hash="two")
    assert pin(tables, ATTRIBUTIONS, after(3))["requests"].as_json() == {
        "version": 5,
        "days": {"2026-01-11": "one", "2026-01-12": "one", "2026-01-13": "one"},
        "history_days": [],
        "rows": 6,
        "bytes": 0,
    }
    tables.forget("requests")
    anew = pin(tables, ATTRIBUTIONS, after(3))["requests"].as_json()
    assert (anew["version"], anew["days"]["2026-01-13"]) == (6, "two")


def test_days_before_an_input_can_exist_are_empty_history(lake):
    first = pin(Tables(str(lake)), ATTRIBUTIONS, DAY)["requests"]
    assert (first.days, first.history) == ((DAY,), (after(-2), after(-1)))
    assert first.as_json()["history_days"] == ["2026-01-08", "2026-01-09"]
    put(lake, ATTRIBUTIONS, [DAY])
    pinned = pin(Tables(str(lake)), SPACE, DAY)
    assert {name: p.history for name, p in pinned.items()} == {
        "requests": (),
        "attributions": (after(-1),),
        "query_item_stats": (after(-1),),
    }


def test_a_derived_table_can_begin_when_all_that_it_is_made_of_has(tmp_path):
    put(tmp_path, REQUESTS, days(-3, 4))
    put(tmp_path, EVENTS, days(0, 2))
    tables = Tables(str(tmp_path))
    assert [tables.first_day(t) for t in ("requests", "events", "attributions", "query_item_stats")] == [after(-3), DAY, DAY, DAY]
    assert [tables.last_day(t) for t in ("requests", "events", "attributions", "query_item_stats")] == [after(4), *[after(2)] * 3]
    assert pin(tables, replace(STATS, inputs=(Input("attributions", (-3, 0)),)), DAY)["attributions"].history == tuple(days(-3, -1))
    assert (Tables(str(tmp_path / "none")).first_day("attributions"), Tables(str(tmp_path / "none")).last_day("requests")) == (None, None)


def test_holes_of_all_inputs_are_named_with_what_fills_them(tmp_path):
    put(tmp_path, REQUESTS, [after(-4), DAY])
    put(tmp_path, EVENTS, [after(-4)])
    assert refusal(tmp_path, ATTRIBUTIONS, DAY) == (
        "attributions 2026-01-10 cannot be built: requests 2026-01-08..2026-01-09 is not published "
        "(sluice ingest SOURCE --days 2026-01-08..2026-01-09); events 2026-01-10 is not published "
        "(sluice ingest SOURCE --days 2026-01-10..2026-01-10)"
    )


def test_holes_in_a_derived_input_name_its_own_command(lake):
    put(lake, ATTRIBUTIONS, [DAY])
    assert "attributions 2026-01-11..2026-01-12 is not published (sluice backfill attributions --days 2026-01-11..2026-01-12)" in refusal(
        lake, STATS, after(2)
    )
    put(lake, ATTRIBUTIONS, [after(1)])
    message = refusal(lake, STATS, after(2))
    assert "attributions 2026-01-12 is not published (sluice run attributions --day 2026-01-12)" in message and "2026-01-11" not in message


def test_the_first_day_that_an_input_can_have_is_no_history(lake):
    put(lake, ATTRIBUTIONS, [after(1)])
    assert "attributions 2026-01-10 is not published" in refusal(lake, STATS, after(1))


def test_before_anything_was_ingested_days_before_are_history_and_the_day_is_not(tmp_path):
    before = replace(STATS, inputs=(Input("requests", (-2, 0)),))
    assert pin(Tables(str(tmp_path)), before, DAY)["requests"].history == (after(-2), after(-1))
    assert "requests 2026-01-10 is not published" in refusal(tmp_path, replace(STATS, inputs=(Input("requests", (0, 1)),)), DAY)


def test_an_input_of_days_before_alone_does_not_hold_a_table_back(tmp_path, monkeypatch):
    both = replace(STATS, inputs=(Input("events", (0, 1)), Input("requests", (-3, 0))))
    monkeypatch.setitem(SMALL, "query_item_stats", both)
    put(tmp_path, EVENTS, days(0, 4))
    put(tmp_path, REQUESTS, days(2, 3))
    assert (Tables(str(tmp_path)).first_day("query_item_stats"), Tables(str(tmp_path)).last_day("query_item_stats")) == (DAY, after(4))


def test_the_day_itself_is_never_history(tmp_path):
    assert "requests 2026-01-08..2026-01-10 is not published" in refusal(tmp_path, ATTRIBUTIONS, DAY)
    put(tmp_path, REQUESTS, days(1, 2))
    assert "requests 2026-01-10 is not published" in refusal(tmp_path, ATTRIBUTIONS, DAY)


def test_forward_days_that_are_not_there_yet_shorten_what_labels_know(lake):
    put(lake, ATTRIBUTIONS, days(0, 0))
    known = []
    for n in range(1, 5):
        pinned = pin(Tables(str(lake)), SPACE, DAY)
        known.append((len(pinned["attributions"].days), label_as_of(SPACE, pinned, DAY)))
        put(lake, ATTRIBUTIONS, [after(n)])
    assert known == [(1, DAY), (2, after(1)), (3, after(2)), (4, after(3))]
    assert label_as_of(SPACE, pin(Tables(str(lake)), SPACE, DAY), DAY) == after(3), "the window ends"
    assert label_as_of(STATS, pin(Tables(str(lake)), STATS, DAY), DAY) is None


def test_labels_know_as_far_as_the_shortest_of_their_inputs(lake):
    put(lake, ATTRIBUTIONS, days(0, 1))
    both = replace(SPACE, inputs=(Input("requests", (0, 3)), Input("attributions", (0, 4))))
    assert label_as_of(both, pin(Tables(str(lake)), both, DAY), DAY) == after(1)
    assert label_as_of(both, pin(Tables(str(lake)), both, after(-1 + 2)), after(1)) == after(1)


def test_labels_taken_from_an_input_know_what_it_knows(lake):
    """Of all days read the one that knows least, whatever forward days of other inputs are there."""
    put(lake, ATTRIBUTIONS, days(0, 4))
    put(lake, SPACE, [DAY], label_as_of=f"{after(3)}")
    put(lake, SPACE, [after(1)], label_as_of=f"{after(2)}")
    examples = replace(load("hhsft_examples"), inputs=(Input("entire_space", (0, 1)), Input("events", (-1, 1))))
    of = lambda contract, day: label_as_of(contract, pin(Tables(str(lake)), contract, day), day)  # noqa: E731
    assert (of(examples, DAY), of(examples, after(1))) == (after(3), after(2))
    both_days = replace(examples, inputs=(Input("entire_space", (-1, 1)), Input("attributions", (0, 4))))
    assert of(both_days, after(1)) == after(2)
    assert of(replace(both_days, inputs=(Input("entire_space", (-1, 0)), Input("events", (0, 2)))), after(1)) == after(2)
    assert of(replace(examples, matures_after=0), DAY) is None


def test_a_hole_between_forward_days_is_named(lake):
    put(lake, ATTRIBUTIONS, [DAY, after(1), after(3)])
    assert refusal(lake, SPACE, DAY) == (
        "entire_space 2026-01-10 cannot be built: attributions 2026-01-12 is not published (sluice run attributions --day 2026-01-12)"
    )


def test_left_sides_are_what_the_receipts_of_the_accounts_days_say(lake):
    put(lake, REQUESTS, days(0, 1), rows=7, totals={"num_candidates": 70})
    credited = {"2026-01-10": 5, "2026-01-11": 100}
    put(lake, ATTRIBUTIONS, [DAY], totals={"credited": credited, "uncredited": 3})
    put(lake, ATTRIBUTIONS, [after(1)], totals={"credited": {"2026-01-10": 2}, "uncredited": 40})
    put(lake, ATTRIBUTIONS, [after(2)], totals={"credited": {}, "uncredited": 500})
    assert left_sides(SPACE, pin(Tables(str(lake)), SPACE, DAY), DAY) == [
        {"account": "candidates", "input": "requests", "in": 70},
        {"account": "lists", "input": "requests", "in": 7},
        {"account": "credited", "input": "attributions", "in": 7},
        {"account": "uncredited", "input": "attributions", "in": 3},
    ]
