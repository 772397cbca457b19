"""The row groups of a manifest: footers read once and held against what was pinned, columns found, rows of one row group read."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat

from schemas.address import filesystem
from schemas.contract import ContractError
from training.manifest import File, Manifest, ManifestError
from training.tensors import kind_of, nulls

DAY = "day"
"""The partition: a column of every table, inside no file."""
READERS = 16  # footers read at once: on an object store each costs round trips
SHOWN = 10  # files at fault that one message lists


class Groups:
    """All row groups of a manifest in its order, and the columns that are read of them."""

    def __init__(self, manifest: Manifest, columns: Sequence[str]) -> None:
        """Raises ManifestError that lists files that are not as pinned, ValueError that lists columns that cannot be read."""
        self.manifest, self.columns = manifest, list(dict.fromkeys(columns))
        self._fs, self._root = filesystem(manifest.root)
        with ThreadPoolExecutor(READERS) as pool:
            found = list(pool.map(self._footer, manifest.files))
        self._tell([f"{file.path} {fault}" for file, fault in zip(manifest.files, found, strict=True) if isinstance(fault, str)])
        self._footers: list[pq.FileMetaData] = [footer for footer in found if isinstance(footer, pq.FileMetaData)]
        self._places = [(n, group) for n, footer in enumerate(self._footers) for group in range(footer.num_row_groups)]
        self.rows = [self._footers[n].row_group(group).num_rows for n, group in self._places]
        newest = self._footers[-1].schema.to_arrow_schema() if found else pa.schema([])  # it has the columns that were added
        self._check_columns(_kinds(newest))
        self._leaves = self._find_leaves(_kinds(newest))
        self.nothing = _wanted(newest, self.columns).empty_table()

    def read(self, number: int, rows: np.ndarray) -> pa.Table:
        """These rows of a row group, decoded by the thread that asks. Raises ContractError when it has nulls that no tensor can hold."""
        n, group = self._places[number]
        file, schema = self.manifest.files[n], self.nothing.schema
        try:
            with self._fs.open_input_file(f"{self._root}/{file.path}") as source:
                is_far = self._fs.type_name != "local"  # there few large reads are worth a copy of what they bring
                parquet = pq.ParquetFile(source, metadata=self._footers[n], pre_buffer=is_far)
                table = parquet.read_row_group(group, columns=self._leaves[n], use_threads=False)
            table = table.append_column(DAY, _days(file, table)) if DAY in self.columns else table
            faults = nulls(table, self.columns)
        except (pa.ArrowInvalid, OSError) as error:
            faults = [f"cannot be read any more: {error}"]
        if faults:
            where = f"{self.manifest.table}, row group {group} of {file.path} under {self.manifest.root}"
            raise ContractError(f"{where}: {'; '.join(faults)}")
        taken = table.take(pa.array(rows))
        return taken if taken.schema.equals(schema) else taken.select(schema.names).cast(schema)

    def _footer(self, file: File) -> pq.FileMetaData | str:
        """The footer of a file, or what is wrong with the file."""
        try:
            with self._fs.open_input_file(f"{self._root}/{file.path}") as source:
                if source.size() != file.size:
                    return f"has {source.size():,} bytes, the manifest says {file.size:,}"
                footer = pq.read_metadata(source)
        except FileNotFoundError:
            return "is gone"
        except (pa.ArrowInvalid, OSError) as error:
            return f"cannot be read: {error}"
        return footer if footer.num_rows == file.rows else f"has {footer.num_rows:,} rows, the manifest says {file.rows:,}"

    def _check_columns(self, kinds: dict[str, str | None]) -> None:
        faults = [f"there is no column {name}" for name in self.columns if kinds and name not in kinds]
        faults += [f"no tensor can hold {name}" for name in self.columns if name in kinds and not kinds[name]]
        lists = sorted({name.partition(".")[0] for name in self.columns if "." in name})
        faults += [f"items are of one list, and these are fields of {' and '.join(lists)}"] if len(lists) > 1 else []
        faults += [] if self.columns else ["no columns are given"]
        if faults:
            can_be_read = ", ".join(name for name, kind in kinds.items() if kind)
            raise ValueError(f"manifest {self.manifest.name} of {self.manifest.table}: {'; '.join(faults)}. Columns: {can_be_read}")

    def _find_leaves(self, kinds: dict[str, str | None]) -> list[list[str]]:
        """For each file the parquet leaves that hold the columns. Raises ManifestError when a column is not the same in all files."""
        leaves: list[list[str]] = []
        faults: list[str] = []
        for n, (file, footer) in enumerate(zip(self.manifest.files, self._footers, strict=True)):
            paths = [footer.schema.column(leaf).path for leaf in range(footer.num_columns)]
            leaves.append([path for path in paths if _column_of(path) in self.columns])
            if n and footer.schema.equals(self._footers[n - 1].schema):  # though paths may differ: it compares types
                continue
            here = _kinds(footer.schema.to_arrow_schema())
            differ = [name for name in self.columns if here.get(name) != kinds[name]]
            faults += [f"{file.path} has {name} as {here.get(name, 'no column')}, the newest file as {kinds[name]}" for name in differ]
        self._tell(faults)
        return leaves

    def _tell(self, faults: list[str]) -> None:
        if faults:
            more = [f"and {len(faults) - SHOWN:,} more"] if len(faults) > SHOWN else []
            files = f"its {len(self.manifest.files):,} files under {self.manifest.root}"
            what = f"manifest {self.manifest.name} of {self.manifest.table} does not agree with {files}"
            remedy = "restore the files from a copy of the lake, or pin anew under another name: sluice manifest create"
            raise ManifestError("\n  ".join([f"{what}; {remedy}:", *faults[:SHOWN], *more]))


def _kinds(schema: pa.Schema) -> dict[str, str | None]:
    """Everything in a file that has a name, and what it becomes: columns, and as `list.field` the fields of structs in a list."""
    kinds: dict[str, str | None] = {DAY: kind_of(pa.date32())} if len(schema) else {}
    for column in schema:
        kinds[column.name] = kind_of(column.type)
        if _holds_items(column.type):
            kinds |= {f"{column.name}.{field.name}": kind_of(field.type) for field in column.type.value_type}
    return kinds


def _wanted(schema: pa.Schema, columns: Sequence[str]) -> pa.Schema:
    """The schema of what is read, the same for all files: in the order of the file, and everything may be null."""
    fields = [pa.field(column.name, _bare(column.type)) for column in schema if column.name in columns]
    for column in (c for c in schema if _holds_items(c.type)):
        parts = [pa.field(f.name, _bare(f.type)) for f in column.type.value_type if f"{column.name}.{f.name}" in columns]
        fields += [pa.field(column.name, pa.list_(pa.struct(parts)))] if parts else []
    return pa.schema(fields + ([pa.field(DAY, pa.date32())] if DAY in columns else []))


def _bare(type_: pa.DataType) -> pa.DataType:
    return pa.list_(type_.value_type) if pat.is_list(type_) else type_


def _holds_items(type_: pa.DataType) -> bool:
    return pat.is_list(type_) and pat.is_struct(type_.value_type)


def _column_of(path: str) -> str:
    """`items.price` for the leaf `items.list.element.price`, whatever its writer calls the levels between."""
    column, *levels = path.split(".")
    return f"{column}.{levels[2]}" if len(levels) > 2 else column


def _days(file: File, table: pa.Table) -> pa.Array:
    return pa.repeat(pa.scalar(date.fromisoformat(file.day), pa.date32()), table.num_rows)
