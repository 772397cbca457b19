"""The content hash: equal for equal rows however they lie, different for every difference that a reader could see."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from jobs.content import content_hash, hash_sums, row_hash
from schemas.contract import Column, Contract, load
from schemas.derive import arrow_schema, spark_schema
from tests.frames import frame

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

VALUES = Contract(
    "values",
    ("id",),
    "us",
    1,
    1,
    "A column of every kind.",
    (
        Column("id", "string", ""),
        Column("list", "array<int>", ""),
        Column("pairs", "array<struct<a int,b int>>", ""),
        Column("map", "map<string,string>", ""),
        Column("deep", "array<struct<n int,m map<string,struct<x map<string,int>>>>>", ""),
        Column("at", "timestamp", ""),
        Column("rate", "double", ""),
        Column("bytes", "binary", ""),
    ),
)
AT = datetime(2026, 1, 5, 10, 0, 0, 123456, tzinfo=UTC)


def case(**values: object) -> dict[str, object]:
    return {"id": "r"} | values


CASES: dict[str, list[dict[str, object]]] = {
    "nulls": [case()],
    "empty_text": [case(id="")],
    "no_text": [case(id=None)],
    "text_null": [case(id="null")],
    "swapped_null": [case(pairs=[{"a": None, "b": 5}])],
    "swapped_null_other": [case(pairs=[{"a": 5, "b": None}])],
    "no_pair": [case(pairs=[None])],
    "pair_of_nulls": [case(pairs=[{"a": None, "b": None}])],
    "one_null": [case(list=[1, None])],
    "null_one": [case(list=[None, 1])],
    "empty_list": [case(list=[])],
    "list_of_null": [case(list=[None])],
    "list_1_2": [case(list=[1, 2])],
    "list_2_1": [case(list=[2, 1])],
    "list_12": [case(list=[12])],
    "map_ab": [case(map=[("a", "1"), ("b", "2")])],
    "map_ba_values": [case(map=[("a", "2"), ("b", "1")])],
    "map_null_value": [case(map=[("a", None)])],
    "map_empty": [case(map=[])],
    "deep": [case(deep=[{"n": 1, "m": [("k", {"x": [("p", 1), ("q", 2)]}), ("l", None)]}])],
    "deep_null_map": [case(deep=[{"n": 1, "m": None}])],
    "deep_empty_map": [case(deep=[{"n": 1, "m": []}])],
    "deep_no_struct": [case(deep=[None])],
    "deep_struct_of_nulls": [case(deep=[{"n": None, "m": None}])],
    "at": [case(at=AT)],
    "a_microsecond_later": [case(at=AT.replace(microsecond=123457))],
    "no_microsecond": [case(at=AT.replace(microsecond=123000))],
    "zero": [case(rate=0.0)],
    "minus_zero": [case(rate=-0.0)],
    "nan": [case(rate=float("nan"))],
    "infinity": [case(rate=float("inf"))],
    "next_double": [case(rate=0.1)],
    "next_double_up": [case(rate=0.1 + 2**-56)],
    "bytes": [case(bytes=b"\x00\xff")],
    "twice": [case(), case()],
    "four_times": [case(), case(), case(), case()],
    "x": [case(id="x")],
    "xy": [case(id="x"), case(id="y")],
    "x_twice_y_twice": [case(id="x"), case(id="x"), case(id="y"), case(id="y")],
}
SAME: dict[str, tuple[str, list[dict[str, object]]]] = {
    "map in another order": ("map_ab", [case(map=[("b", "2"), ("a", "1")])]),
    "map in a struct in a list, and a map in it": ("deep", [case(deep=[{"n": 1, "m": [("l", None), ("k", {"x": [("q", 2), ("p", 1)]})]}])]),
    "rows in another order": ("xy", [case(id="y"), case(id="x")]),
    "repeated rows mixed": ("x_twice_y_twice", [case(id="y"), case(id="x"), case(id="y"), case(id="x")]),
    "every NaN": ("nan", [case(rate=-float("nan"))]),
}


@pytest.fixture(scope="module")
def hashes(spark: "SparkSession") -> dict[str, str]:
    """The content hash of every case, all in one frame and one action."""
    cases = CASES | {name: rows for name, (_, rows) in SAME.items()}
    lines = [{"case": name} | row for name, rows in cases.items() for row in rows]
    table = pa.Table.from_pylist(lines, schema=pa.schema([pa.field("case", pa.string()), *arrow_schema(VALUES)]))
    values = spark.createDataFrame(table, schema=StructType([StructField("case", StringType()), *spark_schema(VALUES).fields]))
    sums = values.select("case", row_hash(spark_schema(VALUES))).groupBy("case").agg(*(c.alias(n) for n, c in hash_sums().items()))
    return {row["case"]: content_hash(row.asDict()) for row in sums.collect()}


def test_every_difference_changes_the_hash(hashes):
    found = {name: hashes[name] for name in CASES}
    by_hash: dict[str, list[str]] = {}
    for name, value in found.items():
        by_hash.setdefault(value, []).append(name)
    assert [names for names in by_hash.values() if len(names) > 1] == []


def test_what_is_no_difference_does_not(hashes):
    assert {name: hashes[name] for name in SAME} == {name: hashes[twin] for name, (twin, _) in SAME.items()}


def test_equal_rows_do_not_cancel(hashes):
    sums = {name: hashes[name].split("-") for name in ("nulls", "twice", "four_times")}
    assert [int(rows) for rows, _ in sums.values()] == [1, 2, 4]
    one = int(sums["nulls"][1], 16)
    assert [int(total, 16) for _, total in sums.values()] == [one, one * 2 % 2**64, one * 4 % 2**64]


def test_order_and_partitions_change_nothing(spark):
    rows = [{"user_id": f"u{n % 7}", "page_context": {"a": str(n), "b": None}} for n in range(50)]
    rows += [{"candidates": [{"item_id": f"i{n}", "score": n / 7} for n in range(5)]}]
    requests = frame(spark, load("requests"), rows)
    backwards = requests.orderBy(F.xxhash64("request_id"))
    assert len({whole_hash(each) for each in (requests, backwards, *(requests.repartition(n) for n in range(1, 8)))}) == 1
    assert whole_hash(requests).startswith("51-")
    assert whole_hash(requests.where("request_id != 'request_id_3'")) != whole_hash(requests)


def test_no_rows_have_a_hash(spark):
    assert whole_hash(frame(spark, load("requests"), [])) == "0-0000000000000000"
    assert content_hash({"content_rows": 1, "content_high": -1, "content_low": 2**32 - 1}) == "1-ffffffffffffffff"


def whole_hash(rows: "DataFrame") -> str:
    sums = rows.select(row_hash(rows.schema)).agg(*(c.alias(n) for n, c in hash_sums().items())).first()
    return content_hash(sums.asDict())
