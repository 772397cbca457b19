"""One row per event that arrived on the day: the one sample of a search request that it is credited to, or why none.

Left out: nothing; every event of the day is a row, its fate says what became of it.
Not left out: bots, late events, events of other types than click and pay (fate `other_type`).
Cost: one scan of nine days of requests (four fields of the candidates), one shuffle of matched samples and nine days of events.
"""

from collections.abc import Mapping
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.attribution import attribute
from features.books import tally
from jobs.run import arg_parser, run
from schemas.attributions import CONTRACT, CREDITED, UNCREDITED


def build(inputs: Mapping[str, DataFrame], day: date) -> DataFrame:
    attributed = attribute(inputs["requests"], inputs["events"], day)
    return attributed.withColumn("day", F.lit(day)).select(
        *(column.name for column in CONTRACT.columns),
        F.lit("kept").alias("_fate"),
        tally(F.col("fate"), CREDITED + UNCREDITED).alias("_events"),
    )


if __name__ == "__main__":
    run(CONTRACT, build, **vars(arg_parser(__doc__).parse_args()))
