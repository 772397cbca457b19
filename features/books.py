"""The right side of an account, counted inside each row: structs of integers, one field for each fate."""

from collections.abc import Callable, Mapping, Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F


def tally(fate: Column, fates: Sequence[str], rows: Column | int = 1) -> Column:
    """Struct with `rows` in the field that `fate` names and 0 in the others; all 0 where `fate` is null or none of them."""
    count = rows if isinstance(rows, Column) else F.lit(rows)
    return F.struct(*(F.when(fate == name, count).otherwise(F.lit(0)).cast("bigint").alias(name) for name in fates))


def counted(counts: Mapping[str, Column], fates: Sequence[str]) -> Column:
    """Struct of the counts given by fate, 0 for a null count and for a fate that is not given.

    Raises: ValueError for a count of a fate that the account does not have.
    """
    if unknown := sorted(set(counts) - set(fates)):
        raise ValueError(f"counted: {', '.join(unknown)} is no fate of this account; it has {', '.join(fates)}")
    return F.struct(*(F.coalesce(counts.get(name, F.lit(0)), F.lit(0)).cast("bigint").alias(name) for name in fates))


def tally_list(elements: Column, fate: Callable[[Column], Column], fates: Sequence[str]) -> Column:
    """Struct with the number of elements of a list for which `fate` gives each name; 0 for a null list."""

    def size(name: str) -> Column:
        return F.size(F.filter(elements, lambda e: fate(e) == name))  # one parameter: a second would be the place in the list

    return F.struct(*(F.greatest(size(name), F.lit(0)).cast("bigint").alias(name) for name in fates))
