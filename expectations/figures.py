"""Kinds that hold one figure of a column, or of the whole, between two bounds."""

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from expectations.conditions import members
from expectations.source import NUM_SAMPLES, Figures, Lowered, Source, bounded, check_bounds, quoted


def aggregate_result(observed: Any, is_within: bool | None) -> dict[str, Any]:
    """Great Expectations' result of one figure; no figure, or NaN, fails."""
    if observed is None or (isinstance(observed, float) and math.isnan(observed)):
        return {"success": False, "result": {"observed_value": None}}
    return {"success": bool(is_within), "result": {"observed_value": observed}}


def is_between(value: Any, low: Any, high: Any, strict_min: bool, strict_max: bool) -> bool:
    above = low is None or (value > low if strict_min else value >= low)
    return above and (high is None or (value < high if strict_max else value <= high))


def numbers(**bounds: object) -> None:
    """Refuse bounds that are no numbers."""
    wrong = [f"{name} is {value!r}" for name, value in bounds.items() if value is not None and not is_number(value)]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}; must be a number")
    check_bounds(*bounds.values(), is_needed=False)


def is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def table_row_count_to_be_between(
    source: Source, *, min_value: int | None = None, max_value: int | None = None, strict_min: bool = False, strict_max: bool = False
) -> Lowered:
    numbers(min_value=min_value, max_value=max_value)
    bounds = (min_value, max_value, strict_min, strict_max)
    return Lowered(lambda found: aggregate_result(found["count"], is_between(found["count"], *bounds)), {"count": F.count(F.lit(1))})


def extreme(take: Callable[[Column], Column]) -> Callable[..., Lowered]:
    """The least or greatest value. It is compared in Spark, where a time is a time, and shown as text unless it is a number."""

    def lowering(
        source: Source,
        *,
        column: str,
        min_value: object = None,
        max_value: object = None,
        strict_min: bool = False,
        strict_max: bool = False,
    ) -> Lowered:
        check_bounds(min_value, max_value, is_needed=False)
        value, low, high = take(source.column(column)), source.literal(column, min_value), source.literal(column, max_value)
        is_time = isinstance(source.type_of(column), T.TimestampType)
        shown = F.date_format(value, "yyyy-MM-dd'T'HH:mm:ss.SSSSSS") if is_time else value
        figures = {"observed": shown, "is_within": bounded(value, low, high, strict_min, strict_max)}
        return Lowered(lambda found: aggregate_result(found["observed"], found["is_within"]), figures)

    return lowering


def figure(figures: Callable[[Column, T.DataType], Mapping[str, Column]], finish: Callable[[Figures], Any]) -> Callable[..., Lowered]:
    """A number made of aggregates of a numeric column, between two bounds."""

    def lowering(
        source: Source,
        *,
        column: str,
        min_value: float | None = None,
        max_value: float | None = None,
        strict_min: bool = False,
        strict_max: bool = False,
    ) -> Lowered:
        numbers(min_value=min_value, max_value=max_value)
        value = source.column(column, T.NumericType)

        def result(found: Figures) -> dict[str, Any]:
            observed = finish(found)
            is_within = observed is not None and is_between(observed, min_value, max_value, strict_min, strict_max)
            return aggregate_result(observed, is_within)

        return Lowered(result, figures(value, source.type_of(column)))

    return lowering


STEP = 2.0**24


def parts_of_sum(value: Column, kind: T.DataType) -> dict[str, Column]:
    """Sums that `total` puts together, of which only the last and least depends on the order of rows.

    A double is cut into a whole number, two further steps of 24 bits and a rest; doubles that are whole numbers add up exactly as
    long as the sum is below 2**53.
    """
    counts = {"num values": F.count(value)}
    if not isinstance(kind, T.FractionalType) or isinstance(kind, T.DecimalType):
        return {**counts, "whole": F.sum(value.cast("double"))}
    number = value.cast("double")
    whole = F.rint(number)
    rest = F.when(F.abs(number) < 2.0**53, number - whole).when(number.isNotNull(), 0.0) * STEP  # no rest of NaN, infinity
    finer = (rest - F.rint(rest)) * STEP
    return {
        **counts,
        "whole": F.sum(whole),
        "fine": F.sum(F.rint(rest)),
        "finer": F.sum(F.rint(finer)),
        "finest": F.sum(finer - F.rint(finer)),
    }


def total(found: Figures) -> float | None:
    if not found["num values"]:
        return None
    return math.fsum(found.get(name, 0.0) / STEP**power for power, name in enumerate(("whole", "fine", "finer"))) + (
        found.get("finest", 0.0) / STEP**2
    )


def mean(found: Figures) -> float | None:
    sum_of_values = total(found)
    return None if sum_of_values is None else sum_of_values / found["num values"]


def distinct(*, as_share: bool) -> Callable[..., Lowered]:
    """Number of distinct values that are not null, or its share of all that are not null. One narrow shuffle."""

    def lowering(
        source: Source,
        *,
        column: str,
        min_value: float | None = None,
        max_value: float | None = None,
        strict_min: bool = False,
        strict_max: bool = False,
    ) -> Lowered:
        numbers(min_value=min_value, max_value=max_value)
        value = source.column(column)

        def result(found: Figures) -> dict[str, Any]:
            observed = found["distinct"]
            if as_share:
                observed = observed / found["present"] if found["present"] else 0
            return aggregate_result(observed, is_between(observed, min_value, max_value, strict_min, strict_max))

        return Lowered(
            result,
            {"present": F.count(value)} if as_share else {},
            follow=lambda _: source.frame.select(value.alias("value")).agg(F.count_distinct("value").alias("distinct")),
        )

    return lowering


def distinct_values_to_be_in_set(source: Source, *, column: str, value_set: Sequence[object]) -> Lowered:
    """Distinct values are counted only where the scan finds one outside the set."""
    value = source.column(column)
    is_outside = value.isNotNull() & ~members(source, column, value_set)
    outside = source.frame.where(is_outside).select(value.alias(column))

    def result(found: Figures) -> dict[str, Any]:
        listed = {} if found["outside"] else {"partial_unexpected_list": []}
        return {
            "success": not found["outside"],
            "result": {"observed_value": None, "unexpected_count": found.get("distinct", 0), **listed},
        }

    return Lowered(
        result,
        {"outside": F.count_if(is_outside)},
        follow=lambda found: outside.agg(F.count_distinct(quoted(column)).alias("distinct")) if found["outside"] else None,
        sample=lambda: outside.distinct().orderBy(quoted(column)).limit(NUM_SAMPLES),
    )


def proportion_of_non_null_values_to_be_between(
    source: Source,
    *,
    column: str,
    min_value: float | None = None,
    max_value: float | None = None,
    strict_min: bool = False,
    strict_max: bool = False,
) -> Lowered:
    numbers(min_value=min_value, max_value=max_value)

    def result(found: Figures) -> dict[str, Any]:
        observed = found["present"] / found["count"] if found["count"] else 0
        return aggregate_result(observed, is_between(observed, min_value, max_value, strict_min, strict_max))

    return Lowered(result, {"count": F.count(F.lit(1)), "present": F.count(source.column(column))})


def values_to_be_of_type(source: Source, *, column: str, type_: str) -> Lowered:
    """By the schema alone; `type_` is the name of a class of pyspark.sql.types."""
    wanted, found = getattr(T, type_, None), source.type_of(column)
    if not isinstance(wanted, type) or not issubclass(wanted, T.DataType):
        raise ValueError(f"type_ is {type_!r}, must be a type of pyspark.sql.types such as LongType")
    return Lowered(lambda _: {"success": isinstance(found, wanted), "result": {"observed_value": type(found).__name__}})
