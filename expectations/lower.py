"""Kinds of expectations as Spark aggregates: what each needs from a scan, and its result in Great Expectations' own format.

`LOWERED` maps Great Expectations' name to a plain function whose parameters are its arguments. All numbers are those of its Spark
engine, except where that gives none: on an empty frame `unexpected_count` is 0, never null.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property, reduce
from operator import and_, or_
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

NUM_SAMPLES = 20  # Great Expectations' own partial_unexpected_count
Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """What an expectation speaks of: the rows of a frame, or the elements of its list `over`, a field a column."""

    rows: DataFrame
    over: str | None = None

    @cached_property
    def frame(self) -> DataFrame:
        """The rows, or one row for each element: fields of a struct as columns, else one column named `element`."""
        if self.over is None:
            return self.rows
        Source(self.rows).column(self.over, T.ArrayType)
        elements = self.rows.select(F.explode(quoted(self.over)).alias("element"))
        kind = elements.schema["element"].dataType
        if not isinstance(kind, T.StructType):
            return elements
        return elements.select(*(F.col("element").getField(name).alias(name) for name in kind.names))

    def type_of(self, name: str) -> T.DataType:
        """Type of a column. Raises ValueError that names the columns there are."""
        schema = self.frame.schema
        if name not in schema.names:
            raise ValueError(f"there is no column {name!r}; there are {', '.join(schema.names)}")
        return schema[name].dataType

    def column(self, name: str, *kinds: type[T.DataType]) -> Column:
        """A column that exists and is of one of the kinds, where any are named."""
        found = self.type_of(name)
        if kinds and not isinstance(found, kinds):
            wanted = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise ValueError(f"column {name!r} is {found.simpleString()}, must be {wanted}")
        return quoted(name)

    def literal(self, name: str, value: object) -> Column | None:
        """A value of the column's own type, None for None. Raises ValueError where it could only be compared by an implicit cast."""
        found = self.type_of(name)
        accepted = next((values for kinds, values in COMPARABLE if isinstance(found, kinds)), ())
        if value is None:
            return None
        if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
            raise ValueError(f"column {name!r} is {found.simpleString()}, cannot be compared with {value!r}")
        return F.lit(value).cast(found) if isinstance(found, T.DateType | T.TimestampType) else F.lit(value)


COMPARABLE: tuple[tuple[type[T.DataType] | tuple[type[T.DataType], ...], tuple[type, ...]], ...] = (
    (T.NumericType, (int, float, Decimal)),
    (T.StringType, (str,)),
    (T.BooleanType, (bool,)),
    ((T.DateType, T.TimestampType), (date, str)),
)


@dataclass(frozen=True)
class Lowered:
    """What one expectation needs, and its result from that."""

    result: Callable[[Figures], dict[str, Any]]
    """From all figures: `success` and `result`."""
    figures: Mapping[str, Column] = field(default_factory=dict)
    """Aggregates over the source, taken in the one scan of it."""
    row_figures: Mapping[str, Column] = field(default_factory=dict)
    """Aggregates over the rows that hold the list, for what is asked of a list as a whole."""
    follow: Callable[[Figures], DataFrame | None] = lambda _: None
    """A frame of one row with further figures, where they need a shuffle; None when the scan has said enough."""
    sample: Callable[[], DataFrame] | None = None
    """Values that broke it; run only when it fails."""


def quoted(name: str) -> Column:
    """The column of exactly that name, whatever characters it has."""
    return F.col("`" + name.replace("`", "``") + "`")


# --- rows one by one


def map_result(figures: Figures, mostly: float, *, has_missing: bool = True) -> dict[str, Any]:
    """Great Expectations' result of a condition on each row: shares are of the rows that are not missing."""
    count, unexpected = figures["count"], figures.get("unexpected") or 0
    considered = count - figures["missing"] if has_missing else count
    share = unexpected / considered * 100 if considered else None
    result = {"element_count": count, "unexpected_count": unexpected, "unexpected_percent": share}
    if has_missing:
        result |= {
            "missing_count": figures["missing"],
            "missing_percent": figures["missing"] / count * 100 if count else None,
            "unexpected_percent_total": unexpected / count * 100 if count else None,
            "unexpected_percent_nonmissing": share,
        }
    if not unexpected:
        result["partial_unexpected_list"] = []
    return {"success": not considered or (considered - unexpected) / considered >= mostly, "result": result}


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


def share(mostly: object) -> float:
    """`mostly` as a number in [0, 1]."""
    if isinstance(mostly, bool) or not isinstance(mostly, int | float) or not 0 <= mostly <= 1:
        raise ValueError(f"mostly is {mostly!r}, must be a share in [0, 1]")
    return float(mostly)


def bounded(value: Column, low: Column | None, high: Column | None, strict_min: bool, strict_max: bool) -> Column:
    """The value is between the bounds; a bound of None is none."""
    conditions = []
    if low is not None:
        conditions.append(value > low if strict_min else value >= low)
    if high is not None:
        conditions.append(value < high if strict_max else value <= high)
    return reduce(and_, conditions, F.lit(True))


def check_bounds(low: Any, high: Any, *, is_needed: bool = True) -> None:
    if is_needed and low is None and high is None:
        raise ValueError("min_value and max_value are both missing; give one")
    if low is not None and high is not None and isinstance(low, type(high)) and low > high:
        raise ValueError(f"min_value {low!r} is greater than max_value {high!r}")


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


def ignored(columns: Sequence[Column], ignore_row_if: str, names: tuple[str, str, str]) -> Column:
    """Rows that Great Expectations leaves out, by its own names for: all missing, any missing, none left out."""
    if ignore_row_if not in names:
        raise ValueError(f"ignore_row_if is {ignore_row_if!r}, must be one of {', '.join(names)}")
    nulls = [column.isNull() for column in columns]
    return {names[0]: reduce(and_, nulls), names[1]: reduce(or_, nulls), names[2]: F.lit(False)}[ignore_row_if]


PAIR = ("both_values_are_missing", "either_value_is_missing", "neither")
COMPOUND = ("all_values_are_missing", "any_value_is_missing", "never")


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


# --- uniqueness: the only checks of rows that need a shuffle


def values_to_be_unique(source: Source, *, column: str, mostly: float = 1.0) -> Lowered:
    """No value twice. Over a list: not twice in the same list, which needs no shuffle."""
    return unique(source, [column], COMPOUND[1], share(mostly))


def compound_columns_to_be_unique(
    source: Source, *, column_list: Sequence[str], ignore_row_if: str = COMPOUND[0], mostly: float = 1.0
) -> Lowered:
    if isinstance(column_list, str) or len(column_list) < 2:
        raise ValueError(f"column_list is {column_list!r}, must name at least two columns; for one use expect_column_values_to_be_unique")
    return unique(source, column_list, ignore_row_if, share(mostly))


def unique(source: Source, names: Sequence[str], ignore_row_if: str, mostly: float) -> Lowered:
    columns = [source.column(name) for name in names]
    for name in names:
        if isinstance(source.type_of(name), T.MapType):
            raise ValueError(f"column {name!r} is {source.type_of(name).simpleString()}, which has no equality")
    missing = ignored(columns, ignore_row_if, COMPOUND)
    figures = {"count": F.count(F.lit(1)), "missing": F.count_if(missing)}
    if source.over is not None:
        return unique_in_lists(source, names, ignore_row_if, figures, mostly)
    groups = source.frame.where(~missing).groupBy(*columns).agg(F.count(F.lit(1)).alias("num rows"))
    is_repeated = F.col("num rows") > 1
    return Lowered(
        result=lambda found: map_result(found, mostly),
        figures=figures,
        follow=lambda _: groups.agg(F.sum(F.when(is_repeated, F.col("num rows")).otherwise(0)).alias("unexpected")),
        sample=lambda: groups.where(is_repeated).drop("num rows").limit(NUM_SAMPLES),
    )


def unique_in_lists(source: Source, names: Sequence[str], ignore_row_if: str, figures: Mapping[str, Column], mostly: float) -> Lowered:
    """The scan of rows counts the lists with fewer distinct keys than elements; elements are looked at only where it finds any."""
    elements, is_struct = quoted(str(source.over)), source.frame.columns != ["element"]

    def key(element: Column) -> Column:
        return F.struct(*((element.getField(name) if is_struct else element).alias(name) for name in names))

    def is_kept(key: Column) -> Column:
        return ~ignored([key.getField(name) for name in names], ignore_row_if, COMPOUND)

    # the plain array of a field keeps the scan in compiled code, which a lambda does not
    keys = F.transform(elements, key) if len(names) > 1 else elements.getField(names[0]) if is_struct else elements
    is_suspect = F.size(F.array_distinct(keys)) < F.size(keys)
    kept = F.filter(F.transform(elements, key), is_kept)
    repeated = source.rows.where(is_suspect).select(F.explode(repeats(kept)).alias("key"))
    return Lowered(
        result=lambda found: map_result(found, mostly),
        figures=figures,
        row_figures={"suspects": F.count_if(is_suspect)},
        follow=lambda found: repeated.agg(F.count(F.lit(1)).alias("unexpected")) if found["suspects"] else None,
        sample=lambda: repeated.select("key.*").limit(NUM_SAMPLES),
    )


def repeats(keys: Column) -> Column:
    """Those of the keys, none of them null, that are in the list more than once, sorted."""
    ordered = F.sort_array(keys)
    equals_next = F.zip_with(ordered, F.slice(ordered, 2, F.size(ordered)), lambda a, b: a.eqNullSafe(b))
    is_repeated = F.zip_with(equals_next, F.concat(F.array(F.lit(False)), equals_next), lambda a, b: F.coalesce(a | b, F.lit(False)))
    return F.filter(F.zip_with(ordered, is_repeated, lambda a, b: F.when(b, a)), lambda key: key.isNotNull())


# --- one figure of a column


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


LOWERED: dict[str, Callable[..., Lowered]] = {
    "expect_table_row_count_to_be_between": table_row_count_to_be_between,
    "expect_column_values_to_not_be_null": values_to_not_be_null,
    "expect_column_values_to_be_null": values_to_be_null,
    "expect_column_values_to_be_between": values_to_be_between,
    "expect_column_values_to_be_in_set": values_to_be_in_set,
    "expect_column_values_to_not_be_in_set": values_to_not_be_in_set,
    "expect_column_values_to_match_regex": values_to_match_regex,
    "expect_column_values_to_not_match_regex": values_to_not_match_regex,
    "expect_column_value_lengths_to_be_between": value_lengths_to_be_between,
    "expect_column_pair_values_a_to_be_greater_than_b": pair_values_a_to_be_greater_than_b,
    "expect_column_values_to_be_unique": values_to_be_unique,
    "expect_compound_columns_to_be_unique": compound_columns_to_be_unique,
    "expect_column_min_to_be_between": extreme(F.min),
    "expect_column_max_to_be_between": extreme(F.max),
    "expect_column_mean_to_be_between": figure(parts_of_sum, mean),
    "expect_column_sum_to_be_between": figure(parts_of_sum, total),
    "expect_column_stdev_to_be_between": figure(lambda value, _: {"stdev": F.stddev_samp(value)}, lambda found: found["stdev"]),
    "expect_column_unique_value_count_to_be_between": distinct(as_share=False),
    "expect_column_proportion_of_unique_values_to_be_between": distinct(as_share=True),
    "expect_column_proportion_of_non_null_values_to_be_between": proportion_of_non_null_values_to_be_between,
    "expect_column_distinct_values_to_be_in_set": distinct_values_to_be_in_set,
    "expect_column_values_to_be_of_type": values_to_be_of_type,
}
