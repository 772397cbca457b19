"""What is red, told to the hook: one document for each run of days with the same cause."""

import sys
from collections.abc import Mapping
from datetime import date
from typing import Any

from jobs.hook import document, tell
from schemas.contract import load
from sluice.report.results import is_critical

DECIDED = ("accepted",)
"""Causes that are red for the reader of the report, and about which a person has decided already."""


def notify(facts: Mapping[str, Any]) -> None:
    """Tell the hook of each red thing; the first that it does not take ends it."""
    red = [entry for entry in facts["critical"] if entry["cause"] not in DECIDED]
    for number, entry in enumerate(red, start=1):
        if not tell(_document(facts, entry)):
            print(f"{len(red) - number} more red things were not told", file=sys.stderr)
            return


def _document(facts: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    days = next(t["days"] for t in facts["tables"] if t["table"] == entry["table"])
    days = [d for d in days if entry["first"] <= d["day"] <= entry["last"]]
    more: dict[str, Any] = {}
    if entry["cause"] == "refused":
        failed = [r["name"] for d in days for r in d["refused"]["results"] if is_critical(r)]
        more = {"expectations": list(dict.fromkeys(failed)), "run_id": days[-1]["refused"]["run_id"]}
    if entry["cause"] == "unbalanced":
        more = {"accounts": [a for d in days for a in d["receipt"]["accounts"] if a["in"] != sum(a["fates"].values())]}
    reason, look = "; ".join([entry["what"], *entry["why"]]), f"{entry['do']} --lake {facts['lake']}"
    span = [date.fromisoformat(entry[end]) for end in ("first", "last")]
    return document(entry["cause"], load(entry["table"]), span, reason, look, facts["lake"], **more)
