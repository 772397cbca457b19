"""One row per (query, item) with credited clicks or pays that arrived in the 28 days up to and with the day.

Left out: events credited to no request, or to one without a query.
Not left out: bots; queries seen once; events whose request is older than the window.
Cost: one shuffle of counts by query and item.
"""

from collections.abc import Mapping
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.run import arg_parser, run
from schemas.query_item_stats import CONTRACT


def build(inputs: Mapping[str, DataFrame], day: date) -> DataFrame:
    credited = inputs["attributions"].where(F.col("request_id").isNotNull() & F.col("query_norm").isNotNull())
    stats = (
        credited.where(F.col("event_type").isin("click", "pay"))
        .groupBy("query_norm", "item_id")
        .agg(
            F.count_if(F.col("event_type") == "click").alias("num_clicks_28d"),
            F.count_if(F.col("event_type") == "pay").alias("num_pays_28d"),
            F.max("event_at").alias("last_event_at"),
        )
    )
    return stats.select(F.lit(day).alias("day"), "query_norm", "item_id", "num_clicks_28d", "num_pays_28d", "last_event_at")


if __name__ == "__main__":
    run(CONTRACT, build, **vars(arg_parser(__doc__).parse_args()))
