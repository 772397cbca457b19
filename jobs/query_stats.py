"""One row per query searched in the 28 days up to and with the day: traffic, clicks, few results, standing, and what makes it hard.

Left out: requests without a query; clicks and pays credited to searches before the window.
Not left out: bots; queries searched once; items off the shelf, whose titles count as the catalogue's wording.
Cost: one shuffle of searches by query and user, one of credited events by search, one of the words of titles.
Source: arXiv 2602.23620 (pool of queries), arXiv 2510.14321 (hard types); features/traffic.py and features/hardness.py say how.
"""

from collections.abc import Mapping
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.hardness import hardness, with_carried
from features.splits import is_evaluation
from features.traffic import Params, clicks_by_query, searches_by_query, with_standing
from jobs.run import arg_parser, run
from schemas.query_stats import CONTRACT

COLUMNS = [c.name for c in CONTRACT.columns]
PARAMS = Params()


def build(inputs: Mapping[str, DataFrame], day: date, *, params: Params = PARAMS) -> DataFrame:
    searched = with_standing(searches_by_query(inputs["requests"], params), params)
    stats = searched.join(clicks_by_query(inputs["attributions"], day), on=["query_norm"], how="left")  # one row a query
    counts = {name: F.coalesce(name, F.lit(0)) for name in ("num_clicks_28d", "num_pays_28d", "num_clicked")}
    known = with_carried(stats.withColumns(counts), inputs["items"])
    query = F.col("query_norm")
    return known.withColumns(
        {
            "day": F.lit(day),
            "click_rate": F.col("num_clicked") / F.col("num_searches_28d"),
            "hardness": hardness(query, F.col("is_carried")),
            "is_evaluation": is_evaluation(query),
        }
    ).select(*COLUMNS)


if __name__ == "__main__":
    run(CONTRACT, build, **vars(arg_parser(__doc__).parse_args()))
