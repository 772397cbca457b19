"""Kinds that ask for uniqueness: over rows the only checks that need a shuffle, over a list none."""

from collections.abc import Mapping, Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from expectations.source import NUM_SAMPLES, Lowered, Source, ignored, map_result, quoted, share

COMPOUND = ("all_values_are_missing", "any_value_is_missing", "never")


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
