"""The one writer of the Delta log: a commit that replaces a day with files already staged and audited, and carries the receipt.

Sluice retries by itself and never lets the engine: an engine's retry of an overwrite re-adds files over a state that it
did not see (eight first publishes of one day at once left eight copies of it).
"""

import json
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction
from pyarrow.fs import FileInfo, FileSelector, FileSystem

from jobs.storage import announce, filesystem, publish_id, withdraw_id, write_receipt
from schemas.address import delta_options
from schemas.contract import Contract, ContractError
from schemas.derive import arrow_schema

MAX_TRIES = 60
LONGEST_STATISTIC = 64  # characters; longer strings get no minimum and maximum


class LostRaceError(RuntimeError):
    """Somebody published the day since this run pinned its inputs."""


@dataclass(frozen=True)
class StagedFile:
    """A staged parquet file as the audit found it."""

    path: str
    """Relative to the table's root."""
    size: int
    rows: int
    statistics: str
    """Delta's JSON of row count, minima, maxima and null counts."""


def staged_files(root: str, contract: Contract, folder: str, bookkeeping: Sequence[str] = ()) -> list[StagedFile]:
    """Footers of the parquet files under `folder`. Raises ContractError when one is not what the contract says.

    A column under another name reads as null in one engine and not in the other, one of another type breaks one and is
    cast by the other: so names and types must be exact. `bookkeeping` names columns that the gate reads and no table has.
    """
    fs, base = filesystem(f"{root}/{folder}")
    _, root_path = filesystem(root)
    wanted = {f.name: _shape(f.type) for f in arrow_schema(contract) if f.name != "day"}
    found = []
    for info in sorted(parquet_files(fs, base), key=lambda i: i.path):
        footer = pq.read_metadata(info.path, filesystem=fs)
        if not footer.num_rows:
            continue
        columns = {f.name: _shape(f.type) for f in footer.schema.to_arrow_schema() if f.name not in bookkeeping}
        if columns != wanted:
            differ = sorted(set(columns.items()) ^ set(wanted.items()))
            raise ContractError(
                f"{contract.name}: staged file {info.path} differs from the contract in {differ}; raise the contract's version"
            )
        path = os.path.relpath(info.path, root_path)
        found.append(StagedFile(path, info.size, footer.num_rows, json.dumps(_statistics(footer, wanted))))
    return found


def files_again(table: DeltaTable, root: str, contract: Contract, day: date) -> list[StagedFile]:
    """The files that held a day at a version of the table, to commit them again. Raises ContractError when one is gone or changed."""
    added = pa.table(table.get_add_actions(flatten=True))
    facts = zip(*(added.column(name).to_pylist() for name in ("path", "partition.day", "size_bytes")), strict=True)
    held = [(unquote(path), size) for path, of_day, size in facts if str(of_day) == day.isoformat()]
    _check_files(root, [StagedFile(path, size, 0, "") for path, size in held])
    fs, base = filesystem(root)
    wanted = {f.name: _shape(f.type) for f in arrow_schema(contract) if f.name != "day"}
    footers = [pq.read_metadata(f"{base}/{path}", filesystem=fs) for path, _ in held]
    return [StagedFile(p, n, f.num_rows, json.dumps(_statistics(f, wanted))) for (p, n), f in zip(held, footers, strict=True)]


def parquet_files(fs: FileSystem, base: str) -> list[FileInfo]:
    """The parquet files under a folder; none where it is absent."""
    files = fs.get_file_info(FileSelector(base, recursive=True, allow_not_found=True))
    return [f for f in files if f.is_file and f.base_name.endswith(".parquet")]


def _shape(kind: pa.DataType) -> str:
    """A type without what differs between writers and means nothing: names of list elements, nullability."""
    if pa.types.is_list(kind):
        return f"array<{_shape(kind.value_type)}>"
    if pa.types.is_map(kind):
        return f"map<{_shape(kind.key_type)},{_shape(kind.item_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{','.join(f'{kind.field(i).name}:{_shape(kind.field(i).type)}' for i in range(kind.num_fields))}>"
    return str(kind)


def _statistics(footer: pq.FileMetaData, columns: Mapping[str, str]) -> dict[str, Any]:
    """Delta statistics of the top-level columns, so that both engines skip files. Left out: nested, NaN, long strings."""
    minimum: dict[str, Any] = {}
    maximum: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for index in range(footer.num_columns):
        name = footer.schema.column(index).path
        chunks = [footer.row_group(g).column(index).statistics for g in range(footer.num_row_groups)]
        if name not in columns or any(c is None or not c.has_null_count for c in chunks):
            continue
        nulls[name] = sum(c.null_count for c in chunks)
        bounds = [c for c in chunks if c.has_min_max]
        if len(bounds) == sum(1 for c in chunks if c.num_values):
            low, high = (_bound(min(c.min for c in bounds)), _bound(max(c.max for c in bounds))) if bounds else (None, None)
            if low is not None and high is not None:
                minimum[name], maximum[name] = low, high
    return {"numRecords": footer.num_rows, "minValues": minimum, "maxValues": maximum, "nullCount": nulls}


def _bound(value: Any) -> Any:
    """A bound as Delta's JSON has it, or None. Not of doubles: a footer ignores NaN, which is above all numbers to Spark."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        return value if len(value) <= LONGEST_STATISTIC else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def create_table(root: str, contract: Contract) -> DeltaTable:
    """The table, made if it is not there. Deletion vectors stay off: with them one of the readers fails."""
    options = delta_options(root)
    for _ in range(MAX_TRIES):
        if DeltaTable.is_deltatable(root, options):
            return DeltaTable(root, storage_options=options)
        try:
            return DeltaTable.create(
                root,
                arrow_schema(contract),
                mode="error",
                partition_by=["day"],
                name=contract.name,
                description=contract.doc,
                configuration={"delta.enableDeletionVectors": "false"},
                storage_options=options,
                commit_properties=CommitProperties(max_commit_retries=0),  # else it is made again over a first publish
            )
        except DeltaError:  # another process made it meanwhile
            _back_off()
    raise ContractError(f"cannot create {contract.name} at {root}; is the lake writable?")


def check_evolution(table: DeltaTable | None, contract: Contract) -> pa.Schema:
    """The schema to publish with: the contract's. Raises ContractError unless it only adds columns to the table's."""
    wanted = arrow_schema(contract)
    if table is None:
        return wanted
    present = {f.name: _shape(pa.field(f).type) for f in pa.schema(table.schema().to_arrow())}
    shapes = {f.name: _shape(f.type) for f in wanted}
    faults = [f"{n} is {shape} there and {shapes.get(n, 'not')} in the contract" for n, shape in present.items() if shapes.get(n) != shape]
    faults += [f"{n} is not there, and the contract requires it" for n in shapes if n not in present and not contract.column(n).nullable]
    if faults:
        raise ContractError(
            f"{contract.name} version {contract.version} in {table.table_uri}: {'; '.join(faults)}. Within a version only nullable "
            f"columns may be added: raise the version in schemas/{contract.name}.py (a new table, to be filled again), or undo the change"
        )
    return wanted


def publish(
    root: str, contract: Contract, day: date, files: Sequence[StagedFile], receipt: dict[str, Any], seen: int, *, stands: bool = True
) -> dict[str, Any]:
    """Replace the day by `files` in one commit that carries the receipt. Returns the receipt with its version.

    Without `stands` the day is not published after it. Raises LostRaceError when the day was changed more than `seen` times,
    ContractError when a file is gone or has changed.
    """
    transactions = [Transaction(publish_id(day), seen + 1)] + ([] if stands else [Transaction(withdraw_id(day), seen + 1)])
    receipt = receipt | {"publish": seen + 1}
    _check_files(root, files)
    if not files:
        announce(root, receipt)
    for _ in range(MAX_TRIES):
        table = create_table(root, contract)
        if (table.transaction_version(publish_id(day)) or 0) != seen:
            raise LostRaceError(f"{contract.name} {day} was published by another run meanwhile")
        schema = check_evolution(table, contract)
        version = table.version() + 1  # without retries a commit follows the version that was read, or fails
        try:
            _commit(table, contract, schema, day, files, receipt, transactions)
        except CommitFailedError:
            _back_off()
            continue
        receipt["version"] = version
        write_receipt(root, receipt)
        return receipt
    raise ContractError(
        f"{contract.name} {day}: {MAX_TRIES} commits in a row met another writer at {root}; run it again when it is quieter"
    )


def append(root: str, contract: Contract, day: date, files: Sequence[StagedFile]) -> int:
    """Add files to a day and leave what it holds: for quarantine, whose readers go by the run ids that receipts name."""
    _check_files(root, files)
    for _ in range(MAX_TRIES):
        table = create_table(root, contract)
        version = table.version() + 1
        try:
            _commit(table, contract, arrow_schema(contract), day, files, None, [])
        except CommitFailedError:
            _back_off()
            continue
        return version
    raise ContractError(
        f"{contract.name} {day}: {MAX_TRIES} commits in a row met another writer at {root}; run it again when it is quieter"
    )


def _commit(
    table: DeltaTable,
    contract: Contract,
    schema: pa.Schema,
    day: date,
    files: Sequence[StagedFile],
    receipt: dict[str, Any] | None,
    transactions: list[Transaction],
) -> None:
    now = int(time.time() * 1000)
    partition = {"day": day.isoformat()}
    adds = [AddAction(quote(f.path, safe="/=-_.~"), f.size, partition, now, True, f.statistics) for f in files]
    table.create_write_transaction(
        adds,
        "append" if receipt is None else "overwrite",
        schema,
        partition_by=["day"],
        partition_filters=None if receipt is None else [("day", "=", day.isoformat())],  # never None with overwrite: all days would go
        commit_properties=CommitProperties(
            max_commit_retries=0,
            custom_metadata={"userMetadata": json.dumps(receipt)} if receipt else {"userMetadata": json.dumps({"day": day.isoformat()})},
            app_transactions=transactions or None,
        ),
    )


def _check_files(root: str, files: Sequence[StagedFile]) -> None:
    """A commit that names a missing file breaks every reader, so each must be there with the audited size."""
    if not files:
        return
    fs, _ = filesystem(root)
    infos = fs.get_file_info([f"{filesystem(root)[1]}/{f.path}" for f in files])
    changed = [f.path for f, info in zip(files, infos, strict=True) if not info.is_file or info.size != f.size]
    if changed:
        raise ContractError(f"files are gone or changed since the audit: {', '.join(changed[:5])} under {root}; run the day again")


def _back_off() -> None:
    time.sleep(random.uniform(0.01, 0.15))
