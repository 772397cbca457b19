"""Pages of the report, made of its facts: the lake, its rare queries, and for each table itself, all results, each day."""

import json
import shlex
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from jobs.messages import UsageError
from sluice.costs import of_receipts
from sluice.report import flow, long_tail, pictures, results
from sluice.report.contents import DRIFT, HIDDEN, excess
from sluice.report.days import CAUSES, STATES

MARK = "SLUICE_REPORT"
"""A folder with this file was written by a report, and the next one may replace it."""
PROFILES = "profiles"
GLYPHS = {
    "refused": "R", "missing": "×", "unbalanced": "≠", "accepted": "A", "stale": "S", "overdue": "L", "withdrawn": "W",
    "warned": "!", "quarantined": "q", "immature": "~", "published": "", "open": "·", "none": "",
}  # fmt: skip
"""A state is told by letter and by name, not by colour alone."""
COSTS = {"core seconds": "core_s", "wall seconds": "wall_s", "core µs per row": "us_per_row", "bytes spilled": "spill_bytes"}
COLUMNS_AT_ONCE = 25


def check_folder(out: str) -> Path:
    """The folder to write to. Raises UsageError for one that holds something else."""
    folder = Path(out).absolute()
    if "://" in out:
        raise UsageError(f"--out is {out}: the report is written to a folder of this machine; copy it from there")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out is {folder}: that is a file; name a folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise UsageError(f"{folder} holds something that no report wrote; choose another folder with --out")
    return folder


def write(facts: Mapping[str, Any], folder: Path) -> None:
    """All pages into the folder, in place of those of the report before; its profiles stay."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text("written by sluice report; the next one replaces it\n", encoding="utf-8")
    for old in (p for p in folder.iterdir() if p.name not in (MARK, PROFILES)):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    shutil.copytree(Path(__file__).parent / "static", folder, dirs_exist_ok=True)
    (folder / "facts.json").write_text(json.dumps(facts, indent=1, default=str), encoding="utf-8")
    pages = _environment(facts)
    tables = {t["table"]: t for t in facts["tables"]}
    _page(pages, folder / "index.html", "index.html", "", overview=_overview(facts))
    if facts["long_tail"]:
        _page(pages, folder / "long_tail.html", "long_tail.html", "", **long_tail.view(facts["long_tail"]))
    for name, table in tables.items():
        readers = [t["table"] for t in facts["tables"] if name in {i["table"] for i in t["contract"]["inputs"]}]
        of_table = {"table": table, "readers": readers}
        (folder / name).mkdir()
        _page(pages, folder / name / "index.html", "table.html", "../", **of_table, view=_table(facts, table))
        _page(pages, folder / name / "results.html", "results.html", "../", **of_table, data=_results(table))
        shown = [f for f in table["days"] if f["state"] != "none"]
        for number, fact in enumerate(shown):
            around = {"before": shown[number - 1] if number else None, "after": shown[number + 1] if number + 1 < len(shown) else None}
            picture = flow.books([table], fact["day"], lambda n: "index.html") if fact["receipt"] and fact["receipt"]["accounts"] else ""
            _page(pages, folder / name / f"{fact['day']}.html", "day.html", "../", **of_table, fact=fact, picture=picture, **around)


def _environment(facts: Mapping[str, Any]) -> Environment:
    made = Environment(
        loader=PackageLoader("sluice.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {"n": lambda v: f"{v:,}", "share": _share, "number": pictures.brief, "short": results.short, "mb": _mb}
    made.filters |= {
        "seen": results.seen,
        "asked": results.asked,
        "is_critical": results.is_critical,
        "pretty": _pretty,
        "quoted": shlex.quote,
    }
    made.globals |= {"facts": facts, "states": STATES, "causes": CAUSES, "glyphs": GLYPHS, "hidden": HIDDEN}
    return made


def _page(pages: Environment, file: Path, template: str, root: str, **values: Any) -> None:
    file.write_text(pages.get_template(template).render(root=root, **values), encoding="utf-8")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}" if 0 < abs(value) < 0.1 else f"{value:.1%}" if value else "0"


def _mb(value: int) -> str:
    return f"{value / 1e6:,.1f} MB" if value >= 1e5 else f"{value / 1e3:,.1f} kB"


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str)


def _overview(facts: Mapping[str, Any]) -> dict[str, Any]:
    tables = facts["tables"]
    receipts = [f["receipt"] for t in tables for f in t["days"] if f["receipt"]]
    failed = [r for receipt in receipts for r in receipt["results"] if not r["success"]]
    found = {
        "table_days": len(receipts), "rows": sum(r["rows"] for r in receipts), "bytes": sum(r["bytes"] for r in receipts),
        "results": sum(len(r["results"]) for r in receipts), "failed": len(failed),
        "quarantined": sum(sum(r["quarantined"].values()) for r in receipts),
    }  # fmt: skip
    day = flow.books_day(tables)
    link = lambda name: f"{name}/index.html"  # noqa: E731
    found |= {"books_day": day, "books": flow.books(tables, day, link) if day else ""}
    found["states"] = [s for s in STATES if s != "none" and any(f["state"] == s for t in tables for f in t["days"])]
    return found | {"lineage": flow.lineage(tables, facts["manifests"], link)}


def _table(facts: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """What the page of a table shows beside its facts: pictures, and figures added up over the days."""
    held = [f for f in table["days"] if f["receipt"]]
    links = {f["day"]: f"{f['day']}.html" for f in held}
    of = lambda figure: [(f["day"], figure(f["receipt"]) if f["receipt"] else None) for f in table["days"]]  # noqa: E731
    view: dict[str, Any] = {"held": held, "last": held[-1] if held else None, "results": results.over_time(table["days"])}
    view["rows"] = pictures.lines({"rows": of(lambda r: r["rows"])}, f"Rows of {table['table']}", links) if held else ""
    names = sorted({k for f in held for k, v in f["receipt"]["totals"].items() if not isinstance(v, dict)})
    view["totals"] = [(n, pictures.spark(of(lambda r, n=n: r["totals"].get(n)), n), held[-1]["receipt"]["totals"].get(n)) for n in names]
    for row in view["results"]:
        points = [(d["day"], d["value"]) for d in row["days"]]
        bad = [d["day"] for d in row["days"] if not d["success"]]
        row["plot"] = pictures.spark(points, row["name"], row["least"], row["most"], row["share"], bad)
    view["costs"], view["dear"] = _costs(table, held)
    view["columns"] = [_column(c) for c in table["columns"]]
    view["at_once"], view["drift"] = COLUMNS_AT_ONCE, DRIFT
    view["accounts"], view["left_out"] = _accounts(held), _left_out(held)
    view["books"] = (
        flow.books([table], held[-1]["day"], lambda n: "index.html") if view["accounts"] and held[-1]["receipt"]["accounts"] else ""
    )
    view["rules"] = _rules(table, held)
    final = table["contract"]["matures_after"]
    view["curves"] = [(label, _curve(label, curves, final)) for label, curves in table["labels"].items() if curves]
    view["lineage"] = flow.lineage(facts["tables"], facts["manifests"], lambda n: f"../{n}/index.html", focus=table["table"])
    return view


def _costs(table: Mapping[str, Any], held: list[dict[str, Any]]) -> tuple[list[Any], list[dict[str, Any]]]:
    """Small lines of what the days cost, each with its last value, and the days that stand out."""
    costs = {c["day"]: c for c in of_receipts([f["receipt"] for f in held])}
    dear = [c for c in costs.values() if c["stands_out"]]
    plots, bad = [], [c["day"] for c in dear]
    for name, figure in COSTS.items():
        points = [(f["day"], costs[f["day"]][figure] if f["day"] in costs else None) for f in table["days"]]
        if any(value for _, value in points):
            plots.append((name, pictures.spark(points, f"{name} of {table['table']}", bad=bad), costs[held[-1]["day"]][figure]))
    return plots, dear


def _curve(label: str, curves: list[dict[str, Any]], final: int) -> Any:
    return pictures.curves({c["day"]: [(p["age"], p["share"]) for p in c["points"]] for c in curves}, final, f"Share of {label}")


def _column(column: Mapping[str, Any]) -> dict[str, Any]:
    """A column with its pictures: share of nulls, mean, drift beside chance, the last day's values beside the week's."""
    name, days, shape = column["column"], column["days"], column["histogram"]
    of = lambda key: [(d["day"], d[key]) for d in days]  # noqa: E731
    found = {"name": name, "kind": column["kind"], "last": days[-1], "is_moved": excess(days[-1]) > DRIFT}
    found["nulls"] = pictures.spark(of("null_share"), f"share of nulls in {name}", percent=True)
    found["mean"] = pictures.spark(of("mean"), f"mean of {name}") if column["kind"] != "string" else "-"
    found["drift"] = pictures.spark(of("distance"), f"drift of {name}", most=days[-1]["chance"], percent=True)
    found["shape"] = pictures.bars(shape["labels"], shape["day"], shape["week"], f"values of {name} on {days[-1]['day']}") if shape else "-"
    return found


def _accounts(held: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each account over the days: what went in, and each fate's sum, last count and share by day."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for fact in held:
        for account in fact["receipt"]["accounts"]:
            entry = found.setdefault((account["input"], account["account"]), {"in": 0, "fates": {}})
            entry["in"] += account["in"]
            for fate, n in account["fates"].items():
                of_fate = entry["fates"].setdefault(fate, {"sum": 0, "points": []})
                of_fate["sum"] += n
                of_fate["points"].append((fact["day"], n / account["in"] if account["in"] else None))
    for (_, name), entry in found.items():
        for fate, of_fate in entry["fates"].items():
            of_fate["plot"] = pictures.spark(of_fate["points"], f"share of {fate} in {name}", percent=True)
    return [{"input": given, "account": name, **entry} for (given, name), entry in found.items()]


def _left_out(held: list[dict[str, Any]]) -> list[tuple[str, int, Any]]:
    """What the build made and left out by name, most first: sum and line over the days."""
    of_days = [(f["day"], f["receipt"].get("excluded", {})) for f in held]  # older receipts do not tell
    sums = Counter({fate: sum(of.get(fate, 0) for _, of in of_days) for _, told in of_days for fate in told})
    plot = lambda fate: pictures.spark([(day, of.get(fate, 0)) for day, of in of_days], f"rows left out as {fate}")  # noqa: E731
    return [(fate, n, plot(fate)) for fate, n in sums.most_common()]


def _rules(table: Mapping[str, Any], held: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Row rules that took something out, most first: how much, when last, some rows of the last day that has them."""
    found: dict[str, dict[str, Any]] = {}
    for fact in held:
        for rule, n in fact["receipt"]["quarantined"].items():
            entry = found.setdefault(
                rule, {"rule": rule, "sum": 0, "points": [], **table["rules"].get(rule, {"condition": "", "note": ""})}
            )
            entry["sum"] += n
            entry |= {"last": fact["day"], "count": n, "rows": fact["quarantine"].get(rule, [])}
    for rule, entry in found.items():
        points = [(f["day"], f["receipt"]["quarantined"].get(rule, 0)) for f in held]
        entry["plot"] = pictures.spark(points, f"rows taken out by {rule}")
    return sorted(found.values(), key=lambda e: -e["sum"])


def _results(table: Mapping[str, Any]) -> dict[str, Any]:
    """All results of the span for the paged list: each expectation once, and a short row for each day that it was asked."""
    asked: dict[str, int] = {}
    expectations, rows = [], []
    for fact in (f for f in reversed(table["days"]) if f["receipt"]):
        for result in fact["receipt"]["results"]:
            severity = "critical" if results.is_critical(result) else "warning"
            entry = [result["name"], severity, results.asked(result), result["expectation_config"]["meta"].get("note") or ""]
            number = asked.setdefault(json.dumps(entry), len(expectations))
            if number == len(expectations):
                expectations.append(entry)
            rows.append([fact["day"], number, int(result["success"]), results.seen(result)])
    return {"expectations": expectations, "rows": rows}
