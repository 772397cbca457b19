"""The life of one table-day, the same from every entrance: pin, build, conform, stage, audit, balance, publish, emit.

Command line, Airflow's spark-submit and tests all come through `build_day`; a source's rows come through `publish_rows`.
"""

import argparse
import json
import logging
import os
import platform
import socket
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from jobs.commit import LostRaceError, check_evolution
from jobs.conform import conform
from jobs.freshness import code_fingerprint, contract_fingerprint, stale_reasons
from jobs.gate import admit, draft_path, suite_fingerprint, suite_of, write_draft
from jobs.inputs import Pinned, Tables, label_as_of, left_sides, pin
from jobs.logs import named, step
from jobs.measure import measured
from jobs.messages import UsageError, full_disk_explained, guarded
from jobs.session import session, suited_to
from jobs.storage import check_lake, filesystem, lake_address, spark_address, table_root, withdrawn_sentence
from jobs.watch import watched
from schemas.contract import Account, Contract, ContractError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Build = Callable[..., "DataFrame"]
MAX_RACES = 5

log = logging.getLogger("sluice")


@dataclass(frozen=True)
class Outcome:
    """What became of a table-day: published, verified (forced, the same rows), up to date, or left withdrawn; why, and its receipt."""

    table: str
    day: date
    status: str
    reasons: tuple[str, ...]
    receipt: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {
            "table": self.table,
            "day": self.day.isoformat(),
            "status": self.status,
            "reasons": list(self.reasons),
            "receipt": self.receipt,
        }


def facts_now(contract: Contract, module: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a day's rows beside its inputs, as fingerprints: code, contract, suite, options."""
    return {
        "code": code_fingerprint(module),
        "contract": contract_fingerprint(contract),
        "suite": suite_fingerprint(contract),
        "options": {k: v for k, v in sorted(options.items()) if v is not None},
    }


def why_build(tables: Tables, contract: Contract, day: date, facts: Mapping[str, Any]) -> tuple[dict[str, Pinned], date | None, list[str]]:
    """The pinned inputs of a day, how far its labels can know, and why it has to be built (nothing: it is up to date)."""
    pinned = pin(tables, contract, day)
    label = label_as_of(contract, pinned, day)
    table = tables[contract.name]
    if not table.changes(day):
        return pinned, label, ["missing"]
    return pinned, label, stale_reasons(table.built(day), contract, pinned, day, label, facts)  # of a withdrawn day too: it stays so


def build_day(
    spark: "SparkSession",
    lake: str,
    contract: Contract,
    build: Build,
    day: date,
    *,
    force: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Outcome:
    """Build, gate and publish one day of a derived table, or find it up to date.

    Raises NotPublishedError for a hole in an input, ContractError for a build that is not its contract, GateError when the
    suite or the books refuse. A run that loses a race against another starts again from the pin.
    """
    options = dict(options or {})
    check_lake(lake, must_exist=True)
    if day > datetime.now(UTC).date():
        raise UsageError(f"{contract.name} {day}: the day is in the future; days are UTC")
    for _ in range(MAX_RACES):
        try:
            return _build_once(spark, lake, contract, build, day, force, options)
        except LostRaceError as lost:
            log.info("%s; looking again", lost)
    raise ContractError(
        f"{contract.name} {day}: {MAX_RACES} other runs published this day while it was built; stop the others, then run it again"
    )


def _build_once(
    spark: "SparkSession", lake: str, contract: Contract, build: Build, day: date, force: bool, options: dict[str, Any]
) -> Outcome:
    tables, facts = Tables(lake), facts_now(contract, _module_of(build, contract), options)
    pinned, label, reasons = why_build(tables, contract, day, facts)
    table = tables[contract.name]
    check_evolution(table.delta, contract)
    seen = table.changes(day)
    held = table.change(day, seen) if seen else {}
    if not reasons and not force:
        return Outcome(contract.name, day, "withdrawn" if "withdrawal" in held else "up_to_date", (), held)
    is_same = not reasons and "withdrawal" not in held and held["label_as_of"] == (label and label.isoformat())
    draft = {"run_id": new_run_id(), "seen": seen, "must_hash": held["content_hash"] if is_same else None, **facts}
    draft |= {"inputs": {name: found.as_json() for name, found in pinned.items()}, "accounts": left_sides(contract, pinned, day)}
    draft |= {"label_as_of": label and label.isoformat(), "reasons": reasons or ["forced"]}
    frames = {name: found.table.read(spark, found.days) for name, found in pinned.items()}
    accounts = {a.name: a for i in contract.inputs for a in i.accounts}
    num_bytes = sum(r["bytes"] for found in pinned.values() for r in found.receipts.values())

    def work() -> Outcome:
        began = time.monotonic()
        with suited_to(spark, num_bytes):
            return publish_rows(spark, lake, contract, build(frames, day, **options), day, accounts, draft | {"began": began})

    return watched(lake, contract, day, draft, work, attrgetter("receipt"))


def publish_rows(
    spark: "SparkSession",
    lake: str,
    contract: Contract,
    rows: "DataFrame",
    day: date,
    accounts: Mapping[str, Account],
    draft: dict[str, Any],
) -> Outcome:
    """Conform, stage, audit, balance and publish the rows of one day; `draft` is what the receipt already knows."""
    root, started, began = table_root(lake, contract), datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    staged = conform(rows, contract, suite_of(contract.name).row_rules, accounts)
    fates = {name: staged.schema[f"_{name}"].dataType.names for name in (*accounts, *(f.name for f in contract.figures))}
    draft = {"table": contract.name, "day": day.isoformat(), "run_id": new_run_id(), **draft}
    draft |= {
        "folder": f"day={day}/b={draft['run_id']}",
        "fates": fates,
        "version_of_contract": contract.version,
        "pid": os.getpid(),
        "host": socket.gethostname(),
    }
    plan_s = round(time.monotonic() - draft.pop("began", began), 3)
    draft |= {"started_at": started, "engines": engine_versions(), "steps": {"plan": {"wall_s": plan_s}}}
    with full_disk_explained(f"{contract.name} {day}", root):
        receipt = _stage_and_admit(spark, lake, root, staged, draft)
    remove_leftovers(root, draft["folder"], all_of_it=bool(draft.get("must_hash")))
    status = "verified" if draft.get("must_hash") else "published"
    return Outcome(contract.name, day, status, tuple(draft.get("reasons", ())), receipt)


def _stage_and_admit(spark: "SparkSession", lake: str, root: str, staged: "DataFrame", draft: dict[str, Any]) -> dict[str, Any]:
    """One write of the day's files, then their gate. A run that lost its race takes its files away. Returns the receipt."""
    write_draft(root, draft)
    with measured(spark, f"{draft['run_id']}.stage") as cost:
        staged.write.mode("append").partitionBy("split").parquet(spark_address(f"{root}/{draft['folder']}"))
    draft = draft | {"build_s": cost["wall_s"], "core_s": cost["core_s"], "steps": draft["steps"] | {"stage": cost}}
    step("staged", **named(draft), **cost)
    write_draft(root, draft)
    try:
        return admit(spark, lake, draft)
    except LostRaceError:
        remove_leftovers(root, draft["folder"], all_of_it=True)
        raise


def remove_leftovers(root: str, folder: str, all_of_it: bool) -> None:
    """After the commit: what was staged and is not in the table. `sluice maintain` does it for runs that died before."""
    fs, path = filesystem(f"{root}/{folder}")
    if all_of_it:
        fs.delete_dir(path)
        return
    for split in ("excluded", "quarantined"):
        fs.delete_dir_contents(f"{path}/split={split}", missing_dir_ok=True)
    fs.delete_file(filesystem(draft_path(root, folder))[1])


def new_run_id() -> str:
    """Names a run and its staged files: when it started, and a random part."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


def _module_of(build: Build, contract: Contract) -> str:
    """The module whose source is the code of the table; a submitted script is `__main__` but is found by its stem."""
    return f"jobs.{contract.name}" if build.__module__ == "__main__" else build.__module__


def engine_versions() -> dict[str, str]:
    """Versions that could change a row, for the receipt."""
    found = {"python": platform.python_version()}
    for name in ("sluice-data", "pyspark", "deltalake", "pyarrow", "faiss-cpu", "bm25s"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def day_argument(text: str) -> date:
    """A day on the command line. Raises argparse's own error, which shows the form."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day, write it as 2026-01-05") from None


def arg_parser(doc: str | None = None) -> argparse.ArgumentParser:
    """The options that every job file takes; a job adds its own."""
    parser = argparse.ArgumentParser(description=doc, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--day", required=True, type=day_argument, help="day to build, UTC, as 2026-01-05")
    parser.add_argument(
        "--lake", default=os.environ.get("SLUICE_LAKE", "./lake"), help="root of all tables (default: SLUICE_LAKE or ./lake)"
    )
    parser.add_argument("--force", action="store_true", help="build again though up to date, and compare")
    parser.add_argument("--json", action="store_true", help="print the outcome as one JSON document")
    return parser


def run(contract: Contract, build: Build, *, day: date, lake: str, force: bool = False, json: bool = False, **options: Any) -> None:
    """What a job file does when it is submitted: one day, then exit with 0, 1, 2 or 3."""
    sys.exit(guarded(lambda: _run(contract, build, day, lake, force, json, options)))


def _run(contract: Contract, build: Build, day: date, lake: str, force: bool, as_json: bool, options: Mapping[str, Any]) -> None:
    spark = session(f"sluice {contract.name} {day}")
    outcome = build_day(spark, lake_address(lake), contract, build, day, force=force, options=options)
    print(json.dumps(outcome.as_json(), indent=1) if as_json else sentence(outcome))


def sentence(outcome: Outcome) -> str:
    """The outcome in one line for a person."""
    receipt = outcome.receipt
    if outcome.status == "up_to_date":
        return f"{outcome.table} {outcome.day}: up to date ({receipt['rows']} rows, version {receipt['version']})"
    if outcome.status == "withdrawn":
        return withdrawn_sentence(receipt)
    if outcome.status == "verified":
        return f"{outcome.table} {outcome.day}: built again, the same {receipt['rows']} rows came out; version {receipt['version']} stays"
    why = "; ".join(outcome.reasons)
    taken = f", {sum(receipt['quarantined'].values())} quarantined" if receipt["quarantined"] else ""
    return f"{outcome.table} {outcome.day}: {outcome.status} as version {receipt['version']}, {receipt['rows']} rows{taken} (why: {why})"
