"""Removes what no reader can see any more: files of runs that died, scratch folders, files that newer publishes replaced."""

import json
import math
import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable

from jobs.emit import LINEAGE
from jobs.storage import OWNER, PLANS, lake_address, open_table, table_root, versions
from schemas.address import is_local
from schemas.contract import Contract, ContractError, load, load_all, quarantine_of

MANIFESTS = "_manifests"
WRITING_S = 600  # receipts and drafts are written in milliseconds
LINEAGE_KEPT = timedelta(days=90)  # our choice: receipts tell for ever what a run read and wrote
IN_USE = math.inf  # in place of the time at which a file was replaced
GRACE = timedelta(hours=24)  # of a run that cannot be asked whether it lives: it ran on another host


def maintain(lake: str, retention: timedelta, *, dry_run: bool = False) -> Iterator[dict[str, Any]]:
    """Clean every table of a local lake; yields one fact for each thing removed (or to be removed, when `dry_run`).

    Files of versions younger than `retention` stay, and so do those that a manifest names, for as long as it is there. A staged day that
    its gate refused stays until the day is published or `retention` is over. Raises ContractError for a manifest that cannot be read,
    before anything is removed, and for a lake on an object store: a vacuum that keeps the versions of manifests does this there.
    """
    address = lake_address(lake)
    if not is_local(address):
        raise ContractError(
            f"maintain cleans lakes on a file system, and {address} is an object store, which cannot tell it what is in use. What was "
            "replaced is seen by no reader; deltalake takes it away: DeltaTable(root).vacuum(keep_versions=[those that manifests name])"
        )
    pinned = _pinned_files(Path(address, MANIFESTS))
    for contract in load_all():
        for each in (of for version in versions(address, contract) for of in _both(replace(contract, version=version))):
            root = Path(table_root(address, each))
            if root.is_dir():
                yield from _sweep(root, each, pinned.get(f"{each.name}/v{each.version}", set()), retention, dry_run)
    for scratch in Path(address, "_scratch").glob("*"):
        if not _is_used(scratch):
            yield _remove(scratch, "scratch of a run that ended", dry_run)
    yield from _cut_off(Path(address, MANIFESTS), "half a manifest", dry_run)
    old = (plan for plan in sorted(Path(address, PLANS).glob("*")) if _age(plan) > max(retention.total_seconds(), WRITING_S))
    yield from (_remove(plan, "plan of a backfill", dry_run) for plan in old)
    told = (file for file in sorted(Path(address, LINEAGE).rglob("*.jsonl")) if _age(file) > max(retention, LINEAGE_KEPT).total_seconds())
    yield from (_remove(file, "lineage of a run", dry_run) for file in told)
    for folder in sorted(Path(address, LINEAGE).glob("*")):
        yield from _cut_off(folder, "half the lineage of a run", dry_run)


def _both(contract: Contract) -> tuple[Contract, Contract]:
    return contract, quarantine_of(contract)


def _pinned_files(folder: Path) -> dict[str, set[str]]:
    """By table and version, the files that manifests name; `training.manifest` writes them, a test ties the two."""
    pinned: dict[str, set[str]] = {}
    for path in folder.glob("*.json"):
        try:
            facts = json.loads(path.read_text())
            pinned.setdefault(f"{facts['table']}/v{facts['contract_version']}", set()).update(f["path"] for f in facts["files"])
        except (ValueError, KeyError, TypeError) as error:
            raise ContractError(
                f"the manifest {path} cannot be read ({error!r}), so nothing is removed: what it names must stay. Restore it, or end it: "
                f"sluice manifest delete {path.stem}"
            ) from error
    return pinned


def _sweep(root: Path, contract: Contract, pinned: set[str], retention: timedelta, dry_run: bool) -> Iterator[dict[str, Any]]:
    """What one table can do without: runs that published nothing, leftovers of those that did, files that were replaced."""
    ended = [run for run in sorted(root.glob("day=*/b=*")) if not _may_live(run, retention)]
    named = _named_files(root) | dict.fromkeys(pinned, IN_USE)  # only now: a run that is at work above may publish before its turn comes
    for run in ended:
        yield from _leftovers(root, run, contract, named, dry_run)
    yield from _replaced(root, contract, named, retention, dry_run)
    yield from _cut_off(root / "_receipts", f"half a receipt of {contract.name}", dry_run)


def _leftovers(root: Path, run: Path, contract: Contract, named: dict[str, float], dry_run: bool) -> Iterator[dict[str, Any]]:
    """Files of a run that ended, or all its folder, that no version and no manifest names."""
    files = [f for f in run.rglob("*") if f.is_file()]
    unnamed = [f for f in files if _name_of(f, root) not in named]
    if len(unnamed) == len(files) and (files or _age(run) > WRITING_S):
        yield _remove(run, f"run of {contract.name} that published nothing" if files else f"empty folder of {contract.name}", dry_run)
    else:
        yield from (_remove(f, f"leftover of a published run of {contract.name}", dry_run) for f in unnamed)


def _replaced(root: Path, contract: Contract, named: dict[str, float], retention: timedelta, dry_run: bool) -> Iterator[dict[str, Any]]:
    """Files that a newer publish replaced longer than `retention` ago, their checksums, and the folders that this empties.

    Not the engine's vacuum: it spares whole versions that the log still holds, never files; and it leaves checksums and folders.
    """
    until = time.time() - retention.total_seconds()
    files = [f for f in sorted(root.glob("day=*/**/*")) if f.is_file() and named.get(_name_of(f, root), IN_USE) <= until]
    for file in files:
        yield _remove(file, f"replaced in {contract.name}", dry_run)
        for folder in () if dry_run else file.relative_to(root).parents[:-2]:  # the day's own folder stays: a run may be about to use it
            if not any((root / folder).iterdir()):
                (root / folder).rmdir()


def _cut_off(folder: Path, what: str, dry_run: bool) -> Iterator[dict[str, Any]]:
    """Files that were cut off while they were written."""
    yield from (_remove(path, what, dry_run) for path in folder.glob("*.tmp") if _age(path) > WRITING_S)


def _name_of(path: Path, root: Path) -> str:
    """By what name the log knows the file, or the file that a Hadoop checksum belongs to."""
    return str(_data_file(path).relative_to(root))


def _data_file(path: Path) -> Path:
    """The file that a Hadoop checksum belongs to; any other file is its own."""
    is_checksum = path.name.startswith(".") and path.suffix == ".crc"
    return path.with_name(path.name[1 : -len(".crc")]) if is_checksum else path


def _named_files(root: Path) -> dict[str, float]:
    """Files that the log names in any version that it still holds: IN_USE, or when a newer publish replaced them (seconds since 1970)."""
    named: dict[str, float] = {}
    if not DeltaTable.is_deltatable(str(root)):
        return named
    for log in sorted((root / "_delta_log").glob("*.json")):
        for action in map(json.loads, log.read_text().splitlines()):
            if "add" in action:
                named[unquote(action["add"]["path"])] = IN_USE
            if "remove" in action:
                named[unquote(action["remove"]["path"])] = action["remove"].get("deletionTimestamp", 0) / 1000
    added = pa.table(DeltaTable(str(root)).get_add_actions()).column("path").to_pylist()  # not file_uris: absolute, resolved and quoted
    return named | {unquote(path): IN_USE for path in added}


def _may_live(run: Path, retention: timedelta) -> bool:
    """Whether the run may still be at work, or is kept for a person to look at."""
    draft = run / "_staged.json"
    if not draft.exists():
        if _age(run) < WRITING_S and any(run.glob("_staged.json.*.tmp")):
            return True
        of_run = _draft_of_quarantine(run)
        return of_run.exists() and _is_at_work(run, json.loads(of_run.read_text()))
    facts = json.loads(draft.read_text())
    if _is_at_work(run, facts):
        return True
    return "build_s" in facts and _age(run) < retention.total_seconds() and not _was_published_since(run, facts)


def _is_at_work(run: Path, facts: dict[str, Any]) -> bool:
    """Its process lives; one on another host cannot be asked, and gets time."""
    if facts["host"] != socket.gethostname():
        return _age(run) < GRACE.total_seconds()
    return _is_alive(facts["pid"], facts["started_at"])


def _draft_of_quarantine(run: Path) -> Path:
    """Staged quarantine has no draft of its own: its run's draft lies with the table's."""
    table = run.parents[2].name.removesuffix("_quarantine")
    return run.parents[3] / table / run.parents[1].name / run.parent.name / run.name / "_staged.json"


def _was_published_since(run: Path, facts: dict[str, Any]) -> bool:
    lake, version = str(run.parents[3]), int(run.parents[1].name.removeprefix("v"))
    return open_table(lake, replace(load(facts["table"]), version=version)).changes(date.fromisoformat(facts["day"])) > facts["seen"]


def _is_alive(pid: int, started_at: str) -> bool:
    """Whether the process that wrote the draft still runs; a younger process may have got its number."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc").is_dir():
        return _exists(pid)
    if not stat.exists():
        return False
    ticks = int(stat.read_text().rsplit(")", 1)[1].split()[19])
    boot = next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    return boot + ticks / os.sysconf("SC_CLK_TCK") <= datetime.fromisoformat(started_at).timestamp() + 2


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_used(scratch: Path) -> bool:
    """Its owner is at work; one that names no owner was made a moment ago."""
    owner = scratch / OWNER
    return _is_at_work(scratch, json.loads(owner.read_text())) if owner.exists() else _age(scratch) < WRITING_S


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime if path.exists() else 0.0


def _remove(path: Path, why: str, dry_run: bool) -> dict[str, Any]:
    size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) if path.is_dir() else path.stat().st_size
    if not dry_run:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return {"path": str(path), "bytes": size, "why": why}
