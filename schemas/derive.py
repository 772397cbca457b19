"""Arrow and Spark schemas of a contract, derived from its DDL. pyarrow and pyspark are imported only when asked for."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.contract import Column, Contract, ContractError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql.types import StructType

SCALARS = ("string", "tinyint", "int", "bigint", "float", "double", "boolean", "date", "timestamp", "binary")
_TOKEN = re.compile(r"\s*(not\s+null\b|[A-Za-z_][A-Za-z0-9_]*|[<>:,])", re.IGNORECASE)


@dataclass(frozen=True)
class Type:
    """A parsed type: `scalar` name, or `array`, `map` or `struct` with its parts."""

    kind: str
    parts: tuple["Field", ...] = ()


@dataclass(frozen=True)
class Field:
    """A part of a nested type: a struct's field by its name, `element` of an array, `key` and `value` of a map."""

    name: str
    type: Type
    nullable: bool = True


def parse_type(ddl: str) -> Type:
    """The type that a DDL string names. Raises ContractError at the first thing that it cannot read."""
    tokens = _TOKEN.findall(ddl)
    if re.sub(r"\s+", "", "".join(tokens)) != re.sub(r"\s+", "", ddl):
        raise ContractError(f"type {ddl!r}: write it as Spark SQL DDL, such as array<struct<item_id string not null, price_cents bigint>>")
    parsed, rest = _parse(tokens, ddl)
    if rest:
        raise ContractError(f"type {ddl!r}: nothing may follow {parsed.kind}, found {' '.join(rest)}")
    return parsed


def _parse(tokens: list[str], ddl: str) -> tuple[Type, list[str]]:
    kind, rest = (tokens[0].lower(), tokens[1:]) if tokens else ("", [])
    if kind in SCALARS:
        return Type(kind), rest
    names = {"array": ["element"], "map": ["key", "value"], "struct": None}.get(kind, ())
    if names == () or rest[:1] != ["<"]:
        raise ContractError(f"type {ddl!r}: {kind!r} is none of {', '.join(SCALARS)}, array<>, map<>, struct<>")
    parts: list[Field] = []
    while rest[:1] in (["<"], [","]):
        rest = rest[1:]
        if names is None:
            name, rest = "".join(rest[:1]), rest[2:] if rest[1:2] == [":"] else rest[1:]
        else:
            name = names[len(parts)] if len(parts) < len(names) else ""
        part, rest = _parse(rest, ddl)
        has_mark = bool(rest) and rest[0].lower().startswith("not")
        rest = rest[1:] if has_mark else rest
        parts.append(Field(name, part, nullable=not (has_mark or (kind, name) == ("map", "key"))))
    if rest[:1] != [">"]:
        raise ContractError(f"type {ddl!r}: {kind}< is not closed")
    if names is not None and len(parts) != len(names):
        raise ContractError(f"type {ddl!r}: {kind}<> holds {' and '.join(names)}, found {len(parts)} types")
    return Type(kind, tuple(parts)), rest[1:]


def _arrow(parsed: Type) -> "pa.DataType":
    import pyarrow as pa

    if parsed.kind == "array":
        return pa.list_(pa.field("element", _arrow(parsed.parts[0].type)))
    if parsed.kind == "map":
        return pa.map_(*(_arrow(part.type) for part in parsed.parts))
    if parsed.kind == "struct":
        return pa.struct([pa.field(part.name, _arrow(part.type)) for part in parsed.parts])
    names = {"tinyint": pa.int8(), "int": pa.int32(), "bigint": pa.int64(), "float": pa.float32(), "double": pa.float64()}
    names |= {"string": pa.string(), "boolean": pa.bool_(), "date": pa.date32(), "binary": pa.binary()}
    return names.get(parsed.kind) or pa.timestamp("us", tz="UTC")


def arrow_schema(contract: Contract) -> "pa.Schema":
    """The columns in order. All are nullable: what must not be null is the gate's to check, on data that can show it."""
    import pyarrow as pa

    return pa.schema([pa.field(c.name, _arrow(parse_type(c.type))) for c in contract.columns])


def spark_schema(contract: Contract) -> "StructType":
    """The columns in order, all nullable for the same reason as in `arrow_schema`."""
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(arrow_schema(contract))


def required_fields(column: Column) -> list[str]:
    """Names of the fields that no element of a list of structs may leave null."""
    parsed = parse_type(column.type)
    if parsed.kind != "array" or parsed.parts[0].type.kind != "struct":
        return []
    return [part.name for part in parsed.parts[0].type.parts if not part.nullable]
