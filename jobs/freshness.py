"""Is a published day still what its inputs, its code and its suite would give? Decided by content, never by versions or clocks."""

import ast
import hashlib
import importlib.util
import json
from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Any

from jobs.inputs import Pinned
from schemas.contract import Contract, without_words

PACKAGES = ("features", "jobs", "schemas")
SPINE = "jobs.run"  # how a day is run does not decide what is in it


@cache
def code_fingerprint(module: str) -> str:
    """Hash of the parsed source of a job and of the project's modules that it imports; comments and docstrings do not count.

    The spine is left out, and so are contracts: they have a fingerprint of their own.
    """
    seen: dict[str, str] = {}
    _collect(module, seen)
    return _digest(sorted(seen.items()))


def _collect(module: str, seen: dict[str, str]) -> None:
    spec = importlib.util.find_spec(module)
    if module in seen or spec is None or not hasattr(spec.loader, "get_source"):
        return
    tree = ast.parse(spec.loader.get_source(module) or "")  # on a cluster the packages may lie in a zip
    seen[module] = ast.dump(_without_docstrings(tree))
    for name in _imports(tree):
        if name.split(".")[0] == "features" or (name.startswith("jobs.") and name != SPINE and not module.startswith("features")):
            _collect(name, seen)


def _imports(tree: ast.AST) -> set[str]:
    """Project modules that a file names in its imports, `from package import module` included."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names if _is_package(node.module)}
    return {name for name in found if name.split(".")[0] in PACKAGES}


def _is_package(name: str) -> bool:
    """Whether what is imported from it may be a module of its own."""
    spec = importlib.util.find_spec(name) if name.split(".")[0] in PACKAGES else None
    return spec is not None and spec.submodule_search_locations is not None


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))] or [ast.Pass()]
    return tree


def contract_fingerprint(contract: Contract) -> str:
    """Hash of what the contract promises, its prose left out."""
    return _digest(repr(without_words(contract)))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def stale_reasons(
    receipt: Mapping[str, Any], contract: Contract, pinned: Mapping[str, Pinned], day: date, label: date | None, facts: Mapping[str, Any]
) -> list[str]:
    """Why a published day would be built again; empty when it is up to date.

    `facts` are the fingerprints and options as they are now: code, contract, suite, options. A forward day that came since
    counts only when it brings the labels to an age at which the contract has the day built again.
    """
    reasons = [f"{name} changed" for name, value in facts.items() if receipt[name] != value]
    for name, found in pinned.items():
        before = receipt["inputs"].get(name, {}).get("days", {})
        now = {d.isoformat(): r["content_hash"] for d, r in found.receipts.items()}
        changed = [d for d in sorted(before | now) if before.get(d) != now.get(d) and not (d not in before and d > day.isoformat())]
        reasons += [f"input changed: {name} {_span(changed)}"] if changed else []
    return reasons + _open_labels(receipt, contract, day, label)


def _span(days: list[str]) -> str:
    return days[0] if len(days) == 1 else f"{days[0]}..{days[-1]} ({len(days)} days)"


def _open_labels(receipt: Mapping[str, Any], contract: Contract, day: date, label: date | None) -> list[str]:
    if label is None or not receipt.get("label_as_of"):
        return []
    known, now = (date.fromisoformat(receipt["label_as_of"]) - day).days, (label - day).days
    ages = [age for age in contract.reissue_after if known < age <= now]
    return [f"labels still open: known for {known} of {contract.matures_after} days, now for {now}"] if ages else []
