"""The files of a folder of logs: which there are, what each holds, and all that is wrong with them, before any row is read."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from jobs.sources._scan import files_below, open_lines
from jobs.sources._text import csv_header, records
from jobs.storage import filesystem

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = {"parquet": "parquet", "jsonl": "jsonl", "ndjson": "jsonl", "json": "jsonl", "csv": "csv", "tsv": "csv"}
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
PACKED = ("gz", "bz2", "zst")
TABLES = ("requests", "candidates", "events", "items")
PROBED_RECORDS = 1000  # a name that none of so many objects of any file has is a missing column


@dataclass(frozen=True)
class LogFile:
    """One file and what its header, its footer or its first objects tell."""

    table: str
    name: str
    """Relative to the folder, as people see it."""
    address: str
    kind: str
    delimiter: str
    folder_values: Mapping[str, str | None]
    """Columns that are written as folders, such as day=2026-01-01."""
    columns: tuple[str, ...] = ()
    schema: "pa.Schema | None" = None
    """Of a parquet file."""
    element_fields: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Names inside the objects of each column that was seen to list objects."""
    rows_of_groups: tuple[int, ...] = ()
    """Rows of each row group, by the footer of a parquet file."""


def find(root: str, delimiter: str) -> tuple[list[LogFile], list[str]]:
    """Every file of the four tables with what it holds, and all that is wrong with those that cannot be read."""
    files, problems = [], []
    for name in files_below(root):
        table, kind = _table_of(name), _kind_of(name)
        if table is None:
            continue  # what else lies in the folder is not ours
        if kind is None:
            problems.append(f"{name} is of no known kind; its name must end in .{', .'.join(KINDS)}, and .{', .'.join(PACKED)} after text")
            continue
        tabs = name.removesuffix(_packing(name)).endswith(".tsv")
        values = {key: unquote(value) for key, value in (part.split("=", 1) for part in name.split("/")[1:-1] if "=" in part)}
        values = {key: None if value == HIVE_NULL else value for key, value in values.items()}
        file = LogFile(table, name, f"{root}/{name}", kind, "\t" if tabs else delimiter, values)
        try:
            looked = _look(file)
        except (OSError, EOFError, ValueError) as error:  # pyarrow's errors are among them
            problems.append(f"{name} cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
            continue
        files += [looked] if looked.columns else []  # a text file of no line has no part in anything
    return files, problems


def _table_of(name: str) -> str | None:
    """The table by the first folder, or by the stem of a file that lies beside."""
    first = name.split("/")[0]
    stem = first if "/" in name else first.split(".")[0]
    return stem if stem in TABLES else None


def _packing(name: str) -> str:
    ending = os.path.splitext(name)[1]
    return ending if ending.lstrip(".") in PACKED else ""


def _kind_of(name: str) -> str | None:
    inner = name.removesuffix(_packing(name))
    kind = KINDS.get(os.path.splitext(inner)[1].lstrip(".").lower())
    return None if kind == "parquet" and _packing(name) else kind


def _look(file: LogFile) -> LogFile:
    """The file with what it holds. Raises OSError or ValueError when it is torn, or is not what its name says."""
    changed: dict[str, Any]
    if file.kind == "parquet":
        changed = _look_at_parquet(file)
    else:
        with open_lines(file.address) as stream:
            start = stream.peek(4)[:4]
            if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise ValueError("it is UTF-16; write it as UTF-8")
            if start == b"PAR1":
                raise ValueError("it is a parquet file by its content; name it .parquet")
            changed = {"columns": tuple(csv_header(stream, file.delimiter))} if file.kind == "csv" else _look_at_json(stream)
    if changed["columns"]:
        changed["columns"] = tuple(dict.fromkeys((*changed["columns"], *file.folder_values)))
    return LogFile(**{**vars(file), **changed})


def _look_at_parquet(file: LogFile) -> dict[str, Any]:
    import pyarrow.parquet as pq

    system, path = filesystem(file.address)
    with system.open_input_file(path) as stream:
        parquet = pq.ParquetFile(stream)
        meta, schema = parquet.metadata, parquet.schema_arrow
        groups = tuple(meta.row_group(n).num_rows for n in range(meta.num_row_groups))
    plain = schema_of(schema)
    fields = {f.name: frozenset(each.name for each in f.type.value_type) for f in plain if _is_list_of_structs(f.type)}
    return {"columns": tuple(schema.names), "schema": plain, "element_fields": fields, "rows_of_groups": groups}


def _is_list_of_structs(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return pa.types.is_list(kind) and pa.types.is_struct(kind.value_type)


def _look_at_json(stream: Any) -> dict[str, Any]:
    names: dict[str, None] = {}
    fields: dict[str, frozenset[str]] = {}
    for number, record in enumerate(islice(records(stream, "jsonl"), PROBED_RECORDS)):
        if number == 0 and record.raw.startswith("["):
            raise ValueError("it is one JSON list; write one object on each line (jq -c '.[]')")
        values = record.values or {}
        names |= dict.fromkeys(values)
        for name, listed in values.items():
            for each in listed if isinstance(listed, list) else ():
                if isinstance(each, dict):
                    fields[name] = fields.get(name, frozenset()) | each.keys()
    return {"columns": tuple(names), "element_fields": fields}


def schema_of(schema: "pa.Schema") -> "pa.Schema":
    """The schema in types that Spark has: times in microseconds and UTC, no dictionaries, no large or unsigned types."""
    import pyarrow as pa

    return pa.schema([pa.field(f.name, _plain(f.type)) for f in schema])


def _plain(kind: "pa.DataType") -> "pa.DataType":
    import pyarrow as pa
    import pyarrow.types as t

    if t.is_dictionary(kind):
        return _plain(kind.value_type)
    if t.is_struct(kind):
        return pa.struct([pa.field(f.name, _plain(f.type)) for f in kind])
    if t.is_map(kind):
        return pa.map_(_plain(kind.key_type), _plain(kind.item_type))
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        return pa.list_(pa.field("element", _plain(kind.value_type)))
    for is_kind, plain in (
        (t.is_timestamp, pa.timestamp("us", tz="UTC")),
        (t.is_large_string, pa.string()),
        (t.is_string_view, pa.string()),
        (t.is_null, pa.string()),
        (t.is_date, pa.date32()),
        (t.is_float16, pa.float32()),
        (t.is_unsigned_integer, pa.int64()),
    ):
        if is_kind(kind):
            return plain
    return kind


def names_of(files: Sequence[LogFile]) -> str:
    """Some of their names."""
    names = [file.name for file in files]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
