"""`frame`: rows of a contract of which a test writes only what matters to it."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING

from schemas.contract import Contract
from schemas.derive import Field, Type, arrow_schema, parse_type, spark_schema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

DAY = date(2026, 1, 5)
BY_NAME = {"domain": "search", "event_type": "click", "status": "on_shelf", "kind": "item"}
BY_TYPE = {"tinyint": 0, "int": 0, "bigint": 0, "float": 0.0, "double": 0.0, "boolean": False, "binary": b"", "array": [], "map": {}}


def frame(spark: "SparkSession", contract: Contract, rows: Iterable[Mapping[str, object]]) -> "DataFrame":
    """A frame with exactly the contract's columns and types.

    Columns: what a row leaves out is null where it may be; else `day` is 2026-01-05, a timestamp noon of the row's day, a number 0,
    a boolean false, a list empty, a string a valid value of its enumeration or the column's name; a grain of one
    column is numbered (`request_id_0`, `request_id_1`, ...). `stage` follows `is_exposed`. Structs in lists alike.
    Units: timestamps are UTC; days and timestamps may be ISO strings.
    Raises: ValueError for a column or field that the contract does not have.
    """
    import pyarrow as pa

    fields = [Field(c.name, parse_type(c.type), c.nullable) for c in contract.columns]
    filled = []
    for number, row in enumerate(rows):
        row = {c: f"{c}_{number}" for c in contract.grain if len(contract.grain) == 1} | dict(row)
        filled.append(_struct(row, fields, _value(row.get("day", DAY), Type("date"), DAY), contract.name))
    table = pa.Table.from_pylist(filled, schema=arrow_schema(contract))
    return spark.createDataFrame(table, schema=spark_schema(contract))


def _struct(row: Mapping[str, object], fields: Iterable[Field], day: date, where: str) -> dict[str, object]:
    unknown = row.keys() - {field.name for field in fields}
    if unknown:
        raise ValueError(f"{where} has no {', '.join(sorted(unknown))}; it has {', '.join(field.name for field in fields)}")
    return {f.name: _value(row[f.name], f.type, day, f"{where}.{f.name}") if f.name in row else _default(f, row, day) for f in fields}


def _default(field: Field, row: Mapping[str, object], day: date) -> object:
    if field.nullable:
        return None
    if field.name == "stage":
        return "exposed" if row.get("is_exposed") else "ranked"
    if field.type.kind == "date":
        return day
    if field.type.kind == "timestamp":
        return datetime.combine(day, time(12), UTC)
    if field.type.kind == "struct":
        return _struct({}, field.type.parts, day, field.name)
    return BY_NAME.get(field.name, BY_TYPE.get(field.type.kind, field.name))


def _value(value: object, kind: Type, day: date, where: str = "") -> object:
    """A given value in the form that Arrow reads, with what it leaves out inside filled in."""
    if value is None:
        return None
    if kind.kind == "date":
        return date.fromisoformat(value) if isinstance(value, str) else value
    if kind.kind == "timestamp":
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if kind.kind == "struct":
        return _struct(value, kind.parts, day, where)
    if kind.kind == "array":
        return [_value(element, kind.parts[0].type, day, where) for element in value]
    if kind.kind == "map":
        return list(value.items())
    return value
