"""What a source gives, collected: rows by table, and the fates of their lines."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jobs.session import suited_to

if TYPE_CHECKING:
    from pyspark.sql import Row, SparkSession

    from jobs.sources import RawTable


def collected(spark: "SparkSession", raw: Mapping[str, "RawTable"]) -> dict[str, list["Row"]]:
    """All rows of each table; checks that they stand for the lines that were counted apart."""
    with suited_to(spark, 0):
        rows = {table: each.frame.collect() for table, each in raw.items()}
    assert {table: sum(r["_num_lines"] for r in found) for table, found in rows.items()} == {t: each.lines for t, each in raw.items()}
    return rows


def by_fate(rows: Mapping[str, Sequence["Row"]]) -> dict[str, dict[str, int]]:
    """table -> fate -> lines."""
    return {table: dict(sum((Counter({r["_fate"]: r["_num_lines"]}) for r in found), Counter())) for table, found in rows.items()}
