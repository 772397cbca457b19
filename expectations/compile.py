"""From a suite to its results: one scan for all that needs no shuffle, in Great Expectations' vocabulary and result format.

What is asked of the rows is one `frame.agg`, the caller's own aggregates with it; what is asked of a list's elements is one more over
that list alone, exploded. (Lambdas inside the row would need no second scan, but are not compiled: 3 M elements and 12
checks took 2.4 s so, 0.6 s exploded, one core, 2026-11.)
"""

import hashlib
import inspect
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pyspark.sql import Column, DataFrame

from expectations.lower import LOWERED
from expectations.results import envelope, plain, shown
from expectations.source import Lowered, Source
from expectations.suite import Expectation, Suite
from schemas.contract import Contract
from schemas.derive import required_fields


def implied(contract: Contract) -> tuple[Expectation, ...]:
    """What a contract promises without anyone writing it: rows, no nulls where none may be, the grain and list keys unique."""
    found = []
    if not contract.may_be_empty:
        found.append(_promise("expect_table_row_count_to_be_between", {"min_value": 1}, "contract: may not be empty"))
    for column in contract.columns:
        if not column.nullable or column.name in contract.grain:
            found.append(_promise("expect_column_values_to_not_be_null", {"column": column.name}, "contract: not nullable"))
    if len(contract.grain) == 1:
        found.append(_promise("expect_column_values_to_be_unique", {"column": contract.grain[0]}, "contract: grain"))
    else:
        found.append(_promise("expect_compound_columns_to_be_unique", {"column_list": list(contract.grain)}, "contract: grain"))
    for column in contract.columns:
        for name in required_fields(column):
            arguments = {"column": name}
            found.append(_promise("expect_column_values_to_not_be_null", arguments, "contract: field is not null", column.name))
    if contract.elements and contract.elements.is_unique:
        arguments = {"column": contract.elements.key}
        found.append(_promise("expect_column_values_to_be_unique", arguments, "contract: key of a list", contract.elements.column))
    return tuple(found)


def _promise(kind: str, arguments: dict[str, object], note: str, over: str | None = None) -> Expectation:
    return Expectation(kind, arguments, note=note, over=over)


def audit(
    frame: DataFrame, expectations: Iterable[Expectation], extra: Mapping[str, Column] | None = None, *, unlisted: Collection[str] = ()
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Results of the expectations, in their order, and the values of the `extra` aggregates, taken in the same scan of the rows.

    A kind without a lowering runs in Great Expectations itself, which is imported only then. Over a list,
    `expect_column_values_to_be_unique` means unique within each list. Samples of bad values are read only for what failed, and not of
    the columns in `unlisted` (personal data outlives an erasure in a receipt).
    Raises: ValueError, before any Spark action, that lists every unknown kind, column and argument.
    """
    wanted = list(expectations)
    lowered = _lower_all(frame, wanted)
    others = [(n, each) for n, each in enumerate(wanted) if each.kind not in LOWERED]
    results: dict[int, dict[str, Any]] = {}
    if others:
        from expectations.engine import validate

        results |= dict(zip((n for n, _ in others), validate(frame, [each for _, each in others]), strict=True))
    figures, values = _scan(frame, wanted, lowered, extra or {})
    for n, plan in lowered.items():
        results[n] = _finish(wanted[n], plan, figures[n], unlisted)
    return [results[n] for n in range(len(wanted))], values


def _lower_all(frame: DataFrame, wanted: Sequence[Expectation]) -> dict[int, Lowered]:
    lowered, faults = {}, []
    sources: dict[str | None, Source] = {None: Source(frame)}
    for n, expectation in enumerate(wanted):
        try:
            source = sources.setdefault(expectation.over, Source(frame, expectation.over))
            if expectation.kind in LOWERED:
                lowered[n] = _lower(source, expectation)
            else:
                from expectations.engine import check

                check(source, expectation)
        except ValueError as error:
            faults.append(f"{describe(expectation)}: {error}")
    if faults:
        raise ValueError("; ".join(faults))
    return lowered


def _lower(source: Source, expectation: Expectation) -> Lowered:
    lower = LOWERED[expectation.kind]
    try:
        inspect.signature(lower).bind(source, **expectation.arguments)
    except TypeError as error:
        known = [name for name in inspect.signature(lower).parameters if name != "source"]
        raise ValueError(f"{error}; its arguments are {', '.join(known)}") from error
    return lower(source, **expectation.arguments)


def describe(expectation: Expectation) -> str:
    """Kind, list and columns, as an error names them."""
    columns = [str(value) for name, value in expectation.arguments.items() if name.startswith("column")]
    over = [f"over {expectation.over}"] if expectation.over else []
    return " ".join([expectation.kind, *over, *([f"({', '.join(columns)})"] if columns else [])])


def _scan(
    frame: DataFrame, wanted: Sequence[Expectation], lowered: Mapping[int, Lowered], extra: Mapping[str, Column]
) -> tuple[dict[int, dict[str, Any]], dict[str, Any]]:
    """Figures of each expectation, by its number, and the values of `extra`: one aggregate for the rows, one for each list."""
    columns: dict[str | None, dict[tuple[int | None, str], Column]] = {None: {}}
    for n, plan in lowered.items():
        of_source = columns.setdefault(wanted[n].over, {})
        of_source |= {_key(n, name): column for name, column in plan.figures.items()}
        columns[None] |= {(n, name): column for name, column in plan.row_figures.items()}
    figures: dict[int, dict[str, Any]] = {n: {} for n in lowered}
    values: dict[str, Any] = {}
    for over, aggregates in columns.items():
        own = extra if over is None else {}
        if not aggregates and not own:
            continue
        named = [column.alias(f"figure {n}") for n, column in enumerate([*aggregates.values(), *own.values()])]
        row = Source(frame, over).frame.agg(*named).first()
        assert row is not None
        found = dict(zip(aggregates, row, strict=False))
        values |= dict(zip(own, row[len(aggregates) :], strict=True))
        for n, plan in lowered.items():
            if wanted[n].over == over:
                figures[n] |= {name: found[_key(n, name)] for name in plan.figures}
            if over is None:
                figures[n] |= {name: found[n, name] for name in plan.row_figures}
    return figures, values


def _key(n: int, name: str) -> tuple[int | None, str]:
    """Every count of rows is the same one."""
    return (None if name == "count" else n, name)


def _finish(expectation: Expectation, lowered: Lowered, figures: Mapping[str, Any], unlisted: Collection[str]) -> dict[str, Any]:
    further = lowered.follow(figures)
    if further is not None:
        row = further.first()
        assert row is not None
        figures = {**figures, **row.asDict()}
    found = lowered.result(figures)
    if not found["success"] and lowered.sample and not _columns(expectation) & {*unlisted}:
        found["result"]["partial_unexpected_list"] = [shown(expectation, row) for row in lowered.sample().collect()]
    return envelope(expectation, found["success"], {name: plain(value) for name, value in found["result"].items()})


def _columns(expectation: Expectation) -> set[str]:
    """Columns it shows values of, a list's name with its fields."""
    names = {expectation.over} if expectation.over else set()
    for name, value in expectation.arguments.items():
        if name.startswith("column"):
            names |= {value} if isinstance(value, str) else set(value)  # type: ignore[call-overload]
    return names


def fingerprint(suite: Suite, contract: Contract) -> str:
    """Hex hash of all that the gate of a table checks: implied and written, kinds, arguments, rules, severities; not notes, not order."""
    parts = [asdict(each) | {"arguments": plain(each.arguments)} for each in (*implied(contract), *suite.expectations)]
    parts += [asdict(rule) for rule in suite.row_rules]
    lines = sorted(json.dumps({k: v for k, v in part.items() if k != "note"}, sort_keys=True, default=repr) for part in parts)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
