"""The gate: what it refuses and keeps, what a person may overrule, and what the commit says of what it let through."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from pyspark.sql import functions as F

from jobs.commit import staged_files
from jobs.conform import bookkeeping
from jobs.content import content_hash, hash_sums, row_hash
from jobs.gate import GateError, admit, audit_staged, describe, failed
from jobs.storage import open_table, table_root
from tests.frames import DAY
from tests.jobs.counted import COUNTED, TOO_MANY, make_lake, run_day, spoiled, use_counted


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    use_counted(monkeypatch)
    yield make_lake(tmp_path)


def set_for(item: str, column: str, value: Any) -> Any:
    """The build with this value in one row."""
    return spoiled(lambda rows: rows.withColumn(column, F.when(F.col("item_id") == item, F.lit(value)).otherwise(F.col(column))))


def drafts(lake: Path) -> list[dict[str, Any]]:
    """What the gate left lying for a person."""
    return [json.loads(path.read_text()) for path in Path(table_root(lake, COUNTED)).glob("day=*/b=*/_staged.json")]


def refusal(spark: Any, lake: Path, make: Any, **more: Any) -> str:
    """The message of a refusal that published nothing and kept the stage."""
    with pytest.raises(GateError) as error:
        run_day(spark, lake, make, **more)
    assert open_table(lake, COUNTED).days == []
    (draft,) = drafts(lake)
    assert draft["day"] == DAY.isoformat() and "build_s" in draft
    assert draft["refused"] == str(error.value) and draft["results"]
    return str(error.value)


def test_a_day_is_published_with_its_receipt_in_the_commit_that_other_tools_read(spark, lake):
    outcome = run_day(spark, lake)
    root, receipt = table_root(lake, COUNTED), outcome.receipt
    assert (outcome.status, outcome.reasons) == ("published", ("missing",))
    commit = spark.sql(f"describe history delta.`{root}`").where("userMetadata is not null").collect()
    assert [c["version"] for c in commit] == [receipt["version"]]
    assert json.loads(commit[0]["userMetadata"]) == {k: v for k, v in receipt.items() if k != "version"}
    rows = spark.read.format("delta").load(root)
    assert sorted(r["item_id"] for r in rows.collect()) == ["i0", "i1", "i2"]
    assert DeltaTable(root).to_pyarrow_table().num_rows == receipt["rows"] == 3
    again = open_table(lake, COUNTED).read(spark, [DAY])
    sums = again.select(row_hash(again.schema)).agg(*(c.alias(n) for n, c in hash_sums().items())).first().asDict()
    assert receipt["content_hash"] == content_hash(sums)
    assert receipt["accounts"] == [
        {"account": "events", "input": "attributions", "in": 4, "difference": 0}
        | {"fates": {"counted": 3, "uncredited": 1, "quarantined": 0}}
    ]
    assert (receipt["excluded"], receipt["quarantined"]) == ({"uncredited": 1}, {})
    assert receipt["totals"] == {"clicks": 3, "rows_by_day": {"2026-01-05": 3}}
    assert receipt["bytes"] == sum(Path(f).stat().st_size for f in open_table(lake, COUNTED).files([DAY]))
    read = receipt["inputs"]["attributions"]
    assert (read["version"], read["days"], read["history_days"]) == (1, {"2026-01-05": "one"}, [])
    assert (read["rows"], read["bytes"] > 0) == (4, True)
    steps = receipt["steps"]
    assert list(steps) == ["plan", "stage", "audit", "finish"] and all(cost["wall_s"] >= 0 for cost in steps.values())
    assert steps["stage"]["rows_read"] >= 4 and (steps["stage"]["rows_written"], steps["audit"]["rows_written"]) == (4, 0)
    assert (receipt["build_s"], receipt["core_s"]) == (steps["stage"]["wall_s"], steps["stage"]["core_s"])
    assert sorted(k["key"] for k in receipt["hot_keys"]["query_norm"]) == ["hat", "lamp", "shoe"]
    assert not {"seen", "pid", "host", "folder", "must_hash", "began", "source"} & set(receipt), "what only the staged day needs"
    assert drafts(lake) == []


def test_a_warning_is_recorded_and_stops_nothing(spark, lake):
    results = {r["name"]: r for r in run_day(spark, lake).receipt["results"]}
    assert [name for name, r in results.items() if not r["success"]] == ["expect_column_values_to_be_in_set(query_norm)"]
    warning = results["expect_column_values_to_be_in_set(query_norm)"]
    assert warning["result"]["unexpected_count"] == 2
    assert not [key for r in results.values() for key in r["result"] if key.startswith("partial")], "no values in a receipt"
    assert {TOO_MANY, "expect_compound_columns_to_be_unique(query_norm,item_id)", "expect_table_row_count_to_be_between()"} <= set(results)


def test_a_null_where_none_may_be_is_refused(spark, lake):
    message = refusal(spark, lake, set_for("i1", "num_clicks_28d", None))
    assert "2026-01-05: the gate refused to publish, 1 critical expectation failed" in message
    assert "expect_column_values_to_not_be_null(num_clicks_28d): 1 of 3 break it (contract: not nullable)" in message
    assert 'sluice gate query_item_stats --day 2026-01-05 --accept "expect_column_values_to_not_be_null(num_clicks_28d)"' in message


def test_a_grain_that_repeats_and_an_empty_day_are_refused(spark, lake, tmp_path_factory):
    assert "expect_compound_columns_to_be_unique" in refusal(
        spark, lake, spoiled(lambda rows: rows.withColumns({"item_id": F.lit("i"), "query_norm": F.lit("q")}))
    )
    other = make_lake(tmp_path_factory.mktemp("empty"))
    message = refusal(spark, other, spoiled(lambda rows: rows.withColumn("_fate", F.lit("uncredited"))))
    assert "expect_table_row_count_to_be_between()" in message and "may not be empty" in message


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            lambda rows: rows.where("item_id <> 'i1'"),
            "4 in, 3 accounted for {'counted': 2, 'uncredited': 1, 'quarantined': 0}, difference 1",
        ),
        (
            lambda rows: rows.withColumn("_events", F.col("_events").withField("counted", F.lit(2).cast("bigint"))),
            "4 in, 9 accounted for {'counted': 8, 'uncredited': 1, 'quarantined': 0}, difference -5",
        ),
    ],
    ids=["lost", "repeated"],
)
def test_books_that_do_not_balance_are_refused_with_account_and_difference(spark, lake, spoil, told):
    message = refusal(spark, lake, spoiled(spoil))
    assert "the books do not balance, nothing is published" in message and f"  events of attributions: {told}" in message


def test_a_refused_day_is_audited_again_and_published_when_a_person_says_why(spark, lake):
    message = refusal(spark, lake, set_for("i2", "num_clicks_28d", 1000))
    assert f'{TOO_MANY}: 1 of 3 break it, asked {{"max_value": 100}}, such as [1000] (our choice)' in message
    (draft,) = drafts(lake)
    seen = audit_staged(spark, str(lake), draft)
    assert (seen.rows, failed(seen.results, "critical")) == (3, [TOO_MANY])
    with pytest.raises(GateError, match="1 critical expectation failed"):
        admit(spark, str(lake), draft, {"another": "because"})
    assert open_table(lake, COUNTED).days == []
    receipt = admit(spark, str(lake), draft, {TOO_MANY: "a sale", "another": "never failed"})
    assert receipt["accepted"] == {TOO_MANY: "a sale"}
    assert (receipt["content_hash"], receipt["run_id"]) == (seen.content_hash, draft["run_id"])
    assert open_table(lake, COUNTED).receipt(DAY)["accepted"] == {TOO_MANY: "a sale"}
    assert DeltaTable(table_root(lake, COUNTED)).to_pyarrow_table().num_rows == 3


def test_every_failure_is_told_at_once(spark, lake):
    spoil = spoiled(lambda rows: rows.withColumns({"num_clicks_28d": F.lit(1000), "last_event_at": F.lit(None).cast("timestamp")}))
    message = refusal(spark, lake, spoil)
    assert "2 critical expectations failed" in message and TOO_MANY in message and "to_not_be_null(last_event_at)" in message


def test_staged_bytes_that_were_changed_are_refused(spark, lake):
    refusal(spark, lake, set_for("i2", "num_clicks_28d", 1000))
    (draft,) = drafts(lake)
    root = table_root(lake, COUNTED)
    (file,) = staged_files(root, COUNTED, f"{draft['folder']}/split=kept", bookkeeping(["events"]))
    table = pq.ParquetFile(f"{root}/{file.path}").read()
    Path(root, file.path).with_name(f".{Path(file.path).name}.crc").unlink()
    index = table.column_names.index("item_id")
    pq.write_table(table.set_column(index, table.schema.field(index), [["", "i1", "i2"]]), f"{root}/{file.path}")
    with pytest.raises(GateError, match="1 staged rows still break a row rule; the staged files were changed"):
        audit_staged(spark, str(lake), draft)


def test_a_value_that_does_not_occur_in_the_input_it_references_is_refused(spark, lake, monkeypatch):
    columns = tuple(replace(c, references="attributions.item_id") if c.name == "item_id" else c for c in COUNTED.columns)
    referring = replace(COUNTED, columns=columns)
    use_counted(monkeypatch, referring)
    message = refusal(spark, lake, set_for("i1", "item_id", "i9"), contract=referring)
    assert 'values_occur_in_input(item_id): 1 of all break it, asked {"references": "attributions.item_id"}' in message
    assert run_day(spark, lake, contract=referring).receipt["rows"] == 3


def test_a_result_in_one_line():
    config = {"kwargs": {"column_A": "a", "column_B": "b"}, "meta": {"note": "n"}}
    pair = {"name": "x(a,b)", "expectation_config": config, "result": {"unexpected_count": 2, "element_count": 9}}
    assert describe(pair) == "x(a,b): 2 of 9 break it (n)"
    config = {"kwargs": {"min_value": 1}, "meta": {}}
    assert describe({"name": "y()", "expectation_config": config, "result": {"observed_value": 0}}) == 'y(): saw 0, asked {"min_value": 1}'
    broken = {"name": "z()", "expectation_config": config, "result": {}, "exception_info": {"exception_message": "no such kind"}}
    assert describe(broken) == 'z(): no such kind, asked {"min_value": 1}'
