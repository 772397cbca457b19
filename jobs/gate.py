"""The gate: audits one staged day, balances its books, and is the only one who publishes.

It reads exactly the staged bytes, once: the suite, the content hash, the accounts and the totals come from one scan. What
uniqueness, references and totals by day need beyond it are shuffles of a few narrow columns.
"""

import importlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType

from expectations.compile import audit, fingerprint, implied
from expectations.suite import Suite
from jobs.books import GateError, add_fates, balance, excluded_by_fate, fate_struct, fate_sums, fates_not_kept, fates_of
from jobs.commit import StagedFile, publish, staged_files
from jobs.conform import bookkeeping, of_element
from jobs.content import content_hash, hash_sums, row_hash
from jobs.logs import named, step
from jobs.measure import hottest, key_counts, measured
from jobs.quarantine import publish_quarantine, quarantined_by_rule
from jobs.reissue import labels_flipped
from jobs.storage import open_table, read_files, table_root, write_json
from schemas.contract import Contract, load
from schemas.derive import spark_schema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

MAX_SHOWN = 5


@dataclass(frozen=True)
class Audit:
    """What the gate saw of a staged day."""

    files: tuple[StagedFile, ...]
    rows: int
    content_hash: str
    results: tuple[dict[str, Any], ...]
    totals: dict[str, Any]
    fates: dict[str, dict[str, int]]
    excluded: dict[str, int]
    quarantined: dict[str, int]
    hot_keys: dict[str, list[dict[str, Any]]]


def suite_of(table: str) -> Suite:
    """The suite of a table: the constant of `expectations/<table>.py`."""
    return importlib.import_module(f"expectations.{table}").SUITE


def suite_fingerprint(contract: Contract) -> str:
    """Hash of all that the gate of this table demands; notes do not count."""
    return fingerprint(suite_of(contract.name), contract)


def admit(spark: "SparkSession", lake: str, draft: dict[str, Any], accept: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Audit, balance, publish quarantine, then the day. Returns the receipt.

    `accept` names failed critical expectations that a person overrules, each with the reason. Raises GateError when
    another one fails or the books do not balance, LostRaceError when the day was published by somebody else meanwhile.
    """
    contract, day, begun = load(draft["table"]), date.fromisoformat(draft["day"]), time.time()
    root, run_id, steps = table_root(lake, contract), draft["run_id"], draft.get("steps", {})
    with measured(spark, f"{run_id}.audit") as cost:
        seen = audit_staged(spark, lake, draft)
    step("audited", **named(draft), **cost, expectations=len(seen.results), failed=failed(seen.results, "critical"))
    steps = steps | {"audit": cost}
    try:
        _refuse_failed(contract, day, seen, accept or {})
        accounts = balance(contract, day, draft["accounts"], seen.fates)
        _refuse_other_rows(contract, day, draft.get("must_hash"), seen)
    except GateError as refusal:  # kept beside the staged day: a person is shown why without another audit
        refusal.results = [_brief(r) for r in seen.results]
        write_draft(root, draft | {"refused": str(refusal), "results": refusal.results})
        raise
    if draft.get("must_hash"):
        return open_table(lake, contract).receipt(day)
    with measured(spark, f"{run_id}.finish") as cost:
        labels = labels_flipped(spark, lake, contract, day, seen.files) if contract.labels else {}
        quarantine = publish_quarantine(spark, lake, contract, day, draft) if seen.quarantined else None
    left_out = ("accounts", "fates", "seen", "must_hash", "pid", "host", "folder", "refused", "source")
    receipt = {k: v for k, v in draft.items() if k not in left_out}
    receipt |= {
        "rows": seen.rows,
        "bytes": sum(f.size for f in seen.files),
        "content_hash": seen.content_hash,
        "totals": seen.totals,
        "figures": {f.name: seen.fates[f.name] for f in contract.figures},
        "accounts": accounts,
        "excluded": seen.excluded,
        "quarantined": seen.quarantined,
        "quarantine_version": quarantine,
        "labels_flipped": labels,
        "accepted": {name: because for name, because in (accept or {}).items() if name in failed(seen.results, "critical")},
        "results": [_brief(r) for r in seen.results],
        "hot_keys": seen.hot_keys,
        "steps": steps | {"finish": cost},
        "gate_s": round(time.time() - begun, 3),
    }
    return publish(root, contract, day, seen.files, receipt, draft["seen"])


def audit_staged(spark: "SparkSession", lake: str, draft: Mapping[str, Any]) -> Audit:
    """Run the suite, and what the contract implies, on the staged files of a day."""
    contract, suite = load(draft["table"]), suite_of(draft["table"])
    root, folder, fates = table_root(lake, contract), draft["folder"], draft["fates"]
    files = staged_files(root, contract, f"{folder}/split=kept", bookkeeping(list(fates)))
    structs = [fate_struct(name, names) for name, names in fates.items()]
    rows = read_files(spark, contract, [f"{root}/{f.path}" for f in files], structs)
    rows = rows.select("*", row_hash(rows.drop(*bookkeeping(list(fates))).schema))
    wanted = (
        hash_sums() | fate_sums(fates) | _total_sums(contract) | {"rules_broken": _rows_that_break(contract, suite)} | key_counts(contract)
    )
    personal = [c.name for c in contract.columns if c.personal]
    results, values = audit(rows, [*implied(contract), *suite.expectations], wanted, unlisted=personal)
    results = [*map(_named, results), *(_named(r) for r in _references(spark, lake, contract, rows, draft))]
    if values["rules_broken"]:
        raise GateError(
            f"{contract.name} {draft['day']}: {values['rules_broken']} staged rows still break a row rule; the staged files were changed"
        )
    return Audit(
        files=tuple(files),
        rows=int(values["content_rows"]),
        content_hash=content_hash(values),
        results=tuple(results),
        totals=_totals(contract, rows, values),
        fates=add_fates(fates_of(fates, values), fates_not_kept(spark, root, folder, fates)),
        excluded=excluded_by_fate(spark, root, folder),
        quarantined=quarantined_by_rule(spark, root, folder),
        hot_keys=hottest(contract, values),
    )


def _total_sums(contract: Contract) -> dict[str, Any]:
    return {f"total:{t.name}": F.coalesce(F.sum(F.expr(t.expression)), F.lit(0)) for t in contract.totals if not t.by}


def _totals(contract: Contract, rows: "DataFrame", values: Mapping[str, Any]) -> dict[str, Any]:
    totals: dict[str, Any] = {t.name: int(values[f"total:{t.name}"]) for t in contract.totals if not t.by}
    for total in (t for t in contract.totals if t.by):
        by_day = rows.where(F.col(total.by).isNotNull()).groupBy(total.by).agg(F.sum(F.expr(total.expression)))  # <= days of a window
        totals[total.name] = {day.isoformat(): int(n) for day, n in sorted(map(tuple, by_day.collect()))}
    return totals


def _rows_that_break(contract: Contract, suite: Suite) -> Any:
    """How many rows still break a row rule; none can, unless the bytes are not those that were staged."""
    conditions = []
    for rule in suite.row_rules:
        if not rule.over:
            conditions.append(f"not coalesce(({rule.condition}), false)")
            continue
        kind = spark_schema(contract)[rule.over].dataType
        fields = kind.elementType.names if isinstance(kind, ArrayType) else []
        conditions.append(f"coalesce(exists(`{rule.over}`, e -> not coalesce(({of_element(rule.condition, fields)}), false)), false)")
    broken = F.expr(" or ".join(conditions)) if conditions else F.lit(False)
    return F.count_if(broken)


def _references(spark: "SparkSession", lake: str, contract: Contract, rows: "DataFrame", draft: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each column that references an input: every value must occur there, in the days that the build read."""
    results = []
    for column in (c for c in contract.columns if c.references):
        table, name = column.references.split(".")
        pinned = draft["inputs"][table]
        days = [date.fromisoformat(d) for d in pinned["days"]]
        there = open_table(lake, load(table), pinned["version"]).read(spark, days).select(F.col(name).alias(column.name))
        values = rows.select(column.name).where(F.col(column.name).isNotNull())
        lost = values.join(there, on=[column.name], how="left_anti").count()
        results.append(
            {
                "success": not lost,
                "expectation_config": {
                    "type": "values_occur_in_input",
                    "kwargs": {"column": column.name, "references": column.references},
                    "meta": {"severity": "critical", "note": "from the contract"},
                },
                "result": {"unexpected_count": lost},
            }
        )
    return results


def _named(result: dict[str, Any]) -> dict[str, Any]:
    """The result with the short name by which messages and `--accept` call it."""
    config = result["expectation_config"]
    kwargs, over = config["kwargs"], config["meta"].get("over")
    columns = kwargs.get("column") or kwargs.get("column_list") or [kwargs[k] for k in ("column_A", "column_B") if k in kwargs]
    inside = ",".join([columns] if isinstance(columns, str) else columns)
    return result | {"name": f"{config['type']}({f'{over}: ' if over else ''}{inside})"}


def _brief(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result as a receipt keeps it: Great Expectations' own fields, without rows of people."""
    kept = {k: v for k, v in result["result"].items() if not k.startswith("partial_") and not k.startswith("unexpected_list")}
    return {"name": result["name"], "success": result["success"], "expectation_config": result["expectation_config"], "result": kept}


def failed(results: Sequence[Mapping[str, Any]], severity: str) -> list[str]:
    """Names of the expectations of a severity that failed."""
    return [r["name"] for r in results if not r["success"] and r["expectation_config"]["meta"].get("severity", "critical") == severity]


def _refuse_failed(contract: Contract, day: date, seen: Audit, accept: Mapping[str, str]) -> None:
    names = [name for name in failed(seen.results, "critical") if name not in accept]
    if not names:
        return
    lines = [f"  {describe(r)}" for r in seen.results if r["name"] in names]
    count = f"{len(names)} critical expectation{'s' * (len(names) > 1)}"
    raise GateError(
        f"{contract.name} {day}: the gate refused to publish, {count} failed:\n" + "\n".join(lines) + "\n"
        f"The staged day is kept. Look at it: sluice gate {contract.name} --day {day}. If it is right after all: "
        f'sluice gate {contract.name} --day {day} --accept "{names[0]}" --because "..."',
        expectations=names,
    )


def describe(result: Mapping[str, Any]) -> str:
    """One line for a person: name, what was seen, what was asked for, why."""
    facts, config = result["result"], result["expectation_config"]
    exception = result.get("exception_info", {}).get("exception_message")
    seen = (
        f"saw {facts['observed_value']}"
        if "observed_value" in facts
        else f"{facts.get('unexpected_count', '?')} of {facts.get('element_count', 'all')} break it"
    )
    asked = {k: v for k, v in config["kwargs"].items() if k not in ("column", "column_list", "column_A", "column_B", "batch_id")}
    examples = [v for v in facts.get("partial_unexpected_list", []) if v is not None][:MAX_SHOWN]
    parts = [exception or seen, f"asked {json.dumps(asked, default=str)}" if asked else "", f"such as {examples}" if examples else ""]
    note = config["meta"].get("note")
    return f"{result['name']}: " + ", ".join(p for p in parts if p) + (f" ({note})" if note else "")


def _refuse_other_rows(contract: Contract, day: date, wanted: str | None, seen: Audit) -> None:
    """A forced rebuild from the same inputs by the same code must give the same rows."""
    if wanted and wanted != seen.content_hash:
        raise GateError(
            f"{contract.name} {day}: rebuilt from the same inputs by the same code, but other rows came out: {seen.content_hash} "
            f"in place of {wanted}. Look for an open tie, a clock or a random draw in jobs/{contract.name}.py; what was published stays"
        )


def draft_path(root: str, folder: str) -> str:
    """Where the facts of a staged day lie, beside its files, so that it can be audited again."""
    return f"{root}/{folder}/_staged.json"


def write_draft(root: str, draft: dict[str, Any]) -> None:
    write_json(draft_path(root, draft["folder"]), draft)
