"""Runs as others hear of them: a refusal reaches the hook with what failed, and the run ends as it would without one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import functions as F

from jobs import ingest as ingesting
from jobs import run as spine
from jobs.commit import LostRaceError
from jobs.emit import LINEAGE, flush
from jobs.gate import GateError
from jobs.hook import HOOK
from schemas.contract import ContractError, load
from tests.frames import DAY
from tests.jobs.counted import COUNTED, TOO_MANY, make_lake, run_day, spoiled, use_counted


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    use_counted(monkeypatch)
    yield make_lake(tmp_path / "lake")


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a hook, a real command, was told so far."""
    file = tmp_path / "told"
    monkeypatch.setenv(HOOK, f"sh -c 'cat >> {file}; echo >> {file}'")
    return lambda: [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_refused_day_reaches_the_hook_with_what_failed(spark: Any, lake: Path, told: Any) -> None:
    too_many = spoiled(lambda rows: rows.withColumn("num_clicks_28d", F.lit(101)))
    with pytest.raises(GateError) as refused:
        run_day(spark, lake, too_many)
    (what,) = told()
    assert (what["kind"], what["table"], what["day"], what["owner"]) == ("refused", COUNTED.name, str(DAY), COUNTED.owner)
    assert what["expectations"] == [TOO_MANY] and what["reason"] == str(refused.value)
    assert what["look"] == f"sluice gate {COUNTED.name} --day {DAY} --lake {lake}"
    assert (lake / COUNTED.name / "v1" / f"day={DAY}" / f"b={what['run_id']}").is_dir()
    run_day(spark, lake)
    assert len(told()) == 1, "a published day is no news"
    assert flush(20)
    runs = [[json.loads(line) for line in path.read_text().splitlines()] for path in sorted((lake / LINEAGE / COUNTED.name).iterdir())]
    assert sorted([(e["eventType"], e["job"]["name"]) for e in events] for events in runs) == [
        [("START", COUNTED.name), (end, COUNTED.name), ("START", f"{COUNTED.name}.gate"), (end, f"{COUNTED.name}.gate")]
        for end in ("COMPLETE", "FAIL")
    ]
    refusal = next(e for events in runs for e in events if e["eventType"] == "FAIL" and "gate" not in e["job"]["name"])
    assert refusal["run"]["facets"]["errorMessage"]["message"] == str(refused.value)


def test_a_build_that_fails_and_a_race_that_is_lost_are_told(spark: Any, lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ContractError):
        run_day(spark, lake, spoiled(lambda rows: rows.drop("item_id")))
    with monkeypatch.context() as patch, pytest.raises(ContractError):
        patch.setattr(spine, "MAX_RACES", 1)
        patch.setattr(spine, "publish_rows", lose)
        run_day(spark, lake)
    assert flush(20)
    ends = [json.loads(path.read_text().splitlines()[-1]) for path in (lake / LINEAGE / COUNTED.name).iterdir()]
    found = {e["eventType"]: e["run"]["facets"]["errorMessage"]["message"] for e in ends}
    assert set(found) == {"FAIL", "ABORT"} and found["ABORT"] == "overtaken"
    assert found["FAIL"].startswith("ContractError: ") and "item_id" in found["FAIL"]


def lose(*_: Any) -> None:
    raise LostRaceError("overtaken")


def test_books_that_do_not_balance_reach_it_with_the_account(spark: Any, lake: Path, told: Any) -> None:
    with pytest.raises(GateError, match="the books do not balance"):
        run_day(spark, lake, spoiled(lambda rows: rows.where("item_id <> 'i1'")))
    (what,) = told()
    (account,) = what["accounts"]
    assert (account["account"], account["in"], account["difference"]) == ("events", 4, 1) and what["expectations"] == []


def test_lines_of_a_source_that_are_lost_reach_it_too(told: Any, monkeypatch: pytest.MonkeyPatch, spark: Any, tmp_path: Path) -> None:
    rows = spark.range(2).selectExpr(f"date'{DAY}' as day", "'kept' as _fate", "1L as _num_lines")
    raw = ingesting.RawTable(rows, 3)
    with pytest.raises(GateError, match="read 3 lines, its rows stand for 2"):
        list(ingesting._ingest_table(spark, str(tmp_path / "lake"), load("items"), raw, (DAY, DAY), set(), {"source": "files"}))
    (what,) = told()
    assert (what["kind"], what["table"], what["day"], what["run_id"]) == ("refused", "items", str(DAY), None)
    assert "read 3 lines" in what["reason"] and what["look"] == "sluice ingest files --help-source"


def test_a_broken_hook_changes_nothing(spark: Any, lake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(HOOK, "/no/such/program")
    with pytest.raises(GateError):
        run_day(spark, lake, spoiled(lambda rows: rows.withColumn("num_clicks_28d", F.lit(101))))
    assert "the hook /no/such/program was not told" in capsys.readouterr().err
