"""One row per query with a reply to learn, one per query whose replies are rewarded, and one per item that a rewrite can find.

Left out, by name: queries none of whose rewrites found a pair or was gone on with (`nothing_taught`), queries without a good item on the
shelf (`no_good_item`), evaluation queries on either side (`evaluation`; their own tables let none through), items that are off the shelf
or have no title (`off_shelf`, `no_title`). Not left out: a query that is both learnt and rewarded.
Cost: one shuffle of 28 days of searches by session, without candidates; small shuffles of rewrites and pairs by query.
Source: arXiv 2602.23620; what is taught is our choice (features/rewriter.py).
"""

from collections.abc import Mapping
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.books import counted, tally
from features.longtail import Params as LogParams
from features.pairs import Params as PairParams
from features.relevance import log_terms
from features.retriever import catalogue, united
from features.rewriter import Params, completion, prompt, rewarded, taught
from features.splits import is_evaluation
from jobs.run import arg_parser, run
from schemas.query_rewriter_examples import CONTRACT

COLUMNS = [c.name for c in CONTRACT.columns]
FATES = {a.name: a.fates for i in CONTRACT.inputs for a in i.accounts}
PARAMS, PAIRS, LOG = Params(), PairParams(), LogParams()


def build(inputs: Mapping[str, DataFrame], day: date, *, params: Params = PARAMS) -> DataFrame:
    known = catalogue(inputs["items"])
    shelf = known.where(F.col("fate") == "catalogue")
    lists = taught(inputs["query_rewrites"], inputs["synthetic_pairs"], params)
    goals = rewarded(inputs["synthetic_pairs"], inputs["query_item_stats"], shelf, lists, params)
    on_shelf = inputs["items"].where(F.col("status") == "on_shelf").select("item_id", "title")
    terms = log_terms(goals, on_shelf, inputs, LOG, most=PAIRS.most_targets, unknown_weight=PAIRS.unknown_weight)
    goals = goals.join(terms, on=["query_norm"], how="left").join(lists.select("query_norm", "hardness"), on=["query_norm"], how="left")
    rows = united([sft_rows(lists), grpo_rows(goals), item_rows(known)])
    given = [F.coalesce(name, F.lit("")).alias(name) if name in CONTRACT.grain else F.col(name) for name in COLUMNS[1:]]
    books = [F.coalesce(f"_{account}", tally(F.lit(None), fates)).alias(f"_{account}") for account, fates in FATES.items()]
    return rows.select(F.lit(day).alias("day"), *given, "_fate", *books)


def sft_rows(lists: DataFrame) -> DataFrame:
    books = {fate: F.col(f"num_{fate}") for fate in FATES["rewrites"]}
    fate = F.when(F.col("num_taught") > 0, "kept").when(is_evaluation(F.col("query_norm")), "evaluation").otherwise("nothing_taught")
    return lists.select(
        *(F.lit("sft").alias("kind"), "query_norm", "rewriters", "hardness", fate.alias("_fate")),
        prompt(F.col("query_norm")).alias("prompt"),
        completion(F.col("said")).alias("completion"),
        counted(books, FATES["rewrites"]).alias("_rewrites"),
    )


def grpo_rows(goals: DataFrame) -> DataFrame:
    books = {"good": F.col("num_good"), "off_shelf": F.col("num_off_shelf"), "evaluation": F.col("num_held_out")}
    fate = F.when(F.size("good_items") > 0, "kept").when(is_evaluation(F.col("query_norm")), "evaluation").otherwise("no_good_item")
    return goals.select(
        *(F.lit("grpo").alias("kind"), "query_norm", "good_items", "hardness", fate.alias("_fate")),
        prompt(F.col("query_norm")).alias("prompt"),
        F.sort_array("terms").alias("terms"),
        F.col("negated").alias("excluded"),
        counted(books, FATES["pairs"]).alias("_pairs"),
    )


def item_rows(known: DataFrame) -> DataFrame:
    fate = F.when(F.col("fate") == "catalogue", "kept").otherwise(F.col("fate"))
    books = tally(F.col("fate"), FATES["items"])
    return known.select(F.lit("catalogue").alias("kind"), "item_id", "title_words", fate.alias("_fate"), books.alias("_items"))


if __name__ == "__main__":
    run(CONTRACT, build, **vars(arg_parser(__doc__).parse_args()))
