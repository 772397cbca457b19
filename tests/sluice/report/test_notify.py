"""`sluice report --notify`: each red thing is told once, with the report's own words; what a person decided is not."""

import json
from datetime import timedelta

import pytest

from jobs.hook import HOOK
from schemas.contract import load
from tests.sluice.report.planted import DAYS, ITEMS, put, refuse, result
from tests.sluice.report.test_command import says


@pytest.fixture
def told(tmp_path, monkeypatch):
    file = tmp_path / "told"
    monkeypatch.setenv(HOOK, f"sh -c 'cat >> {file}; echo >> {file}'")
    return lambda: [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_late_days_refused_ones_and_overdue_labels_are_told_when_asked(lake, told):
    put(lake, ITEMS, DAYS[5] + timedelta(days=2))
    refuse(lake, ITEMS, DAYS[5], seen=1)
    space = next(t for t in json.loads(says("--json", "--lake", lake, code=3).stdout)["tables"] if t["table"] == "entire_space")
    assert not told(), "a report that a person reads tells nobody else"
    assert space["days"][0]["state"] != "overdue"
    done = says("--json", "--notify", "--until", DAYS[5] + timedelta(days=2), "--lake", lake, code=3)
    red, heard = json.loads(done.stdout)["critical"], told()
    assert [(w["kind"], w["table"], w["day"], w["last_day"]) for w in heard] == [
        (c["cause"], c["table"], c["first"], c["last"]) for c in red
    ]
    refused = next(w for w in heard if w["kind"] == "refused")
    assert refused["expectations"] == ["expect_table_row_count_to_be_between()"] and refused["run_id"] == "refused"
    missing = next(w for w in heard if (w["kind"], w["table"]) == ("missing", "entire_space"))
    assert missing["look"].endswith(f" --lake {lake}") and "the day is not published" in missing["text"]


def test_overdue_labels_and_books_are_told_and_decisions_of_a_person_are_not(lake, told):
    put(lake, load("entire_space"), DAYS[0], label_as_of=str(DAYS[0]))
    lines = {"account": "lines", "input": "files", "in": 10, "fates": {"kept": 3}, "difference": 0}
    put(lake, ITEMS, DAYS[1], accounts=[lines])
    broken = result("expect_table_row_count_to_be_between", "", success=False, observed_value=3)
    put(lake, load("requests"), DAYS[5], results=[broken], accepted={broken["name"]: "a holiday"})
    says("--json", "--notify", "--lake", lake, code=3)
    heard = {w["kind"]: w for w in told()}
    assert {"overdue", "unbalanced"} <= set(heard) and "accepted" not in heard
    assert "labels still open" in heard["overdue"]["reason"] and heard["unbalanced"]["accounts"] == [lines]


def test_a_hook_that_does_not_answer_is_asked_once(lake, monkeypatch):
    put(lake, ITEMS, DAYS[5] + timedelta(days=2))
    monkeypatch.setenv(HOOK, "/no/such/program")
    done = says("--json", "--notify", "--until", DAYS[5] + timedelta(days=2), "--lake", lake, code=3)
    assert done.stderr.count("the hook /no/such/program was not told") == 1 and "more red things were not told" in done.stderr
