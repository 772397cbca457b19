"""Removes what no reader can see any more: files of runs that died, scratch folders, files that newer publishes replaced."""

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable

from jobs.storage import OWNER, lake_address, open_table, table_root
from schemas.contract import Contract, ContractError, load, load_all, quarantine_of

WRITING_S = 600  # receipts and drafts are written in milliseconds
GRACE = timedelta(hours=24)  # of a run that cannot be asked whether it lives: it ran on another host


def maintain(lake: str, retention: timedelta, *, dry_run: bool = False) -> Iterator[dict[str, Any]]:
    """Clean every table of a local lake; yields one fact for each thing removed (or to be removed, when `dry_run`).

    Files of versions younger than `retention` stay. A staged day that its gate refused stays until the day is published or `retention`
    is over. Raises ContractError for a lake on an object store: its own life-cycle rules and vacuum do this there.
    """
    address = lake_address(lake)
    if "://" in address:
        raise ContractError(f"maintain cleans lakes on a file system; {address} is an object store")
    for contract in load_all():
        for each in (contract, quarantine_of(contract)):
            root = Path(table_root(address, each))
            if root.is_dir():
                yield from _dead_runs(root, each, retention, dry_run)
                yield from _vacuum(root, each, retention, dry_run)
    for scratch in Path(address, "_scratch").glob("*"):
        if not _is_used(scratch):
            yield _remove(scratch, "scratch of a run that ended", dry_run)


def _dead_runs(root: Path, contract: Contract, retention: timedelta, dry_run: bool) -> Iterator[dict[str, Any]]:
    """Folders of runs whose files no version names, and receipts that were cut off while they were written."""
    ended = [run for run in sorted(root.glob("day=*/b=*")) if not _may_live(run, retention)]
    named = _named_files(root)  # only now: a run that is at work above may publish before its turn comes below
    for run in ended:
        files = [f for f in run.rglob("*") if f.is_file()]
        unnamed = [f for f in files if str(_data_file(f).relative_to(root)) not in named]
        if unnamed and len(unnamed) == len(files):
            yield _remove(run, f"run of {contract.name} that published nothing", dry_run)
        else:
            yield from (_remove(f, f"leftover of a published run of {contract.name}", dry_run) for f in unnamed)
    for cut_off in root.glob("_receipts/*.tmp"):
        if _age(cut_off) > WRITING_S:
            yield _remove(cut_off, f"half a receipt of {contract.name}", dry_run)


def _data_file(path: Path) -> Path:
    """The file that a Hadoop checksum belongs to; any other file is its own."""
    is_checksum = path.name.startswith(".") and path.suffix == ".crc"
    return path.with_name(path.name[1 : -len(".crc")]) if is_checksum else path


def _named_files(root: Path) -> set[str]:
    """Files that the log names in any version that it still holds, the removed ones included."""
    named: set[str] = set()
    if not DeltaTable.is_deltatable(str(root)):
        return named
    table = DeltaTable(str(root))
    added = pa.table(table.get_add_actions()).column("path").to_pylist()  # not file_uris: those are absolute, resolved and quoted
    named |= {unquote(path) for path in added}
    for log in (root / "_delta_log").glob("*.json"):
        for line in log.read_text().splitlines():
            action = json.loads(line)
            for kind in ("add", "remove"):
                if kind in action:
                    named.add(unquote(action[kind]["path"]))
    return named


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
    lake = str(run.parents[3])
    return open_table(lake, load(facts["table"])).publishes(date.fromisoformat(facts["day"])) > facts["seen"]


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


def _vacuum(root: Path, contract: Contract, retention: timedelta, dry_run: bool) -> Iterator[dict[str, Any]]:
    """Files that a newer publish replaced longer than `retention` ago."""
    if not DeltaTable.is_deltatable(str(root)):
        return
    hours = int(retention.total_seconds() // 3600)
    gone = DeltaTable(str(root)).vacuum(retention_hours=hours, dry_run=dry_run, enforce_retention_duration=False)
    yield from ({"path": f"{root}/{path}", "bytes": None, "why": f"replaced in {contract.name}"} for path in gone)
