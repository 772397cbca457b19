"""A gate's result as a number beside its limits, and in few words."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

AIMED_AT = ("column", "column_list", "column_A", "column_B", "batch_id", "mostly")


def is_critical(result: Mapping[str, Any]) -> bool:
    return result["expectation_config"]["meta"].get("severity", "critical") == "critical"


def measure(result: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    """(seen, least, most): what was observed, or the share of values that break the expectation beside the share that may."""
    facts, asked = result["result"], result["expectation_config"]["kwargs"]
    value = facts.get("observed_value")
    if isinstance(value, int | float):
        return value, asked.get("min_value"), asked.get("max_value")
    share = facts.get("unexpected_percent_nonmissing", facts.get("unexpected_percent"))
    return (share / 100, None, round(1 - asked.get("mostly", 1), 6)) if share is not None else (None, None, None)


def is_share(result: Mapping[str, Any]) -> bool:
    """Whether what was measured is a share of values that break it."""
    return not isinstance(result["result"].get("observed_value"), int | float)


def seen(result: Mapping[str, Any]) -> str:
    facts = result["result"]
    if "observed_value" in facts:
        value = facts["observed_value"]
        return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else json.dumps(value, default=str)
    if "unexpected_count" in facts:
        return f"{facts['unexpected_count']:,} of {facts.get('element_count', 0):,} break it"
    return (result.get("exception_info") or {}).get("exception_message") or "not measured"


def asked(result: Mapping[str, Any]) -> str:
    """What the expectation demands, without the column that its name has."""
    kwargs = result["expectation_config"]["kwargs"]
    parts = [f"{k} {json.dumps(v, default=str, ensure_ascii=False)}" for k, v in kwargs.items() if k not in AIMED_AT]
    if "unexpected_count" in result["result"]:
        parts.append(f"at most {1 - kwargs.get('mostly', 1):.6g} may break it" if "mostly" in kwargs else "none may break it")
    return ", ".join(parts)


def short(name: str) -> str:
    """The name without what all names share, its kind in words."""
    kind, bracket, column = name.partition("(")
    return kind.removeprefix("expect_").removeprefix("column_").replace("_", " ") + bracket + column


def over_time(days: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each expectation over the published days, those that failed or move first, those that never broke a value last."""
    found: dict[str, dict[str, Any]] = {}
    for fact in (d for d in days if d["receipt"]):
        for result in fact["receipt"]["results"]:
            row = found.setdefault(result["name"], {"name": result["name"], "days": []})
            value, least, most = measure(result)
            row |= {"critical": is_critical(result), "note": result["expectation_config"]["meta"].get("note") or "", "asked": asked(result)}
            row |= {"share": is_share(result), "least": least, "most": most}
            row["days"].append({"day": fact["day"], "success": result["success"], "value": value, "seen": seen(result)})
    for row in found.values():
        row["failed"] = sum(not d["success"] for d in row["days"])
        row["quiet"] = not row["failed"] and (all(d["value"] in (0, None) for d in row["days"]) and row["share"])
    return sorted(found.values(), key=lambda r: (not r["failed"], r["quiet"], not r["critical"], r["name"]))
