"""Sources of the raw tables: one module each with `OPTIONS` and `read(spark, path, days, **options)`: a RawTable by table."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class SourceError(ValueError):
    """The input as a whole cannot be read; the message says what, where and what to do, all problems at once."""


@dataclass(frozen=True)
class RawTable:
    """Rows-to-be of one raw table, and how many lines of the source they must stand for."""

    frame: "DataFrame"
    """The contract's columns, and _fate, _rule, _reason, _raw, _line, _num_lines: what ingest does with each row and why."""
    lines: int
    """Count of what was read, made apart from `frame`; ingest refuses when it is not the sum of _num_lines."""
