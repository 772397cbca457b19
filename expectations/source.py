"""What an expectation speaks of, what it needs from a scan of that, and the parts that kinds share."""

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


def ignored(columns: Sequence[Column], ignore_row_if: str, names: tuple[str, str, str]) -> Column:
    """Rows that Great Expectations leaves out, by its own names for: all missing, any missing, none left out."""
    if ignore_row_if not in names:
        raise ValueError(f"ignore_row_if is {ignore_row_if!r}, must be one of {', '.join(names)}")
    nulls = [column.isNull() for column in columns]
    return {names[0]: reduce(and_, nulls), names[1]: reduce(or_, nulls), names[2]: F.lit(False)}[ignore_row_if]
