"""Log lines: one for each record in either form, what a person at a terminal is spared, and a setting that is wrong."""

import json
import logging
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from jobs import logs
from jobs.gate import GateError
from jobs.logs import SETTING, configure, step
from jobs.messages import guarded


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """Log with our own handler alone, as a job does; what came to standard error, by line."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level

    def read() -> list[str]:
        return capsys.readouterr().err.splitlines()

    monkeypatch.delenv(SETTING, raising=False)
    monkeypatch.setattr(logs.logging, "basicConfig", partial(logging.basicConfig, force=True))  # pytest's own handlers are there before
    yield read
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_a_step_is_one_line_of_pairs(lines: Any) -> None:
    configure()
    step("staged", table="items", day="2026-01-05", wall_s=1.25, rows=3, why='a "b"\nc', failed=["x y"], none=None, empty="")
    (line,) = lines()
    assert line[2] == ":" and line[9:] == (
        'staged table=items day=2026-01-05 wall_s=1.25 rows=3 why="a \\"b\\"\\nc" failed=["x y"] empty=""'
    )


def test_a_step_is_one_object_for_machines(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "json")
    configure()
    step("staged", table="items", rows=3, why="a\nb", none=None)
    logging.getLogger("elsewhere").warning("look %s", "here")
    try:
        raise KeyError("x")
    except KeyError:
        logging.getLogger("sluice").exception("broken")
    staged, other, broken = map(json.loads, lines())
    assert staged.pop("at").endswith("+00:00")
    assert staged == {"level": "info", "event": "staged", "table": "items", "rows": 3, "why": "a\nb"}
    assert (other["level"], other["event"]) == ("warning", "look here")
    assert broken["event"] == "broken" and "KeyError" in broken["trace"]


def test_a_person_at_a_terminal_is_spared_the_steps_and_told_the_rest(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    configure()
    step("staged", rows=3)
    logging.getLogger("sluice").info("looking again")
    assert [line[9:] for line in lines()] == ["looking again"]
    monkeypatch.setenv(SETTING, "text")
    step("staged", rows=3)
    assert [line[9:] for line in lines()] == ["staged rows=3"]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    monkeypatch.setenv(SETTING, "off")
    step("staged", rows=3)
    assert lines() == []


def test_a_setting_that_means_nothing_is_told(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "xml")
    configure()
    assert lines()[-1].endswith("SLUICE_LOG is 'xml', which is none of text, json, off; it is ignored")
    assert logs.form() == "text"


def test_what_went_wrong_is_a_line_too_for_machines(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise GateError("items: refused\n  why")

    assert guarded(refuse) == 3
    assert lines() == ["refused: items: refused", "  why"]
    monkeypatch.setenv(SETTING, "json")
    assert guarded(refuse) == 3
    (line,) = map(json.loads, lines())
    assert (line["level"], line["event"], line["message"], line["exit_code"]) == ("error", "refused", "items: refused\n  why", 3)
