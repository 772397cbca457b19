"""Where tables lie, which days are published, and their rows at a pinned version."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from deltalake import DeltaTable

from jobs.storage import (
    NotPublishedError,
    Table,
    check_lake,
    lake_address,
    open_table,
    receipt_path,
    spark_address,
    table_root,
)
from schemas.contract import ContractError
from schemas.items import CONTRACT as ITEMS
from tests.jobs.published import item, publish_day

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FIRST, EMPTY, LAST = date(2026, 1, 5), date(2026, 1, 6), date(2026, 1, 7)
ODD = "ü/=%20 'x' 商品"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three days: two files, nothing, one file. A blank and an umlaut in its name."""
    folder = tmp_path_factory.mktemp("storage") / "a lake ü 100%"
    publish_day(folder, ITEMS, LAST, [item("late", title="")])
    publish_day(folder, ITEMS, FIRST, [item("a", title=ODD, brand="b c")], [item(ODD), item("b")])
    publish_day(folder, ITEMS, EMPTY)
    yield folder


@pytest.fixture
def items(lake: Path) -> Table:
    return open_table(lake, ITEMS)


def test_an_address_is_absolute_and_ends_without_a_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert lake_address("lake/../other/") == f"{tmp_path}/other"
    assert lake_address(tmp_path / "lake") == f"{tmp_path}/lake"
    assert lake_address("s3://bucket/lake//") == "s3://bucket/lake"
    assert table_root("s3://bucket/lake/", ITEMS) == "s3://bucket/lake/items/v1"


def test_spark_reads_object_stores_under_hadoops_name() -> None:
    assert spark_address("s3://bucket/a/s3://b") == "s3a://bucket/a/s3://b"
    assert spark_address("gs://bucket/a") == "gs://bucket/a"
    assert spark_address("/data/a b") == "file:///data/a b"


def test_a_lake_that_is_not_there_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=rf"no lake at {tmp_path}/none; .*sluice ingest simulator --lake {tmp_path}/none"):
        check_lake(tmp_path / "none", must_exist=True)
    check_lake(tmp_path / "none" / "deeper", must_exist=False)
    assert not (tmp_path / "none").exists()


def test_a_file_in_place_of_the_lake_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for lake in (tmp_path / "file", tmp_path / "file" / "lake"):
        with pytest.raises(ContractError, match=rf"cannot make a lake at {lake}: {tmp_path}/file is not a folder"):
            check_lake(lake, must_exist=False)


@pytest.mark.parametrize("name", ["a#b", "a?b", "a%20b", "a[b]", "a{b}", "a*b"])
def test_a_lake_whose_name_an_engine_would_read_otherwise_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"cannot use a lake at .*: an engine reads .* in a path as something else"):
        check_lake(tmp_path / name, must_exist=False)


def test_published_days_are_those_with_a_commit_empty_ones_included(items: Table) -> None:
    stray = Path(receipt_path(items.root, "2026-01-09", 1))
    stray.write_text("{}")  # a receipt without its commit publishes nothing
    try:
        assert items.days == [FIRST, EMPTY, LAST]
    finally:
        stray.unlink()
    assert [items.publishes(d) for d in (FIRST, EMPTY, date(2026, 1, 9))] == [1, 1, 0]
    assert [r["day"] for r in items.receipts([EMPTY, date(2026, 1, 9)])] == ["2026-01-06"]


def test_a_day_that_was_never_published_says_what_to_run(items: Table, tmp_path: Path) -> None:
    with pytest.raises(NotPublishedError, match=r"items 2026-01-08 is not published in .*sluice ingest SOURCE --days 2026-01-08"):
        items.receipt(date(2026, 1, 8))
    nothing = open_table(tmp_path, ITEMS)
    assert (nothing.version, nothing.days, nothing.files([FIRST]), nothing.publishes(FIRST)) == (None, [], [], 0)
    with pytest.raises(NotPublishedError, match="items has no version 3"):
        open_table(tmp_path, ITEMS, version=3)


def test_a_receipt_whose_copy_is_lost_comes_from_the_log_and_is_written_again(items: Table) -> None:
    copy = Path(receipt_path(items.root, EMPTY, 1))
    before = json.loads(copy.read_text())
    copy.unlink()
    assert items.receipt(EMPTY) == before
    assert json.loads(copy.read_text()) == before


def test_files_are_those_of_the_days_asked_for(items: Table) -> None:
    folder = f"{items.root}/day={FIRST}/b=one/split=kept"
    assert items.files([FIRST]) == [f"{folder}/part-0.parquet", f"{folder}/part-1.parquet"]
    assert all(Path(f).is_file() for f in items.files([FIRST, LAST]))
    assert len(items.files([FIRST, LAST])) == 3
    assert items.files([EMPTY]) == items.files([]) == []


def test_rows_keep_their_day_and_values_after_another_engine_compacted_the_day(spark: "SparkSession", lake: Path, items: Table) -> None:
    pinned, old = items.version, items.files([FIRST])
    DeltaTable(items.root).optimize.compact(partition_filters=[("day", "=", FIRST.isoformat())])
    compacted = open_table(lake, ITEMS)
    assert len(compacted.files([FIRST])) == 1 and not set(compacted.files([FIRST])) & set(old)
    rows = compacted.read(spark, [FIRST, EMPTY, LAST])
    assert rows.columns == [c.name for c in ITEMS.columns]
    found = {(r["day"], r["item_id"], r["title"], r["brand"]) for r in rows.collect()}
    assert found == {(FIRST, "a", ODD, "b c"), (FIRST, ODD, None, None), (FIRST, "b", None, None), (LAST, "late", "", None)}
    assert open_table(lake, ITEMS, version=pinned).files([FIRST]) == old


def test_no_day_reads_as_no_rows_with_the_contracts_columns(spark: "SparkSession", items: Table) -> None:
    rows = items.read(spark, [EMPTY])
    assert (rows.columns, rows.count()) == ([c.name for c in ITEMS.columns], 0)
