"""One row per query of the pool and rewrite that passed every filter: rare and badly served queries in words that find something.

Left out, by name: queries that are not in the pool (`not_in_pool`, `unreadable`, `evaluation`) or got no rewrite (`no_rewrite`), each
dropped rewrite by the filter that dropped it (features/rewrites.py), each reply of a language model by what it was (`answered`,
`refused`, `malformed`, `over_budget`). Not left out: rewrites that find the same items.
Cost: one shuffle of 28 days of searches by session, without candidates; one of the words of clicks and of titles.
Source: arXiv 2602.23620; pool, rewriters and filters are ours where it is silent (features/longtail.py).
"""

import argparse
from collections.abc import Mapping
from datetime import date
from functools import reduce

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features.books import tally
from features.feedback import by_feedback
from features.longtail import Params, query_words, searchable, vocabulary, with_pool_fate
from features.reformulations import UNIT, associations, by_sessions, clicks_by_query, reformulations, searches_with_clicks, word_events
from features.rewrites import GENERATED, REWRITERS, judged
from jobs.generate import generated, wanted
from jobs.run import arg_parser as common_parser
from jobs.run import run
from schemas.query_rewrites import CONTRACT

FATES = {a.name: a.fates for i in CONTRACT.inputs for a in i.accounts}
REPLY = "struct<status: string, " + ", ".join(f"{field}: bigint" for field in CONTRACT.figures[0].fields) + ">"
PARAMS = Params()


def arg_parser() -> argparse.ArgumentParser:
    parser = common_parser(__doc__)
    parser.add_argument(
        "--rewriters", help=f"of {', '.join(REWRITERS)}, with commas between (default: those that need no option, or have it)"
    )
    parser.add_argument("--model", help="folder of a causal language model, readable on every worker")
    parser.add_argument("--endpoint", help="name of the model behind SLUICE_ENDPOINT, an OpenAI-compatible server")
    parser.add_argument("--replies", help="folder where replies are kept and read from: the same folder, the same rows, no call made twice")
    parser.add_argument("--budget-tokens", type=int, help="tokens that the replies of the day may cost in all")
    parser.add_argument("--prices", help="of a million prompt and completion tokens, as 0.15,0.60; the receipt says the cost in millionths")
    return parser


def build(
    inputs: Mapping[str, DataFrame], day: date, *, rewriters: str | None = None, params: Params = PARAMS, **options: str | int | None
) -> DataFrame:
    stats, items = with_pool_fate(inputs["query_stats"], params), inputs["items"]
    asked, lexicon = stats.where(F.col("pool_fate").isNull()), vocabulary(items)
    by_word = query_words(asked, lexicon, items)
    pool = searchable(asked, by_word)
    searches = searches_with_clicks(inputs["requests"], inputs["attributions"])
    pairs = reformulations(searches, params)
    clicks = clicks_by_query(searches, pairs)
    given = {name: options.get(name) for name in ("model", "endpoint", "replies", "budget_tokens", "prices")}
    make = {
        "sessions": lambda: by_sessions(pool, pairs, params),
        "feedback": lambda: by_feedback(pool, by_word, lexicon, items, clicks, params),
        **{name: lambda name=name: generated(name, asked, **given) for name in GENERATED},
    }
    names = wanted(rewriters, given["model"], given["endpoint"], REWRITERS)
    every = [make[name]().withColumns({"rewriter": F.lit(name)}) for name in names]
    rewrites = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), every)
    rewrites = rewrites if "reply" in rewrites.columns else rewrites.withColumn("reply", F.lit(None).cast(REPLY))
    meaning = associations(word_events(clicks, pairs, items), params, by_word)
    return rows(stats, judged(rewrites, pool, lexicon, meaning, params), day)


def rows(stats: DataFrame, rewrites: DataFrame, day: date) -> DataFrame:
    """Queries with their rewrites, or with why they have none; each query is counted on one of its rows."""
    found = stats.join(rewrites.drop("hardness"), on=["query_norm"], how="left")
    of_query = Window.partitionBy("query_norm")
    counted = found.withColumns(
        {
            "is_first": F.row_number().over(of_query.orderBy("rewrite", "rewriter")) == 1,
            "num_kept": F.count_if(F.col("fate") == "kept").over(of_query),
            "num_rewrites": F.count("rewrite").over(of_query),
        }
    )
    became = F.when(F.col("num_kept") > 0, "rewritten").when(F.col("num_rewrites") > 0, "all_dropped").otherwise("no_rewrite")
    return counted.select(
        F.lit(day).alias("day"),
        *(
            "query_norm",
            "rewrite",
            "rewriter",
            "rank",
            (F.col("score") / UNIT).alias("score"),
            (F.col("relevance") / UNIT).alias("relevance"),
        ),
        *("hardness", "evidence", F.lit(False).alias("is_evaluation")),
        F.coalesce("fate", "pool_fate", F.lit("no_rewrite")).alias("_fate"),
        tally(F.when(F.col("is_first"), F.coalesce("pool_fate", became)), FATES["queries"]).alias("_queries"),
        F.col("reply").alias("_replies"),
    )


if __name__ == "__main__":
    run(CONTRACT, build, **vars(arg_parser().parse_args()))
