"""What a language model learns to rewrite queries from: replies made of rewrites that found something, and what replies are rewarded by.

Source: Synthetic Data Powers Product Retrieval (arXiv 2602.23620), SFT on accepted rewrites, then rewards. What is accepted is our choice.
"""

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from features.generated import SEPARATOR, instruction, request
from features.splits import is_evaluation
from features.text import norm_query
from schemas.query_rewriter_examples import NUM_REWRITES


@dataclass(frozen=True, kw_only=True)
class Params:
    """Everything that decides the rows, beside the inputs; all our choice."""

    min_sessions: int = 2
    """Sessions that must speak for a rewrite which found no pair of its own, to be taught all the same."""
    most_clicked: int = 50
    """Items of a query by clicks and pays that count as good ones, beside those of its synthetic pairs: a list that rewards look at."""


def prompt(query: Column) -> Column:
    """The messages that `features.generated` asks a model for rewrites of one query by."""
    return _messages(("system", F.lit(instruction(NUM_REWRITES))), ("user", F.concat(F.lit(request([""])), query)))


def completion(rewrites: Column) -> Column:
    """The reply that says these rewrites, in the form that the prompt asks for."""
    return _messages(("assistant", F.concat(F.lit(request([""])), F.array_join(rewrites, f" {SEPARATOR} "))))


def _messages(*told: tuple[str, Column]) -> Column:
    return F.array(*(F.struct(F.lit(role).alias("role"), text.alias("content")) for role, text in told))


def taught(rewrites: DataFrame, pairs: DataFrame, params: Params) -> DataFrame:
    """By query: said and rewriters (arrays, the best first) of the rewrites to teach, hardness, and what became of each rewrite.

    Rows: query_norm. Columns: rewrites and pairs need those of their tables; num_taught, num_no_pair, num_capped, num_evaluation count
    rewrites. Taught is what a pair was found by, or several sessions went on with; at most NUM_REWRITES. Ties: more pairs, then
    relevance, then the text.
    """
    found = pairs.groupBy("query_norm", "rewrite").agg(F.count(F.lit(1)).alias("num_pairs"))
    own = rewrites.join(found, on=["query_norm", "rewrite"], how="left")  # one row a rewrite
    is_held_out = is_evaluation(F.col("query_norm")) | is_evaluation(F.col("rewrite"))
    is_good = F.col("num_pairs").isNotNull() | (F.coalesce("evidence.num_sessions", F.lit(0)) >= params.min_sessions)
    told = own.withColumn("reason", F.when(is_held_out, "evaluation").when(~is_good, "no_pair"))
    order = (F.desc(F.coalesce("num_pairs", F.lit(0))), F.desc("relevance"), F.col("rewrite"))
    place = F.row_number().over(Window.partitionBy("query_norm", F.col("reason").isNull()).orderBy(*order))
    told = told.withColumn("place", place)
    fate = F.coalesce("reason", F.when(F.col("place") > NUM_REWRITES, "capped"), F.lit("taught"))
    text = norm_query(F.translate("rewrite", SEPARATOR, " "))  # it would end the rewrite
    reply = F.sort_array(F.collect_list(F.when(fate == "taught", F.struct("place", text.alias("text"), "rewriter"))))
    counts = [F.count_if(fate == name).alias(f"num_{name}") for name in ("taught", "no_pair", "capped", "evaluation")]
    by_query = told.groupBy("query_norm").agg(reply.alias("reply"), F.max("hardness").alias("hardness"), *counts)
    return by_query.withColumns({"said": F.col("reply.text"), "rewriters": F.col("reply.rewriter")}).drop("reply")


def rewarded(pairs: DataFrame, clicked: DataFrame, shelf: DataFrame, queries: DataFrame, params: Params) -> DataFrame:
    """By query: good_items, those of its pairs and those most clicked for it that are on the shelf, and what became of its pairs.

    Rows: query_norm of `pairs` and of `queries`. Columns: pairs need query_norm, item_id; clicked query_norm, item_id, num_clicks_28d,
    num_pays_28d; shelf item_id; num_good, num_off_shelf, num_held_out count pairs. good_items is sorted, empty where there are none.
    """
    on_shelf = shelf.select("item_id", F.lit(True).alias("is_there"))
    num = F.col("num_clicks_28d") + F.col("num_pays_28d")
    place = F.row_number().over(Window.partitionBy("query_norm").orderBy(F.desc(num), "item_id"))
    asked = pairs.select("query_norm").unionByName(queries.select("query_norm")).groupBy("query_norm").agg(F.count(F.lit(1)).alias("_"))
    best = clicked.join(asked.select("query_norm"), on=["query_norm"], how="left_semi").where(num > 0)
    best = best.withColumn("place", place).where(F.col("place") <= params.most_clicked)
    every = pairs.select("query_norm", "item_id", F.lit(True).alias("is_pair")).unionByName(
        best.select("query_norm", "item_id", F.lit(False).alias("is_pair"))
    )
    known = every.join(on_shelf, on=["item_id"], how="left")  # one row an item
    is_there, is_held_out = F.coalesce("is_there", F.lit(False)), is_evaluation(F.col("query_norm"))
    found = known.groupBy("query_norm").agg(
        F.array_sort(F.collect_set(F.when(is_there & ~is_held_out, F.col("item_id")))).alias("good_items"),
        F.count_if(F.col("is_pair") & is_there & ~is_held_out).alias("num_good"),
        F.count_if(F.col("is_pair") & ~is_there & ~is_held_out).alias("num_off_shelf"),
        F.count_if(F.col("is_pair") & is_held_out).alias("num_held_out"),
    )
    good = F.coalesce("good_items", F.array().cast("array<string>")).alias("good_items")
    return asked.join(found, on=["query_norm"], how="left").select("query_norm", good, "num_good", "num_off_shelf", "num_held_out")
