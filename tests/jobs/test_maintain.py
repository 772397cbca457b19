"""What the sweep of a lake takes away, and what it must leave: work in progress, and whatever a reader can still see."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from jobs.emit import LINEAGE
from jobs.maintain import MANIFESTS, maintain
from jobs.storage import OWNER, table_root
from schemas.contract import ContractError, quarantine_of
from schemas.items import CONTRACT as ITEMS
from tests.jobs.published import item, publish_day, stage
from training.manifest import FOLDER, Manifest, create, delete, load, verify

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY = date(2026, 1, 5)
WEEK, NOW = timedelta(days=7), timedelta(0)
HOUR = 3600


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """One published day of one row."""
    folder = tmp_path / "a lake ü"
    publish_day(folder, ITEMS, DAY, [item("a")])
    return folder


def root(lake: Path) -> Path:
    return Path(table_root(lake, ITEMS))


def dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def owner(pid: int | None = None, host: str | None = None, started_at: str | None = None) -> dict[str, Any]:
    """The facts that a run leaves of itself; of this process, unless told otherwise."""
    started = started_at or datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": pid or os.getpid(), "host": host or socket.gethostname(), "started_at": started}


def stage_run(lake: Path, name: str, age_s: float = 0, **facts: Any) -> Path:
    """A staged run of DAY with its draft, last touched `age_s` ago."""
    folder = stage(lake, ITEMS, DAY, [item(name)], name)
    draft = {"table": "items", "day": DAY.isoformat(), "run_id": name, "seen": 1} | owner() | facts
    (folder / "_staged.json").write_text(json.dumps(draft))
    return aged(folder, age_s)


def aged(path: Path, age_s: float) -> Path:
    moment = time.time() - age_s
    for each in [*path.rglob("*"), path]:
        os.utime(each, (moment, moment))
    return path


def swept(lake: Path, retention: timedelta = WEEK, dry_run: bool = False) -> dict[str, str]:
    """Paths taken away, relative to the lake, and why."""
    return {str(Path(f["path"]).relative_to(lake)): f["why"] for f in maintain(str(lake), retention, dry_run=dry_run)}


def items_at(lake: Path, version: int | None = None) -> list[str]:
    return sorted(DeltaTable(str(root(lake)), version=version).to_pyarrow_table()["item_id"].to_pylist())


def names(paths: dict[str, str]) -> set[str]:
    return {Path(p).name for p in paths}


def test_runs_that_died_go_and_those_at_work_stay(lake: Path) -> None:
    dead = dead_pid()
    stage_run(lake, "dead", pid=dead)
    stage_run(lake, "younger-process-has-its-number", started_at="2001-01-01T00:00:00+00:00")
    stage_run(lake, "other-host-long-ago", age_s=25 * HOUR, host="elsewhere", pid=dead)
    stays = [
        stage_run(lake, "live", age_s=30 * 24 * HOUR),
        stage_run(lake, "other-host", age_s=23 * HOUR, host="elsewhere", pid=dead),
    ]
    taken = swept(lake)
    assert names(taken) == {"b=dead", "b=younger-process-has-its-number", "b=other-host-long-ago"}
    assert set(taken.values()) == {"run of items that published nothing"}
    assert not any((lake / path).exists() for path in taken)
    assert all((folder / "split=kept" / "part-0.parquet").exists() for folder in stays)
    assert swept(lake) == {}
    assert items_at(lake) == ["a"]


def test_a_day_that_its_gate_refused_stays_until_retention_or_the_next_publish(lake: Path) -> None:
    dead = dead_pid()
    young = stage_run(lake, "refused", age_s=6 * 24 * HOUR, pid=dead, build_s=1.5)
    stage_run(lake, "refused-long-ago", age_s=8 * 24 * HOUR, pid=dead, build_s=1.5)
    stage_run(lake, "died-while-staging", pid=dead)
    assert names(swept(lake)) == {"b=refused-long-ago", "b=died-while-staging"}
    publish_day(lake, ITEMS, DAY, [item("b")], run="two")
    assert names(swept(lake)) == {"b=refused"}
    assert not young.exists()


def test_what_a_published_run_left_beside_its_files_goes(lake: Path) -> None:
    published = root(lake) / f"day={DAY}" / "b=one"
    aside = published / "split=quarantined" / "part-0.parquet"
    aside.parent.mkdir()
    aside.write_text("x")
    checksums = [published / "split=kept" / f".part-{n}.parquet.crc" for n in (0, 7)]  # there is no part 7
    for checksum in checksums:
        checksum.write_text("x")
    draft = published / "_staged.json"
    draft.write_text(json.dumps(owner(pid=dead_pid()) | {"table": "items", "day": DAY.isoformat(), "seen": 0, "build_s": 1}))
    taken = swept(lake)
    assert {lake / p for p in taken} == {aside, checksums[1], draft}
    assert set(taken.values()) == {"leftover of a published run of items"}
    assert checksums[0].exists() and items_at(lake) == ["a"]


def test_a_draft_or_receipt_that_is_just_being_written_stays(lake: Path) -> None:
    places = {"young": 0, "old": 2 * HOUR}
    for name, age in places.items():
        folder = root(lake) / f"day={DAY}" / f"b={name}"
        folder.mkdir()
        (folder / "_staged.json.1.tmp").write_text("{")
        receipt = root(lake) / "_receipts" / f"2026-01-05.9.json.{name}.tmp"
        receipt.write_text("{")
        aged(folder, age), aged(receipt, age)
    taken = swept(lake)
    assert names(taken) == {"b=old", "2026-01-05.9.json.old.tmp"}
    assert taken["items/v1/_receipts/2026-01-05.9.json.old.tmp"] == "half a receipt of items"


def test_staged_quarantine_lives_as_long_as_its_run(lake: Path) -> None:
    quarantine = quarantine_of(ITEMS)
    row = {"run_id": "r", "rule": "r", "key": "k", "row": "{}", "reason": "r"}
    for name, pid in (("live", os.getpid()), ("dead", dead_pid())):
        stage_run(lake, name, pid=pid)
        aged(stage(lake, quarantine, DAY, [row], name), HOUR)
    publish_day(lake, quarantine, DAY, [row], run="published")
    assert set(swept(lake)) == {f"{table}/v1/day={DAY}/b=dead" for table in ("items", "items_quarantine")}


def test_scratch_goes_when_its_owner_has_ended_however_long_it_works(lake: Path) -> None:
    for name, facts, age in (
        ("live", owner(), 30 * HOUR),
        ("dead", owner(pid=dead_pid()), 0),
        ("no-owner-yet", None, 0),
        ("old", None, HOUR),
    ):
        folder = lake / "_scratch" / name
        (folder / "rows").mkdir(parents=True)
        (folder / "rows" / "part.parquet").write_text("12345")
        if facts:
            (folder / OWNER).write_text(json.dumps(facts))
        aged(folder, age)
    assert names(swept(lake)) == {"dead", "old"}
    assert sorted(p.name for p in (lake / "_scratch").iterdir()) == ["live", "no-owner-yet"]


def test_replaced_files_stay_readable_until_retention_is_over_for_both_readers(spark: "SparkSession", lake: Path) -> None:
    for run in ("two", "three"):
        publish_day(lake, ITEMS, DAY, [item(run)], run=run)
    publish_day(lake, ITEMS, date(2026, 1, 6), [item("other")], run="other")
    live = stage_run(lake, "live", age_s=30 * 24 * HOUR)
    assert swept(lake) == {}
    assert [items_at(lake, version) for version in (1, 2, 3, 4)] == [["a"], ["two"], ["three"], ["other", "three"]]
    taken = swept(lake, NOW)
    assert {p.split("/b=")[1] for p in taken} == {"one/split=kept/part-0.parquet", "two/split=kept/part-0.parquet"}
    assert not any((lake / path).exists() for path in taken)
    assert sorted(p.name for p in (root(lake) / f"day={DAY}").iterdir()) == ["b=live", "b=three"], "no empty folder stays"
    assert (live / "split=kept" / "part-0.parquet").exists()
    assert items_at(lake) == ["other", "three"]
    if not spark.conf.get("spark.driver.extraClassPath", ""):
        pytest.skip("Delta's jars are not there; fetch them: python -m jobs.jars")
    by_spark = spark.read.format("delta").load(str(root(lake))).select("item_id").collect()
    assert sorted(r["item_id"] for r in by_spark) == ["other", "three"]


def test_checksums_go_with_their_files_and_empty_folders_after_a_while(lake: Path) -> None:
    publish_day(lake, ITEMS, DAY, [item("b")], run="two")
    checksums = {run: root(lake) / f"day={DAY}" / f"b={run}" / "split=kept" / ".part-0.parquet.crc" for run in ("one", "two")}
    for checksum in checksums.values():
        checksum.write_text("x")
    for name, age in (("emptied-before", HOUR), ("just-made", 0)):
        folder = root(lake) / f"day={DAY}" / f"b={name}"
        (folder / "split=kept").mkdir(parents=True)
        aged(folder, age)
    assert swept(lake, WEEK) == {f"items/v1/day={DAY}/b=emptied-before": "empty folder of items"}
    taken = swept(lake, NOW)
    assert {lake / path for path in taken} == {checksums["one"], checksums["one"].with_name("part-0.parquet")}
    assert checksums["two"].exists() and items_at(lake) == ["b"]
    assert sorted(p.name for p in (root(lake) / f"day={DAY}").iterdir()) == ["b=just-made", "b=two"]


def test_files_that_a_compaction_replaced_go_too(lake: Path) -> None:
    publish_day(lake, ITEMS, DAY, [item("b")], [item("c")], run="two")
    DeltaTable(str(root(lake))).optimize.compact()
    (compacted,) = (root(lake) / f"day={DAY}").glob("*.parquet")
    swept(lake, NOW)
    assert [p for p in (root(lake) / f"day={DAY}").rglob("*") if p.is_file()] == [compacted]
    assert items_at(lake) == ["b", "c"]


def rows_of(manifest: Manifest) -> list[str]:
    return [i for f in manifest.files for i in pq.ParquetFile(f"{manifest.root}/{f.path}").read(["item_id"])["item_id"].to_pylist()]


@pytest.mark.parametrize("log", ["whole", "checkpoint"])
def test_what_a_manifest_names_stays_for_as_long_as_the_manifest_is_there(lake: Path, log: str) -> None:
    """Also when the log has forgotten what was replaced, as after a month."""
    publish_day(lake, ITEMS, DAY, [item("b")], [item("c")], run="two")
    create(lake, "second", "items", f"{DAY}..{DAY}")
    for run in ("three", "four"):
        publish_day(lake, ITEMS, DAY, [item(run)], run=run)
    if log == "checkpoint":
        DeltaTable(str(root(lake))).create_checkpoint()
        for commit in (root(lake) / "_delta_log").glob("*.json"):
            commit.unlink()
    taken = swept(lake, NOW)
    assert {p.split("/b=")[1].split("/")[0] for p in taken} == {"one", "three"}
    pinned = load(lake, "second")
    assert (rows_of(pinned), verify(pinned), items_at(lake)) == (["b", "c"], [], ["four"])
    assert swept(lake, NOW) == {}
    delete(lake, "second")
    assert {p.split("/b=")[1].split("/")[0] for p in swept(lake, NOW)} == {"two"}
    assert len(verify(pinned)) == 2 and all("is gone" in fault for fault in verify(pinned))
    assert items_at(lake) == ["four"]


def test_files_that_a_manifest_shares_with_the_table_or_another_manifest_stay(lake: Path) -> None:
    other = date(2026, 1, 6)
    publish_day(lake, ITEMS, other, [item("b")])
    create(lake, "both", "items", f"{DAY}..{other}")
    create(lake, "first", "items", f"{DAY}..{DAY}")
    publish_day(lake, ITEMS, DAY, [item("c")], run="two")
    delete(lake, "both")
    assert swept(lake, NOW) == {}
    delete(lake, "first")
    assert swept(lake, NOW) == {f"items/v1/day={DAY}/b=one/split=kept/part-0.parquet": "replaced in items"}
    assert items_at(lake) == ["b", "c"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"table": "items", "contract_version": 1, "files": ["x"]}'])
def test_a_manifest_that_cannot_be_read_stops_the_sweep_before_anything_goes(lake: Path, text: str) -> None:
    publish_day(lake, ITEMS, DAY, [item("b")], run="two")
    (lake / MANIFESTS).mkdir()
    (lake / MANIFESTS / "broken.json").write_text(text)
    before = sorted(lake.rglob("*"))
    with pytest.raises(ContractError, match=r"broken\.json cannot be read.*sluice manifest delete broken"):
        swept(lake, NOW)
    assert sorted(lake.rglob("*")) == before
    delete(lake, "broken")
    assert len(swept(lake, NOW)) == 1


def test_half_a_manifest_goes_after_a_while(lake: Path) -> None:
    create(lake, "base", "items", f"{DAY}..{DAY}")
    for name, age in (("young", 0), ("old", 2 * HOUR)):
        cut_off = lake / FOLDER / f"{name}.json.17.tmp"
        cut_off.write_text("{")
        aged(cut_off, age)
    assert swept(lake) == {f"{MANIFESTS}/old.json.17.tmp": "half a manifest"}
    assert sorted(p.name for p in (lake / MANIFESTS).iterdir()) == ["base.json", "young.json.17.tmp"]


def test_plans_of_backfills_go_when_they_are_old(lake: Path) -> None:
    for name, age in (("young", HOUR), ("old", 8 * 24 * HOUR)):
        plan = lake / "_plans" / f"{name}.json"
        plan.parent.mkdir(exist_ok=True)
        plan.write_text("{}")
        aged(plan, age)
    assert swept(lake) == {"_plans/old.json": "plan of a backfill"}


def test_lineage_of_runs_goes_after_a_season(lake: Path) -> None:
    for name, age in (("young.jsonl", 80 * 24 * HOUR), ("old.jsonl", 91 * 24 * HOUR), ("cut.jsonl.17.tmp", HOUR)):
        file = lake / LINEAGE / "items" / f"{DAY}.{name}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
        aged(file, age)
    items = f"{LINEAGE}/items/{DAY}"
    assert swept(lake) == {f"{items}.old.jsonl": "lineage of a run", f"{items}.cut.jsonl.17.tmp": "half the lineage of a run"}


def test_a_dry_run_names_what_the_next_run_takes_and_takes_nothing(lake: Path) -> None:
    stage_run(lake, "dead", pid=dead_pid())
    publish_day(lake, ITEMS, DAY, [item("b")], run="two")
    (lake / "_scratch" / "old").mkdir(parents=True)
    aged(lake / "_scratch" / "old", HOUR)
    before = sorted(lake.rglob("*"))
    announced = swept(lake, NOW, dry_run=True)
    assert sorted(lake.rglob("*")) == before
    assert names(announced) == {"b=dead", "part-0.parquet", "old"}
    assert swept(lake, NOW) == announced


@pytest.mark.parametrize("seen_through", [lambda lake: lake, lambda lake: lake.with_name("link")], ids=["itself", "link"])
def test_published_files_stay_when_the_log_holds_them_in_a_checkpoint_only(lake: Path, seen_through: Callable[[Path], Path]) -> None:
    """As after a month, when Delta drops the commits that a checkpoint stands for."""
    lake.with_name("link").symlink_to(lake)
    DeltaTable(str(root(lake))).create_checkpoint()
    for commit in (root(lake) / "_delta_log").glob("*.json"):
        commit.unlink()
    assert list((root(lake) / "_delta_log").glob("*.checkpoint.parquet"))
    assert swept(seen_through(lake)) == {}
    assert pq.read_table(root(lake) / f"day={DAY}" / "b=one" / "split=kept" / "part-0.parquet").num_rows == 1


def test_a_lake_on_an_object_store_is_left_to_its_own_rules() -> None:
    with pytest.raises(ContractError, match="s3://bucket/lake is an object store"):
        list(maintain("s3://bucket/lake/", WEEK))
