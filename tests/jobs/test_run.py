"""The life of a table-day from every entrance: built, found up to date, forced, raced, and told in a line or as JSON."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import functions as F

from jobs import run as spine
from jobs.commit import LostRaceError
from jobs.gate import GateError
from jobs.messages import UsageError
from jobs.run import Outcome, arg_parser, build_day, engine_versions, run, sentence
from jobs.storage import open_table, table_root
from schemas.contract import ContractError, quarantine_of
from tests.frames import DAY
from tests.jobs.counted import COUNTED, build, make_lake, put_events, run_day, spoiled, use_counted


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    use_counted(monkeypatch)
    yield make_lake(tmp_path)


def runs(lake: Path) -> list[str]:
    """Run folders under the table's root."""
    return sorted(path.name for path in Path(table_root(lake, COUNTED)).glob("day=*/b=*"))


def test_a_day_is_built_once_and_again_when_its_input_says_other_things(spark, lake):
    first = run_day(spark, lake)
    assert (first.status, first.reasons) == ("published", ("missing",))
    again = run_day(spark, lake)
    assert (again.status, again.reasons, again.receipt) == ("up_to_date", (), first.receipt)
    assert sentence(again) == "query_item_stats 2026-01-05: up to date (3 rows, version 1)"
    assert len(runs(lake)) == 1, "nothing was staged"
    put_events(lake, "lamp", "shoe", content_hash="two")
    changed = run_day(spark, lake)
    assert (changed.status, changed.reasons) == ("published", ("input changed: attributions 2026-01-05",))
    assert (changed.receipt["rows"], changed.receipt["publish"]) == (2, 2)
    assert sentence(changed).endswith("published as version 2, 2 rows (why: input changed: attributions 2026-01-05)")


def test_a_forced_day_gives_the_same_rows_or_is_refused(spark, lake):
    first = run_day(spark, lake)
    forced = run_day(spark, lake, force=True)
    assert (forced.status, forced.reasons, forced.receipt) == ("verified", ("forced",), first.receipt)
    assert runs(lake) == [f"b={first.receipt['run_id']}"], "what was staged to compare is gone"
    draw = spoiled(lambda rows: rows.withColumn("num_clicks_28d", (F.rand() * 90 + 2).cast("bigint")))
    with pytest.raises(GateError, match=rf"other rows came out: 3-[0-9a-f]{{16}} in place of {first.receipt['content_hash']}.*random draw"):
        run_day(spark, lake, draw, force=True)
    table = open_table(lake, COUNTED)
    assert (table.publishes(DAY), table.receipt(DAY)) == (1, first.receipt)
    assert {r["num_clicks_28d"] for r in table.read(spark, [DAY]).collect()} == {1}


def test_inputs_are_read_at_the_version_that_was_pinned(spark, lake, monkeypatch):
    left_sides = spine.left_sides

    def meanwhile(*pinned):  # another run publishes between pinning and reading
        put_events(lake, "lamp", content_hash="two")
        return left_sides(*pinned)

    with monkeypatch.context() as patch:
        patch.setattr(spine, "left_sides", meanwhile)
        outcome = run_day(spark, lake)
    assert outcome.receipt["rows"] == 3
    assert outcome.receipt["inputs"]["attributions"]["days"] == {"2026-01-05": "one"}
    assert run_day(spark, lake).reasons == ("input changed: attributions 2026-01-05",)


def test_broken_rows_are_found_in_quarantine_by_the_run(spark, lake):
    spoil = spoiled(lambda rows: rows.withColumn("num_pays_28d", F.when(F.col("item_id") == "i1", -1).otherwise(0)))
    outcome = run_day(spark, lake, spoil)
    receipt = outcome.receipt
    assert (receipt["rows"], receipt["quarantined"]) == (2, {"pays_not_negative": 1})
    assert receipt["accounts"][0]["fates"] == {"counted": 2, "uncredited": 1, "quarantined": 1}
    assert ", 2 rows, 1 quarantined (why: missing)" in sentence(outcome)
    taken = open_table(lake, quarantine_of(COUNTED), receipt["quarantine_version"]).read(spark, [DAY])
    rows = taken.where(F.col("run_id") == receipt["run_id"]).collect()
    assert [(r["rule"], json.loads(r["key"])) for r in rows] == [("pays_not_negative", {"query_norm": "shoe", "item_id": "i1"})]
    assert json.loads(rows[0]["row"])["num_pays_28d"] == -1 and rows[0]["day"] == DAY
    assert not list(Path(table_root(lake, COUNTED)).glob("day=*/b=*/split=[eq]*/*.parquet")), "kept rows alone stay staged"


def test_a_run_that_always_loses_gives_up_and_leaves_nothing(spark, lake, monkeypatch):
    tries = []

    def lose(*_):
        tries.append(runs(lake))
        raise LostRaceError("lost")

    monkeypatch.setattr(spine, "admit", lose)
    monkeypatch.setattr(spine, "MAX_RACES", 2)
    with pytest.raises(ContractError, match="2 other runs published this day while it was built"):
        run_day(spark, lake)
    assert [len(found) for found in tries] == [1, 1]
    assert runs(lake) == []


def test_options_reach_the_build_and_make_a_day_stale(spark, lake):
    given = []

    def with_limit(inputs, day, *, limit=9):
        given.append(limit)
        return build(inputs, day)

    with_limit.__module__ = build.__module__
    assert run_day(spark, lake, with_limit, options={"limit": 5}).receipt["options"] == {"limit": 5}
    assert run_day(spark, lake, with_limit, options={"limit": 5}).status == "up_to_date"
    assert run_day(spark, lake, with_limit, options={}).reasons == ("options changed",)
    assert given == [5, 9]


def test_days_to_come_and_lakes_that_are_not_there_are_refused_first(lake, tmp_path):
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    with pytest.raises(UsageError, match="the day is in the future; days are UTC"):
        build_day(None, str(lake), COUNTED, build, tomorrow)
    with pytest.raises(ContractError, match="no lake at"):
        build_day(None, str(tmp_path / "none"), COUNTED, build, DAY)


def test_a_submitted_job_prints_its_outcome_and_exits(spark, lake, monkeypatch, capsys):
    monkeypatch.setattr(spine, "session", lambda *_: spark)
    for as_json in (False, True):
        with pytest.raises(SystemExit) as ended:
            run(COUNTED, build, day=DAY, lake=str(lake), json=as_json)
        assert ended.value.code == 0
    told, document = capsys.readouterr().out.split("\n", 1)
    assert told == "query_item_stats 2026-01-05: published as version 1, 3 rows (why: missing)"
    assert (json.loads(document)["status"], json.loads(document)["receipt"]["rows"]) == ("up_to_date", 3)
    with pytest.raises(SystemExit) as ended:
        run(COUNTED, spoiled(lambda rows: rows.drop("item_id")), day=DAY, lake=str(lake), force=True)
    assert ended.value.code == 1
    assert "the build lacks columns ['item_id']" in capsys.readouterr().err


def test_the_options_of_a_job(monkeypatch, capsys):
    monkeypatch.delenv("SLUICE_LAKE", raising=False)
    parsed = arg_parser("Rows.").parse_args(["--day", "2026-01-05"])
    assert vars(parsed) == {"day": DAY, "lake": "./lake", "force": False, "json": False}
    monkeypatch.setenv("SLUICE_LAKE", "s3://bucket/lake")
    assert arg_parser().parse_args(["--day", "2026-01-05", "--force", "--json"]).lake == "s3://bucket/lake"
    for arguments, told in (
        (["--day", "5.1.2026"], "'5.1.2026' is no day, write it as 2026-01-05"),
        (["--day=2026-01-05", "--for"], "--for"),
    ):
        with pytest.raises(SystemExit) as ended:
            arg_parser().parse_args(arguments)
        assert ended.value.code == 2 and told in capsys.readouterr().err


def test_an_outcome_is_one_document_and_knows_its_engines():
    receipt = {"rows": 0, "version": 4, "quarantined": {}}
    outcome = Outcome("events", DAY, "verified", ("forced",), receipt)
    assert outcome.as_json() == {"table": "events", "day": "2026-01-05", "status": "verified", "reasons": ["forced"], "receipt": receipt}
    versions = engine_versions()
    assert versions["deltalake"].startswith("1.") and versions["pyspark"].startswith("4.") and versions["python"].startswith("3.")
