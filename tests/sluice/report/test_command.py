"""`sluice report` as a cron job meets it: what is red ends in exit code 3, with what to do; where it may write."""

import json
from datetime import timedelta
from functools import partial

import pytest

from schemas.contract import load
from sluice.report.days import CAUSES
from tests.commands import sluice_says
from tests.sluice.report.planted import DAYS, FIRST, ITEMS, ROWS, put, refuse, result


@pytest.fixture
def items(tmp_path):
    """A lake of one table: three days, then one missing, then one."""
    for number in (0, 1, 2):
        put(tmp_path / "items", ITEMS, DAYS[number])
    return tmp_path / "items"


says = partial(sluice_says, "report")


def red(lake, code=3):
    """(cause, table, first, last, do) of what is red."""
    found = json.loads(says("--json", "--lake", lake, code=code).stdout)["critical"]
    return [(c["cause"], c["table"], c["first"], c["last"], c["do"]) for c in found]


def test_nothing_red_is_exit_code_0(whole):
    assert red(whole, code=0) == []


def test_a_missing_day(items):
    put(items, ITEMS, DAYS[5])
    command = f"sluice ingest SOURCE --days {DAYS[3]}..{DAYS[4]}"
    assert red(items) == [("missing", "items", str(DAYS[3]), str(DAYS[4]), command)]


def test_a_refused_day_is_red_until_a_later_run_publishes_it(items):
    refuse(items, ITEMS, DAYS[3])
    assert red(items) == [("refused", "items", str(DAYS[3]), str(DAYS[3]), f"sluice gate items --day {DAYS[3]}")]
    put(items, ITEMS, DAYS[3])
    assert red(items, code=0) == []
    refuse(items, ITEMS, DAYS[3], seen=1)  # what stands is readable, what should replace it was refused
    assert [c[0] for c in red(items)] == ["refused"]


def test_a_run_at_work_is_not_red(items):
    refuse(items, ITEMS, DAYS[2], seen=1, refused=None, started_at="2999-01-01T00:00:00+00:00")
    path = next(items.rglob("_staged.json"))
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "refused"}))
    assert red(items, code=0) == []


def test_days_whose_input_changed_are_stale(lake):
    put(lake, load("events"), DAYS[2], ROWS["events"][:2])
    found = red(lake)
    assert ("stale", "attributions", str(DAYS[2]), str(DAYS[5]), f"sluice backfill attributions --days {DAYS[2]}..{DAYS[5]}") in found
    assert {cause for cause, *_ in found} == {"stale"} and "events" not in {table for _, table, *_ in found}


def test_labels_that_could_be_known_are_overdue(lake):
    put(lake, load("entire_space"), FIRST, label_as_of=str(FIRST))
    command = f"sluice backfill entire_space --days {FIRST}..{FIRST}"
    assert red(lake) == [("overdue", "entire_space", str(FIRST), str(FIRST), command)]


def test_a_critical_expectation_that_a_person_accepted(items):
    broken = result("expect_table_row_count_to_be_between", "", success=False, observed_value=3, asked_min_value=100)
    put(items, ITEMS, DAYS[2], results=[broken], accepted={broken["name"]: "a holiday"})
    assert red(items) == [("accepted", "items", str(DAYS[2]), str(DAYS[2]), f"sluice receipts items --day {DAYS[2]}")]


def test_books_that_do_not_balance(items):
    lines = {"account": "lines", "input": "files", "in": 10, "fates": {"kept": 3, "duplicate": 1}, "difference": 0}  # it says 0, it is 6
    put(items, ITEMS, DAYS[1], accounts=[lines])
    assert red(items) == [("unbalanced", "items", str(DAYS[1]), str(DAYS[1]), f"sluice books items --day {DAYS[1]}")]


def test_every_cause_is_planted_above():
    assert set(CAUSES) == {"missing", "refused", "stale", "overdue", "accepted", "unbalanced"}


def test_the_site_is_written_and_each_red_thing_is_told_on_standard_error(items, tmp_path):
    put(items, ITEMS, DAYS[4])
    out = tmp_path / "site"
    done = says("--out", out, "--lake", items, code=3)
    assert done.stdout == f"1 thing is red, 0 worth a look; {DAYS[0]} to {DAYS[4]}: {out}/index.html\n"
    assert f"red: items {DAYS[3]}: the day is not published; do: sluice ingest SOURCE --days {DAYS[3]}..{DAYS[3]}\n" in done.stderr
    assert json.loads((out / "facts.json").read_text())["critical"][0]["cause"] == "missing"
    put(items, ITEMS, DAYS[3])
    says("--out", out, "--lake", items)  # in place of the one before
    assert "Nothing is red" in (out / "index.html").read_text()


def test_json_without_out_writes_nothing(items, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert json.loads(says("--json", "--lake", items).stdout)["days"] == [str(d) for d in DAYS[:3]]
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_with_something_else_is_left_alone(items, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    assert "holds something that no report wrote" in says("--out", tmp_path / "mine", "--lake", items, code=2).stderr
    assert "that is a file" in says("--out", tmp_path / "mine" / "thesis.txt", "--lake", items, code=2).stderr
    assert "a folder of this machine" in says("--out", "s3://bucket/site", "--lake", items, code=2).stderr
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_days_and_until_are_read_as_everywhere(items):
    found = json.loads(says("--json", "--days", f"{DAYS[1]}..{DAYS[2]}", "--lake", items).stdout)
    assert found["days"] == [str(DAYS[1]), str(DAYS[2])]
    late = str(DAYS[2] + timedelta(days=2))
    assert [c["cause"] for c in json.loads(says("--json", "--until", late, "--lake", items, code=3).stdout)["critical"]] == ["missing"]
    assert "is no day" in says("--until", "soon", "--lake", items, code=2).stderr


def test_a_lake_that_is_not_there_is_told(tmp_path):
    assert "no lake at" in says("--lake", tmp_path / "none", code=1).stderr
