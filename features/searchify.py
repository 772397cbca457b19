"""Cross-domain searchification of ES3: which clicks outside search become pseudo-requests, and their samples.

What they were chosen among: features/negatives.py; their queries: features/queries.py.
Source: UniScale (arXiv 2603.24226); caps, windows and ties are our choice (features/es3.py).
"""

from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from features.es3 import Params
from features.negatives import CLICK


def clicks_to_searchify(uncredited: DataFrame, day: date, params: Params) -> DataFrame:
    """The uncredited events of a day with `fate`: null where the click goes on, else why it does not.

    Fates, first that holds: duplicate, not_a_click, search_click (inside search, but on nothing that it showed), late (happened on an
    earlier day), not_drawn (`pseudo_share`), capped (`max_per_user_day`, then `max_per_item_day`, drawn by seeded hash).
    """
    draw_key = F.xxhash64(F.lit(params.seed), F.lit("searchify"), "event_id")
    early = (
        F.when(F.col("fate") == "duplicate", "duplicate")
        .when(F.col("event_type") != "click", "not_a_click")
        .when(F.col("domain") == "search", "search_click")
        .when(F.to_date("event_at") != F.lit(day), "late")
        .when(F.pmod(draw_key, F.lit(1_000_000)) >= int(params.pseudo_share * 1_000_000), "not_drawn")
    )
    judged = uncredited.select(*CLICK, early.alias("fate"), draw_key.alias("draw_key"))
    capped = _cap(_cap(judged, "user_id", params.max_per_user_day), "item_id", params.max_per_item_day)
    return capped.select(*CLICK, "fate")


def _cap(judged: DataFrame, key: str, limit: int) -> DataFrame:
    """At most `limit` rows without a fate for each key; those beyond it in the order of the draw are `capped`."""
    order = Window.partitionBy(key, F.col("fate").isNull()).orderBy("draw_key", "event_id")
    place = F.row_number().over(order)
    return judged.withColumn("place", place).withColumn("fate", F.coalesce("fate", F.when(F.col("place") > limit, "capped"))).drop("place")


def pays_of_clicks(attributions: DataFrame, params: Params) -> DataFrame:
    """event_id of the clicks outside search that an uncredited pay of the same user and item followed within `pay_window_s`.

    Rows: each such click once, with is_paid true. Columns: those of the contract of attributions.
    A pay goes to the latest such click up to its time, so that each pay counts once; it counts when made within `pay_window_s` and
    available within `label_horizon_days` after the click, ends excluded. Duplicates count on neither side.
    Ties: of clicks at the same time the greatest event_id.
    """
    is_click = (F.col("event_type") == "click") & (F.col("domain") != "search")
    acts = attributions.where(F.col("request_id").isNull() & (F.col("fate") != "duplicate") & (is_click | (F.col("event_type") == "pay")))
    click = F.when(F.col("event_type") == "click", F.struct("event_at", "event_id"))
    before = Window.partitionBy("user_id", "item_id").orderBy("event_at", "event_type", "event_id")  # at one time clicks come before pays
    last = F.last(click, ignorenulls=True).over(before.rowsBetween(Window.unboundedPreceding, Window.currentRow))
    pays = acts.select("event_type", F.col("event_at").alias("paid_at"), "available_at", last.alias("click"))
    pays = pays.where((F.col("event_type") == "pay") & F.col("click").isNotNull())
    lag = F.unix_micros("paid_at") - F.unix_micros("click.event_at")
    age = F.unix_micros("available_at") - F.unix_micros("click.event_at")
    in_time = (lag < params.pay_window_s * 1_000_000) & (age < params.label_horizon_days * 86_400_000_000)
    return pays.where(in_time).groupBy(F.col("click.event_id").alias("event_id")).agg(F.max(F.lit(True)).alias("is_paid"))


def pseudo_samples(kind: StructType) -> Column:
    """The clicked item, then its negatives, as elements of `kind`. What only a search logs (position, score, propensity) is null.

    Columns: needs event_id, item_id, event_at, requested_at, price_cents, negatives, is_paid (null: not paid).
    """
    always = {"stage": F.lit("exposed"), "is_exposed": F.lit(True), "p_inclusion": F.lit(1.0), "weight": F.lit(1.0)}

    def element(**values: Column) -> Column:
        fields = dict.fromkeys(kind.names, F.lit(None)) | always | values
        return F.struct(*(fields[f.name].cast(f.dataType).alias(f.name) for f in kind.fields))

    clicked = element(
        item_id=F.col("item_id"),
        price_cents=F.col("price_cents"),
        sample_type=F.lit("click"),
        y_click=F.lit(1),
        y_pay=F.coalesce(F.col("is_paid").cast("int"), F.lit(0)),
        label_source=F.lit("searchified"),
        attributed_event_id=F.col("event_id"),
        attribution_lag_s=(F.unix_micros("event_at") - F.unix_micros("requested_at")) / 1_000_000,
    )
    left = {"sample_type": F.lit("exposed"), "y_click": F.lit(0), "y_pay": F.lit(0)}
    others = F.transform("negatives", lambda n: element(item_id=n["item_id"], price_cents=n["price_cents"], **left))
    return F.concat(F.array(clicked), others)
