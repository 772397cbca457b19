"""The content hash of a frame: equal rows, in any order and any partitioning, give an equal hash.

Each row is written as one canonical JSON text and hashed: xxhash64 of the columns themselves skips nulls at every depth
([1, null] equals [null, 1]) and refuses maps. Row hashes are summed, since a xor would cancel equal pairs.
"""

from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, MapType, StructType

JSON = {"ignoreNullFields": "false", "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"}
ROW_HASH = "_row_hash"


def row_hash(schema: StructType) -> Column:
    """64-bit hash of a row of this schema; nulls, empty lists and the order of lists count, the order of maps does not."""
    canonical = F.struct(*(_canonical(F.col(f"`{f.name}`"), f.dataType).alias(f.name) for f in schema.fields))
    return F.xxhash64(F.to_json(canonical, JSON)).alias(ROW_HASH)


def hash_sums() -> dict[str, Column]:
    """Aggregates over a frame with a column ROW_HASH that `content_hash` makes into one text."""
    halves = {"content_high": F.shiftright(ROW_HASH, 32), "content_low": F.col(ROW_HASH).bitwiseAND(F.lit((1 << 32) - 1))}
    return {"content_rows": F.count(F.lit(1))} | {name: F.coalesce(F.sum(half), F.lit(0)) for name, half in halves.items()}


def content_hash(sums: dict[str, Any]) -> str:
    """`<rows>-<sum of row hashes, 64 bits in hex>`."""
    total = (int(sums["content_high"]) << 32) + int(sums["content_low"])
    return f"{sums['content_rows']}-{total % (1 << 64):016x}"


def _canonical(value: Column, kind: DataType) -> Column:
    """The value with every map in it as a list of entries sorted by key."""
    if not _has_map(kind):
        return value
    if isinstance(kind, MapType):
        entry = StructType().add("key", kind.keyType).add("value", kind.valueType)
        return F.array_sort(_canonical(F.map_entries(value), ArrayType(entry)))  # sorted last: an entry with a map in it has no order
    if isinstance(kind, ArrayType):
        return F.transform(value, lambda e: _canonical(e, kind.elementType))
    inside = F.struct(*(_canonical(value.getField(f.name), f.dataType).alias(f.name) for f in kind.fields))
    return F.when(value.isNotNull(), inside)


def _has_map(kind: DataType) -> bool:
    if isinstance(kind, StructType):
        return any(_has_map(f.dataType) for f in kind.fields)
    return isinstance(kind, MapType) or (isinstance(kind, ArrayType) and _has_map(kind.elementType))
