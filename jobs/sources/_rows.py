"""What all sources of logs do alike with rows-to-be: name what happens to each, fold what makes no row, keep to the days.

A row-to-be has the contract's columns and the control columns of CONTROL; see `jobs.sources.RawTable`.
"""

from collections.abc import Mapping, Sequence
from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, StructType

from schemas.contract import Contract
from schemas.derive import spark_schema

CONTROL = {"_fate": "string", "_rule": "string", "_reason": "string", "_raw": "string", "_line": "string", "_num_lines": "bigint"}
KEPT, QUARANTINED = "kept", "quarantined"


def shaped(frame: DataFrame, contract: Contract) -> DataFrame:
    """The contract's columns in order and type, then the control columns; what the frame lacks is null, kept, and one line."""
    defaults = {"_fate": F.lit(KEPT), "_num_lines": F.lit(1)}

    def value(name: str, kind: DataType | str) -> Column:
        column = F.col(name) if name in frame.columns else defaults.get(name, F.lit(None))
        return column.cast(kind).alias(name)

    columns = [value(f.name, f.dataType) for f in spark_schema(contract).fields]
    return frame.select(*columns, *(value(name, kind) for name, kind in CONTROL.items()))


def folded(frame: DataFrame, contract: Contract) -> DataFrame:
    """One row for each `day` and `_fate` of lines that make no row, however many they are."""
    return shaped(frame.groupBy("day", "_fate").agg(F.sum("_num_lines").alias("_num_lines")), contract)


def within(frame: DataFrame, days: tuple[date, date]) -> DataFrame:
    """The same rows; those without a day get the first, those of other days too, and the fate `other_day` if they were kept."""
    first, last = (F.lit(day) for day in days)
    is_inside = (F.col("day") >= first) & (F.col("day") <= last)
    is_other_day = F.col("day").isNotNull() & ~is_inside & (F.col("_fate") != QUARANTINED)
    fate = F.when(is_other_day, "other_day").otherwise(F.col("_fate"))
    return frame.withColumns({"_fate": fate, "day": F.when(is_inside, F.col("day")).otherwise(first)})


def once_each(frame: DataFrame, keys: Sequence[str], order: Sequence[str]) -> DataFrame:
    """The same rows; of kept rows with the same keys all but the first by `order` get the fate `duplicate`.

    Nulls: a row without a key is no duplicate; the gate quarantines it.
    Cost: one shuffle of the frame by its keys.
    """
    is_keyed = (F.col("_fate") == KEPT) & F.concat(*keys).isNotNull()
    alone = F.when(~is_keyed, F.concat_ws(":", *order))  # keeps rows that are no candidates apart, and their reducers even
    same = Window.partitionBy(*keys, alone).orderBy(*order)
    is_later = is_keyed & (F.row_number().over(same) > 1)
    return (
        frame.withColumn("_later", is_later)
        .withColumn("_fate", F.when(F.col("_later"), "duplicate").otherwise(F.col("_fate")))
        .drop("_later")
    )


def quarantine(frame: DataFrame, faults: Mapping[str, tuple[Column, Column]], raw: Column) -> DataFrame:
    """The same rows; each that has a fault (name -> condition, reason) is quarantined by the first, with all reasons told."""
    rules = F.array_compact(
        F.array(*(F.when(is_bad, F.struct(F.lit(name).alias("rule"), reason.alias("reason"))) for name, (is_bad, reason) in faults.items()))
    )
    known = frame.withColumn("_found", rules)
    is_bad = F.size("_found") > 0
    return known.withColumns(
        {
            "_fate": F.when(is_bad, QUARANTINED).otherwise(F.col("_fate")),
            "_rule": F.when(is_bad, F.get("_found.rule", F.lit(0))),
            "_reason": F.when(is_bad, F.concat_ws("; ", "_found.reason")),
            "_raw": F.when(is_bad, raw),
        }
    ).drop("_found")


def fields_of(schema: StructType) -> dict[str, DataType]:
    return {f.name: f.dataType for f in schema.fields}
