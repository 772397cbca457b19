"""One row per search request or pseudo-request, its samples as a list: exposed, drawn unexposed, and made from clicks elsewhere.

Left out, by name: requests of other domains (`other_domain`; they give the negatives of pseudo-requests), search requests that
keep no sample (`no_samples`), items off the shelf, uncredited events that become no pseudo-request (features/searchify.py).
Not left out: bots, repeated requests. Cost: the lists are never shuffled while labels and clicks of a day fit a broadcast.
Source: UniScale (arXiv 2603.24226), ES3.
"""

from collections.abc import Mapping
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.books import tally
from features.es3 import Params
from features.joins import broadcast_if_small
from features.labels import label_of, labels_by_request, sample
from features.sampling import draw, draw_counts
from features.searchify import clicks_to_searchify, off_shelf_by_request, pays_of_clicks, with_negatives, with_queries
from jobs.run import arg_parser, run
from schemas.contract import Account
from schemas.entire_space import CONTRACT

ACCOUNTS = {a.name: a for i in CONTRACT.inputs for a in i.accounts}
COLUMNS = [c.name for c in CONTRACT.columns]
PARAMS = Params()


def build(inputs: Mapping[str, DataFrame], day: date, *, params: Params = PARAMS) -> DataFrame:
    requests, attributions, items = inputs["requests"], inputs["attributions"], inputs["items"]
    credited = attributions.where((F.col("request_day") == F.lit(day)) & (F.col("day") >= F.lit(day)))
    search = search_rows(requests.where(F.col("domain") == "search"), credited, items, params)
    others = requests.where(F.col("domain") != "search").select(
        "request_id", F.lit("other_domain").alias("_fate"), _only("candidates", F.lit("other_domain"), F.size("candidates"))
    )
    pseudo = pseudo_rows(inputs, day, params)
    return (
        search.unionByName(others, allowMissingColumns=True)
        .unionByName(pseudo, allowMissingColumns=True)
        .select(F.lit(day).alias("day"), *COLUMNS[1:], "_fate", *(_filled(a) for a in ACCOUNTS.values()))
    )


def search_rows(requests: DataFrame, credited: DataFrame, items: DataFrame, params: Params) -> DataFrame:
    """Search requests with their samples, labelled, and the accounts of candidates and of credited events."""
    off = off_shelf_by_request(requests, items)
    side = labels_by_request(credited, params).join(off, on=["request_id"], how="full")
    drawn = requests.withColumn("drawn", draw(F.col("candidates"), F.col("request_id"), params=params))
    rows = drawn.join(broadcast_if_small(side, credited.select("request_id", "item_id", "event_id")), on=["request_id"], how="left")
    off_list, labels = F.coalesce("off_shelf", F.array().cast("array<string>")), F.col("labels")
    on_shelf = F.when(F.size(off_list) == 0, F.col("drawn")).otherwise(
        F.filter("drawn", lambda c: ~F.array_contains(off_list, c["item_id"]))
    )
    rows = rows.withColumn("on_shelf", on_shelf)
    rows = rows.withColumn("items", F.transform("on_shelf", lambda c: sample(c, label_of(labels, c["item_id"]))))
    return rows.select(
        *("request_id", "user_id", "session_id", "domain", "requested_at", "query_norm", "page_context", "items"),
        F.lit(False).alias("is_pseudo"),
        F.lit("native").alias("query_source"),
        F.when(F.size("items") > 0, "kept").otherwise("no_samples").alias("_fate"),
        _candidates().alias("_candidates"),
        _credited().alias("_credited"),
    )


def _candidates() -> Column:
    counts, exposed = draw_counts(F.col("candidates"), F.col("drawn")), F.size(F.filter("on_shelf", lambda c: c["is_exposed"]))
    fates = {"exposed": exposed, "unexposed": F.size("on_shelf") - exposed, "not_drawn": counts["not_drawn"]}
    fates |= {"off_shelf": F.size("drawn") - F.size("on_shelf"), "duplicate": counts["duplicate"], "other_domain": F.lit(0)}
    return F.struct(*(F.coalesce(n, F.lit(0)).cast("bigint").alias(fate) for fate, n in fates.items()))


def _credited() -> Column:
    """Credited events by what became of them; one whose sample was not drawn is in none, and the books do not balance."""

    def events_on(samples: Column) -> Column:
        num = F.transform(samples["item_id"], lambda i: F.coalesce(label_of(F.col("labels"), i)["num_events"], F.lit(0)))
        return F.coalesce(F.aggregate(num, F.lit(0), lambda total, n: total + n), F.lit(0))

    label, drawn = events_on(F.col("on_shelf")), events_on(F.col("drawn"))
    fates = {"label": label, "too_late": F.coalesce("num_too_late", F.lit(0)), "off_shelf": drawn - label}
    return F.struct(*(n.cast("bigint").alias(fate) for fate, n in fates.items()))


def pseudo_rows(inputs: Mapping[str, DataFrame], day: date, params: Params) -> DataFrame:
    """Every uncredited event of the day: those searchified with their samples, the others with their fate."""
    attributions, vectors = inputs["attributions"], inputs["text_vectors"]
    uncredited = attributions.where((F.col("day") == F.lit(day)) & F.col("request_id").isNull())
    judged = clicks_to_searchify(uncredited, day, params)
    clicks = judged.where(F.col("fate").isNull()).drop("fate")
    around = attributions.where(F.col("day") >= F.lit(day - timedelta(days=params.label_horizon_days)))
    titles = vectors.where(F.col("kind") == "item").select(F.col("text_id").alias("item_id"), "vector")
    chosen = with_negatives(clicks, inputs["requests"], around, inputs["items"], titles, params)
    history = attributions.where((F.col("day") < F.lit(day)) & F.col("request_id").isNotNull())
    asked = with_queries(chosen, history, inputs["query_item_stats"], vectors, params)
    paid = pays_of_clicks(attributions.where(F.col("day") >= F.lit(day)), params).withColumn("is_paid", F.lit(1))
    fate = (
        F.when(F.col("negatives").isNull(), "no_similar_negative").when(F.col("query_norm").isNull(), "no_query").otherwise("searchified")
    )
    made = asked.join(broadcast_if_small(paid, attributions), on=["event_id"], how="left").withColumn("fate", fate)
    return made.select(
        F.concat(F.lit("pseudo:"), "event_id").alias("request_id"),
        *("user_id", "domain", "requested_at", "query_norm", "query_source", "query_similarity"),
        _samples_of_click().alias("items"),
        F.lit(True).alias("is_pseudo"),
        F.when(F.col("fate") == "searchified", "kept").otherwise(F.col("fate")).alias("_fate"),
        _only("uncredited", F.col("fate"), F.lit(1)),
    ).unionByName(
        judged.where(F.col("fate").isNotNull()).select(
            F.concat(F.lit("pseudo:"), "event_id").alias("request_id"),
            F.col("fate").alias("_fate"),
            _only("uncredited", F.col("fate"), F.lit(1)),
        ),
        allowMissingColumns=True,
    )


def _samples_of_click() -> Column:
    """The clicked item, then its negatives. What only a search logs (position, score, propensity) is null, never imputed."""
    lag = (F.unix_micros("event_at") - F.unix_micros("requested_at")) / 1_000_000
    kind = CONTRACT.column("items").type.removeprefix("array<").removesuffix(">").replace(" not null", "")

    def one(item_id: Column, price: Column, kind_of_sample: str, y_click: Column, y_pay: Column, event: Column, lag_s: Column) -> Column:
        null, source = F.lit(None), F.when(y_click == 1, "searchified")
        return F.struct(
            item_id,
            F.lit("exposed"),
            F.lit(True),
            null,
            null,
            null,
            price,
            F.lit(kind_of_sample),
            F.lit(1.0),
            y_click,
            y_pay,
            source,
            event,
            lag_s,
            F.lit(1.0),
        ).cast(kind)

    no, yes, null = F.lit(0), F.lit(1), F.lit(None)
    clicked = one(F.col("item_id"), F.col("price_cents"), "click", yes, F.coalesce("is_paid", no), F.col("event_id"), lag)
    others = F.transform("negatives", lambda n: one(n["item_id"], n["price_cents"], "exposed", no, no, null, null))
    return F.concat(F.array(clicked), others)


def _only(account: str, fate: Column, rows: Column) -> Column:
    return tally(fate, ACCOUNTS[account].fates, rows).alias(f"_{account}")


def _filled(account: Account) -> Column:
    """The account's struct, 0 in rows that come from elsewhere."""
    return F.coalesce(F.col(f"_{account.name}"), tally(F.lit(None).cast("string"), account.fates)).alias(f"_{account.name}")


if __name__ == "__main__":
    run(CONTRACT, build, **vars(arg_parser(__doc__).parse_args()))
