"""Whole runs that die, fail, meet each other, a full disk or a lake that cannot be written: readers see the old day or the new one."""

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from jobs.emit import LINEAGE
from jobs.maintain import maintain
from jobs.messages import guarded
from jobs.storage import open_table
from schemas.attributions import CONTRACT
from schemas.contract import ContractError
from schemas.events import CONTRACT as EVENTS_NOW
from tests.dying import BROKEN, DAY, EVENTS, publish_input, publish_inputs, run

ROOT = Path(__file__).parents[1]
OLD = {f"e{n}" for n in range(EVENTS)}
NEW = OLD - {BROKEN}
MOMENTS = {  # what was published before the run; what readers see after its death
    "staging": (set(), set()),
    "after_quarantine": (OLD, OLD),
    "before_commit": (set(), set()),
    "after_commit": (OLD, NEW),
    "in_receipt": (set(), NEW),
}
WEEK = timedelta(days=7)


@pytest.fixture(scope="module")
def lakes(spark, tmp_path_factory):
    """Two lakes to copy: one with the inputs of a day, and one where the day was published too, in its first variant."""
    folder = tmp_path_factory.mktemp("faults")
    publish_inputs(spark, str(folder / "inputs"))
    shutil.copytree(folder / "inputs", folder / "published")
    assert run(spark, str(folder / "published"), "1").receipt["rows"] == EVENTS
    return folder


@pytest.fixture(scope="module")
def undisturbed(spark, lakes):
    """Content hash of the second variant, from runs to which nothing happens."""
    shutil.copytree(lakes / "inputs", lakes / "undisturbed")
    outcome = run(spark, str(lakes / "undisturbed"), "2")
    assert (outcome.receipt["rows"], outcome.receipt["quarantined"]) == (len(NEW), {"request_is_whole": 1})
    return outcome.receipt["content_hash"]


@pytest.fixture
def lake(lakes, tmp_path):
    """A lake of its own, with the day published in its first variant."""
    return Path(shutil.copytree(lakes / "published", tmp_path / "lake"))


def root_of(lake):
    return lake / CONTRACT.name / f"v{CONTRACT.version}"


def ids_by_deltalake(root):
    return sorted(DeltaTable(str(root)).to_pyarrow_table(columns=["event_id"]).to_pydict()["event_id"])


def ids_by_spark(spark, root):
    return sorted(row.event_id for row in spark.read.format("delta").load(str(root)).select("event_id").collect())


def assert_readers_see(spark, lake, expected):
    """Both engines see exactly these events, each once."""
    root = root_of(lake)
    if not expected:
        assert not DeltaTable.is_deltatable(str(root)) or not ids_by_deltalake(root)
        assert not open_table(lake, CONTRACT).days
        return
    assert ids_by_deltalake(root) == sorted(expected)
    assert ids_by_spark(spark, root) == sorted(expected)


def files(lake):
    """All but lineage, which a thread of its own writes."""
    return {path for path in lake.rglob("*") if path.is_file() and LINEAGE not in path.parts}


def dead_run(lake, moment):
    """Start a run in a process of its own, and come back when it is dead: by its own hand, or by ours and its JVM with it."""
    command = [sys.executable, "-m", "tests.dying", moment, str(lake)]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
    if moment == "staging":
        deadline = time.time() + 240
        while not any(root_of(lake).glob(f"day={DAY}/b=*/**/part-*.parquet")) and time.time() < deadline and started.poll() is None:
            time.sleep(0.02)
        os.killpg(started.pid, signal.SIGKILL)
    _, messages = started.communicate(timeout=240)
    assert started.returncode == -signal.SIGKILL, messages[-3000:]
    return lake


@pytest.fixture(scope="module")
def dead(lakes, undisturbed):
    """For each moment a lake in which a run died at it."""
    copies = {m: Path(shutil.copytree(lakes / ("published" if MOMENTS[m][0] else "inputs"), lakes / m)) for m in MOMENTS}
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(MOMENTS, pool.map(dead_run, copies.values(), MOMENTS), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_leaves_the_old_day_or_the_new_one_and_the_next_run_ends_it(spark, dead, undisturbed, moment):
    lake, (_, visible) = dead[moment], MOMENTS[moment]
    is_published = visible == NEW
    assert_readers_see(spark, lake, visible)
    outcome = run(spark, str(lake), "2")
    assert outcome.status == ("up_to_date" if is_published else "published"), outcome.reasons
    assert outcome.receipt["content_hash"] == undisturbed
    assert outcome.receipt["quarantined"] == {"request_is_whole": 1}
    assert_readers_see(spark, lake, NEW)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["after_commit", "in_receipt"])
def test_the_receipt_of_a_run_that_died_after_its_commit_comes_from_the_log(lakes, dead, tmp_path, moment):
    lake = Path(shutil.copytree(dead[moment], tmp_path / "lake"))
    copies = root_of(lake) / "_receipts"
    count = 2 if MOMENTS[moment][0] else 1
    (copies / f"{DAY}.{count}.json").unlink(missing_ok=True)  # an earlier test may have had it rebuilt
    receipt = open_table(lake, CONTRACT).receipt(DAY)
    assert (receipt["rows"], receipt["publish"]) == (len(NEW), count)
    assert receipt["version"] == DeltaTable(str(root_of(lake))).version()
    assert json.loads((copies / f"{DAY}.{count}.json").read_text()) == receipt


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_maintain_removes_what_a_dead_run_left_and_nothing_else(spark, dead, moment):
    lake = dead[moment]
    run(spark, str(lake), "2")
    before, needed = files(lake), needed_files(lake)
    dead_files = {f for f in before - needed if not is_scratch_of_receipt(f)}
    for path in filter(is_scratch_of_receipt, before):
        os.utime(path, (0, 0))  # it may be written at this moment unless it is old
        dead_files.add(path)
    assert dead_files, "the dead run left something"
    announced = [fact["path"] for fact in maintain(str(lake), WEEK, dry_run=True)]
    assert files(lake) == before
    assert [fact["path"] for fact in maintain(str(lake), WEEK)] == announced
    assert before - files(lake) == dead_files
    assert_readers_see(spark, lake, NEW)
    assert list(maintain(str(lake), WEEK)) == []


def is_scratch_of_receipt(path):
    return path.parent.name == "_receipts" and path.suffix == ".tmp"


def needed_files(lake):
    """Logs, receipts, every data file that any version of a table names, and Hadoop's checksums of these."""
    needed = {f for f in files(lake) if "_delta_log" in f.parts or (f.parent.name == "_receipts" and f.suffix == ".json")}
    for log in lake.glob("*/v*/_delta_log/*.json"):
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        data = {log.parents[1] / a[kind]["path"] for a in actions for kind in ("add", "remove") if kind in a}
        needed |= data | {path.with_name(f".{path.name}.crc") for path in data}
    return needed


def test_maintain_leaves_a_run_alone_that_publishes_while_it_looks(spark, lake, monkeypatch):
    from jobs import maintain as module

    read_log = module._named_files

    def then_publish(root):
        named = read_log(root)
        if root == root_of(lake):
            run(spark, str(lake), "2")
        return named

    monkeypatch.setattr(module, "_named_files", then_publish)
    assert list(maintain(str(lake), WEEK)) == []
    assert_readers_see(spark, lake, NEW)


STEPS = {  # where it is called, and whether staged files are left to look at
    "pin": ("jobs.run.why_build", False),
    "build": ("tests.dying.attributions.build", False),
    "conform": ("jobs.run.conform", False),
    "audit": ("jobs.gate.audit", True),
    "balance": ("jobs.gate.balance", True),
    "publish": ("jobs.gate.publish", True),
}


@pytest.mark.slow
def test_a_step_that_fails_publishes_nothing_and_the_next_run_is_right(spark, lake, undisturbed, monkeypatch):
    root, version = root_of(lake), DeltaTable(str(root_of(lake))).version()
    staged = 0
    for step, (where, is_staged) in STEPS.items():
        with monkeypatch.context() as patched:
            patched.setattr(where, fail)
            with pytest.raises(ZeroDivisionError):
                run(spark, str(lake), "2")
        staged += is_staged
        assert DeltaTable(str(root)).version() == version, step
        assert len(list(root.glob("day=*/b=*/_staged.json"))) == staged, step
    assert_readers_see(spark, lake, OLD)
    assert run(spark, str(lake), "2").receipt["content_hash"] == undisturbed
    assert_readers_see(spark, lake, NEW)


def fail(*_args, **_kwargs):
    raise ZeroDivisionError("as planned")


def test_two_runs_of_one_day_at_once_publish_it_once(spark, lake, undisturbed, monkeypatch):
    from jobs import run as spine

    meet, admit, seen = threading.Barrier(2), spine.admit, []

    def together(session, address, draft):
        seen.append(draft["seen"])
        if len(seen) <= 2:  # both pinned and staged before either publishes
            meet.wait(60)
        return admit(session, address, draft)

    monkeypatch.setattr(spine, "admit", together)
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda session: run(session, str(lake), "2"), [spark.newSession(), spark.newSession()]))
    assert seen == [1, 1], "both saw the day as it was published before"
    assert sorted(o.status for o in outcomes) == ["published", "up_to_date"]
    assert {o.receipt["content_hash"] for o in outcomes} == {undisturbed}
    assert open_table(lake, CONTRACT).publishes(DAY) == 2
    assert_readers_see(spark, lake, NEW)
    assert len(list(root_of(lake).glob("day=*/b=*"))) == 2, "the loser leaves no files: these are of the first publish and the second"


@pytest.fixture
def full_disk(spark, lakes, undisturbed, tmp_path):  # undisturbed: made while there is room
    """A lake for which there is no room for another file, and a function that makes room.

    A small file system where the test may mount one; else a limit on the size of files that the JVM may write.
    """
    target = tmp_path / "disk"
    target.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(target)], capture_output=True, text=True)
    if mounted.returncode == 0:
        try:
            lake = Path(shutil.copytree(lakes / "published", target / "lake"))
            filler = target / "filler"
            with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as stream:
                while stream.write(bytes(4096)):
                    pass
            os.truncate(filler, filler.stat().st_size - 8192)  # room for a draft, not for a day
            yield lake, filler.unlink
        finally:
            subprocess.run(["umount", "-l", str(target)], check=True)
        return
    jvm = spark.sparkContext._gateway.proc.pid
    if not hasattr(resource, "prlimit"):
        pytest.skip(f"cannot fill a disk here: mount says {mounted.stderr.strip()!r}, and there is no prlimit")
    soft, hard = resource.prlimit(jvm, resource.RLIMIT_FSIZE)
    resource.prlimit(jvm, resource.RLIMIT_FSIZE, (1024, hard))
    try:
        lake = Path(shutil.copytree(lakes / "published", target / "lake"))
        yield lake, lambda: resource.prlimit(jvm, resource.RLIMIT_FSIZE, (soft, hard))
    finally:
        resource.prlimit(jvm, resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_in_one_line_and_nothing_is_published(spark, full_disk, undisturbed, capfd):
    lake, make_room = full_disk
    version = DeltaTable(str(root_of(lake))).version()
    assert guarded(lambda: run(spark, str(lake), "2")) == 1
    message = capfd.readouterr().err.strip()
    assert re.search("No space left on device|File too large", message)
    assert f"attributions {DAY}" in message and str(root_of(lake)) in message and "sluice maintain" in message
    assert len(message.splitlines()) == 1
    assert DeltaTable(str(root_of(lake))).version() == version
    make_room()
    assert_readers_see(spark, lake, OLD)
    assert run(spark, str(lake), "2").receipt["content_hash"] == undisturbed
    assert_readers_see(spark, lake, NEW)


def test_a_lake_that_is_not_there_or_cannot_be_written_is_told(spark, lake, tmp_path, capfd):
    file = tmp_path / "file"
    file.write_text("no folder")
    told = {}
    for place in (tmp_path / "nowhere", file, file / "below", Path("/proc/lake")):
        assert guarded(lambda place=place: run(spark, str(place), "2")) == 1
        told[place] = capfd.readouterr().err
        assert f"no lake at {place}" in told[place] and "sluice ingest" in told[place] and "Traceback" not in told[place]
    with read_only(lake):
        assert guarded(lambda: run(spark, str(lake), "2")) == 1
    message = capfd.readouterr().err
    assert f"{lake} may not be written" in message and "--lake" in message and len(message.splitlines()) == 1
    assert_readers_see(spark, lake, OLD)


@contextlib.contextmanager
def read_only(folder):
    """The folder without permission to write; for root, who may write everywhere, mounted so."""
    if os.geteuid():
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)
        return
    mounts = [["mount", "--bind", str(folder), str(folder)], ["mount", "-o", "remount,bind,ro", str(folder)]]
    for command in mounts:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"root writes everywhere and may not mount here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(("column", "kind"), [("session_id", "bigint"), ("order_id", None)])
def test_an_input_of_another_type_is_told_before_the_run_starts(spark, lakes, tmp_path, monkeypatch, column, kind):
    """The table was published under another contract of the same version."""
    lake = Path(shutil.copytree(lakes / "inputs", tmp_path / "lake"))
    shutil.rmtree(lake / "events")
    other = [replace(c, type=kind or c.type) if c.name == column else c for c in EVENTS_NOW.columns if kind or c.name != column]
    with monkeypatch.context() as patched:
        patched.setattr("schemas.events.CONTRACT", replace(EVENTS_NOW, columns=tuple(other)))
        publish_input(spark, str(lake), "events", [{"event_id": "e0"}])
    if not kind:  # a column that may be null may have come later: it reads as null
        assert run(spark, str(lake), "1").receipt["rows"] == 1
        return
    with pytest.raises(ContractError) as told:
        run(spark, str(lake), "1")
    message = str(told.value)
    assert all(
        part in message for part in ("events", "session_id is int64 there and string in the contract", "schemas/events.py", str(lake))
    ), message
    assert not root_of(lake).exists()
