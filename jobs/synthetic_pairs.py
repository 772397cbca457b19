"""One row per query of the pool and item that its rewrites find, if both relevance scorers accept it and no cap leaves it out.

Left out, by name: titles that say what the query excludes (`negated`), what the query finds alone (`known_to_query`, but for a drawn
share), pairs of the log (`in_log`), `not_relevant_business`, `not_relevant_general`, and what is beyond `capped_query`, `capped_item`,
`capped_category`; rewrites that find nothing (`nothing_found`). Items off the shelf and without a title are not searched.
Not left out: items that are much alike. Cost: the catalogue and the texts are encoded once and shuffled to blocks, whose best lists
are shuffled by query; 28 days of searches without candidates; with --model the time of the model.
Source: arXiv 2602.23620; see features/pairs.py.
"""

import argparse
from collections.abc import Mapping
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.books import counted
from features.joins import broadcast_if_small
from features.longtail import Params as LogParams
from features.pairs import Params, candidates, guards, hits_of, with_fate
from features.relevance import ONE, log_terms
from features.splits import is_evaluation
from jobs.run import arg_parser as common_parser
from jobs.run import run
from schemas.synthetic_pairs import CONTRACT

COLUMNS = [c.name for c in CONTRACT.columns]
FATES = {a.name: a.fates for i in CONTRACT.inputs for a in i.accounts}["rewrites"]
PARAMS, LOG_PARAMS = Params(), LogParams()


def arg_parser() -> argparse.ArgumentParser:
    parser = common_parser(__doc__)
    parser.add_argument("--model", help="folder of a sentence-transformers model, readable on every worker (default: hashed TF-IDF)")
    return parser


def build(inputs: Mapping[str, DataFrame], day: date, *, model: str | None = None, params: Params = PARAMS) -> DataFrame:
    is_held_out = is_evaluation(F.col("query_norm")) | is_evaluation(F.col("rewrite"))
    rewrites = inputs["query_rewrites"].where(~is_held_out)
    items = inputs["items"].where(F.col("status") == "on_shelf").select("item_id", "title")
    terms = terms_of(rewrites, items, inputs, params)
    found = candidates(hits_of(rewrites, items, terms, params, model), inputs["query_item_stats"])
    leaf = F.when(F.size("category_path") > 0, F.element_at("category_path", -1))
    pairs = with_fate(found, inputs["items"].select("item_id", leaf.alias("leaf")), params)
    about = rewrites.select("query_norm", "rewrite", "rewriter", "hardness", "evidence")
    pairs = pairs.join(broadcast_if_small(about, about), on=["query_norm", "rewrite"], how="left")  # one row a rewrite
    books = {"retrieved": F.col("num_retrieved"), "nothing_found": F.col("num_nothing")}
    scores = {name: F.col(name) / ONE for name in ("p_business", "p_general")}
    pairs = pairs.withColumns(scores | {"is_new": ~F.col("is_known"), "guards": guards(), "_rewrites": counted(books, FATES)})
    held_out = inputs["query_rewrites"].where(is_held_out)
    held_out = held_out.select(F.lit("evaluation").alias("_fate"), counted({"evaluation": F.lit(1)}, FATES).alias("_rewrites"))
    rows = pairs.select(*COLUMNS[1:], "_fate", "_rewrites").unionByName(held_out, allowMissingColumns=True)
    return rows.select(F.lit(day).alias("day"), *COLUMNS[1:], "_fate", "_rewrites")


def terms_of(rewrites: DataFrame, items: DataFrame, inputs: Mapping[str, DataFrame], params: Params) -> DataFrame:
    """The words of each query and the words of titles that stand for them in the log; nothing of evaluation queries."""
    queries = rewrites.groupBy("query_norm").agg(F.count(F.lit(1)).alias("num"))
    return log_terms(queries, items, inputs, LOG_PARAMS, most=params.most_targets, unknown_weight=params.unknown_weight)


if __name__ == "__main__":
    run(CONTRACT, build, **vars(arg_parser().parse_args()))
