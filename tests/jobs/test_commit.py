"""The commit, broken on purpose: racing processes, stale handles, other engines, changed files and schemas.

No Spark but in the tests marked slow.
"""

import json
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from jobs import commit
from jobs.commit import LostRaceError, append, check_evolution, publish, staged_files
from jobs.storage import Table, open_table, publish_id, table_root
from schemas.contract import Column, Contract, ContractError, quarantine_of
from schemas.derive import arrow_schema

DAY = date(2026, 1, 5)
PROCESSES = 8
VISITS = Contract(
    "visits",
    ("visit_id",),
    "us",
    1,
    1,
    "A visit.",
    (
        Column("day", "date", "The partition."),
        Column("visit_id", "bigint", "Key."),
        Column("page", "string", "Page.", nullable=True),
        Column("at", "timestamp", "When.", nullable=True),
        Column("rate", "double", "A rate.", nullable=True),
        Column("is_new", "boolean", "A flag.", nullable=True),
        Column("steps", "array<struct<n int>>", "A list.", nullable=True),
    ),
)


def rows_of(first: int, number: int, day: date = DAY, contract: Contract = VISITS, **values: Any) -> pa.Table:
    """Rows numbered from `first`, without the day, as the staging of Spark leaves them."""
    schema = pa.schema([f for f in arrow_schema(contract) if f.name != "day"])
    at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    row = {"page": "home", "at": at, "rate": 0.5, "is_new": True, "steps": [{"n": 1}]} | values
    return pa.Table.from_pylist([row | {"visit_id": n} for n in range(first, first + number)], schema=schema)


def stage(root: str, run: str, tables: list[pa.Table], day: date = DAY, contract: Contract = VISITS) -> list[commit.StagedFile]:
    folder = f"day={day}/b={run}/split=kept"
    Path(root, folder).mkdir(parents=True)
    for n, table in enumerate(tables):
        pq.write_table(table, f"{root}/{folder}/part-{n}.parquet")
    return staged_files(root, contract, folder)


def receipt_of(run: str, day: date = DAY) -> dict[str, Any]:
    return {"table": "visits", "day": day.isoformat(), "run_id": run}


def put(root: str, run: str, first: int, number: int, seen: int, day: date = DAY, contract: Contract = VISITS) -> dict[str, Any]:
    files = stage(root, run, [rows_of(first, number, day, contract)], day, contract)
    return publish(root, contract, day, files, receipt_of(run, day), seen)


def visits(lake: Any, contract: Contract = VISITS) -> list[int]:
    """Ids as deltalake reads them, over all days."""
    table = open_table(lake, contract).delta
    return sorted(table.to_pyarrow_table(columns=["visit_id"])["visit_id"].to_pylist())


@pytest.fixture
def root(tmp_path: Path) -> str:
    return table_root(tmp_path, VISITS)


# --- processes at once


def race(root: str, run: str, first: int, day: date, seen: int, gate: Any) -> tuple[str, int]:
    """What one process does: stage, wait for the others, publish."""
    files = stage(root, run, [rows_of(first, 100, day)], day)
    gate.wait(timeout=60)
    try:
        return "won", publish(root, VISITS, day, files, receipt_of(run, day), seen)["version"]
    except LostRaceError:
        return "lost", first


@pytest.fixture(scope="module")
def racers() -> Any:
    """Eight processes, started once."""
    context = multiprocessing.get_context("forkserver")  # as clean as spawned ones; what they import is imported once
    context.set_forkserver_preload(["jobs.commit", "pandas", "pytest"])
    with context.Manager() as manager, ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        yield pool, manager


def run_race(racers: Any, root: str, name: str, days: list[date], seen: int) -> list[tuple[str, int]]:
    pool, manager = racers
    gate = manager.Barrier(PROCESSES)
    running = [pool.submit(race, root, f"{name}{n}", 1000 * n, days[n], seen, gate) for n in range(PROCESSES)]
    return [each.result(timeout=120) for each in running]


def test_of_eight_processes_that_publish_one_day_at_once_exactly_one_wins(racers, root, tmp_path):
    for seen in range(3):  # the first publish, then two that replace it
        found = run_race(racers, root, f"round{seen}-", [DAY] * PROCESSES, seen)
        assert [outcome for outcome, _ in found].count("won") == 1
        winner = [outcome for outcome, _ in found].index("won")
        assert visits(tmp_path) == list(range(1000 * winner, 1000 * winner + 100))
        table = open_table(tmp_path, VISITS)
        assert table.publishes(DAY) == seen + 1
        assert table.receipt(DAY)["run_id"] == f"round{seen}-{winner}"
        assert table.receipt(DAY)["version"] == found[winner][1] == table.version


def test_eight_processes_that_publish_eight_days_at_once_all_win(racers, root, tmp_path):
    days = [DAY + timedelta(days=n) for n in range(PROCESSES)]
    wanted = sorted(n for first in range(0, 8000, 1000) for n in range(first, first + 100))
    for seen in range(2):
        found = run_race(racers, root, f"round{seen}-", days, seen)
        assert {outcome for outcome, _ in found} == {"won"}
        assert len({version for _, version in found}) == PROCESSES, "each knows its own version"
        assert visits(tmp_path) == wanted
        table = open_table(tmp_path, VISITS)
        assert [(r["run_id"], r["version"]) for r in table.receipts()] == [(f"round{seen}-{n}", v) for n, (_, v) in enumerate(found)]


def test_a_day_published_since_it_was_seen_is_lost_and_nothing_changes(root, tmp_path):
    put(root, "a", 0, 3, 0)
    for seen in (0, 2):
        with pytest.raises(LostRaceError, match="visits 2026-01-05 was published by another run meanwhile"):
            put(root, f"late{seen}", 50, 3, seen)
    assert visits(tmp_path) == [0, 1, 2]
    assert open_table(tmp_path, VISITS).receipt(DAY)["run_id"] == "a"


# --- a handle that is no longer the newest


def interleave(monkeypatch: pytest.MonkeyPatch, meanwhile: Any) -> list[int]:
    """Has `meanwhile` happen between the opening of the table and the first commit. Returns the versions opened."""
    opened: list[int] = []
    create = commit.create_table

    def slow(root: str, contract: Contract) -> DeltaTable:
        table = create(root, contract)
        if not opened:
            meanwhile()
        opened.append(table.version())
        return table

    monkeypatch.setattr(commit, "create_table", slow)
    return opened


def test_a_commit_over_compacted_files_is_tried_again_and_doubles_nothing(root, tmp_path, monkeypatch):
    publish(root, VISITS, DAY, stage(root, "a", [rows_of(0, 5), rows_of(5, 5)]), receipt_of("a"), 0)
    opened = interleave(monkeypatch, lambda: DeltaTable(root).optimize.compact())
    put(root, "b", 100, 4, 1)
    assert len(opened) == 2 and opened[0] < opened[1]
    assert visits(tmp_path) == [100, 101, 102, 103]


def test_a_commit_over_another_publish_of_the_day_is_lost_even_under_a_stale_handle(root, tmp_path, monkeypatch):
    put(root, "a", 0, 2, 0)
    files = stage(root, "c", [rows_of(200, 2)])
    other = stage(root, "b", [rows_of(100, 2)])

    def meanwhile() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(commit, "create_table", lambda root, _: DeltaTable(root))
            publish(root, VISITS, DAY, other, receipt_of("b"), 1)

    opened = interleave(monkeypatch, meanwhile)
    with pytest.raises(LostRaceError):
        publish(root, VISITS, DAY, files, receipt_of("c"), 1)
    assert len(opened) >= 2
    assert visits(tmp_path) == [100, 101]


@pytest.mark.slow
def test_an_optimize_by_the_jvm_under_a_stale_handle_doubles_nothing(spark, root, tmp_path, monkeypatch):
    publish(root, VISITS, DAY, stage(root, "a", [rows_of(n, 1) for n in range(6)]), receipt_of("a"), 0)
    opened = interleave(monkeypatch, lambda: spark.sql(f"optimize delta.`{root}`").collect())
    put(root, "b", 100, 4, 1)
    assert len(opened) == 2
    assert visits(tmp_path) == [100, 101, 102, 103]
    assert sorted(r[0] for r in spark.read.format("delta").load(root).select("visit_id").collect()) == visits(tmp_path)
    history = spark.sql(f"describe history delta.`{root}`").collect()
    assert "OPTIMIZE" in [h["operation"] for h in history]
    assert [json.loads(h["userMetadata"])["run_id"] for h in history if h["userMetadata"]] == ["b", "a"]


# --- what a commit replaces, and what it refuses


def test_a_publish_replaces_its_day_and_no_other(root, tmp_path):
    before, after = DAY - timedelta(days=1), DAY + timedelta(days=1)
    for n, day in enumerate((before, DAY, after)):
        put(root, f"first{n}", 10 * n, 3, 0, day)
    put(root, "again", 100, 2, 1)
    assert visits(tmp_path) == [0, 1, 2, 20, 21, 22, 100, 101]
    table = open_table(tmp_path, VISITS)
    assert [table.publishes(d) for d in (before, DAY, after)] == [1, 2, 1]
    assert table.days == [before, DAY, after]


def test_an_empty_day_is_published_removes_the_old_rows_and_has_a_receipt(root, tmp_path):
    other = DAY + timedelta(days=1)
    put(root, "a", 0, 3, 0)
    put(root, "b", 10, 3, 0, other)
    receipt = publish(root, VISITS, DAY, [], receipt_of("empty"), 1)
    table = open_table(tmp_path, VISITS)
    assert visits(tmp_path) == [10, 11, 12]
    assert (table.days, table.receipt(DAY)) == ([DAY, other], receipt)
    assert receipt["publish"] == 2
    assert (table.files([DAY]), len(table.files([other]))) == ([], 1)


def test_files_without_rows_stay_out(root):
    files = stage(root, "a", [rows_of(0, 0), rows_of(0, 2), rows_of(2, 0)])
    assert [(Path(f.path).name, f.rows) for f in files] == [("part-1.parquet", 2)]
    assert staged_files(root, VISITS, "day=2026-01-05/b=nobody/split=kept") == []


def test_a_wider_schema_adds_a_nullable_column_in_the_same_commit(root, tmp_path):
    put(root, "a", 0, 2, 0)
    wider = replace(VISITS, columns=(*VISITS.columns, Column("source", "string", "New.", nullable=True)))
    later = DAY + timedelta(days=1)
    put(root, "b", 10, 2, 0, later, wider)
    rows = open_table(tmp_path, wider).delta.to_pyarrow_table()
    assert rows.column_names == [c.name for c in wider.columns]
    assert visits(tmp_path, wider) == [0, 1, 10, 11] and rows["source"].null_count == 4
    assert open_table(tmp_path, wider).version == 2, "created, and published twice"


def changed(**columns: Column | None) -> Contract:
    """The contract with these columns in place of its own, added, or (None) taken out."""
    by_name = {c.name: c for c in VISITS.columns} | columns
    return replace(VISITS, columns=tuple(c for c in by_name.values() if c))


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        (changed(page=None), "page is string there and not in the contract"),
        (changed(page=Column("page", "int", "P.", nullable=True)), "page is string there and int32 in the contract"),
        (changed(steps=Column("steps", "array<struct<n int,m int>>", "S.", nullable=True)), "steps is array"),
        (changed(extra=Column("extra", "int", "E.")), "extra is not there, and the contract requires it"),
    ],
    ids=["narrower", "another type", "a field more", "a required column"],
)
def test_another_schema_is_refused_before_the_commit(root, tmp_path, contract, message):
    put(root, "a", 0, 2, 0)
    with pytest.raises(ContractError, match=message):
        publish(root, contract, DAY, stage(root, "b", [rows_of(10, 2)]), receipt_of("b"), 1)
    table = open_table(tmp_path, VISITS)
    assert (table.version, visits(tmp_path)) == (1, [0, 1])


def test_all_that_evolved_is_named_and_nothing_where_nothing_did(root):
    put(root, "a", 0, 1, 0)
    with pytest.raises(ContractError, match=r"page is .*; rate is .*visits\.py"):
        check_evolution(DeltaTable(root), changed(page=None, rate=None))
    assert check_evolution(DeltaTable(root), VISITS) == check_evolution(None, VISITS) == arrow_schema(VISITS)


@pytest.mark.parametrize("harm", [Path.unlink, lambda p: p.write_bytes(p.read_bytes() + b"x")], ids=["gone", "changed"])
def test_staged_files_that_are_gone_or_changed_are_refused(root, tmp_path, harm):
    put(root, "a", 0, 2, 0)
    files = stage(root, "b", [rows_of(10, 2), rows_of(12, 2)])
    harm(Path(root, files[1].path))
    for publish_or_append in (lambda: publish(root, VISITS, DAY, files, receipt_of("b"), 1), lambda: append(root, VISITS, DAY, files)):
        with pytest.raises(ContractError, match=r"gone or changed since the audit: day=2026-01-05/b=b/split=kept/part-1\.parquet under"):
            publish_or_append()
    assert (open_table(tmp_path, VISITS).version, visits(tmp_path)) == (1, [0, 1])


@pytest.mark.parametrize(
    ("table", "named"),
    [
        (rows_of(0, 1).rename_columns(["VISIT_ID", *rows_of(0, 1).column_names[1:]]), "VISIT_ID"),
        (rows_of(0, 1).set_column(3, "rate", pa.array(["x"])), "'rate', 'string'"),
        (rows_of(0, 1).drop_columns(["page"]), "'page', 'string'"),
        (rows_of(0, 1).append_column("more", pa.array([1])), "'more', 'int64'"),
        (rows_of(0, 1).set_column(2, "at", pa.array([datetime(2026, 1, 5)], pa.timestamp("us"))), "'at', 'timestamp"),
    ],
    ids=["another case", "another type", "a column less", "a column more", "no time zone"],
)
def test_staged_files_must_have_exactly_the_contracts_columns(root, table, named):
    with pytest.raises(ContractError, match=named):
        stage(root, "a", [rows_of(0, 1), table])


def test_bookkeeping_columns_are_allowed_where_they_are_named(root):
    Path(root, "day=2026-01-05/b=a").mkdir(parents=True)
    pq.write_table(rows_of(0, 1).append_column("_books", pa.array([{"kept": 1}])), f"{root}/day=2026-01-05/b=a/part.parquet")
    assert len(staged_files(root, VISITS, "day=2026-01-05/b=a", ["_books"])) == 1
    with pytest.raises(ContractError, match="_books"):
        staged_files(root, VISITS, "day=2026-01-05/b=a")


def test_an_append_leaves_what_the_day_holds(root, tmp_path):
    put(root, "a", 0, 2, 0)
    version = append(root, VISITS, DAY, stage(root, "b", [rows_of(10, 2)]))
    assert visits(tmp_path) == [0, 1, 10, 11]
    table = open_table(tmp_path, VISITS)
    assert (table.version, table.publishes(DAY), table.receipt(DAY)["run_id"]) == (version, 1, "a")
    target = quarantine_of(VISITS)
    assert append(table_root(tmp_path, target), target, DAY, []) == 1, "the table is made when it is first needed"


# --- receipts


def test_a_receipt_is_in_the_log_and_beside_the_table_and_rebuilt_where_the_copy_is_lost(root, tmp_path):
    receipt = put(root, "a", 0, 2, 0)
    put(root, "b", 10, 2, 0, DAY + timedelta(days=1))
    copy = Path(root, "_receipts", f"{DAY}.1.json")
    assert json.loads(copy.read_text()) == receipt == open_table(tmp_path, VISITS).receipt(DAY)
    shutil.rmtree(copy.parent)
    assert open_table(tmp_path, VISITS).receipt(DAY) == receipt
    assert json.loads(copy.read_text()) == receipt, "written again"
    logged = [json.loads(c["userMetadata"]) for c in DeltaTable(root).history() if "userMetadata" in c]
    assert [r["run_id"] for r in logged] == ["b", "a"]


@pytest.mark.parametrize("rows", [2, 0], ids=["with rows", "empty"])
def test_a_run_killed_between_its_commit_and_the_copy_has_published(root, tmp_path, monkeypatch, rows):
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(commit, "write_receipt", die)
        publish(root, VISITS, DAY, stage(root, "a", [rows_of(0, rows)]), receipt_of("a"), 0)
    table = open_table(tmp_path, VISITS)
    assert table.days == [DAY]
    assert (table.receipt(DAY)["run_id"], table.receipt(DAY)["version"]) == ("a", table.version)
    with pytest.raises(LostRaceError):
        put(root, "b", 10, 2, 0)


def test_a_rebuilt_receipt_has_its_own_version_whatever_was_published_since(root, tmp_path):
    versions = [put(root, f"run{n}", 10 * n, 1, n)["version"] for n in range(3)]
    table = open_table(tmp_path, VISITS)
    pinned = open_table(tmp_path, VISITS, versions[1])
    put(root, "later", 90, 1, 3)  # the handles do not know of it
    shutil.rmtree(f"{root}/_receipts")
    assert versions == [1, 2, 3]
    assert [(t.receipt(DAY)["run_id"], t.receipt(DAY)["version"]) for t in (table, pinned)] == [("run2", 3), ("run1", 2)]


def test_an_old_version_knows_the_receipt_of_its_time(root, tmp_path):
    put(root, "a", 0, 2, 0)
    put(root, "b", 10, 2, 1)
    assert [open_table(tmp_path, VISITS, v).receipt(DAY)["run_id"] for v in (1, 2)] == ["a", "b"]
    assert open_table(tmp_path, VISITS, 0).days == []
    assert DeltaTable(root).transaction_version(publish_id(DAY)) == 2


# --- statistics, by which readers skip files


def test_statistics_let_readers_skip_files(root, tmp_path):
    later = datetime(2026, 1, 5, 23, 59, 59, 999999, tzinfo=UTC)
    tables = [rows_of(0, 10, page="a"), rows_of(10, 10, page="m", at=later), rows_of(20, 10, page=None, rate=None)]
    publish(root, VISITS, DAY, stage(root, "a", tables), receipt_of("a"), 0)
    adds = pa.table(DeltaTable(root).get_add_actions(flatten=True)).sort_by("path").to_pylist()
    assert [a["num_records"] for a in adds] == [10, 10, 10]
    assert [(a["min.visit_id"], a["max.visit_id"]) for a in adds] == [(0, 9), (10, 19), (20, 29)]
    assert [(a["min.page"], a["max.page"], a["null_count.page"]) for a in adds] == [("a", "a", 0), ("m", "m", 0), (None, None, 10)]
    assert adds[1]["max.at"].replace(tzinfo=UTC) >= later
    for skipped in (0, 2):
        Path(root, adds[skipped]["path"]).rename(f"{root}/hidden{skipped}")  # whoever opens it fails
    dataset = DeltaTable(root).to_pyarrow_dataset()
    assert dataset.to_table(filter=(pc.field("visit_id") > 9) & (pc.field("visit_id") < 20)).num_rows == 10
    with pytest.raises(FileNotFoundError):
        dataset.to_table()


@pytest.fixture
def no_pushdown(spark: Any) -> Any:
    """Spark's own parquet filter off: it loses a NaN beside numbers, whatever the log says."""
    spark.conf.set("spark.sql.parquet.filterPushdown", "false")
    yield
    spark.conf.unset("spark.sql.parquet.filterPushdown")


@pytest.mark.slow
@pytest.mark.usefixtures("no_pushdown")
def test_statistics_let_the_jvm_skip_files_and_lose_no_row(spark, root):
    tables = [rows_of(0, 2, rate=float("nan"), page="é" * 64), rows_of(2, 2, rate=float("inf"), page="z" * 65), rows_of(4, 2, rate=-0.0)]
    tables += [rows_of(6, 2, rate=0.0, page="a\x00b"), rows_of(8, 2, at=datetime(2026, 1, 5, 23, 59, 59, 999999, tzinfo=UTC))]
    tables += [pa.concat_tables([rows_of(10, 1, rate=5.0), rows_of(11, 1, rate=float("nan"))])]
    publish(root, VISITS, DAY, stage(root, "a", tables), receipt_of("a"), 0)
    rows = spark.read.format("delta").load(root)
    found = {
        condition: sorted(r[0] for r in rows.where(condition).select("visit_id").collect())
        for condition in ("rate > 100", "isnan(rate)", "rate = 0", "page >= 'z'", "at >= '2026-01-05 23:59:59.999999'", "page like 'a%'")
    }
    assert list(found.values()) == [[0, 1, 2, 3, 11], [0, 1, 11], [4, 5, 6, 7], [0, 1, 2, 3], [8, 9], [6, 7]]
    Path(root, "day=2026-01-05/b=a/split=kept/part-0.parquet").unlink()
    assert rows.where("visit_id = 8").count() == 1


def test_statistics_leave_out_what_would_skip_rows_wrongly(root):
    values = {"rate": float("nan"), "page": "x" * 65, "steps": None}
    (file,) = stage(root, "a", [pa.concat_tables([rows_of(0, 1, **values), rows_of(1, 1, rate=float("inf")), rows_of(2, 1, rate=2.0)])])
    statistics = json.loads(file.statistics)
    assert statistics["numRecords"] == 3
    assert set(statistics["minValues"]) == set(statistics["maxValues"]) == {"visit_id", "at"}
    assert statistics["nullCount"] == {"visit_id": 0, "page": 0, "at": 0, "rate": 0, "is_new": 0}
    assert statistics["minValues"]["at"] == "2026-01-05T12:00:00.000000Z"


def test_a_part_of_a_file_without_bounds_leaves_the_file_without_them(root):
    folder = Path(root, "day=2026-01-05/b=a")
    folder.mkdir(parents=True)
    rows = pa.concat_tables([rows_of(0, 1, page="a"), rows_of(1, 1, page="z" * 5000)])  # beyond 4096 bytes a footer has no bounds
    pq.write_table(rows, folder / "part.parquet", row_group_size=1)
    assert set(json.loads(staged_files(root, VISITS, "day=2026-01-05/b=a")[0].statistics)["maxValues"]) == {"visit_id", "at"}


def test_tables_are_made_without_deletion_vectors_and_can_be_asked_before(root, tmp_path):
    assert (open_table(tmp_path, VISITS).days, open_table(tmp_path, VISITS).publishes(DAY)) == ([], 0)
    put(root, "a", 0, 1, 0)
    table: Table = open_table(tmp_path, VISITS)
    assert table.delta.metadata().configuration["delta.enableDeletionVectors"] == "false"
    assert table.delta.protocol().min_reader_version == 1
    assert table.delta.metadata().partition_columns == ["day"]
