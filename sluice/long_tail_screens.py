"""The tables of `sluice reproduce synthetic_pairs`, beside the paper's figures."""

from typing import Any

from sluice.screens import console, grid

PAPER = {"good_rate@10": 12.95, "good_lists@10": 8.62}
"""Largest gain over the types of query, in points of 100: ItemGoodRate and QueryGoodRate@10 of arXiv 2602.23620, by a short second-hand
summary. It names neither the types that gained less nor the share of pairs."""
NAMES = {"hr@50": "HR@50", "good_rate@10": "good rate@10", "good_lists@10": "good lists@10"}


def screen(facts: dict[str, Any]) -> None:
    out = console()
    pool, whole = facts["pool"], facts["pairs"]["as it is"]
    out.print(
        f"\n{facts['day']}: of {pool['queries']:,} queries of the pool {pool['rewritten']:,} have a rewrite and {pool['with_pairs']:,} "
        f"({pool['with_pairs'] / max(pool['queries'], 1):.0%}) have pairs: {whole['pairs']:,}, {whole['precision'] or 0:.1%} of them true."
    )
    out.print(precision(whole))
    out.print(steps(facts))
    for measure in ("hr@50", "good_rate@10"):
        out.print(by_run(facts, measure))
    if facts["seeds"] < 2:
        out.print("One seed: this shows that all of it runs. It says nothing about what is better.")
    out.print(by_type(facts))
    out.print(claims(facts))


def precision(found: dict[str, Any]) -> Any:
    shown = grid("Pairs that the planted truth holds", "by", "of", "pairs", "precision", numbers=("pairs", "precision"))
    for by in ("type", "decile", "rewriter", "channel", "is_new"):
        for name, of in found[by].items():
            shown.add_row(by.replace("_", " "), name, f"{of['pairs']:,}", f"{of['precision']:.1%}")
    return shown


def steps(facts: dict[str, Any]) -> Any:
    shown = grid("What each step adds", "pairs", "number", "queries", "precision", numbers=("number", "queries", "precision"))
    for name, found in facts["pairs"].items():
        shown.add_row(name, f"{found['pairs']:,}", f"{found['queries']:,}", f"{found['precision'] or 0:.1%}")
    return shown


def by_run(facts: dict[str, Any], measure: str) -> Any:
    """Means over seeds with their standard deviation, by group of evaluation queries."""
    heads = [f"{group} ({queries:,})" for group, queries in facts["queries"].items()]
    shown = grid(f"{NAMES[measure]} of evaluation queries: mean ± standard deviation over seeds", "run", *heads, numbers=tuple(heads))
    shown.add_row("words in common", *(_cell([of[measure]]) for of in facts["lexical"].values()))
    for name, groups in facts["values"].items():
        shown.add_row(name, *(_cell(of[measure]) for of in groups.values()))
    return shown


def by_type(facts: dict[str, Any]) -> Any:
    """Gains of the chosen share over none, beside the largest that the paper names."""
    name, heads = f"share {facts['share']:.0%}", list(NAMES.values())
    shown = grid(f"{name} over none, in points of 100 (95 % interval over seeds)", "queries", *heads, numbers=tuple(heads))
    for group, found in facts["over_none"].get(name, {}).items():
        shown.add_row(group, *(difference_cell(found[m]) for m in NAMES))
    shown.add_row("paper, the type that gained most", *(f"{PAPER[m]:+.2f}" if m in PAPER else "" for m in NAMES))
    return shown


def claims(facts: dict[str, Any]) -> Any:
    shown = grid(f"What should come out, at {facts['share']:.0%} pairs", "claim", "found", "came out", numbers=("found",))
    for each in facts["claims"]:
        shown.add_row(each["claim"], each["found"], each["came_out"])
    return shown


def _cell(values: list[float | None]) -> str:
    known = [v for v in values if v is not None]
    if not known:
        return ""
    mean = sum(known) / len(known)
    spread = (sum((v - mean) ** 2 for v in known) / (len(known) - 1)) ** 0.5 if len(known) > 1 else None
    return f"{mean:.3f}" + (f" ± {spread:.3f}" if spread is not None else "")


def difference_cell(found: dict[str, float | None] | None) -> str:
    if found is None:
        return ""
    half = found["half_width"]
    return f"{found['mean']:+.2f}" + (f" ± {half:.2f}" if half is not None else "")
