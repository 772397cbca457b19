"""One row per row of entire_space, as HHSFT reads it: features of the request and of its samples, labels, provenance.

Nothing is left out. Features of requests and of pseudo-requests come from the same functions and the same tables, as of the moment
of the request. Cost: two shuffles of the day by request_id and one of 28 days of events, narrow, by user; the catalogue is sent along.
Source: UniScale (arXiv 2603.24226), HHSFT.
"""

from collections.abc import Mapping
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.books import tally
from features.hhsft import SEQUENCES_BYTES, behaviours_by_request, requests_asked, samples_by_request
from features.joins import broadcast_if_small
from jobs.run import arg_parser, run
from schemas.derive import spark_schema
from schemas.hhsft_examples import CONTRACT

FATES = {a.name: a.fates for i in CONTRACT.inputs for a in i.accounts}
COLUMNS = [c.name for c in CONTRACT.columns]
FIELDS = spark_schema(CONTRACT)["items"].dataType.elementType.names


def build(inputs: Mapping[str, DataFrame], day: date) -> DataFrame:
    asked, events, items = requests_asked(inputs["entire_space"]), inputs["events"], inputs["items"]
    samples = samples_by_request(asked, items, inputs["query_item_stats"], FIELDS)
    behaviours = broadcast_if_small(behaviours_by_request(asked, events, items, day), events, SEQUENCES_BYTES)
    found = samples.join(behaviours, on=["request_id"], how="left")  # one row each
    rows = found.select(F.lit(day).alias("day"), "request.*", *behaviours.drop("request_id").columns, "items")
    books = {"requests": tally(F.lit("example"), FATES["requests"]), "samples": tally(F.lit("example"), FATES["samples"], F.size("items"))}
    return rows.select(*COLUMNS, *(counts.alias(f"_{name}") for name, counts in books.items()))


if __name__ == "__main__":
    run(CONTRACT, build, **vars(arg_parser(__doc__).parse_args()))
