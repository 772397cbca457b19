"""Files of one table as one frame in the contract's types, with what each line has that cannot be read.

Columns: those of the table, null where a file lacks them, and `_file`, `_number`, `_raw` and `_found` (rules and reasons).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.sources import SourceError
from jobs.sources._cast import cast
from jobs.sources._find import LogFile
from jobs.sources._scan import in_batches, open_lines, over_pieces
from jobs.sources._text import Record, records
from jobs.storage import filesystem
from schemas.contract import load
from schemas.derive import Type, parse_type, spark_schema

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

FOUND = "array<struct<rule:string,reason:string>>"
PARQUET_ROWS = 4096


@dataclass(frozen=True)
class Name:
    """A column of a table as the contract describes it."""

    name: str
    type: Type
    ddl: str
    doc: str
    spark_type: T.DataType
    """All nullable: what must not be null is the gate's to check."""


def columns_of(table: str) -> dict[str, Name]:
    """Columns by name; `candidates` are the fields of the list in `requests`, with the request they belong to."""
    contract = load("requests" if table == "candidates" else table)
    kinds = {f.name: f.dataType for f in spark_schema(contract).fields}
    names = {c.name: Name(c.name, parse_type(c.type), c.type, c.doc, kinds[c.name]) for c in contract.columns}
    if table != "candidates":
        return names
    listed, fields = names["candidates"], {f.name: f.dataType for f in kinds["candidates"].elementType.fields}
    return {"request_id": names["request_id"]} | {
        f.name: Name(f.name, f.type, f.type.kind, f"of a candidate; {listed.doc}", fields[f.name]) for f in listed.type.parts[0].type.parts
    }


@dataclass(frozen=True)
class Group:
    """Files of a table that hold the same columns: the table's names, and what these files call them."""

    table: str
    files: tuple[LogFile, ...]
    own_names: Mapping[str, str]
    inner_renames: Mapping[str, str]
    nulls: frozenset[str]

    @property
    def is_parquet(self) -> bool:
        return self.files[0].kind == "parquet"

    def types(self) -> dict[str, T.DataType]:
        """Spark's type of each column as the files give it; text for all but parquet, and for what is a folder's name."""
        from pyspark.sql.pandas.types import from_arrow_type

        schema = self.files[0].schema
        kinds = {}
        for name, own in self.own_names.items():
            is_inside = schema is not None and own in schema.names
            kinds[name] = from_arrow_type(schema.field(own).type) if is_inside else T.StringType()
        return kinds


def typed(spark: "SparkSession", groups: Sequence[Group], only: Sequence[str] | None = None) -> DataFrame:
    """The rows of all groups. `only` names the columns to read, where not all are asked for."""
    return reduce(DataFrame.unionByName, [_typed_group(spark, group, only) for group in groups])


def uncastable(group: Group) -> dict[str, str]:
    """Columns of a parquet file that can never be what the contract wants, with the type they have."""
    wanted, wrong = columns_of(group.table), {}
    for name, given in group.types().items():
        if cast(F.lit(None), given, wanted[name].type, dict(group.inner_renames)) is None:
            wrong[name] = given.simpleString()
    return wrong


def _typed_group(spark: "SparkSession", group: Group, only: Sequence[str] | None) -> DataFrame:
    wanted = {name: column for name, column in columns_of(group.table).items() if only is None or name in only}
    given = {name: kind for name, kind in group.types().items() if name in wanted}
    lines = _parquet_lines(spark, group, given) if group.is_parquet else _text_lines(spark, group, list(given))
    values: list[Column] = []
    faults: list[Column] = [
        F.when(F.col("_fault").isNotNull(), F.struct(F.lit("broken_line").alias("rule"), F.col("_fault").alias("reason")))
    ]
    for name, column in wanted.items():
        made = cast(F.col(name), given[name], column.type, dict(group.inner_renames)) if name in given else None
        values.append((made.value if made else F.lit(None)).cast(column.spark_type).alias(name))
        for fault in made.faults if made else ():
            reason = F.concat(F.lit(f"{name} '"), F.substring(F.coalesce(fault.shown, F.lit("")), 1, 200), F.lit(f"' is not {fault.words}"))
            faults.append(F.when(fault.is_so, F.struct(F.lit(f"unreadable_{name}").alias("rule"), reason.alias("reason"))))
    raw = F.to_json(F.struct(*given)) if group.is_parquet else F.col("_raw")
    return lines.select(*values, "_file", "_number", raw.alias("_raw"), F.array_compact(F.array(*faults)).cast(FOUND).alias("_found"))


def _text_lines(spark: "SparkSession", group: Group, names: Sequence[str]) -> DataFrame:
    import pyarrow as pa

    own = {name: group.own_names[name] for name in names}
    nulls = group.nulls
    control = [("_file", pa.string()), ("_number", pa.int64()), ("_raw", pa.string()), ("_fault", pa.string())]
    schema = pa.schema([*((name, pa.string()) for name in names), *control])

    def row(file: LogFile, record: Record) -> dict[str, object]:
        values = {**file.folder_values, **(record.values or {})}
        cells = {name: text_of_value(values.get(source)) for name, source in own.items()}
        known = {name: None if cell in nulls else cell for name, cell in cells.items()}
        return known | {"_file": file.name, "_number": record.line, "_raw": record.raw, "_fault": record.fault}

    def batches(file: LogFile) -> "Iterator[pa.RecordBatch]":
        with open_lines(file.address) as stream:
            yield from in_batches((row(file, each) for each in records(stream, file.kind, file.delimiter)), schema)

    return over_pieces(spark, group.files, batches, schema)


def text_of_value(value: object) -> str | None:
    """The value as text: of a list or an object its JSON."""
    import json

    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _parquet_lines(spark: "SparkSession", group: Group, given: Mapping[str, T.DataType]) -> DataFrame:
    import pyarrow as pa

    inside = group.files[0].schema
    own = {name: group.own_names[name] for name in given}
    types = {name: inside.field(source).type if source in inside.names else pa.string() for name, source in own.items()}
    control = [("_file", pa.string()), ("_number", pa.int64()), ("_fault", pa.string())]
    schema = pa.schema([*types.items(), *control])
    pieces = [(file, number, sum(file.rows_of_groups[:number])) for file in group.files for number in range(len(file.rows_of_groups))]

    def batches(piece: tuple[LogFile, int, int]) -> "Iterator[pa.RecordBatch]":
        import pyarrow.parquet as pq

        file, number, before = piece
        system, path = filesystem(file.address)
        sources = [source for source in own.values() if source in inside.names]
        try:
            with system.open_input_file(path) as stream:
                for batch in pq.ParquetFile(stream).iter_batches(PARQUET_ROWS, row_groups=[number], columns=sources):
                    yield _as_lines(batch, file, before, own, schema)
                    before += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{file.name}: row group {number} cannot be read ({error}); write the file again") from error

    return over_pieces(spark, pieces, batches, schema)


def _as_lines(batch: "pa.RecordBatch", file: LogFile, before: int, own: Mapping[str, str], schema: "pa.Schema") -> "pa.RecordBatch":
    import pyarrow as pa

    size = batch.num_rows
    made = {"_file": pa.repeat(file.name, size), "_fault": pa.nulls(size, pa.string())}
    made["_number"] = pa.array(range(before + 1, before + size + 1), pa.int64())
    for name, source in own.items():
        held = batch.column(source) if source in batch.schema.names else pa.array([file.folder_values[source]] * size, pa.string())
        made[name] = held.cast(schema.field(name).type, safe=False)  # nanoseconds lose what a contract does not hold
    return pa.RecordBatch.from_arrays([made[name] for name in schema.names], schema=schema)
