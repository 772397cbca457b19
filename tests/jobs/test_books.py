"""The books of a staged day: what kept, excluded and quarantined rows were counted under, and whether it adds up."""

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.books import GateError, add_fates, balance, fate_struct, fate_sums, fates_not_kept, fates_of, split_files
from schemas.items import CONTRACT as ITEMS
from tests.frames import DAY

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FATES = {"lines": ("kept", "duplicate", "quarantined"), "candidates": ("exposed", "not drawn")}
LEFT = [{"account": "lines", "input": "events", "in": 7}, {"account": "candidates", "input": "requests", "in": 5}]
RIGHT = {"lines": {"kept": 4, "duplicate": 2, "quarantined": 1}, "candidates": {"exposed": 5, "not drawn": 0}}


def test_books_that_balance_show_each_account_with_its_fates() -> None:
    assert balance(ITEMS, DAY, LEFT, RIGHT) == [
        {"account": "lines", "input": "events", "in": 7, "fates": RIGHT["lines"], "difference": 0},
        {"account": "candidates", "input": "requests", "in": 5, "fates": RIGHT["candidates"], "difference": 0},
    ]


def test_lost_and_repeated_rows_are_refused_with_every_wrong_account_and_its_difference() -> None:
    wrong = {"lines": {"kept": 4, "duplicate": 0, "quarantined": 1}, "candidates": {"exposed": 5, "not drawn": 3}}
    with pytest.raises(GateError, match=f"items {DAY}: the books do not balance") as refused:
        balance(ITEMS, DAY, LEFT, wrong)
    lines = str(refused.value).splitlines()
    assert lines[1] == "  lines of events: 7 in, 5 accounted for {'kept': 4, 'duplicate': 0, 'quarantined': 1}, difference 2"
    assert lines[2].endswith("8 accounted for {'exposed': 5, 'not drawn': 3}, difference -3")
    assert len(lines) == 4 and "jobs/items.py" in lines[3]


def test_only_the_wrong_account_is_told() -> None:
    with pytest.raises(GateError) as refused:
        balance(ITEMS, DAY, LEFT, RIGHT | {"lines": {"kept": 8}})
    assert "difference -1" in str(refused.value) and "candidates" not in str(refused.value)


def test_differences_that_cancel_out_are_still_refused() -> None:
    left = [{"account": "lines", "input": "a", "in": 3}, {"account": "candidates", "input": "b", "in": 1}]
    with pytest.raises(GateError, match=r"(?s)difference 1.*difference -1"):
        balance(ITEMS, DAY, left, {"lines": {"kept": 2}, "candidates": {"exposed": 2}})


def test_fates_are_added_by_name_and_none_is_made_up() -> None:
    assert add_fates(RIGHT, {"lines": {"quarantined": 3, "duplicate": 1, "other": 9}, "unknown": {"kept": 1}}) == {
        "lines": {"kept": 4, "duplicate": 3, "quarantined": 4},
        "candidates": RIGHT["candidates"],
    }
    assert add_fates(RIGHT, {}) == RIGHT


def stage(root: Path, split: str, part: int, rows: list[tuple[tuple[int, ...] | None, tuple[int, ...] | None]]) -> None:
    structs = {f"_{a}": pa.struct([(name, pa.int64()) for name in names]) for a, names in FATES.items()}
    values = [
        {f"_{a}": counts and dict(zip(FATES[a], counts, strict=True)) for a, counts in zip(FATES, row, strict=True)} | {"item_id": None}
        for row in rows
    ]
    folder = root / "day=2026-01-05" / "b=one" / f"split={split}"
    folder.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([("item_id", pa.string()), *structs.items()])
    pq.write_table(pa.Table.from_pylist(values, schema=schema), folder / f"part-{part}.parquet")


def test_excluded_and_quarantined_rows_count_and_kept_ones_do_not(spark: "SparkSession", tmp_path: Path) -> None:
    root, folder = tmp_path / "a b", "day=2026-01-05/b=one"
    stage(root, "kept", 0, [((100, 100, 100), (100, 100))])
    stage(root, "excluded", 0, [((0, 1, 0), (0, 4)), ((0, 2, 0), None)])
    stage(root, "excluded", 1, [((0, 1, 0), (0, 1))])
    stage(root, "quarantined", 0, [((0, 0, 1), (2, 0)), (None, None)])  # an element's row has no books of its own
    assert {Path(p).name for p in split_files(str(root), f"{folder}/split=excluded")} == {"part-0.parquet", "part-1.parquet"}
    found = fates_not_kept(spark, str(root), folder, FATES)
    assert found == {"lines": {"kept": 0, "duplicate": 4, "quarantined": 1}, "candidates": {"exposed": 2, "not drawn": 5}}
    assert fates_not_kept(spark, str(root), folder, {}) == fates_not_kept(spark, str(root), "day=2026-01-05/b=other", FATES) == {}


def test_a_day_without_rows_counts_nothing_under_each_fate(spark: "SparkSession") -> None:
    from pyspark.sql.types import StructType

    none = spark.createDataFrame([], StructType([fate_struct(account, names) for account, names in FATES.items()]))
    sums = none.agg(*(total.alias(name) for name, total in fate_sums(FATES).items())).first().asDict()
    assert fates_of(FATES, sums) == {"lines": {"kept": 0, "duplicate": 0, "quarantined": 0}, "candidates": {"exposed": 0, "not drawn": 0}}
