"""Kinds that put a condition to each row: how many break it, of those that are not missing."""

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from expectations.source import COMPARABLE, NUM_SAMPLES, Lowered, Source, bounded, check_bounds, ignored, map_result, share

PAIR = ("both_values_are_missing", "either_value_is_missing", "neither")


def each(source: Source, shown: Sequence[Column], good: Column, missing: Column | None, mostly: float) -> Lowered:
    """A condition on each row that is not missing; null counts as good, as in Great Expectations."""
    bad = ~good if missing is None else ~missing & ~good
    figures = {"count": F.count(F.lit(1)), "unexpected": F.count_if(bad)}
    if missing is not None:
        figures["missing"] = F.count_if(missing)
    return Lowered(
        result=lambda found: map_result(found, share(mostly), has_missing=missing is not None),
        figures=figures,
        sample=lambda: source.frame.where(bad).select(*shown).limit(NUM_SAMPLES),
    )


def values_to_not_be_null(source: Source, *, column: str, mostly: float = 1.0) -> Lowered:
    value = source.column(column)
    return each(source, [value], value.isNotNull(), None, share(mostly))


def values_to_be_null(source: Source, *, column: str, mostly: float = 1.0) -> Lowered:
    value = source.column(column)
    return each(source, [value], value.isNull(), None, share(mostly))


def values_to_be_between(
    source: Source,
    *,
    column: str,
    min_value: object = None,
    max_value: object = None,
    strict_min: bool = False,
    strict_max: bool = False,
    mostly: float = 1.0,
) -> Lowered:
    check_bounds(min_value, max_value)
    value, low, high = source.column(column), source.literal(column, min_value), source.literal(column, max_value)
    return each(source, [value], bounded(value, low, high, strict_min, strict_max), value.isNull(), share(mostly))


def members(source: Source, column: str, value_set: object) -> Column:
    """The value is one of the set. A null in the set makes every other value unknown, hence good, as in Great Expectations."""
    if isinstance(value_set, str) or not isinstance(value_set, Sequence | set | frozenset) or not value_set:
        raise ValueError(f"value_set is {value_set!r}, must be a list of at least one value")
    ordered = value_set if isinstance(value_set, Sequence) else sorted(value_set, key=repr)
    literals = [F.lit(None) if value is None else source.literal(column, value) for value in ordered]
    return source.column(column).isin(*literals)


def values_to_be_in_set(source: Source, *, column: str, value_set: Sequence[object], mostly: float = 1.0) -> Lowered:
    value = source.column(column)
    return each(source, [value], members(source, column, value_set), value.isNull(), share(mostly))


def values_to_not_be_in_set(source: Source, *, column: str, value_set: Sequence[object], mostly: float = 1.0) -> Lowered:
    value = source.column(column)
    return each(source, [value], ~members(source, column, value_set), value.isNull(), share(mostly))


def values_to_match_regex(source: Source, *, column: str, regex: str, mostly: float = 1.0) -> Lowered:
    value = source.column(column, T.StringType)
    return each(source, [value], value.rlike(regex), value.isNull(), share(mostly))


def values_to_not_match_regex(source: Source, *, column: str, regex: str, mostly: float = 1.0) -> Lowered:
    value = source.column(column, T.StringType)
    return each(source, [value], ~value.rlike(regex), value.isNull(), share(mostly))


def value_lengths_to_be_between(
    source: Source,
    *,
    column: str,
    min_value: int | None = None,
    max_value: int | None = None,
    strict_min: bool = False,
    strict_max: bool = False,
    mostly: float = 1.0,
) -> Lowered:
    check_bounds(min_value, max_value)
    value = source.column(column, T.StringType, T.BinaryType)
    low, high = (None if bound is None else F.lit(bound) for bound in (min_value, max_value))
    return each(source, [value], bounded(F.length(value), low, high, strict_min, strict_max), value.isNull(), share(mostly))


def pair_values_a_to_be_greater_than_b(
    source: Source,
    *,
    column_A: str,
    column_B: str,
    or_equal: bool | None = False,
    ignore_row_if: str = PAIR[0],
    mostly: float = 1.0,
) -> Lowered:
    a, b = source.column(column_A), source.column(column_B)
    if family(source.type_of(column_A)) != family(source.type_of(column_B)):
        raise ValueError(f"columns {column_A!r} and {column_B!r} are of kinds that cannot be compared")
    good = (a >= b) | a.eqNullSafe(b) if or_equal else a > b
    return each(source, [a, b], good, ignored([a, b], ignore_row_if, PAIR), share(mostly))


def family(kind: T.DataType) -> int:
    """Types of one family compare without a cast of text."""
    return next((n for n, (kinds, _) in enumerate(COMPARABLE) if isinstance(kind, kinds)), -1)
