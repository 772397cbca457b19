"""Two pictures of the whole lake: where every row went, from raw logs to training, and which table is made of which."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sluice.report.pictures import figure, tag

PITCH, BOX, THICK, SLOT, GAP, TOP = 250, 196, 56, 16, 20, 26
"""Pixels: from one column of tables to the next, width of a table, all rows of an account, a fate's line, between two, title of a box."""
Place = tuple[str, int]
"""A box of the books: what it is named, and its column."""
STEP, NAME, HIGH, ROW = 206, 182, 30, 52
"""Of the lineage: from one column to the next, width and height of a box, from one row to the next."""


def _depths(tables: Sequence[Mapping[str, Any]], conserved: bool) -> dict[str, int]:
    """How many of these tables lie on the way to a table, itself included; by inputs that are conserved alone, or by all."""
    found: dict[str, int] = {}
    for table in tables:  # inputs come before what reads them
        inputs = [i["table"] for i in table["contract"]["inputs"] if i["accounts"] or not conserved]
        found[table["table"]] = 1 + max((found[name] for name in inputs if name in found), default=0)
    return found


def books_day(tables: Sequence[Mapping[str, Any]]) -> str | None:
    """The newest day that most tables with accounts have published."""
    counts: dict[str, int] = {}
    for table in tables:
        for fact in table["days"]:
            if fact["receipt"] and fact["receipt"]["accounts"]:
                counts[fact["day"]] = counts.get(fact["day"], 0) + 1
    return max(counts, key=lambda day: (counts[day], day), default=None)


def books(tables: Sequence[Mapping[str, Any]], day: str, link: Callable[[str], str]) -> Markup:
    """Accounts as ribbons from the input's rows (or list elements) to their fates; each account is drawn at one thickness.

    An input is drawn in the column before its reader, again where it has a place further left, so that no ribbon crosses a box.
    """
    receipts = {t["table"]: f["receipt"]["accounts"] for t in tables for f in t["days"] if f["day"] == day and f["receipt"]}
    depth = _depths(tables, conserved=True)
    held = {(name, depth[name]): [a | {"from": (a["input"], depth[name] - 1)} for a in given] for name, given in receipts.items() if given}
    boxes, y_of_column = {}, {}
    places = dict.fromkeys(p for place, given in held.items() for p in (*(a["from"] for a in given), place))
    for place in sorted(places, key=lambda p: p[1]):
        beside = min((boxes[a["from"]]["y"] for a in held.get(place, [])), default=8)
        y = max(y_of_column.get(place[1], 8), beside)
        boxes[place] = _box(place, held, place[1] * PITCH + 4, y)
        y_of_column[place[1]] = y + boxes[place]["height"] + 2 * GAP
    width, height = max(b["x"] for b in boxes.values()) + BOX + 12, max(b["y"] + b["height"] for b in boxes.values()) + 8
    drawn = [r for place in held for r in _ribbons(place, held[place], boxes)]
    for place, box in boxes.items():
        name, column = place
        kind = "box again" if (name, depth.get(name)) in held and column != depth[name] else "box"
        drawn += _drawn_box(name, box, held.get(place, []), link(name) if name in depth else None, kind)
    label = f"Where every row of {day} went: " + "; ".join(_sentence(name, a) for (name, _), given in held.items() for a in given)
    return figure(width, height, label, *drawn, class_="wide")


def _sentence(name: str, account: Mapping[str, Any]) -> str:
    ends = ", ".join(f"{n:,} {fate}" for fate, n in account["fates"].items() if n)
    return f"{account['in']:,} {account['account']} of {account['input']} became in {name} {ends or 'nothing'}"


def _box(place: Place, held: Mapping[Place, Any], x: float, y: float) -> dict[str, Any]:
    """Places of what comes in (a slot for each fate that has rows) and of what goes out (one end for each account)."""
    ins, outs, at = {}, {}, y + TOP
    for account in held.get(place, []):
        at += 14
        for fate, n in account["fates"].items():
            if n:
                thick = n / max(account["in"], 1) * THICK
                ins[account["account"], fate] = (at, thick, n)
                at += max(SLOT, thick + 2)
        at += GAP / 2
    out = y + TOP
    for reader, accounts in held.items():
        for account in accounts:
            if account["from"] == place:
                outs[reader, account["account"]] = (out + 14, account["in"])
                out += THICK + 14 + GAP / 2
    return {"x": x, "y": y, "ins": ins, "outs": outs, "height": max(at, out, y + TOP + 10) - y}


def _ribbons(place: Place, accounts: Sequence[Mapping[str, Any]], boxes: Mapping[Place, Any]) -> list[Markup]:
    drawn, to = [], boxes[place]
    for account in accounts:
        source = boxes[account["from"]]
        y0, _ = source["outs"][place, account["account"]]
        x0, x1 = source["x"] + BOX, to["x"]
        middle = (x0 + x1) / 2
        for fate, n in account["fates"].items():
            if not n:
                continue
            y1, thick, _ = to["ins"][account["account"], fate]
            slot = max(SLOT, thick + 2)
            y1, drawn_thick = y1 + (slot - thick) / 2, max(thick, 0.8)
            path = f"M{x0} {y0:.1f}C{middle} {y0:.1f} {middle} {y1:.1f} {x1} {y1:.1f}V{y1 + drawn_thick:.1f}"
            path += f"C{middle} {y1 + drawn_thick:.1f} {middle} {y0 + drawn_thick:.1f} {x0} {y0 + drawn_thick:.1f}Z"
            text = f"{account['account']} of {account['input']}: {n:,} of {account['in']:,} {fate} ({n / max(account['in'], 1):.1%})"
            kind = "ribbon taken" if fate == "quarantined" else "ribbon on" if fate == account.get("on") else "ribbon"
            drawn.append(tag("path", tag("title", text), d=path, class_=kind))
            y0 += thick
    return drawn


def _drawn_box(name: str, box: Mapping[str, Any], accounts: Sequence[Mapping[str, Any]], href: str | None, kind: str) -> list[Markup]:
    x, y = box["x"], box["y"]
    title = tag("text", name, x=x + 8, y=y + 17, class_="name")
    drawn = [
        tag("rect", x=x, y=y, width=BOX, height=f"{box['height']:.1f}", rx=4, class_=kind),
        tag("a", title, href=href) if href else title,
    ]
    starts: dict[str, float] = {}
    for (account, fate), (at, thick, n) in box["ins"].items():
        if account not in starts:
            starts[account] = at
            total = next(a["in"] for a in accounts if a["account"] == account)
            drawn.append(tag("text", f"{account} {total:,}", x=x + 8, y=f"{at - 2:.1f}", class_="tick"))
        slot = max(SLOT, thick + 2)
        end = "end-of taken" if fate == "quarantined" else "end-of"
        drawn.append(tag("rect", x=x, y=f"{at + (slot - thick) / 2:.1f}", width=4, height=f"{max(thick, 0.8):.1f}", class_=end))
        words = tag("text", fate, " ", tag("tspan", f"{n:,}", class_="strong"), x=x + 10, y=f"{at + slot / 2 + 4:.1f}", class_="fate")
        drawn.append(tag("g", words, data_account=account, data_fate=fate, data_rows=n))
    for at, _ in box["outs"].values():
        drawn.append(tag("rect", x=x + BOX - 4, y=f"{at:.1f}", width=4, height=THICK, class_="end-of"))
    return drawn


def lineage(
    tables: Sequence[Mapping[str, Any]], manifests: Sequence[Mapping[str, Any]], link: Callable[[str], str], focus: str = ""
) -> Markup:
    """Tables from left to right with an arrow for each input and its window; below a table how often training has pinned it."""
    if focus:
        near = {focus} | {i["table"] for t in tables if t["table"] == focus for i in t["contract"]["inputs"]}
        near |= {t["table"] for t in tables if focus in {i["table"] for i in t["contract"]["inputs"]}}
        tables, manifests = [t for t in tables if t["table"] in near], [m for m in manifests if m["table"] == focus]
    depth = _depths(tables, conserved=False)
    places, pins = _places(depth), Counter(m["table"] for m in manifests)
    drawn = []
    for table in tables:
        for given in (i for i in table["contract"]["inputs"] if i["table"] in depth):
            told = f"{table['table']} reads days [{given['window'][0]}, {given['window'][1]}) of {given['table']}"
            kind = "edge conserved" if given["accounts"] else "edge"
            drawn.append(_edge(places[given["table"]], places[table["table"]], told, kind))
    for name, (x, y) in places.items():
        drawn.append(tag("a", *_name((x, y), name, "box focus" if name == focus else "box"), href=link(name)))
        if pins[name]:
            drawn.append(tag("text", f"in {pins[name]} manifest{'s' * (pins[name] > 1)}", x=x + 10, y=y + HIGH + 13, class_="tick"))
    label = "; ".join(f"{t['table']} is made of {', '.join(i['table'] for i in t['contract']['inputs']) or 'a source'}" for t in tables)
    width, height = (max(p[n] for p in places.values()) for n in (0, 1))
    return figure(width + NAME + 8, height + ROW, f"Lineage: {label}", *drawn, class_="wide lineage")


def _places(columns: Mapping[str, int]) -> dict[str, tuple[float, float]]:
    """Upper left corners; every other column is half a row lower, so that a long arrow passes between boxes."""
    rows: Counter[int] = Counter()
    found = {}
    for name, column in columns.items():
        found[name] = (4 + (column - 1) * STEP, 8 + rows[column] * ROW + column % 2 * ROW / 2)
        rows[column] += 1
    return found


def _name(place: tuple[float, float], words: str, kind: str) -> tuple[Markup, Markup]:
    x, y = place
    box = tag("rect", x=x, y=y, width=NAME, height=HIGH, rx=4, class_=kind)
    return box, tag("text", words, x=x + 10, y=y + 20, class_="name")


def _edge(a: tuple[float, float], b: tuple[float, float], told: str, kind: str) -> Markup:
    x0, y0, x1, y1 = a[0] + NAME, a[1] + HIGH / 2, b[0], b[1] + HIGH / 2
    middle = (x0 + x1) / 2
    path = f"M{x0} {y0}C{middle} {y0} {middle} {y1} {x1 - 7} {y1}"
    head = f"M{x1 - 7} {y1 - 4}L{x1} {y1}L{x1 - 7} {y1 + 4}Z"
    return tag("g", tag("title", told), tag("path", d=path, class_=kind), tag("path", d=head, class_="head"))
