"""`sluice stages`: what each step of ES3 adds to exposed-only samples, beside the figures of the paper; all from one receipt."""

from datetime import date
from typing import Any

from rich.table import Table

from jobs.storage import check_lake, lake_address, open_table
from schemas.contract import load
from sluice.screens import console, grid, print_json
from sluice.sizes import grouped_and_flat

PAPER = (
    ("exposed only", (1.0, 1.0, 1.0)),
    ("+ unexposed candidates", (1.0, 3.0, 1.0)),
    ("+ label attribution", (1.0, 3.0, 2.0)),
    ("+ cross-domain clicks", (2.0, 5.0, 4.0)),
)
"""Requests, samples and click positives relative to exposed-only: UniScale (arXiv 2603.24226), effect of each step."""
MEASURES = ("requests", "samples", "click_positives")


def stage_rows(totals: dict[str, int]) -> list[dict[str, Any]]:
    """The four stages with counts and ratios to the first, from the totals of a receipt of entire_space."""
    t = totals
    counts = (
        (t["search_requests"], t["exposed"], t["native_clicks"]),
        (t["search_requests"], t["exposed"] + t["unexposed"], t["native_clicks"]),
        (t["search_requests"], t["exposed"] + t["unexposed"], t["search_clicks"]),
        (
            t["search_requests"] + t["pseudo_requests"],
            t["exposed"] + t["unexposed"] + t["pseudo_samples"],
            t["search_clicks"] + t["pseudo_clicks"],
        ),
    )
    rows = []
    for (name, paper), values in zip(PAPER, counts, strict=True):
        ratios = [v / first if first else None for v, first in zip(values, counts[0], strict=True)]
        rows.append(
            {"stage": name, **dict(zip(MEASURES, values, strict=True))}
            | {"ratio": dict(zip(MEASURES, ratios, strict=True)), "paper": dict(zip(MEASURES, paper, strict=True))}
        )
    return rows


def rates(totals: dict[str, int]) -> dict[str, float | None]:
    """Native click rate of exposed search samples, and positive rate of pseudo-requests, which should be equal."""
    pairs = {"native_click_rate": ("native_clicks", "exposed"), "cross_domain_positive_rate": ("pseudo_clicks", "pseudo_samples")}
    return {name: totals[a] / totals[b] if totals[b] else None for name, (a, b) in pairs.items()}


def facts(lake: str, day: date) -> dict[str, Any]:
    """The stage table of a day, its rates, and the bytes of its rows grouped and flat."""
    table = open_table(lake_address(lake), load("entire_space"))
    receipt = table.receipt(day)
    found = {"day": day.isoformat(), "label_as_of": receipt["label_as_of"], "stages": stage_rows(receipt["totals"])}
    return found | rates(receipt["totals"]) | {"bytes": grouped_and_flat(table, day)}


def report(lake: str, day: date, as_json: bool) -> None:
    check_lake(lake, must_exist=True)
    found = facts(lake, day)
    if as_json:
        print_json(found)
        return
    console().print(stage_table(found))
    for line in notes(found):
        print(line)


def stage_table(found: dict[str, Any]) -> Table:
    names = ("requests", "paper", "samples", "paper ", "click positives", "paper  ")
    title = f"Entire-space samples of {found['day']}, relative to exposed-only (labels known to {found['label_as_of']})"
    shown = grid(title, "stage", *names, numbers=names)
    for row in found["stages"]:
        cells = []
        for measure in MEASURES:
            ratio = row["ratio"][measure]
            cells += [f"{row[measure]:,} = {ratio:.2f}x" if ratio is not None else f"{row[measure]:,}", f"{row['paper'][measure]:.1f}x"]
        shown.add_row(row["stage"], *cells)
    return shown


def notes(found: dict[str, Any]) -> list[str]:
    """What the table does not show: the two rates, and what grouping saves."""
    lines = []
    native, cross = found["native_click_rate"], found["cross_domain_positive_rate"]
    if native is not None and cross is not None:
        lines.append(f"positive rate: {cross:.2%} across domains, {native:.2%} native clicks of exposed search samples (should be alike)")
    size = found["bytes"]
    if size["ratio"]:
        lines.append(
            f"bytes: {size['grouped']:,} grouped by request, {size['flat']:,} flat = {size['ratio']:.2f} "
            "(paper 0.50 with all request features)"
        )
    return lines
