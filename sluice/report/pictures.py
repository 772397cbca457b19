"""Pictures as inline SVG: lines over days, bars of shares. Colours come from the style sheet, so that they follow dark and light."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

Point = tuple[str, float | None]
"""A day (or another name of a place on the x axis) and its value; None is a gap."""


def tag(name: str, *inside: str | Markup, **attributes: object) -> Markup:
    """An element; text and values are escaped. `class_` and `for_` lose their underscore, others become dashes."""
    given = "".join(f' {k.rstrip("_").replace("_", "-")}="{escape(str(v))}"' for k, v in attributes.items() if v is not None)
    return Markup(f"<{name}{given}>{''.join(str(escape(i)) for i in inside)}</{name}>")


def figure(width: float, height: float, label: str, *inside: Markup, class_: str = "plot") -> Markup:
    parts = {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}", "height": f"{height:g}", "role": "img", "aria-label": label}
    opening = "".join(f' {k}="{escape(v)}"' for k, v in parts.items())
    return Markup(f'<svg xmlns="http://www.w3.org/2000/svg" class="{escape(class_)}"{opening}>{"".join(inside)}</svg>')


def brief(value: float | None) -> str:
    """A number short enough for an axis."""
    if value is None:
        return "-"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g}{unit}"
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:.3g}"


def _range(values: Sequence[float], with_zero: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    low, high = (min(low, 0), max(high, 0)) if with_zero else (low, high)
    return (low, high) if high > low else (low - (abs(low) * 0.05 or 0.5), high + (abs(high) * 0.05 or 0.5))


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """Line segments; a gap lifts the pen."""
    drawn, is_down = [], False
    for point in points:
        if point:
            drawn.append(f"{'L' if is_down else 'M'}{point[0]:.1f} {point[1]:.1f}")
        is_down = point is not None
    return "".join(drawn)


def spark(
    points: Sequence[Point],
    label: str,
    least: float | None = None,
    most: float | None = None,
    percent: bool = False,
    bad: Sequence[str] = (),
) -> Markup:
    """A small line over the days, with its limits; the last value is dotted, days in `bad` too."""
    values = [v for _, v in points if v is not None]
    if not values:
        return Markup('<span class="none">-</span>')
    width, height, edge = 150.0, 30.0, 4.0
    limits = [x for x in (least, most) if x is not None]
    near = [x for x in limits if abs(x) <= 4 * max(map(abs, values), default=0) or x == 0 or percent]
    low, high = _range([*values, *near], percent)
    at = lambda v: height - edge - (v - low) / (high - low) * (height - 2 * edge)  # noqa: E731
    step = (width - 2 * edge) / max(len(points) - 1, 1)
    places = [(edge + n * step, at(v)) if v is not None else None for n, (_, v) in enumerate(points)]
    drawn = [tag("line", x1=0, x2=width, y1=f"{at(x):.1f}", y2=f"{at(x):.1f}", class_="limit") for x in near]
    drawn.append(tag("path", d=_path(places), class_="line"))
    last = max(n for n, p in enumerate(places) if p)
    for n, ((day, value), place) in enumerate(zip(points, places, strict=True)):
        if not place:
            continue
        told = f"{day}: {value:.2%}" if percent else f"{day}: {brief(value)}"
        kind = "dot bad" if day in bad else "dot" if n == last else "hit"
        drawn.append(
            tag("circle", tag("title", told), cx=f"{place[0]:.1f}", cy=f"{place[1]:.1f}", r=2.6 if kind != "hit" else 4, class_=kind)
        )
    return figure(width, height, f"{label}: {_summary(points, percent)}", *drawn, class_="spark")


def _summary(points: Sequence[Point], percent: bool = False) -> str:
    values = [(day, v) for day, v in points if v is not None]
    told = (lambda v: f"{v:.2%}") if percent else brief
    (first, a), (last, b) = values[0], values[-1]
    low, high = min(v for _, v in values), max(v for _, v in values)
    return f"{told(a)} on {first}, {told(b)} on {last}, between {told(low)} and {told(high)}"


def lines(
    series: Mapping[str, Sequence[Point]],
    label: str,
    links: Mapping[str, str],
    percent: bool = False,
    width: float = 640,
    height: float = 170,
) -> Markup:
    """Lines over the same days from zero up; each point is a link to its day."""
    values = [v for points in series.values() for _, v in points if v is not None]
    if not values:
        return Markup("")
    low, high = _range(values, True)
    left, right, top, foot = 48.0, 12.0, 10.0, 22.0
    names = [day for day, _ in next(iter(series.values()))]
    step = (width - left - right) / max(len(names) - 1, 1)
    at = lambda v: top + (high - v) / (high - low) * (height - top - foot)  # noqa: E731
    told = (lambda v: f"{v:.2%}") if percent else (lambda v: f"{v:,.6g}")
    drawn = []
    for value in (low, (low + high) / 2, high):
        drawn.append(tag("line", x1=left, x2=width - right, y1=f"{at(value):.1f}", y2=f"{at(value):.1f}", class_="grid"))
        text = f"{value:.1%}" if percent else brief(value)
        drawn.append(tag("text", text, x=left - 6, y=f"{at(value) + 4:.1f}", class_="tick end"))
    for number in sorted({0, len(names) // 2, len(names) - 1}):
        anchor = "start" if number == 0 else "end" if number == len(names) - 1 else "middle"
        drawn.append(tag("text", names[number], x=f"{left + number * step:.1f}", y=height - 6, class_=f"tick {anchor}"))
    for number, (name, points) in enumerate(series.items()):
        places = [(left + n * step, at(v)) if v is not None else None for n, (_, v) in enumerate(points)]
        drawn.append(tag("path", d=_path(places), class_=f"line s{number}"))
        for (day, value), place in zip(points, places, strict=True):
            if place:
                text = f"{name} {day}: {told(value)}"
                dot = tag("circle", tag("title", text), cx=f"{place[0]:.1f}", cy=f"{place[1]:.1f}", r=3, class_=f"dot s{number}")
                drawn.append(tag("a", dot, href=links[day], aria_label=text, tabindex=-1) if day in links else dot)
    return figure(
        width,
        height,
        f"{label}: " + "; ".join(f"{n} {_summary(p, percent)}" for n, p in series.items() if any(v is not None for _, v in p)),
        *drawn,
    )


def curves(many: Mapping[str, Sequence[tuple[int, float]]], final: int, label: str) -> Markup:
    """Share of positives by age of the labels, a line for each day; the dashed upright is the age at which they are final."""
    points = [p for line in many.values() for p in line]
    if not points:
        return Markup("")
    width, height, left, top, foot = 420.0, 200.0, 48.0, 10.0, 34.0
    oldest, high = max(final, *(age for age, _ in points)), max(share for _, share in points) or 1.0
    x = lambda age: left + age / oldest * (width - left - 14)  # noqa: E731
    y = lambda share: top + (1 - share / high) * (height - top - foot)  # noqa: E731
    drawn = [tag("line", x1=x(final), x2=x(final), y1=top, y2=height - foot, class_="limit")]
    for share in (0, high / 2, high):
        drawn.append(tag("line", x1=left, x2=width - 14, y1=f"{y(share):.1f}", y2=f"{y(share):.1f}", class_="grid"))
        drawn.append(tag("text", f"{share:.2%}", x=left - 6, y=f"{y(share) + 4:.1f}", class_="tick end"))
    for age in sorted({0, oldest // 2, oldest}):
        drawn.append(tag("text", str(age), x=f"{x(age):.1f}", y=height - foot + 14, class_="tick middle"))
    drawn.append(tag("text", "days that the labels are old", x=f"{(left + width - 14) / 2:.1f}", y=height - 4, class_="tick middle"))
    for name, line in many.items():
        places = [(x(age), y(share)) for age, share in line]
        drawn.append(tag("path", d=_path(places), class_="line thin"))
        for (age, share), (px, py) in zip(line, places, strict=True):
            kind = "dot" if age >= final else "dot young"
            drawn.append(
                tag("circle", tag("title", f"{name}, {age} days old: {share:.3%}"), cx=f"{px:.1f}", cy=f"{py:.1f}", r=3, class_=kind)
            )
    return figure(width, height, f"{label}: {len(many)} days, {len(points)} publishes", *drawn)


def bars(labels: Sequence[str], day: Sequence[float], week: Sequence[float] | None, label: str) -> Markup:
    """Shares by bar: filled the day, outlined the week before it."""
    width, height = 168.0, 34.0
    high = max([*day, *(week or []), 1e-9])
    step = width / max(len(day), 1)
    drawn = []
    for n, share in enumerate(day):
        size, text = share / high * (height - 2), f"{labels[n] or f'hash bin {n + 1}'}: {share:.1%}"
        before = f", {week[n]:.1%} in the week before" if week else ""
        drawn.append(
            tag(
                "rect",
                tag("title", text + before),
                x=f"{n * step:.1f}",
                y=f"{height - size:.1f}",
                width=f"{max(step - 1, 1):.1f}",
                height=f"{size:.1f}",
                class_="bar",
            )
        )
        if week:
            y = f"{height - week[n] / high * (height - 2):.1f}"
            drawn.append(tag("line", x1=f"{n * step:.1f}", x2=f"{n * step + max(step - 1, 1):.1f}", y1=y, y2=y, class_="before"))
    return figure(width, height, label, *drawn, class_="spark")


def meter(share: float | None, label: str) -> Markup:
    """A share of one as a bar on its track."""
    width, height = 120.0, 10.0
    track = tag("rect", width=width, height=height, rx=2, class_="track")
    filled = [tag("rect", width=f"{share * width:.1f}", height=height, rx=2, class_="bar")] if share else []
    return figure(width, height, label, track, *filled, class_="spark")
