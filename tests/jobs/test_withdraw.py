"""Withdrawing a day: what stood before stands again for both readers, with a receipt; nothing is built in its place unasked."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from deltalake import DeltaTable

from jobs import withdraw as module
from jobs.commit import LostRaceError, publish
from jobs.inputs import Tables, pin
from jobs.maintain import maintain
from jobs.messages import UsageError
from jobs.plan import plan
from jobs.run import facts_now, sentence, why_build
from jobs.storage import NotPublishedError, open_table, table_root
from jobs.withdraw import withdraw
from schemas.contract import ContractError, load
from schemas.items import CONTRACT as ITEMS
from tests.jobs import counted
from tests.jobs.published import item, publish_day
from tests.jobs.receipts_only import ATTRIBUTIONS, STATS, after, days, put, settle, use_small_windows
from training.manifest import ManifestError, create

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY, OTHER = date(2026, 1, 5), date(2026, 1, 6)
NOW = timedelta(0)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A day published twice, as a and then as b and c, and another day."""
    folder = tmp_path / "a lake ü"
    publish_day(folder, ITEMS, DAY, [item("a")], quarantined={"rule": 1})
    publish_day(folder, ITEMS, OTHER, [item("other")], run="other")
    publish_day(folder, ITEMS, DAY, [item("b")], [item("c")], run="two", quarantined={})
    return folder


def ids(lake: Path, version: int | None = None) -> list[str]:
    return sorted(DeltaTable(table_root(lake, ITEMS), version=version).to_pyarrow_table()["item_id"].to_pylist())


def items(lake: Path) -> Any:
    return open_table(lake, ITEMS)


def test_what_stood_before_stands_again_with_a_receipt_of_its_own(lake, monkeypatch):
    monkeypatch.setenv("LOGNAME", "ann")
    first, second = items(lake).change(DAY, 1), items(lake).receipt(DAY)
    receipt = withdraw(str(lake), ITEMS, DAY, "prices were in yuan")
    assert ids(lake) == ["a", "other"] and ids(lake, second["version"]) == ["b", "c", "other"]
    facts = receipt["withdrawal"]
    assert (facts["by"], facts["because"], facts["withdraws"], facts["restores"]) == ("ann", "prices were in yuan", 2, 1)
    assert (receipt["publish"], receipt["version"], receipt["reasons"]) == (3, second["version"] + 1, ["withdrawn: prices were in yuan"])
    kept = ("rows", "bytes", "content_hash", "quarantined", "run_id", "code")
    assert {name: receipt[name] for name in kept} == {name: first[name] for name in kept}
    assert items(lake).receipt(DAY) == receipt and items(lake).publishes(DAY) == 3
    assert publish_day(lake, ITEMS, DAY, [item("d")], run="four")["publish"] == 4
    assert ids(lake) == ["d", "other"] and items(lake).built(DAY)["publish"] == 4


def test_both_engines_read_what_came_back_and_skip_files_by_its_statistics(spark: "SparkSession", lake: Path) -> None:
    withdraw(str(lake), ITEMS, DAY, "why not")
    assert sorted(r["item_id"] for r in items(lake).read(spark, [DAY]).collect()) == ["a"]
    table = spark.read.format("delta").load(table_root(lake, ITEMS))
    assert [r["item_id"] for r in table.where("day = '2026-01-05' and item_id = 'a'").collect()] == ["a"]
    assert table.where("day = '2026-01-05' and item_id = 'b'").count() == 0


def test_a_day_that_had_nothing_before_is_not_published_any_more(lake):
    before = items(lake).version
    receipt = withdraw(str(lake), ITEMS, OTHER, "half a day of logs")
    table = items(lake)
    assert ids(lake) == ["b", "c"] and ids(lake, before) == ["b", "c", "other"]
    assert (table.publishes(OTHER), table.changes(OTHER), table.days, table.days_ever) == (0, 2, [DAY], [DAY, OTHER])
    assert receipt["withdrawal"]["restores"] == 0 and table.change(OTHER, 2) == receipt
    with pytest.raises(NotPublishedError, match=r"items 2026-01-06 was withdrawn by .*half a day of logs.*nothing stands in its place"):
        table.receipt(OTHER)
    with pytest.raises(ManifestError, match="2026-01-06"):
        create(lake, "both", "items", f"{DAY}..{OTHER}")
    assert publish_day(lake, ITEMS, OTHER, [item("whole")], run="again")["publish"] == 3
    assert ids(lake) == ["b", "c", "whole"] and items(lake).days == [DAY, OTHER]


def test_a_receipt_of_a_withdrawal_is_rebuilt_from_the_log(lake):
    for day in (DAY, OTHER):
        receipt = withdraw(str(lake), ITEMS, day, "because")
        Path(table_root(lake, ITEMS), "_receipts", f"{day}.{receipt['publish']}.json").unlink()
        assert items(lake).change(day, receipt["publish"]) == receipt


def test_withdrawing_again_goes_further_back_and_a_version_brings_back_what_it_held(lake):
    second = items(lake).version
    withdraw(str(lake), ITEMS, DAY, "wrong")
    assert withdraw(str(lake), ITEMS, DAY, "wrong too")["withdrawal"] | {"by": 0, "at": 0} == {
        "by": 0, "at": 0, "because": "wrong too", "withdraws": 1, "restores": 0,
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"nothing stands in its place.*--to VERSION"):
        withdraw(str(lake), ITEMS, DAY, "once more")
    receipt = withdraw(str(lake), ITEMS, DAY, "it was right", to=second)
    assert (receipt["withdrawal"]["withdraws"], receipt["withdrawal"]["restores"]) == (0, 2)
    assert ids(lake) == ["b", "c", "other"]
    with pytest.raises(UsageError, match="stands already"):
        withdraw(str(lake), ITEMS, DAY, "again", to=second)
    assert withdraw(str(lake), ITEMS, DAY, "all of it", to=0)["withdrawal"]["restores"] == 0


def test_after_a_publish_that_followed_a_withdrawal_the_state_before_it_comes_back(lake):
    withdraw(str(lake), ITEMS, DAY, "b is wrong")
    publish_day(lake, ITEMS, DAY, [item("d")], run="four")
    assert withdraw(str(lake), ITEMS, DAY, "d too")["withdrawal"] | {"by": 0, "at": 0, "because": 0} == {
        "by": 0, "at": 0, "because": 0, "withdraws": 4, "restores": 1,
    }  # fmt: skip
    assert ids(lake) == ["a", "other"]


def test_a_compacted_day_comes_back_from_the_compacted_file(lake):
    DeltaTable(table_root(lake, ITEMS)).optimize.compact()
    assert list(maintain(str(lake), NOW)), "the two files of the day and the one before"
    publish_day(lake, ITEMS, DAY, [item("d")], run="four")
    withdraw(str(lake), ITEMS, DAY, "d is wrong")
    assert ids(lake) == ["b", "c", "other"]
    assert not [f for f in maintain(str(lake), NOW) if "four" not in f["path"]], "what stands again is not taken for replaced"
    assert ids(lake) == ["b", "c", "other"]


def test_files_that_are_gone_are_named_and_nothing_changes(lake):
    before = items(lake).version
    list(maintain(str(lake), NOW))
    with pytest.raises(ContractError, match=r"items 2026-01-05 as of version 2 cannot be brought back: files are gone.*b=one.*maintain"):
        withdraw(str(lake), ITEMS, DAY, "b is wrong")
    assert items(lake).version == before and ids(lake) == ["b", "c", "other"]


def test_what_cannot_be_meant_is_told(lake):
    with pytest.raises(NotPublishedError, match="items 2026-02-01 was never published: there is nothing to withdraw"):
        withdraw(str(lake), ITEMS, date(2026, 2, 1), "because")
    with pytest.raises(ContractError, match=r"does not hold version 99, .*the newest is 3"):
        withdraw(str(lake), ITEMS, DAY, "because", to=99)
    for log in Path(table_root(lake, ITEMS), "_delta_log").glob("*1.json"):
        DeltaTable(table_root(lake, ITEMS)).create_checkpoint()
        log.unlink()
    with pytest.raises(ContractError, match="does not hold version 1"):
        withdraw(str(lake), ITEMS, DAY, "because", to=1)


def test_a_publish_in_between_wins_and_is_not_withdrawn(lake, monkeypatch):
    real = module.publish

    def late(*arguments: Any, **options: Any) -> Any:
        publish_day(lake, ITEMS, DAY, [item("new")], run="meanwhile")
        return real(*arguments, **options)

    monkeypatch.setattr(module, "publish", late)
    with pytest.raises(LostRaceError):
        withdraw(str(lake), ITEMS, DAY, "b is wrong")
    assert ids(lake) == ["new", "other"]


def test_of_four_who_withdraw_at_once_one_does_and_a_publish_of_another_day_disturbs_nobody(lake, monkeypatch):
    real, meet = module.publish, threading.Barrier(5)

    def together(*arguments: Any, **options: Any) -> Any:
        meet.wait(20)
        return real(*arguments, **options)

    def take_back(number: int) -> int:
        try:
            return withdraw(str(lake), ITEMS, DAY, f"reason {number}")["withdrawal"]["restores"]
        except LostRaceError:
            return -1

    monkeypatch.setattr(module, "publish", together)
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(take_back, n) for n in range(4)]
        meet.wait(20)
        publish_day(lake, ITEMS, OTHER, [item("newer")], run="newer")
    assert sorted(r.result() for r in running) == [-1, -1, -1, 1]
    assert ids(lake) == ["a", "newer"] and items(lake).changes(DAY) == 3


def test_a_run_that_a_withdrawal_overtakes_does_not_publish(lake):
    seen = items(lake).changes(OTHER)
    withdraw(str(lake), ITEMS, OTHER, "wrong")
    with pytest.raises(LostRaceError):
        publish(table_root(lake, ITEMS), ITEMS, OTHER, [], {"table": "items", "day": str(OTHER), "run_id": "late"}, seen)


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Raw days 0 to 3, attributions of all of them; day 1 was published twice."""
    use_small_windows(monkeypatch)
    for raw in ("requests", "events"):
        put(tmp_path, load(raw), days(0, 3))
    settle(tmp_path, ATTRIBUTIONS, days(0, 3), content_hash="one")
    put(tmp_path, load("events"), [after(1)], content_hash="two")
    settle(tmp_path, ATTRIBUTIONS, [after(1)], content_hash="two")
    settle(tmp_path, STATS, days(0, 3))
    return tmp_path


def reasons(lake: Path, number: int) -> list[str]:
    return why_build(Tables(str(lake)), ATTRIBUTIONS, after(number), facts_now(ATTRIBUTIONS, "jobs.attributions", {}))[2]


@pytest.mark.parametrize(("number", "stands"), [(1, 3), (2, 0)])
def test_a_withdrawn_day_stays_so_until_its_inputs_or_code_change(pipeline, monkeypatch, number, stands):
    withdraw(str(pipeline), ATTRIBUTIONS, after(number), "labels were wrong")
    assert open_table(pipeline, ATTRIBUTIONS).publishes(after(number)) == stands
    assert reasons(pipeline, number) == []
    (step,) = plan(str(pipeline), "attributions", after(number), after(number))
    assert step.reasons == () and "labels were wrong" in step.note and "--force" in step.note
    with monkeypatch.context() as patched:
        patched.setattr("jobs.run.code_fingerprint", lambda _: "other")
        assert reasons(pipeline, number) == ["code changed"]
    put(pipeline, load("events"), [after(number)], content_hash="three")
    assert reasons(pipeline, number) == [f"input changed: events {after(number)}"]


def test_readers_of_a_withdrawn_day_are_stale_or_told_of_the_hole(pipeline):
    stats = facts_now(STATS, "jobs.query_item_stats", {})
    withdraw(str(pipeline), ATTRIBUTIONS, after(1), "labels were wrong")
    for number in (1, 2):
        assert why_build(Tables(str(pipeline)), STATS, after(number), stats)[2] == ["input changed: attributions 2026-01-11"]
    withdraw(str(pipeline), ATTRIBUTIONS, after(2), "labels were wrong")
    with pytest.raises(NotPublishedError, match=r"attributions 2026-01-12 is not published.*was withdrawn by .*labels were wrong"):
        pin(Tables(str(pipeline)), STATS, after(2))


def test_a_first_raw_day_that_was_withdrawn_is_a_hole_and_no_history(pipeline):
    withdraw(str(pipeline), load("requests"), after(0), "bots")
    with pytest.raises(NotPublishedError, match=r"requests 2026-01-10 is not published.*was withdrawn"):
        pin(Tables(str(pipeline)), ATTRIBUTIONS, after(1))


def test_a_withdrawn_day_is_left_alone_by_a_run_and_built_by_force(spark, tmp_path, monkeypatch):
    counted.use_counted(monkeypatch)
    lake = counted.make_lake(tmp_path)
    first = counted.run_day(spark, lake)
    withdraw(str(lake), counted.COUNTED, counted.DAY, "not so")
    left = counted.run_day(spark, lake)
    assert left.status == "withdrawn" and "not so" in sentence(left) and json.dumps(left.as_json())
    forced = counted.run_day(spark, lake, force=True)
    assert (forced.status, forced.reasons, forced.receipt["publish"]) == ("published", ("forced",), 3)
    assert forced.receipt["content_hash"] == first.receipt["content_hash"]
    assert counted.run_day(spark, lake).status == "up_to_date"
