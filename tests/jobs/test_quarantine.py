"""What was taken out of a staged day lies in `<table>_quarantine` under the id of its run, once."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from jobs.conform import QUARANTINE
from jobs.quarantine import publish_quarantine, quarantined_by_rule
from jobs.storage import table_root
from schemas.contract import quarantine_of
from schemas.items import CONTRACT as ITEMS
from tests.frames import DAY

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TYPE = pa.struct([("rule", pa.string()), ("key", pa.string()), ("element", pa.int32()), ("row", pa.string()), ("reason", pa.string())])


def entry(rule: str, key: str, element: int | None = None) -> dict[str, Any]:
    return {"rule": rule, "key": key, "element": element, "row": '{"title":"ü"}', "reason": f"{rule} is broken"}


ENTRIES = [entry("no_title", "a"), entry("no_title", "b"), entry("bad_line", "a", 0), entry("bad_line", "a", 3), entry("bad_line", "c", 0)]


def stage(lake: Path, run: str, entries: list[dict[str, Any]]) -> dict[str, str]:
    """Two files of what a run took out. Returns the run's draft."""
    folder = f"day={DAY}/b={run}"
    split = Path(table_root(lake, ITEMS), folder, "split=quarantined")
    split.mkdir(parents=True)
    for part in range(2):
        rows = pa.Table.from_pylist([{QUARANTINE: e} for e in entries[part::2]], schema=pa.schema([(QUARANTINE, TYPE)]))
        pq.write_table(rows, split / f"part-{part}.parquet")
    return {"run_id": run, "folder": folder}


def read(lake: Path, run: str, version: int | None = None) -> list[tuple[Any, ...]]:
    table = DeltaTable(table_root(lake, quarantine_of(ITEMS)), version=version).to_pyarrow_table(filters=[("run_id", "=", run)])
    return sorted((r["rule"], r["key"], -1 if r["element"] is None else r["element"], r["row"], r["reason"]) for r in table.to_pylist())


def expected(entries: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted((e["rule"], e["key"], -1 if e["element"] is None else e["element"], e["row"], e["reason"]) for e in entries)


def test_quarantine_is_read_by_run_and_survives_that_its_run_is_admitted_again(spark: "SparkSession", tmp_path: Path) -> None:
    first, second = stage(tmp_path, "one", ENTRIES), stage(tmp_path, "two", ENTRIES[:1])
    version = publish_quarantine(spark, str(tmp_path), ITEMS, DAY, first)
    assert publish_quarantine(spark, str(tmp_path), ITEMS, DAY, second) == version + 1
    assert (read(tmp_path, "one"), read(tmp_path, "two")) == (expected(ENTRIES), expected(ENTRIES[:1]))
    assert read(tmp_path, "two", version) == []
    # its process died before the day was published, and a person admits the staged day
    assert publish_quarantine(spark, str(tmp_path), ITEMS, DAY, first) == version + 1
    assert read(tmp_path, "one") == read(tmp_path, "one", version) == expected(ENTRIES)


def test_what_was_taken_out_is_counted_by_rule(spark: "SparkSession", tmp_path: Path) -> None:
    root = table_root(tmp_path, ITEMS)
    assert quarantined_by_rule(spark, root, stage(tmp_path, "one", ENTRIES)["folder"]) == {"bad_line": 3, "no_title": 2}
    assert quarantined_by_rule(spark, root, f"day={DAY}/b=nothing-taken-out") == {}
