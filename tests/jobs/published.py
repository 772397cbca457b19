"""Days staged and published by pyarrow and deltalake alone, for tests of what comes after the gate."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.commit import StagedFile, publish, staged_files
from jobs.storage import filesystem, open_table, table_root
from schemas.contract import Contract
from schemas.derive import arrow_schema

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def item(item_id: str, **more: Any) -> dict[str, Any]:
    return {"item_id": item_id, "status": "on_shelf", "valid_at": NOON, "available_at": NOON} | more


def stage(lake: object, contract: Contract, day: date, rows: Sequence[Mapping[str, Any]], run: str, part: int = 0) -> Path:
    """One parquet file of a run, as a build stages it. Returns the run's folder."""
    folder = f"{table_root(str(lake), contract)}/day={day}/b={run}"
    fs, kept = filesystem(f"{folder}/split=kept")
    if fs.type_name == "local":
        fs.create_dir(kept)
    schema = pa.schema([f for f in arrow_schema(contract) if f.name != "day"])
    pq.write_table(pa.Table.from_pylist([dict(r) for r in rows], schema=schema), f"{kept}/part-{part}.parquet", filesystem=fs)
    return Path(folder)


def staged(lake: object, contract: Contract, day: date, run: str) -> list[StagedFile]:
    return staged_files(table_root(str(lake), contract), contract, f"day={day}/b={run}/split=kept")


def publish_day(
    lake: object, contract: Contract, day: date, /, *parts: Sequence[Mapping[str, Any]], run: str = "one", **facts: Any
) -> dict[str, Any]:
    """Publish a day that consists of these files; no file is an empty day. `facts` are what its receipt says otherwise."""
    for number, rows in enumerate(parts):
        stage(lake, contract, day, rows, run, number)
    files = staged(lake, contract, day, run) if parts else []
    content = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    receipt = {"table": contract.name, "day": day.isoformat(), "run_id": f"{run}-{day}", "rows": sum(f.rows for f in files)}
    receipt |= {"bytes": sum(f.size for f in files), "content_hash": f"{receipt['rows']}-{content}", "code": "c0de", "label_as_of": None}
    seen = open_table(str(lake), contract).changes(day)
    return publish(table_root(str(lake), contract), contract, day, files, receipt | facts, seen)
