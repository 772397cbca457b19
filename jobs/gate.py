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
from pyspark.sql.types import ArrayType, LongType, StringType, StructField, StructType

from expectations.compile import audit, fingerprint, implied
from expectations.suite import Suite
from jobs.commit import StagedFile, append, parquet_files, publish, staged_files
from jobs.conform import QUARANTINE, QUARANTINE_TYPE, account_column, bookkeeping, of_element
from jobs.content import content_hash, hash_sums, row_hash
from jobs.storage import filesystem, open_table, read_files, spark_address, table_root, write_json
from schemas.contract import Contract, load, quarantine_of
from schemas.derive import spark_schema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

MAX_SHOWN = 5


class GateError(RuntimeError):
    """The gate refused to publish: what failed, by how much, and how to look at it."""


@dataclass(frozen=True)
class Audit:
    """What the gate saw of a staged day."""

    files: tuple[StagedFile, ...]
    rows: int
    content_hash: str
    results: tuple[dict[str, Any], ...]
    totals: dict[str, Any]
    fates: dict[str, dict[str, int]]
    quarantined: dict[str, int]


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
    root, seen = table_root(lake, contract), audit_staged(spark, lake, draft)
    _refuse_failed(contract, day, seen, accept or {})
    accounts = balance(contract, day, draft["accounts"], seen.fates)
    if draft.get("must_hash"):
        _refuse_other_rows(contract, day, draft["must_hash"], seen)
        return open_table(lake, contract).receipt(day)
    labels = _flipped(spark, lake, contract, day, seen) if contract.labels else {}
    quarantine = _publish_quarantine(spark, lake, contract, day, draft, seen)
    receipt = {k: v for k, v in draft.items() if k not in ("accounts", "fates", "seen", "must_hash", "pid", "host", "folder")}
    receipt |= {
        "rows": seen.rows,
        "bytes": sum(f.size for f in seen.files),
        "content_hash": seen.content_hash,
        "totals": seen.totals,
        "accounts": accounts,
        "quarantined": seen.quarantined,
        "quarantine_version": quarantine,
        "labels_flipped": labels,
        "accepted": {name: because for name, because in (accept or {}).items() if name in failed(seen.results, "critical")},
        "results": [_brief(r) for r in seen.results],
        "gate_s": round(time.time() - begun, 3),
    }
    return publish(root, contract, day, seen.files, receipt, draft["seen"])


def audit_staged(spark: "SparkSession", lake: str, draft: Mapping[str, Any]) -> Audit:
    """Run the suite, and what the contract implies, on the staged files of a day."""
    contract, suite = load(draft["table"]), suite_of(draft["table"])
    root, folder, fates = table_root(lake, contract), draft["folder"], draft["fates"]
    files = staged_files(root, contract, f"{folder}/split=kept", bookkeeping(list(fates)))
    structs = [_struct_of(name, names) for name, names in fates.items()]
    rows = read_files(spark, contract, [f"{root}/{f.path}" for f in files], structs)
    rows = rows.select("*", row_hash(rows.drop(*bookkeeping(list(fates))).schema))
    wanted = hash_sums() | _fate_sums(fates) | _total_sums(contract) | {"rules_broken": _rows_that_break(contract, suite)}
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
        fates=_add_fates(_fates(fates, values), _other_fates(spark, root, folder, fates)),
        quarantined=_quarantined_by_rule(spark, root, folder),
    )


def _struct_of(account: str, fates: Sequence[str]) -> StructField:
    return StructField(account_column(account), StructType([StructField(f, LongType()) for f in fates]))


def _fate_sums(fates: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    sums = {(a, f): F.sum(f"{account_column(a)}.`{f}`") for a, names in fates.items() for f in names}
    return {f"{a}:{f}": F.coalesce(total, F.lit(0)) for (a, f), total in sums.items()}


def _fates(fates: Mapping[str, Sequence[str]], values: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    return {a: {f: int(values[f"{a}:{f}"]) for f in names} for a, names in fates.items()}


def _add_fates(left: dict[str, dict[str, int]], right: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {a: {f: n + right.get(a, {}).get(f, 0) for f, n in fates.items()} for a, fates in left.items()}


def _other_fates(spark: "SparkSession", root: str, folder: str, fates: Mapping[str, Sequence[str]]) -> dict[str, dict[str, int]]:
    """The accounts of staged rows that are not kept."""
    paths = [p for split in ("excluded", "quarantined") for p in _split_files(root, f"{folder}/split={split}")]
    if not paths or not fates:
        return {}
    schema = StructType([_struct_of(a, names) for a, names in fates.items()])
    sums = [total.alias(name) for name, total in _fate_sums(fates).items()]
    return _fates(fates, spark.read.schema(schema).option("recursiveFileLookup", "true").parquet(*paths).agg(*sums).first().asDict())


def _split_files(root: str, folder: str) -> list[str]:
    fs, base = filesystem(f"{root}/{folder}")
    prefix = "" if "://" not in root else root.split("://")[0] + "://"
    return [spark_address(prefix + info.path) for info in parquet_files(fs, base)]


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
    raise GateError(
        f"{contract.name} {day}: the gate refused to publish, {len(names)} critical expectations failed:\n" + "\n".join(lines) + "\n"
        f"The staged day is kept. Look at it: sluice gate {contract.name} --day {day}. If it is right after all: "
        f'sluice gate {contract.name} --day {day} --accept "{names[0]}" --because "..."'
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


def balance(contract: Contract, day: date, left: Sequence[Mapping[str, Any]], fates: Mapping[str, dict[str, int]]) -> list[dict[str, Any]]:
    """The books: each account with what went in, the fates, and the difference. Raises GateError unless all are 0."""
    accounts = []
    for side in left:
        ends = fates[side["account"]]
        accounts.append({**side, "fates": ends, "difference": side["in"] - sum(ends.values())})
    wrong = [a for a in accounts if a["difference"]]
    if wrong:
        lines = [
            f"  {a['account']} of {a['input']}: {a['in']} in, {sum(a['fates'].values())} accounted for {a['fates']}, difference {a['difference']}"
            for a in wrong
        ]
        raise GateError(
            f"{contract.name} {day}: the books do not balance, nothing is published:\n" + "\n".join(lines) + "\n"
            f"The build in jobs/{contract.name}.py loses or repeats rows (or the source does); the staged day is kept."
        )
    return accounts


def _refuse_other_rows(contract: Contract, day: date, wanted: str, seen: Audit) -> None:
    """A forced rebuild from the same inputs by the same code must give the same rows."""
    if wanted != seen.content_hash:
        raise GateError(
            f"{contract.name} {day}: rebuilt from the same inputs by the same code, but other rows came out: {seen.content_hash} in place of "
            f"{wanted}. Look for an open tie, a clock or a random draw in jobs/{contract.name}.py; what was published stays"
        )


def _flipped(spark: "SparkSession", lake: str, contract: Contract, day: date, seen: Audit) -> dict[str, dict[str, int]]:
    """For a day that is issued again: how many labels became 1, and how many 0, since it was last published."""
    table = open_table(lake, contract)
    if not table.publishes(day):
        return {}
    root = table_root(lake, contract)
    old = _positives(table.read(spark, [day]), contract, -1)
    new = _positives(read_files(spark, contract, [f"{root}/{f.path}" for f in seen.files]), contract, 1)
    keys = [c for c in old.columns if c not in contract.labels]
    change = old.unionByName(new).groupBy(*keys).agg(*(F.sum(label).alias(label) for label in contract.labels))
    counts = [F.count_if(F.col(label) == sign).alias(f"{label}:{sign}") for label in contract.labels for sign in (1, -1)]
    flips = change.agg(*counts).first().asDict()
    return {label: {"to_1": flips[f"{label}:1"], "to_0": flips[f"{label}:-1"]} for label in contract.labels}


def _positives(rows: "DataFrame", contract: Contract, sign: int) -> "DataFrame":
    """Keys of the samples with any positive label, and sign * label."""
    grain, elements = list(contract.grain), contract.elements
    if elements:
        any_positive = " or ".join(f"e.{label} = 1" for label in contract.labels)
        rows = rows.select(*grain, F.explode(F.expr(f"filter({elements.column}, e -> {any_positive})")).alias("e"))
        rows = rows.select(*grain, f"e.{elements.key}", *(f"e.{label}" for label in contract.labels))
        grain = [*grain, elements.key]
    return rows.select(*grain, *((F.col(label) * sign).alias(label) for label in contract.labels))


def _quarantined_by_rule(spark: "SparkSession", root: str, folder: str) -> dict[str, int]:
    paths = _split_files(root, f"{folder}/split=quarantined")
    if not paths:
        return {}
    counts = _quarantine_rows(spark, paths).groupBy("rule").count().collect()  # <= rules of a suite
    return {row["rule"]: row["count"] for row in sorted(counts)}


def _quarantine_rows(spark: "SparkSession", paths: Sequence[str]) -> "DataFrame":
    schema = f"{QUARANTINE} {QUARANTINE_TYPE}"
    return spark.read.schema(schema).option("recursiveFileLookup", "true").parquet(*paths).select(f"{QUARANTINE}.*")


def _publish_quarantine(
    spark: "SparkSession", lake: str, contract: Contract, day: date, draft: Mapping[str, Any], seen: Audit
) -> int | None:
    """Append what was taken out to `<table>_quarantine` before the day itself: an orphan there harms nobody. Returns its version."""
    if not seen.quarantined:
        return None
    target = quarantine_of(contract)
    root, folder = table_root(lake, target), draft["folder"]
    rows = _quarantine_rows(spark, _split_files(table_root(lake, contract), f"{folder}/split=quarantined"))
    columns = {"run_id": F.lit(draft["run_id"]), "rule": "rule", "key": "key", "element": "element", "row": "row", "reason": "reason"}
    staged = rows.select(
        *((F.col(c) if isinstance(c, str) else c).cast(StringType() if n != "element" else "int").alias(n) for n, c in columns.items())
    )
    staged.write.mode("overwrite").parquet(spark_address(f"{root}/{folder}"))
    return append(root, target, day, staged_files(root, target, folder))


def draft_path(root: str, folder: str) -> str:
    """Where the facts of a staged day lie, beside its files, so that it can be audited again."""
    return f"{root}/{folder}/_staged.json"


def write_draft(root: str, draft: dict[str, Any]) -> None:
    write_json(draft_path(root, draft["folder"]), draft)
