"""A lake on an S3-compatible server: commits of racing writers, all that needs no Spark, and what is told when it cannot be reached."""

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from typing import Any

import pytest
from pyarrow.fs import FileSelector
from typer.testing import CliRunner

from jobs.commit import LostRaceError, publish
from jobs.storage import filesystem, open_table, table_root
from schemas.items import CONTRACT as ITEMS
from sluice.main import app
from tests.jobs.published import item, publish_day, stage, staged
from tests.object_store import BUCKET, KEYS, SECRET, free_port, object_store

DAY = date(2026, 1, 5)
PROCESSES = 8


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The server is where the environment says, to this process and to commands that it starts."""
    with object_store(tmp_path_factory.mktemp("store")) as found, pytest.MonkeyPatch.context() as patch:
        for name, value in found.items():
            patch.setenv(name, value)
        yield found


@pytest.fixture
def lake(store, request):
    """A lake of the test's own."""
    return f"s3://{BUCKET}/{request.node.name}"


def sluice(*arguments: object, code: int = 0) -> Any:
    """What a command prints: its document, or what it says when it fails."""
    result = CliRunner().invoke(app, [*map(str, arguments), *(["--json"] if not code else [])])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output and SECRET not in result.output
    return result.stderr if code else json.loads(result.stdout)


def items_of(lake: str) -> list[str]:
    return sorted(open_table(lake, ITEMS).delta.to_pyarrow_table()["item_id"].to_pylist())


# --- commits


def race(lake: str, run: str, day: date, seen: int, gate: Any) -> int | None:
    """What one process does: stage, wait for the others, publish. Gives the version, or None when another was first."""
    stage(lake, ITEMS, day, [item(run)], run)
    files, receipt = staged(lake, ITEMS, day, run), {"table": "items", "day": day.isoformat(), "run_id": run}
    gate.wait(timeout=60)
    try:
        return publish(table_root(lake, ITEMS), ITEMS, day, files, receipt, seen)["version"]
    except LostRaceError:
        return None


def look_there(variables: dict[str, str]) -> None:
    """The server that forks may be older than the store, and so know nothing of it."""
    os.environ.update(variables)


@pytest.fixture(scope="module")
def racers(store):
    """Eight processes, started once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["jobs.commit", "pandas", "pytest", "sluice.main"])
    pools = ProcessPoolExecutor(PROCESSES, mp_context=context, initializer=look_there, initargs=(dict(store),))
    with context.Manager() as manager, pools as pool:

        def run(lake: str, name: str, days: list[date], seen: int) -> list[int | None]:
            gate = manager.Barrier(PROCESSES)
            running = [pool.submit(race, lake, f"{name}-{n}", day, seen, gate) for n, day in enumerate(days)]
            return [each.result(timeout=120) for each in running]

        yield run


def test_of_eight_that_publish_one_day_at_once_exactly_one_wins(racers, lake):
    for seen in range(2):  # the first publish, which makes the table too, then one that replaces it
        versions = racers(lake, f"round{seen}", [DAY] * PROCESSES, seen)
        winner = next(n for n, version in enumerate(versions) if version is not None)
        assert versions == [seen + 1 if n == winner else None for n in range(PROCESSES)]
        assert items_of(lake) == [f"round{seen}-{winner}"]
        assert open_table(lake, ITEMS).receipt(DAY)["run_id"] == f"round{seen}-{winner}"


def test_eight_that_publish_eight_days_at_once_all_win(racers, lake):
    days = [DAY + timedelta(days=n) for n in range(PROCESSES)]
    versions = racers(lake, "run", days, 0)
    assert sorted(versions) == list(range(1, PROCESSES + 1)), "each knows its own"
    assert items_of(lake) == [f"run-{n}" for n in range(PROCESSES)]
    assert [r["version"] for r in open_table(lake, ITEMS).receipts()] == versions


# --- what needs no Spark


def test_receipts_manifests_reports_and_withdrawals_work_there(lake):
    publish_day(lake, ITEMS, DAY, [item("a")], [item("b")])
    publish_day(lake, ITEMS, DAY, [item("c")], run="two", results=[], accounts=[], quarantined={})
    publish_day(lake, ITEMS, DAY + timedelta(days=1), results=[], accounts=[], quarantined={})  # no file tells of an empty day
    days = f"{DAY}..{DAY + timedelta(days=1)}"
    assert [r["rows"] for r in sluice("receipts", "items", "--lake", lake)] == [1, 0]
    assert [t["days"] for t in sluice("tables", "--lake", lake) if t["table"] == "items"] == [[str(DAY), str(DAY + timedelta(days=1))]]
    made = sluice("manifest", "create", "base", "--table", "items", "--days", days, "--lake", lake)
    assert (made["is_new"], made["rows"], made["root"]) == (True, 1, f"{lake}/items/v1")
    assert sluice("manifest", "create", "base", "--table", "items", "--days", days, "--lake", lake)["is_new"] is False
    assert sluice("manifest", "verify", "base", "--lake", lake)["faults"] == []
    withdrawn = sluice("withdraw", "items", "--day", DAY, "--because", "half was missing", "--lake", lake)
    assert withdrawn["receipt"]["withdrawal"]["restores"] == 1
    assert items_of(lake) == ["a", "b"]
    assert sluice("manifest", "verify", "base", "--lake", lake)["faults"] == [], "it pins what was replaced"
    assert sluice("manifest", "delete", "base", "--lake", lake)["deleted"]
    assert sluice("manifest", "list", "--lake", lake) == []


def test_the_address_that_spark_has_names_the_same_lake(lake):
    publish_day(lake.replace("s3://", "s3a://"), ITEMS, DAY, [item("a")])
    assert items_of(lake) == ["a"]


def test_no_key_is_written_into_a_lake(lake):
    publish_day(lake, ITEMS, DAY, [item("a")])
    sluice("manifest", "create", "base", "--table", "items", "--days", f"{DAY}..{DAY}", "--lake", lake)
    fs, path = filesystem(lake)
    files = [info.path for info in fs.get_file_info(FileSelector(path, recursive=True)) if info.is_file]
    assert len(files) >= 5, "log, data, receipt, manifest"
    for file in files:
        with fs.open_input_stream(file) as stream:
            content = stream.read()
        assert SECRET.encode() not in content and KEYS["AWS_ACCESS_KEY_ID"].encode() not in content


# --- what cannot be


def test_what_works_on_folders_only_says_so(lake):
    publish_day(lake, ITEMS, DAY, [item("a")])
    told = sluice("maintain", "--lake", lake, code=1)
    assert f"{lake} is an object store" in told and "vacuum(keep_versions=" in told
    assert f"the demo makes its lake in a folder, and {lake} is none" in sluice("demo", "--lake", lake, code=2)
    assert not os.path.exists("s3:")


def test_a_lake_that_is_not_there_or_cannot_be_reached_is_told_with_what_to_look_at(lake, monkeypatch):
    assert f"no lake at {lake}; name it with --lake" in sluice("receipts", "items", "--lake", lake, code=1)
    told = sluice("receipts", "items", "--lake", "s3://no-such-bucket/lake", code=1)
    assert "cannot reach the lake at s3://no-such-bucket/lake" in told and "there is no bucket no-such-bucket" in told
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    told = sluice("receipts", "items", "--lake", lake, code=1)
    assert f"cannot reach the lake at {lake} (server {os.environ['AWS_ENDPOINT_URL']})" in told and "AWS_SECRET_ACCESS_KEY" in told
