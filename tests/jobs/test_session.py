"""The settings that every session has in force."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from jobs.session import SETTINGS, SMALL, SMALL_BYTES, suited_to

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_the_settings_of_the_house_are_in_force(spark: "SparkSession", tmp_path: Path) -> None:
    assert {key: spark.conf.get(key) for key in SETTINGS} == SETTINGS
    rows = spark.sql("select timestamp'2026-01-05 23:30:00.123456' as at, current_timezone() as zone, 1 as id, 2 as ID")
    rows.write.parquet(f"file://{tmp_path}/rows")
    [file] = (tmp_path / "rows").glob("*.parquet")
    at = pq.read_metadata(file).schema.column(0)
    assert (at.physical_type, pq.read_metadata(file).row_group(0).column(0).compression) == ("INT64", "ZSTD")
    assert pq.read_table(file).to_pylist()[0]["at"].replace(tzinfo=None) == datetime(2026, 1, 5, 23, 30, 0, 123456)
    assert pq.read_table(file)["zone"].to_pylist() == ["UTC"]
    assert pq.read_schema(file).names == ["at", "zone", "id", "ID"]
    assert not list((tmp_path / "rows").glob("_SUCCESS"))


def test_a_text_that_is_no_number_fails_and_is_not_null(spark: "SparkSession") -> None:
    with pytest.raises(Exception, match="CAST_INVALID_INPUT"):
        spark.sql("select cast(v as int) from values ('x') as t(v)").collect()


def test_plans_are_interpreted_while_a_small_input_is_worked_on(spark: "SparkSession") -> None:
    def now() -> dict[str, str]:
        return {key: spark.conf.get(key) for key in SMALL}

    before = now()
    assert before != SMALL
    with suited_to(spark, SMALL_BYTES):
        assert now() == SMALL
    assert now() == before
    with suited_to(spark, SMALL_BYTES + 1):
        assert now() == before
    with pytest.raises(KeyError, match="of the work"), suited_to(spark, 0):
        raise KeyError("of the work")
    assert now() == before
