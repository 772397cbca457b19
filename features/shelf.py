"""What the catalogue said of an item at a moment: of its daily snapshots only those count that could be read before it."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.joins import broadcast_if_small


def item_facts(items: DataFrame) -> DataFrame:
    """One row per item with its snapshots, oldest first: facts array<struct<available_at, status, leaf, price_cents>>.

    Columns: items need item_id, available_at, status, category_path, price_cents. leaf is the last category, null where there is none.
    Ties: of snapshots available at the same time the greatest status, then leaf, then price counts as the later one.
    """
    leaf = F.when(F.size("category_path") > 0, F.element_at("category_path", -1))
    fact = F.struct("available_at", "status", leaf.alias("leaf"), "price_cents")
    return items.groupBy("item_id").agg(F.sort_array(F.collect_list(fact)).alias("facts"))  # <= 2 snapshots


def fact_as_of(facts: Column, at: Column) -> Column:
    """The latest of an item's facts that was available before `at`, null where there is none. Equality is the future."""
    return F.try_element_at(F.filter(facts, lambda f: f["available_at"] < at), F.lit(-1))


def off_shelf_by_request(requests: DataFrame, items: DataFrame) -> DataFrame:
    """For each request with such candidates: off_shelf, the set of its items that were not on the shelf when it was made.

    Rows: request_id. Nulls: an item without a snapshot from before the request counts as on the shelf.
    """
    gone = item_facts(items).where(F.exists("facts", lambda f: f["status"] == "off_shelf"))
    listed = requests.select("request_id", "requested_at", F.explode(F.array_distinct("candidates.item_id")).alias("item_id"))
    seen = listed.join(broadcast_if_small(gone, items.select("item_id", "status")), on=["item_id"], how="inner")  # one row an item
    off = seen.where(fact_as_of(F.col("facts"), F.col("requested_at"))["status"] == "off_shelf")
    return off.groupBy("request_id").agg(F.collect_set("item_id").alias("off_shelf"))
