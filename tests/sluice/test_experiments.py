"""Logs and tables of an experiment: made once, refused where others lie, filled up where a run was stopped."""

from datetime import date, timedelta
from types import SimpleNamespace

import pytest

from jobs.run import UsageError
from jobs.storage import lake_address
from schemas.contract import load
from sluice import experiments
from tests.jobs.published import publish_day

FIRST = experiments.FIRST
DAYS = (FIRST, FIRST + timedelta(days=1))


@pytest.fixture
def filled(tmp_path, monkeypatch):
    """Ingests that were begun; what they are given."""
    begun = []

    def ingest(*given):
        begun.append(given)
        return [SimpleNamespace(table="events", day=FIRST, receipt={"rows": 3})]

    monkeypatch.setattr(experiments, "ingest_source", ingest)
    return begun


def publish(lake, table, *days: date):
    for day in days:
        publish_day(lake, load(table), day, options={"source": "simulator", "users": "80"})


def fill(lake, **options):
    experiments.ingest(lambda: None, lake_address(lake), "simulator", None, DAYS, {"users": "80"} | options)


def test_logs_are_made_once(tmp_path, filled, capsys):
    fill(tmp_path / "lake")
    assert len(filled) == 1 and "3 raw rows" in capsys.readouterr().err
    for table in ("requests", "events"):
        publish(tmp_path / "lake", table, *DAYS)
    fill(tmp_path / "lake")
    assert len(filled) == 1


def test_half_filled_logs_are_made_anew_with_their_truth(tmp_path, filled):
    publish(tmp_path / "lake", "requests", *DAYS)
    publish(tmp_path / "lake", "events", FIRST)
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "half").touch()
    fill(tmp_path / "lake", truth=str(tmp_path / "truth"))
    assert len(filled) == 1 and not (tmp_path / "truth").exists(), "the source wants it empty"


@pytest.mark.parametrize(("users", "day"), [("400", FIRST), ("80", FIRST + timedelta(days=2))])
def test_a_folder_of_other_logs_is_refused(tmp_path, filled, users, day):
    publish(tmp_path / "lake", "events", day)
    with pytest.raises(UsageError, match="holds other logs than this run would make; choose another folder with --out"):
        fill(tmp_path / "lake", users=users)


def test_what_is_up_to_date_is_not_built(tmp_path, monkeypatch, capsys):
    steps = [SimpleNamespace(reasons=["missing"]), SimpleNamespace(reasons=[])]
    ran = []
    monkeypatch.setattr(experiments, "plan", lambda lake, table, first, last, with_upstream: steps)
    monkeypatch.setattr(experiments, "run_plan", lambda spark, lake, todo: ran.append(todo) or [])
    experiments.build(lambda: None, "lake", "query_stats", DAYS)
    assert ran == [steps[:1]] and "Building 1 table-days for query_stats 2026-01-01..2026-01-02" in capsys.readouterr().err
    steps.pop(0)
    experiments.build(None, "lake", "query_stats", DAYS)
    assert len(ran) == 1


@pytest.mark.parametrize(("seconds", "said"), [(1, "1 minute"), (130, "2 minutes"), (7200, "2.0 hours")])
def test_spans_are_told_in_words(seconds, said):
    assert experiments.span(seconds) == said
