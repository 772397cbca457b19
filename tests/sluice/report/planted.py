"""A small lake whose receipts are whole, published without Spark, and faults to plant in it."""

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from jobs.commit import append
from jobs.inputs import Tables, label_as_of, pin
from jobs.run import facts_now
from jobs.storage import open_table, table_root, write_json
from schemas.contract import Contract, load, quarantine_of
from tests.jobs.published import item, publish_day, stage, staged

FIRST = date(2026, 1, 5)
DAYS = [FIRST + timedelta(days=n) for n in range(6)]
ITEMS = load("items")
ROWS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "items": [item("a", price_cents=100), item("b", price_cents=256), item("c")],
    "requests": [{"request_id": f"r{n}", "user_id": "u", "domain": "search"} for n in range(4)],
    "events": [{"event_id": f"e{n}", "user_id": "u", "item_id": "a", "event_type": "click"} for n in range(5)],
    "entire_space": [{"request_id": f"r{n}", "items": [{"item_id": "a", "y_click": n % 2, "y_pay": 0}]} for n in range(4)],
}
PIPELINE = ("events", "items", "requests", "attributions", "query_item_stats", "text_vectors", "entire_space")
HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='hacked = 2'> \"quoted\" & '\u2028\u202e \U0001f92f é"


def result(kind: str, column: str, success: bool = True, severity: str = "critical", note: str = "why", **seen: Any) -> dict[str, Any]:
    """A result as a receipt holds it; `asked_` arguments are what was demanded."""
    kwargs = {"column": column} | {k.removeprefix("asked_"): v for k, v in seen.items() if k.startswith("asked_")}
    config = {"type": kind, "kwargs": kwargs, "meta": {"severity": severity, "note": note, "over": None}, "severity": severity}
    facts = {k: v for k, v in seen.items() if not k.startswith("asked_")}
    facts = facts or {"element_count": 3, "unexpected_count": 0, "unexpected_percent": 0.0}
    return {"name": f"{kind}({column})", "success": success, "expectation_config": config, "result": facts}


def facts_of(contract: Contract, num: int) -> dict[str, Any]:
    """What a receipt of `num` rows says beside what `publish_day` knows."""
    lines = [{"account": "lines", "input": "files", "in": num + 1, "fates": {"kept": num, "duplicate": 1}, "difference": 0}]
    facts = {"results": [result("expect_column_values_to_not_be_null", contract.grain[0])], "reasons": ["made"], "inputs": {}}
    facts |= {"accounts": lines if contract.is_raw else [], "quarantined": {}, "quarantine_version": None, "labels_flipped": {}}
    return facts | {"accepted": {}, "totals": {}, "build_s": 1.5, "gate_s": 0.5, "core_s": 1.0}


def put(lake: Path, contract: Contract, day: date, rows: Sequence[Mapping[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    """Publish a day as if it was built now, from what is published now; `more` is what its receipt says otherwise."""
    rows = ROWS.get(contract.name, [{contract.grain[0]: "x"}]) if rows is None else rows
    facts = facts_of(contract, len(rows))
    if not contract.is_raw:
        pinned = pin(Tables(str(lake)), contract, day)
        label = label_as_of(contract, pinned, day)
        facts |= facts_now(contract, f"jobs.{contract.name}", {}) | {"inputs": {name: p.as_json() for name, p in pinned.items()}}
        facts |= {"label_as_of": label and label.isoformat()}
        facts["accounts"] = [
            {"account": a.name, "input": i.table, "in": 10, "fates": dict.fromkeys(a.fates, 0) | {a.fates[0]: 8, "quarantined": 2}}
            for i in contract.inputs
            for a in i.accounts
        ]
    count = open_table(str(lake), contract).publishes(day)
    return publish_day(lake, contract, day, rows, run=f"run{count}", **(facts | more))


def pipeline(lake: Path) -> None:
    """Six days of the tables that lead to `entire_space`, the others are not in use; nothing is red, labels are open."""
    for contract in map(load, PIPELINE):
        for day in DAYS:
            put(lake, contract, day)


def quarantine(lake: Path, contract: Contract, day: date, rows: Sequence[Mapping[str, Any]]) -> int:
    """Rows that a gate took out, by `rule`; their run is the first of that day. Returns the version for the receipt."""
    target, run = quarantine_of(contract), f"run0-{day}"
    stage(lake, target, day, [{"run_id": run, "key": "{}", "row": "{}", "reason": "why", **r} for r in rows], run)
    return append(table_root(str(lake), target), target, day, staged(lake, target, day, run))


def refuse(lake: Path, contract: Contract, day: date, seen: int = 0, **more: Any) -> None:
    """A staged day that its gate refused."""
    failed = result("expect_table_row_count_to_be_between", "", success=False, observed_value=0, asked_min_value=1)
    draft = {"table": contract.name, "day": day.isoformat(), "run_id": "refused", "seen": seen, "build_s": 1.0, "results": [failed]}
    draft |= {"started_at": "2026-01-20T00:00:00+00:00", "refused": f"{contract.name} {day}: the gate refused"}
    write_json(f"{table_root(str(lake), contract)}/day={day}/b=refused/_staged.json", draft | more)


def receipt_on_disk(lake: Path, table: str, day: date, publish: int = 1) -> dict[str, Any]:
    return json.loads((Path(table_root(str(lake), load(table))) / "_receipts" / f"{day}.{publish}.json").read_text())


def long_tail(lake: Path, day: date, query: str = "q3") -> None:
    """A day of rare queries: of five searched three are in the pool, two have rewrites, and `query` has both pairs."""
    queries = {"queries": {"not_in_pool": 1, "unreadable": 0, "evaluation": 1, "rewritten": 2, "all_dropped": 0, "no_rewrite": 1}}
    accounts = [{"account": n, "input": "query_stats", "in": 5, "fates": f | {"quarantined": 0}} for n, f in queries.items()]
    names = ["q0", "q1", "q2", query, "q4"]
    stats = [{"query_norm": q, "decile": 1 + n // 2, "hardness": "question" if n > 2 else "plain"} for n, q in enumerate(names)]
    put(lake, load("query_stats"), day, stats)
    rewrites = [{"query_norm": query, "rewrite": "r0"}, {"query_norm": query, "rewrite": "r1"}, {"query_norm": "q4", "rewrite": "r2"}]
    dropped = {"not_in_pool": 1, "evaluation": 1 + 2, "no_rewrite": 1, "irrelevant": 3, "answered": 7}
    replies = {"replies": 7, "prompt_tokens": 700, "completion_tokens": 70, "cost_micros": 1_250_000, "digest": 1}
    put(lake, load("query_rewrites"), day, rewrites, accounts=accounts, excluded=dropped, figures={"replies": replies})
    searched = {"retrieved": 2, "nothing_found": 1, "evaluation": 0, "quarantined": 0}
    accounts = [{"account": "rewrites", "input": "query_rewrites", "in": 3, "fates": searched}]
    pair = {"query_norm": query, "rewrite": "r0", "rewriter": "sessions", "channel": "both", "rank": 2, "p_business": 0.75}
    pair |= {"p_general": 0.5, "is_new": True, "hardness": "question", "guards": ["difference_set", "business"]}
    seen = {"from_day": day, "to_day": day, "num_sessions": 3}
    pairs = [pair | {"item_id": "a", "evidence": seen}, pair | {"item_id": "b", "rewriter": "feedback", "channel": "bm25", "is_new": False}]
    dropped = {"nothing_found": 1, "negated": 4, "known_to_query": 6}
    put(lake, load("synthetic_pairs"), day, pairs, accounts=accounts, excluded=dropped)
