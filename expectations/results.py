"""Results as Great Expectations writes them, in values that JSON has."""

import math
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from pyspark.sql import Row

from expectations.suite import Expectation


def shown(expectation: Expectation, row: Row) -> Any:
    """Values that broke it in Great Expectations' form: one value, a list for a pair, names and values for compound columns."""
    values = {name: "NaN" if isinstance(value, float) and math.isnan(value) else value for name, value in row.asDict().items()}
    if "column_list" in expectation.arguments:
        return values
    return list(values.values()) if "column_A" in expectation.arguments else next(iter(values.values()))


def envelope(
    expectation: Expectation, success: bool, result: Mapping[str, Any], exception_info: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A result as Great Expectations writes it, with severity, note and list in `meta`."""
    meta = {"severity": expectation.severity, "note": expectation.note, "over": expectation.over}
    nothing = {"raised_exception": False, "exception_traceback": None, "exception_message": None}
    return {
        "success": bool(success),
        "expectation_config": {
            "type": expectation.kind,
            "kwargs": {name: plain(value) for name, value in expectation.arguments.items()},
            "meta": meta,
            "severity": expectation.severity,
        },
        "result": dict(result),
        "meta": {},
        "exception_info": dict(exception_info or nothing),
    }


def plain(value: Any) -> Any:
    """A value that JSON has: times as ISO text, decimals as floats, NaN as null, sets as sorted lists."""
    if isinstance(value, Row):
        return plain(value.asDict())
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain(each) for each in value), key=repr)
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        return value.hex()
    if isinstance(value, Decimal):
        return float(value)
    if hasattr(value, "item"):  # a number of numpy, from Great Expectations
        return plain(value.item())
    return None if isinstance(value, float) and math.isnan(value) else value
