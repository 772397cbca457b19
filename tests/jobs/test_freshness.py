"""Fresh or stale: by the content of inputs, by code, suite, contract and options, and by the age of labels; never by a version."""

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

import features
import jobs
from jobs import freshness
from jobs.freshness import code_fingerprint, contract_fingerprint, stale_reasons
from jobs.inputs import Tables
from jobs.run import facts_now, why_build
from schemas.contract import Contract, load
from tests.jobs.receipts_only import ATTRIBUTIONS, DAY, SPACE, after, days, put, settle, use_small_windows

EVENTS, REQUESTS = load("events"), load("requests")


# --- inputs, facts and labels


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Attributions that are up to date on DAY and the day after, of raw days from the day before."""
    use_small_windows(monkeypatch)
    put(tmp_path, REQUESTS, days(-1, 4))
    put(tmp_path, EVENTS, days(-1, 4))
    settle(tmp_path, ATTRIBUTIONS, days(-1, 1))
    return tmp_path


def reasons(lake: Path, contract: Contract = ATTRIBUTIONS, /, **changed: object) -> list[str]:
    facts = facts_now(contract, f"jobs.{contract.name}", {}) | changed
    return why_build(Tables(str(lake)), contract, DAY, facts)[2]


def test_nothing_new_is_no_reason_though_versions_moved(lake):
    assert reasons(lake) == []
    put(lake, REQUESTS, days(-1, 0))  # the same content again
    put(lake, EVENTS, [after(1)], content_hash="two")  # not in the window
    assert reasons(lake) == []


def test_other_content_of_an_input_is_named_with_its_days(lake):
    put(lake, EVENTS, [DAY], content_hash="two")
    assert reasons(lake) == ["input changed: events 2026-01-10"]
    put(lake, REQUESTS, days(-1, 0), content_hash="two")
    assert reasons(lake) == ["input changed: requests 2026-01-09..2026-01-10 (2 days)", "input changed: events 2026-01-10"]


def test_history_that_came_later_is_a_change(lake):
    put(lake, REQUESTS, [after(-2)])
    assert reasons(lake) == ["input changed: requests 2026-01-08"]


@pytest.mark.parametrize("fact", ["code", "contract", "suite", "options"])
def test_each_fact_that_changed_is_named(lake, fact):
    assert reasons(lake, **{fact: "another"}) == [f"{fact} changed"]


def test_a_day_that_was_never_published_is_missing(lake):
    facts = facts_now(ATTRIBUTIONS, "jobs.attributions", {})
    assert why_build(Tables(str(lake)), ATTRIBUTIONS, after(2), facts)[2] == ["missing"]


def test_options_that_are_not_given_are_no_options():
    facts = facts_now(ATTRIBUTIONS, "jobs.attributions", {"b": 1, "a": None, "c": 0})
    assert facts["options"] == {"b": 1, "c": 0}


@pytest.mark.parametrize(("contract", "ages"), [(load("entire_space"), (1, 3, 8)), (SPACE, (1, 3))])
def test_labels_are_issued_again_at_the_ages_of_the_contract_and_not_between(contract, ages):
    found = {
        (known, now)
        for known in range(10)
        for now in range(known, 10)
        if stale_reasons({"label_as_of": (DAY + timedelta(days=known)).isoformat()}, contract, {}, DAY, DAY + timedelta(days=now), {})
    }
    assert found == {(known, now) for known in range(10) for now in range(known, 10) if any(known < age <= now for age in ages)}
    assert {now for known, now in found if known == 1} == set(range(3, 10)), "an age that was missed is made up for"


def test_what_a_reissue_says(tmp_path):
    receipt = {"label_as_of": "2026-01-11"}
    assert stale_reasons(receipt, SPACE, {}, DAY, after(3), {}) == ["labels still open: known for 1 of 3 days, now for 3"]
    assert stale_reasons({"label_as_of": None}, SPACE, {}, DAY, after(3), {}) == stale_reasons(receipt, SPACE, {}, DAY, None, {}) == []


def test_forward_days_count_by_the_labels_age_when_new_and_by_content_when_known(lake):
    put(lake, load("query_item_stats"), days(-1, 0))
    settle(lake, SPACE, [DAY])  # knows attributions of DAY and the day after: age 1
    assert reasons(lake, SPACE) == []
    settle(lake, ATTRIBUTIONS, [after(2)])
    assert reasons(lake, SPACE) == [], "age 2 is between the ages"
    settle(lake, ATTRIBUTIONS, [after(3)])
    assert reasons(lake, SPACE) == ["labels still open: known for 1 of 3 days, now for 3"]
    put(lake, ATTRIBUTIONS, [after(1)], content_hash="two")
    assert reasons(lake, SPACE) == ["input changed: attributions 2026-01-11", "labels still open: known for 1 of 3 days, now for 3"]
    settle(lake, SPACE, [DAY])
    assert reasons(lake, SPACE) == []


def test_a_contract_has_a_fingerprint_of_its_promises():
    contract = load("entire_space")
    assert contract_fingerprint(replace(contract, doc="Other words.")) == contract_fingerprint(contract)
    assert contract_fingerprint(replace(contract, reissue_after=(1, 8))) != contract_fingerprint(contract)


# --- code

JOB = '''"""Rows."""
from features.fake_feature import double
from jobs.fake_spine import run
from jobs import fake_helper
LIMIT = 3


def build(rows):
    """Few rows."""
    return double(rows)[:LIMIT]  # the first
'''
FILES = {
    "jobs/fake_job.py": JOB,
    "jobs/fake_spine.py": "run = 1\n",
    "jobs/fake_helper.py": "import features.fake_other\n",
    "features/fake_feature.py": "from features.fake_pack import part\nimport jobs.fake_unread\ndouble = part.twice\n",
    "features/fake_pack/__init__.py": "",
    "features/fake_pack/part.py": "def twice(x):\n    return 2 * x\n",
    "features/fake_other.py": "import features.fake_ring\nTHRESHOLD = 0.5\n",
    "features/fake_ring.py": "import features.fake_other\n",
    "features/fake_alone.py": "NOBODY = 1\n",
    "jobs/fake_unread.py": "X = 1\n",
}


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A job with a spine, a helper and features, each a file that a test may change."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(jobs, "__path__", [*jobs.__path__, str(tmp_path / "jobs")])
    monkeypatch.setattr(features, "__path__", [*features.__path__, str(tmp_path / "features")])
    monkeypatch.setattr(freshness, "SPINE", "jobs.fake_spine")
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("features.fake_pack", None)  # the one that is imported, to be looked into


def changes(sources: Path, file: str, old: str, new: str) -> bool:
    """Whether this edit changes the fingerprint of the job."""
    importlib.invalidate_caches()
    before = code_fingerprint.__wrapped__("jobs.fake_job")
    text = FILES[file]
    assert old in text
    (sources / file).write_text(text.replace(old, new))
    after_edit = code_fingerprint.__wrapped__("jobs.fake_job")
    (sources / file).write_text(text)
    assert code_fingerprint.__wrapped__("jobs.fake_job") == before
    return after_edit != before


def test_words_for_people_change_no_fingerprint(sources):
    edits = [
        ("# the first", "# LIMIT of them"),
        ('"""Few rows."""', '"""Some rows, and why."""'),
        ('    """Few rows."""\n', ""),
        ('"""Rows."""', '"""Other rows."""\n\n'),
        ("[:LIMIT]", "[ : LIMIT ]"),
    ]
    assert [edit for edit in edits if changes(sources, "jobs/fake_job.py", *edit)] == []


def test_whatever_decides_a_row_changes_it(sources):
    edits = [
        ("jobs/fake_job.py", "LIMIT = 3", "LIMIT = 4"),
        ("jobs/fake_job.py", "double(rows)[", "double(rows)[1:]["),
        ("jobs/fake_helper.py", "fake_other", "fake_alone"),
        ("features/fake_feature.py", "part.twice", "part.thrice"),
        ("features/fake_pack/part.py", "2 * x", "3 * x"),
        ("features/fake_other.py", "0.5", "0.25"),
    ]
    assert [edit for edit in edits if not changes(sources, *edit)] == []


def test_the_spine_and_what_is_not_imported_do_not(sources):
    edits = [
        ("jobs/fake_spine.py", "run = 1", "run = 2"),
        ("features/fake_alone.py", "1", "2"),
        ("jobs/fake_unread.py", "X = 1", "X = 2"),
    ]
    assert [edit for edit in edits if changes(sources, *edit)] == []


def test_the_real_jobs_see_their_features_and_not_how_they_are_run():
    seen: dict[str, str] = {}
    freshness._collect("jobs.attributions", seen)
    assert {"jobs.attributions", "features.attribution", "features.books"} <= set(seen)
    assert not {"jobs.run", "jobs.gate", "jobs.commit"} & set(seen)
    assert not [name for name in seen if name.startswith("schemas")]
    assert len({code_fingerprint(f"jobs.{name}") for name in ("attributions", "query_item_stats", "entire_space")}) == 3
