"""Labels of ES3: the events credited to a request's samples, carried back into its list without moving the list.

Source: UniScale (arXiv 2603.24226), hierarchical label attribution; what ties break by is our choice.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.es3 import Params
from features.sampling import draw_counts


def labels_by_request(credited: DataFrame, params: Params) -> DataFrame:
    """One row per request with its labels as a list, and how many of its events came too late to count.

    Rows: request_id. Columns: needs request_id, item_id, event_id, event_type, event_at, available_at, requested_at, fate,
    attribution_level, attribution_lag_s; gives labels array<struct<item_id, y_click, y_pay, is_native_click, source, event_id,
    lag_s, num_events>> sorted by item_id, and num_too_late.
    An event counts when available within `label_horizon_days` after the request. A pay sets both labels.
    Ties: source, event_id and lag_s are of the pay, else the click, with the smallest level, then the earliest, then event_id.
    """
    is_in_time = F.unix_micros("available_at") - F.unix_micros("requested_at") < params.label_horizon_days * 86_400_000_000
    is_pay, is_native = F.col("event_type") == "pay", (F.col("fate") == "native") & (F.col("event_type") == "click")
    best = F.struct(
        (~is_pay).alias("is_click"), "attribution_level", "event_at", "event_id", F.col("fate").alias("source"), "attribution_lag_s"
    )
    by_sample = (
        credited.withColumn("is_in_time", is_in_time)
        .repartition("request_id")  # serves both aggregates
        .groupBy("request_id", "item_id")
        .agg(
            F.min(F.when(F.col("is_in_time"), best)).alias("best"),
            F.max(F.when(F.col("is_in_time"), is_pay.cast("int"))).alias("y_pay"),
            F.coalesce(F.max(F.when(F.col("is_in_time"), is_native)), F.lit(False)).alias("is_native_click"),
            F.count_if("is_in_time").cast("int").alias("num_events"),
            F.count_if(~F.col("is_in_time")).alias("num_too_late"),
        )
    )
    label = F.struct(
        "item_id",
        F.lit(1).alias("y_click"),
        "y_pay",
        "is_native_click",
        F.col("best.source").alias("source"),
        F.col("best.event_id").alias("event_id"),
        F.col("best.attribution_lag_s").alias("lag_s"),
        "num_events",
    )
    labels = F.sort_array(F.collect_list(F.when(F.col("best").isNotNull(), label)))
    return by_sample.groupBy("request_id").agg(labels.alias("labels"), F.sum("num_too_late").alias("num_too_late"))


def label_of(labels: Column, item_id: Column) -> Column:
    """The label struct of an item, null where it has none."""
    return F.get(F.filter(labels, lambda each: each["item_id"] == item_id), F.lit(0))


def sample(c: Column, label: Column) -> Column:
    """A drawn candidate as an element of entire_space.items; `label` is a struct of `labels_by_request`, or null.

    sample_type: click where it was shown and natively clicked, else exposed, else unexposed.
    """
    kind = F.when(c["is_exposed"] & F.coalesce(label["is_native_click"], F.lit(False)), "click")
    return F.struct(
        *(c[name].alias(name) for name in ("item_id", "stage", "is_exposed", "position", "propensity", "score", "price_cents")),
        kind.when(c["is_exposed"], "exposed").otherwise("unexposed").alias("sample_type"),
        c["p_inclusion"].alias("p_inclusion"),
        F.coalesce(label["y_click"], F.lit(0)).alias("y_click"),
        F.coalesce(label["y_pay"], F.lit(0)).alias("y_pay"),
        label["source"].alias("label_source"),
        label["event_id"].alias("attributed_event_id"),
        label["lag_s"].alias("attribution_lag_s"),
        (1 / c["p_inclusion"]).alias("weight"),
    )


def num_labels(labels: Column, samples: Column) -> Column:
    """How many events stand behind the labels of these samples; 0 where there is no label."""
    num = F.transform(samples["item_id"], lambda item_id: F.coalesce(label_of(labels, item_id)["num_events"], F.lit(0)))
    return F.coalesce(F.aggregate(num, F.lit(0), lambda total, n: total + n), F.lit(0))


def candidate_fates(candidates: Column, drawn: Column, on_shelf: Column) -> dict[str, Column]:
    """What became of the candidates of a search request, as counts that add up to them; `on_shelf` is what is left of `drawn`."""
    counts, exposed = draw_counts(candidates, drawn), F.size(F.filter(on_shelf, lambda c: c["is_exposed"]))
    fates = {"exposed": exposed, "unexposed": F.size(on_shelf) - exposed, "off_shelf": F.size(drawn) - F.size(on_shelf)}
    return fates | {name: counts[name] for name in ("not_drawn", "duplicate")}
