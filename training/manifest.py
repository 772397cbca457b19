"""Manifests: what a training run reads, pinned file by file in one JSON file beside the lake's tables. No Spark.

A manifest names the files of some days of a table as they were at one version, with each day's receipt. What is published later
changes nothing that it names, and `sluice maintain` spares its files for as long as it lies at `<lake>/_manifests/<name>.json`.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from schemas.address import delta_options, filesystem, lake_address, write_whole
from schemas.contract import Contract, ContractError, parse_days
from schemas.contract import load as contract_of

FOLDER = "_manifests"
READERS = 8  # receipts and footers read at once; on an object store each costs a round trip


class ManifestError(ContractError):
    """A manifest that may not be made, cannot be read, or no longer holds; the message names everything that is wrong."""


@dataclass(frozen=True)
class File:
    """A parquet file of the table."""

    path: str
    """Relative to the table's root."""
    day: str
    size: int
    """Bytes."""
    rows: int


@dataclass(frozen=True)
class Manifest:
    """The rows that a training run reads: files of whole days, ordered by (day, path), and what is known of each day (ISO)."""

    name: str
    table: str
    root: str
    """Address of the table's root, `<lake>/<table>/v<contract version>`."""
    version: int
    """Delta version at which the files were the table's."""
    contract_version: int
    schema_hash: str
    days: tuple[str, ...]
    files: tuple[File, ...]
    receipts: dict[str, dict[str, Any]]
    label_as_of: dict[str, str | None]
    is_mature: bool
    """Made with the demand that all labels are final."""
    sampler: dict[str, Any]
    """`seed` of the order in which rows are drawn, and `code`: by day, the fingerprint of the code that made its rows."""
    created_at: str
    columns: dict[str, str] = field(default_factory=dict)
    """Type of each column at that version, `day` included."""

    @property
    def rows(self) -> int:
        return sum(f.rows for f in self.files)

    @property
    def bytes(self) -> int:
        return sum(f.size for f in self.files)


def create(
    lake: str | os.PathLike[str], name: str, table: str, days: str | tuple[date, date], *, mature: bool = False, seed: int = 17
) -> Manifest:
    """Pin these days ("A..B" or a pair, both included) of the table's newest version under a name.

    A manifest of this name and content is returned as it is. Raises ManifestError that lists all that is wrong: days without a
    receipt, with open labels where `mature` is asked for, files that are gone or differ, another manifest of this name.
    """
    check_name(name)
    contract, address = contract_of(table), lake_address(lake)
    first, last = parse_days(days if isinstance(days, str) else f"{days[0]}..{days[1]}")
    wanted = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    root = f"{address}/{contract.name}/v{contract.version}"
    delta = _open(root)
    counts = {d: delta.transaction_version(f"publish:day={d}") or 0 for d in wanted} if delta else {}
    receipts = {d: receipt for d, receipt in _receipts(root, counts).items() if receipt and not receipt.get("is_withdrawn")}
    files = _files_of(delta, receipts) if delta else ()
    faults = _unpublished(contract, [d for d in wanted if d not in receipts])
    faults += _open_labels(contract, receipts) if mature else []
    faults += _gone_or_changed(root, files) + _not_as_receipts(receipts, files)
    if faults or delta is None:
        raise ManifestError(f"manifest {name} of {table} {first}..{last} is refused:\n  " + "\n  ".join(faults))
    columns = {f.name: _type_of(pa.field(f).type) for f in pa.schema(delta.schema().to_arrow())}
    made = Manifest(
        name=name,
        table=contract.name,
        root=root,
        version=delta.version(),
        contract_version=contract.version,
        schema_hash=_digest(sorted(columns.items())),
        columns=columns,
        days=tuple(map(str, receipts)),
        files=files,
        receipts={str(d): r for d, r in receipts.items()},
        label_as_of={str(d): r["label_as_of"] for d, r in receipts.items()},
        is_mature=mature,
        sampler={"seed": seed, "code": {str(d): r["code"] for d, r in receipts.items()}},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return _write_new(address, made)


def load(lake: str | os.PathLike[str], name: str) -> Manifest:
    """The manifest of this name. Raises ManifestError that names those that there are."""
    check_name(name)
    if name not in (there := names(lake)):
        raise ManifestError(
            f"no manifest {name} in {lake_address(lake)}/{FOLDER} (there: {', '.join(there) or 'none'}); "
            f"make it: sluice manifest create {name} --table T --days A..B"
        )
    return load_file(_address(lake, name))


def load_file(path: str | os.PathLike[str]) -> Manifest:
    """The manifest in a file. Of one that lies in a lake the table is looked for there: lakes are moved, and mounted elsewhere."""
    address = lake_address(path)
    fs, inside = filesystem(address)
    try:
        with fs.open_input_stream(inside) as stream:
            facts = json.loads(stream.read())
        read = Manifest(**facts | {"files": tuple(File(**f) for f in facts["files"]), "days": tuple(facts["days"])})
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{address} is no manifest that this version of Sluice reads ({error}); make it anew") from error
    lake, _, file = address.rpartition(f"/{FOLDER}/")
    return replace(read, root=f"{lake}/{read.table}/v{read.contract_version}") if lake and "/" not in file else read


def names(lake: str | os.PathLike[str]) -> list[str]:
    """Names of all manifests of the lake."""
    fs, path = filesystem(f"{lake_address(lake)}/{FOLDER}")
    infos = fs.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    return sorted(i.base_name.removesuffix(".json") for i in infos if i.is_file and i.base_name.endswith(".json"))


def delete(lake: str | os.PathLike[str], name: str) -> None:
    """End a manifest: files that only it names go with the next `sluice maintain`. One that cannot be read can be ended too."""
    check_name(name)
    if name not in names(lake):
        load(lake, name)
    fs, path = filesystem(_address(lake, name))
    fs.delete_file(path)


def identity(manifest: Manifest) -> str:
    """Hex digest of what decides the rows and nothing else: equal for manifests of the same files, wherever the lake lies."""
    return _digest([manifest.table, manifest.contract_version, [asdict(f) for f in manifest.files]])


def verify(manifest: Manifest) -> list[str]:
    """Everything that is no longer as it was pinned, in words; empty when all is well. Reads footers, not rows."""
    if _open(manifest.root) is None:
        return [f"there is no table any more at {manifest.root}"]
    faults = _gone_or_changed(manifest.root, manifest.files)
    held = _receipts(manifest.root, {day: pinned["publish"] for day, pinned in manifest.receipts.items()})
    for day, pinned in manifest.receipts.items():
        found = held[day]
        if found is None:
            faults.append(f"{day}: the table has lost the receipt of publish {pinned['publish']}")
        elif found["content_hash"] != pinned["content_hash"]:
            faults.append(f"{day}: the table's receipt says content {found['content_hash']}, pinned was {pinned['content_hash']}")
    with ThreadPoolExecutor(READERS) as pool:
        found = pool.map(lambda file: _footer_faults(manifest, file), manifest.files)
    return faults + [fault for of_file in found for fault in of_file]


def diff(a: Manifest, b: Manifest, watch: Callable[[], object] = lambda: None) -> dict[str, Any]:
    """What changed from a to b: rows, labels, days, receipts, and the distribution of every column, the largest change first.

    Reads all rows of both, those of files that both name once, a batch at a time; `watch` is called after each file.
    """
    from training.distributions import compare, merged, profile  # pandas takes a while, and only this needs it

    if a.table != b.table:
        raise ManifestError(f"{a.name} is of table {a.table}, {b.name} of {b.table}: only manifests of one table can be compared")
    shared = set(a.files) & set(b.files) if a.root == b.root else set()
    parts = [([f for f in a.files if f not in shared], a), ([f for f in b.files if f not in shared], b), (sorted(shared, key=str), a)]
    only_a, only_b, both = (profile(*_opened(m.root, files), watch=watch) for files, m in parts)
    before, after = merged(only_a, both), merged(only_b, both)
    contract = contract_of(a.table)
    prefix = f"{contract.elements.column}." if contract.elements else ""
    labels = {label: [int(p[key].total) if (key := prefix + label) in p else None for p in (before, after)] for label in contract.labels}
    return {
        "a": {"name": a.name, "version": a.version, "contract_version": a.contract_version, "identity": identity(a)},
        "b": {"name": b.name, "version": b.version, "contract_version": b.contract_version, "identity": identity(b)},
        "rows": [a.rows, b.rows],
        "labels": labels,
        "days": {
            "added": [d for d in b.days if d not in a.days],
            "removed": [d for d in a.days if d not in b.days],
            "changed": _changed(
                {d: r["content_hash"] for d, r in a.receipts.items()}, {d: r["content_hash"] for d, r in b.receipts.items()}
            ),
        },
        "label_as_of": _changed(a.label_as_of, b.label_as_of),
        "code": _changed(a.sampler["code"], b.sampler["code"]),
        "seed": [a.sampler["seed"], b.sampler["seed"]],
        "schema": {
            "added": {c: t for c, t in b.columns.items() if c not in a.columns},
            "removed": {c: t for c, t in a.columns.items() if c not in b.columns},
            "changed": _changed(a.columns, b.columns),
        },
        "distributions": compare(before, after),
    }


def _changed(a: dict[str, Any], b: dict[str, Any]) -> dict[str, list[Any]]:
    """Keys that both have with different values."""
    return {key: [a[key], b[key]] for key in a if key in b and a[key] != b[key]}


def check_name(name: str) -> None:
    """Raises ValueError when the name is no plain file name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ValueError(f"{name!r} is no name of a manifest: letters, digits, '.', '_' and '-', a letter or digit first, at most 100")


def _address(lake: str | os.PathLike[str], name: str) -> str:
    return f"{lake_address(lake)}/{FOLDER}/{name}.json"


def _opened(root: str, files: Iterable[File]) -> tuple[pafs.FileSystem, list[str]]:
    fs, path = filesystem(root)
    return fs, [f"{path}/{f.path}" for f in files]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def _type_of(kind: pa.DataType) -> str:
    """A type without what differs between writers and means nothing: names of list elements and map entries, nullability."""
    return re.sub(r" not null| \('\w+'\)|(?<=list<)\w+: ", "", str(kind))


def _open(root: str) -> DeltaTable | None:
    try:
        return DeltaTable(root, storage_options=delta_options(root))
    except TableNotFoundError:
        return None


def _receipts(root: str, counts: dict[Any, int]) -> dict[Any, dict[str, Any] | None]:
    """The receipts of these publishes; a count of 0 has none."""
    with ThreadPoolExecutor(READERS) as pool:
        return dict(zip(counts, pool.map(lambda day: _receipt(root, day, counts[day]), counts), strict=True))


def _receipt(root: str, day: date | str, count: int) -> dict[str, Any] | None:
    """The receipt of one publish of a day: the copy beside the table, or what the commit carries where a run died before it wrote one."""
    if not count:
        return None
    fs, path = filesystem(root)
    try:
        with fs.open_input_stream(f"{path}/_receipts/{day}.{count}.json") as stream:
            return json.loads(stream.read())
    except FileNotFoundError:
        return next((r for r in _receipts_of_log(fs, path) if (r.get("day"), r.get("publish")) == (str(day), count)), None)


def _receipts_of_log(fs: pafs.FileSystem, path: str) -> Iterator[dict[str, Any]]:
    logs = [i for i in fs.get_file_info(pafs.FileSelector(f"{path}/_delta_log")) if re.fullmatch(r"\d{20}\.json", i.base_name)]
    for info in sorted(logs, key=lambda i: i.base_name, reverse=True):
        with fs.open_input_stream(info.path) as stream:
            commits = [a["commitInfo"] for a in map(json.loads, stream.read().splitlines()) if "commitInfo" in a]
        yield from (json.loads(c.get("userMetadata") or "{}") | {"version": int(info.base_name[:20])} for c in commits)


def _files_of(delta: DeltaTable, days: Iterable[date]) -> tuple[File, ...]:
    added, wanted = pa.table(delta.get_add_actions(flatten=True)), {str(d) for d in days}
    facts = [added.column(name).to_pylist() for name in ("path", "partition.day", "size_bytes", "num_records")]
    found = [File(unquote(path), str(day), size, rows) for path, day, size, rows in zip(*facts, strict=True) if str(day) in wanted]
    return tuple(sorted(found, key=lambda f: (f.day, f.path)))


def _spans(days: Sequence[date]) -> list[tuple[date, date]]:
    """First and last of each run of days that follow each other."""
    firsts = [d for d in days if d - timedelta(days=1) not in days]
    lasts = [d for d in days if d + timedelta(days=1) not in days]
    return list(zip(firsts, lasts, strict=True))


def _span(first: date | int, last: date | int) -> str:
    return f"{first}" if first == last else f"{first}..{last}"


def _build(contract: Contract, first: date, last: date) -> str:
    """The command that publishes these days."""
    if contract.is_raw:
        return f"sluice ingest SOURCE --days {first}..{last}"
    return f"sluice backfill {contract.name} --days {first}..{last} --with-upstream"


def _unpublished(contract: Contract, days: Sequence[date]) -> list[str]:
    return [f"{contract.name} {_span(a, b)} has no receipt, so no gate has let it in: {_build(contract, a, b)}" for a, b in _spans(days)]


def _open_labels(contract: Contract, receipts: dict[date, dict[str, Any]]) -> list[str]:
    """Days whose labels can still change, with the command that builds them again."""
    needed = contract.matures_after
    known = {d: (date.fromisoformat(r["label_as_of"]) - d).days if r["label_as_of"] else 0 for d, r in receipts.items()}
    faults = []
    for first, last in _spans([d for d in known if known[d] < needed]):
        ages = [known[d] for d in known if first <= d <= last]
        faults.append(
            f"{contract.name} {_span(first, last)}: labels are still open, known for {_span(min(ages), max(ages))} of {needed} days; "
            f"once the lake holds its inputs up to {last + timedelta(days=needed)}: {_build(contract, first, last)}"
        )
    return faults


def _gone_or_changed(root: str, files: Sequence[File]) -> list[str]:
    """Files that are not there, or not with the size that was pinned."""
    fs, paths = _opened(root, files)
    infos = fs.get_file_info(paths) if paths else []
    remedy = "restore it from a copy of the lake, or have the day published anew"
    gone = [f"{f.path} under {root} is gone: {remedy}" for f, i in zip(files, infos, strict=True) if not i.is_file]
    differ = [(f, i) for f, i in zip(files, infos, strict=True) if i.is_file and i.size != f.size]
    return gone + [f"{f.path} under {root} has {i.size} bytes, not {f.size}: {remedy}" for f, i in differ]


def _not_as_receipts(receipts: dict[date, dict[str, Any]], files: Sequence[File]) -> list[str]:
    held = {d: sum(f.rows for f in files if f.day == str(d)) for d in receipts}
    return [f"{d}: the files hold {held[d]} rows, the receipt says {r['rows']}" for d, r in receipts.items() if held[d] != r["rows"]]


def _footer_faults(manifest: Manifest, file: File) -> list[str]:
    """What the footer says otherwise. A column that was added later is not in it; the gate's bookkeeping, which begins with _, may be."""
    fs, (path,) = _opened(manifest.root, [file])
    info = fs.get_file_info(path)
    if not info.is_file or info.size != file.size:
        return []  # told already
    try:
        footer = pq.read_metadata(path, filesystem=fs)
    except (pa.ArrowInvalid, OSError) as error:
        return [f"{file.path} cannot be read: {error}"]
    found = {f.name: _type_of(f.type) for f in footer.schema.to_arrow_schema() if not f.name.startswith("_")}
    faults = [] if footer.num_rows == file.rows else [f"{file.path} has {footer.num_rows} rows, not {file.rows}"]
    differ = [name for name, kind in found.items() if manifest.columns.get(name) != kind]
    return faults + [f"{file.path} has {name} as {found[name]}, pinned is {manifest.columns.get(name)}" for name in differ]


def _write_new(lake: str, made: Manifest) -> Manifest:
    """Write a manifest, whole or not at all, unless there is one of its name: the same is returned, another is an error."""
    if made.name in names(lake):
        there = load(lake, made.name)
        differ = [k for k, v in asdict(made).items() if k not in ("version", "created_at") and v != asdict(there)[k]]
        if differ:
            raise ManifestError(
                f"there is a manifest {made.name} with other {', '.join(differ)}, made at {there.created_at}; choose another name, "
                f"or end it first: sluice manifest delete {made.name}"
            )
        return there
    write_whole(*filesystem(_address(lake, made.name)), json.dumps(asdict(made), indent=1).encode())
    if (there := load(lake, made.name)) != made:
        raise ManifestError(f"another manifest {made.name} was made at this moment, of {there.table}; choose another name")
    return made
