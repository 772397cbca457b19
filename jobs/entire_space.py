"""One row per search request or pseudo-request, its samples as a list: exposed, drawn unexposed, and made from clicks elsewhere.

Left out, by name: requests of other domains (`other_domain`; they give the negatives of pseudo-requests), search requests that
keep no sample (`no_samples`), items off the shelf, uncredited events that become no pseudo-request (features/searchify.py).
Not left out: bots, repeated requests. Cost: the lists are never shuffled while labels and clicks of a day fit a broadcast.
Source: UniScale (arXiv 2603.24226), ES3.
"""

from collections.abc import Mapping
from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.books import counted, tally
from features.es3 import Params
from features.joins import broadcast_if_small
from features.labels import candidate_fates, label_of, labels_by_request, num_labels, sample
from features.negatives import negatives_of
from features.queries import queries_of
from features.sampling import draw
from features.searchify import clicks_to_searchify, pays_of_clicks, pseudo_samples
from features.shelf import off_shelf_by_request
from jobs.run import arg_parser, run
from schemas.derive import spark_schema
from schemas.entire_space import CONTRACT

FATES = {a.name: a.fates for i in CONTRACT.inputs for a in i.accounts}
COLUMNS = [c.name for c in CONTRACT.columns]
SAMPLE = spark_schema(CONTRACT)["items"].dataType.elementType
PARAMS = Params()


def build(inputs: Mapping[str, DataFrame], day: date, *, params: Params = PARAMS) -> DataFrame:
    requests, attributions = inputs["requests"], inputs["attributions"]
    credited = attributions.where((F.col("request_day") == F.lit(day)) & (F.col("day") >= F.lit(day)))
    search = search_rows(requests.where(F.col("domain") == "search"), credited, inputs["items"], params)
    seen_elsewhere = counted({"other_domain": F.size("candidates")}, FATES["candidates"])
    others = requests.where(F.col("domain") != "search").select(
        "request_id", F.lit("other_domain").alias("_fate"), seen_elsewhere.alias("_candidates")
    )
    rows = search.unionByName(others, allowMissingColumns=True).unionByName(pseudo_rows(inputs, day, params), allowMissingColumns=True)
    accounts = (F.coalesce(f"_{name}", counted({}, fates)).alias(f"_{name}") for name, fates in FATES.items())
    return rows.select(F.lit(day).alias("day"), *COLUMNS[1:], "_fate", *accounts)


def search_rows(requests: DataFrame, credited: DataFrame, items: DataFrame, params: Params) -> DataFrame:
    """Search requests with their samples, labelled, and the accounts of candidates and of credited events."""
    side = labels_by_request(credited, params).join(off_shelf_by_request(requests, items), on=["request_id"], how="full")  # one row each
    drawn = requests.withColumn("drawn", draw(F.col("candidates"), F.col("request_id"), params=params))
    rows = drawn.join(broadcast_if_small(side, credited.select("request_id", "item_id", "event_id")), on=["request_id"], how="left")
    left = F.filter("drawn", lambda c: ~F.array_contains("off_shelf", c["item_id"]))
    rows = rows.withColumn("on_shelf", F.when(F.col("off_shelf").isNull(), F.col("drawn")).otherwise(left))
    labels, drawn, on_shelf = F.col("labels"), F.col("drawn"), F.col("on_shelf")
    rows = rows.withColumn("items", F.transform(on_shelf, lambda c: sample(c, label_of(labels, c["item_id"]))))
    # a label whose sample was not drawn is in no fate, so that the books would not balance
    label = num_labels(labels, on_shelf)
    events = {"label": label, "too_late": F.col("num_too_late"), "off_shelf": num_labels(labels, drawn) - label}
    return rows.select(
        *("request_id", "user_id", "session_id", "domain", "requested_at", "query_norm", "page_context", "items"),
        F.lit(False).alias("is_pseudo"),
        F.lit("native").alias("query_source"),
        F.when(F.size("items") > 0, "kept").otherwise("no_samples").alias("_fate"),
        counted(candidate_fates(F.col("candidates"), drawn, on_shelf), FATES["candidates"]).alias("_candidates"),
        counted(events, FATES["credited"]).alias("_credited"),
    )


def pseudo_rows(inputs: Mapping[str, DataFrame], day: date, params: Params) -> DataFrame:
    """Every uncredited event of the day: those searchified with their samples, the others with their fate."""
    attributions, vectors = inputs["attributions"], inputs["text_vectors"]
    judged = clicks_to_searchify(attributions.where((F.col("day") == F.lit(day)) & F.col("request_id").isNull()), day, params)
    clicks = judged.where(F.col("fate").isNull())
    acts = attributions.where(F.col("day") >= F.lit(day - timedelta(days=params.label_horizon_days)))
    titles = vectors.where(F.col("kind") == "item").select(F.col("text_id").alias("item_id"), "vector")
    chosen = negatives_of(clicks, inputs["requests"], acts, inputs["items"], titles, params)
    is_before = (F.col("day") < F.lit(day)) & (F.col("day") >= F.lit(day - timedelta(days=params.user_history_days)))
    history = attributions.where(is_before & F.col("request_id").isNotNull())
    asked = queries_of(clicks, history, inputs["query_item_stats"], vectors, params)
    paid = pays_of_clicks(attributions.where(F.col("day") >= F.lit(day)), params)
    rows = judged
    for found in (chosen, asked, paid):  # each one row a click
        rows = rows.join(found, on=["event_id"], how="left")
    missing = F.when(F.col("negatives").isNull(), "no_similar_negative").when(F.col("query_norm").isNull(), "no_query")
    fate = F.coalesce("fate", missing, F.lit("searchified"))
    return rows.withColumn("fate", fate).select(
        F.concat(F.lit("pseudo:"), "event_id").alias("request_id"),
        *("user_id", "domain", "requested_at", "query_norm", "query_source", "query_similarity"),
        F.when(F.col("fate") == "searchified", pseudo_samples(SAMPLE)).alias("items"),
        F.lit(True).alias("is_pseudo"),
        F.when(F.col("fate") == "searchified", "kept").otherwise(F.col("fate")).alias("_fate"),
        tally(F.col("fate"), FATES["uncredited"]).alias("_uncredited"),
    )


if __name__ == "__main__":
    run(CONTRACT, build, **vars(arg_parser(__doc__).parse_args()))
