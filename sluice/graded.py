"""`sluice reproduce synthetic_pairs --home-depot PATH`: real queries with people's grades, and what pairs do for those never learnt.

Home Depot published no log, so one is made of grades, and told apart from a real one wherever it is shown. Queries of the evaluation
split are `held out`: only ever measured. A hashed half of the others is the head: on each search its graded items were shown, and those
graded 2.33 and better clicked once. The other half is the tail: searched, nothing found, nothing clicked. Rewrites and pairs are made for
the tail. Grades of the tail and of what is held out are never learnt; both are measured.
"""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from jobs.run import build_day
from jobs.storage import lake_address, open_table
from schemas.contract import load
from sluice.experiments import FIRST, Spark, build, ingest, span
from sluice.long_tail import STEPS, built_with, pinned
from sluice.long_tail_screens import difference_cell
from sluice.screens import console, grid, print_json, say
from sluice.work import watched
from training import questions as asking
from training.hhsft.reproduce import difference
from training.retriever import SIZES, Examples, encoded, read, taken

GOOD_GRADE = 2.33
SEED = 17
HEAD_SEARCHES, TAIL_SEARCHES = 3, 2
"""Of each query; the pool takes those that were searched no more often than the tail is."""
SHARE = 0.2
TITLES = "titles.parquet"
MEASURES = ("ndcg@10", "good_rate@10", "hr@50")
GROUPS = {"tail": "Tail queries, for which pairs were made", "held out": "Queries that are held out"}
SETS = {"judged": "judged items alone", "catalogue": "the whole catalogue, what nobody judged counts as bad"}


def home_depot(spark: Spark, path: str, out: str, seeds: int, size: str, device: str, as_json: bool) -> None:
    """Read, make a log, build, train, print. Everything lies in `out` and is found there again."""
    folder = Path(out)
    graded, lake = (lake_address(str(folder / name)) for name in ("graded", "lake"))
    _ingest_grades(spark, graded, path)
    if not open_table(lake, load("events")).days:
        write_log(spark, graded, folder / "log")
        ingest(spark, lake, "files", str(folder / "log"), (FIRST, FIRST), {})
    build_all(spark, lake)
    write_questions(spark, graded, lake, folder / "questions")
    questions = asking.read_questions(folder / "questions", good=relevance(GOOD_GRADE) - 1e-9)
    manifest = pinned(lake, FIRST)
    examples = read(manifest)
    found = lexical(folder / "questions", examples, questions)
    _say_time(examples, size, seeds, folder)
    for share in (0.0, SHARE):
        name = f"retriever, {share:.0%} pairs"
        found[name] = []
        for seed in range(seeds):
            place, settings = folder / "runs" / f"share-{share:g}" / f"seed-{seed}", replace(SIZES[size](), share=share)
            asking.run(manifest, examples, questions, settings, place, seed=seed, device=device)
            found[name].append(by_model(place, examples, questions))
    queries = {group: sum(questions.groups[group]) for group in GROUPS}
    facts = {"seeds": seeds, "queries": queries, "pairs": counts(examples), "found": found, "over_none": over(found)}
    print_json(facts) if as_json else screen(facts)


def relevance(grade: float) -> float:
    """A grade from 1 to 3 as the table has it, from 0 to 1."""
    return (grade - 1) / 2


def _ingest_grades(spark: Spark, lake: str, path: str) -> None:
    from jobs.ingest import ingest

    if not open_table(lake, load("judgements")).days:
        say(f"Grades of {path} into {lake} ...")
        list(watched(ingest(spark(), lake, "home_depot", path, None, {"start_day": FIRST.isoformat()}), None))


def is_of_head(query: Any) -> Any:
    """Of queries (a Column) that are not held out: the seeded half whose grades became clicks."""
    from pyspark.sql import functions as F

    return F.pmod(F.xxhash64(F.lit(SEED), F.lit("head"), query), F.lit(2)) == 0


def write_log(spark: Spark, graded: str, folder: Path) -> None:
    """Searches and clicks as `sluice ingest files` reads them, made of the grades of queries that are not for evaluation."""
    from pyspark.sql import functions as F

    judged = open_table(graded, load("judgements")).read(spark(), [FIRST]).where("not is_evaluation")
    is_head = is_of_head(F.col("query_norm"))
    pair = F.struct(F.xxhash64(F.lit(SEED), "query_norm", "item_id").alias("place"), "item_id", "grade")
    queries = judged.groupBy("query_norm", is_head.alias("is_head")).agg(F.sort_array(F.collect_list(pair)).alias("pairs"))
    times = F.when(F.col("is_head"), HEAD_SEARCHES).otherwise(TAIL_SEARCHES)
    searches = queries.withColumn("n", F.explode(F.sequence(F.lit(1), times)))
    request = F.concat_ws(":", F.lower(F.hex(F.xxhash64("query_norm"))), "n")
    at = F.timestamp_seconds(
        F.unix_seconds(F.lit(FIRST).cast("timestamp")) + 3600 * F.col("n") + F.pmod(F.xxhash64("query_norm"), F.lit(3000))
    )
    searches = searches.select(
        "*", request.alias("request_id"), F.concat(F.lit("user:"), request).alias("user_id"), at.alias("requested_at")
    )
    shown = F.transform("pairs", lambda p, n: F.struct(p["item_id"].alias("item_id"), (n + 1).alias("position")))
    asked = ("request_id", "user_id", F.col("request_id").alias("session_id"), "requested_at", F.col("query_norm").alias("query_raw"))
    requests = searches.select(*asked, F.when(F.col("is_head"), shown).otherwise(F.array()).alias("candidates"))
    clicked = searches.where("is_head and n = 1").withColumn("pair", F.explode("pairs")).where(F.col("pair.grade") >= GOOD_GRADE - 1e-9)
    event = {"event_id": F.concat_ws(":", "request_id", "pair.item_id"), "item_id": F.col("pair.item_id"), "event_type": F.lit("click")}
    event |= {"event_at": F.col("requested_at") + F.expr("interval 1 minute"), "domain": F.lit("search"), "query_raw": F.col("query_norm")}
    events = clicked.select("request_id", "user_id", F.col("request_id").alias("session_id"), *(v.alias(name) for name, v in event.items()))
    items = open_table(graded, load("items")).read(spark(), [FIRST])
    items = items.select("day", "item_id", "title", "status", "valid_at", "available_at")
    for name, rows in {"requests": requests, "events": events, "items": items}.items():
        rows.write.mode("overwrite").parquet(str(folder / name))


def build_all(spark: Spark, lake: str) -> None:
    """The examples of the day; the pool is the tail."""
    for table in ("query_stats", "query_item_stats"):
        build(spark, lake, table, (FIRST, FIRST))
    for table in STEPS:
        module = import_module(f"jobs.{table}")
        way = built_with(module, {"max_searches": TAIL_SEARCHES}) if table == STEPS[0] else module.build
        done = build_day(spark(), lake, load(table), way, FIRST)
        say(f"{table}: {done.receipt['rows']:,} rows")


def write_questions(spark: Spark, graded: str, lake: str, folder: Path) -> None:
    """Queries of the tail and those held out, with their words and type, their grades, and the words of all titles."""
    from pyspark.sql import functions as F

    from features.hardness import hardness, with_carried
    from features.retriever import query_ids
    from features.text import bag

    group = F.when(F.col("is_evaluation"), "held out").when(~is_of_head(F.col("query_norm")), "tail").alias("group")
    judged = open_table(graded, load("judgements")).read(spark(), [FIRST]).select("*", group).where(F.col("group").isNotNull())
    items = open_table(lake, load("items")).read(spark(), [FIRST])
    queries = with_carried(judged.select("query_norm", "group").distinct(), items)
    kind = F.array("group", hardness(F.col("query_norm"), F.col("is_carried")))
    asked = queries.select(
        "query_norm", query_ids(F.col("query_norm")).alias("query_tokens"), kind.alias("groups"), bag(F.col("query_norm")).alias("words")
    )
    answers = judged.select("query_norm", F.xxhash64("item_id").alias("item_hash"), F.col("relevance").alias("gain"))
    titles = items.where(bag(F.col("title")).isNotNull()).select(
        F.xxhash64("item_id").alias("item_hash"), bag(F.col("title")).alias("words")
    )
    for name, rows in ((asking.QUESTIONS, asked), (asking.ANSWERS, answers), (TITLES, titles)):
        rows.coalesce(1).write.mode("overwrite").parquet(str(folder / name))


Found = dict[str, dict[str, dict[str, float | None]]]
"""By `catalogue` (of all items; one that nobody judged counts as bad) and `judged` (of judged items alone), then by group: measures."""


def lexical(folder: Path, examples: Examples, questions: asking.Questions) -> dict[str, list[Found]]:
    """BM25 and RM3 on the same items and queries; no seed decides them."""
    import pyarrow.dataset as ds
    import torch

    from training.lexical import Lexical

    words = dict(zip(*(ds.dataset(folder / asking.QUESTIONS).to_table()[c].to_pylist() for c in ("query_norm", "words")), strict=True))
    titles = dict(zip(*(ds.dataset(folder / TITLES).to_table()[c].to_pylist() for c in ("item_hash", "words")), strict=True))
    index = Lexical([titles[n] for n in examples.item_hashes[examples.shelf].tolist()])
    asked = [words[name] for name in questions.names]
    ways = {
        "BM25": lambda n: torch.from_numpy(index.scores(dict.fromkeys(asked[n], 1.0))),
        "BM25 + RM3": lambda n: torch.from_numpy(index.scores(index.expanded(asked[n]))),
    }
    return {name: [both(scores, examples, questions)] for name, scores in ways.items()}


def by_model(place: Path, examples: Examples, questions: asking.Questions) -> Found:
    from training.retriever import load as trained

    model = trained(place)
    shelf_ID = encoded(model, taken(examples.item_tokens, examples.shelf), model.items)
    asked_QD = encoded(model, questions.tokens, model.queries)
    return both(lambda n: shelf_ID @ asked_QD[n], examples, questions)


def both(scores: Any, examples: Examples, questions: asking.Questions) -> Found:
    lists = asking.lists_by(scores, examples, questions)
    return {name: asking.measured_lists(each, examples, questions) for name, each in zip(("catalogue", "judged"), lists, strict=True)}


def counts(examples: Examples) -> dict[str, int]:
    return {kind: len(examples.of_kind(n)["query"]) for n, kind in enumerate(("log", "synthetic"))} | {"catalogue": len(examples.shelf)}


def over(found: Mapping[str, list[Found]]) -> dict[str, dict[str, dict[str, Any]]]:
    """By set of items, group of queries and measure: the paired difference of pairs to no pairs, in points of 100."""
    runs = [found[f"retriever, {share:.0%} pairs"] for share in (SHARE, 0.0)]

    def gain(of: str, group: str, measure: str) -> dict[str, float | None]:
        return difference(*([f[of][group][measure] for f in each] for each in runs))

    return {of: {group: {m: gain(of, group, m) for m in MEASURES} for group in GROUPS} for of in SETS}


def _say_time(examples: Examples, size: str, seeds: int, folder: Path) -> None:
    seconds = seeds * sum(asking.seconds_of(examples, replace(SIZES[size](), share=share)) for share in (0.0, SHARE))
    say(f"{2 * seeds} trainings: about {span(seconds)} in all. What is done lies in {folder}: stopped, the same command goes on")


def screen(facts: dict[str, Any]) -> None:
    out, pairs = console(), facts["pairs"]
    out.print(
        f"\nHome Depot: {facts['queries']['held out']:,} graded queries held out, {facts['queries']['tail']:,} of the tail; "
        f"learnt: {pairs['log']:,} pairs of head queries (a click stands for a grade of {GOOD_GRADE} and better) and "
        f"{pairs['synthetic']:,} synthetic ones of tail queries; {pairs['catalogue']:,} items; means over {facts['seeds']} seeds."
    )
    for group, queries in GROUPS.items():
        for of, items in SETS.items():
            out.print(_by_method(facts, f"{queries}: {items}", of, group))
    types = [g for g in facts["found"]["BM25"][0]["judged"] if g not in ("all", *GROUPS)]
    shown = grid("nDCG@10 of judged items by type of query", "found by", *types, numbers=tuple(types))
    for name, runs in facts["found"].items():
        shown.add_row(name, *(f"{sum(r['judged'][g]['ndcg@10'] for r in runs) / len(runs):.4f}" for g in types))
    out.print(shown)


def _by_method(facts: dict[str, Any], title: str, of: str, group: str) -> Any:
    shown = grid(title, "found by", *MEASURES, numbers=MEASURES)
    for name, runs in facts["found"].items():
        shown.add_row(name, *(f"{sum(r[of][group][m] for r in runs) / len(runs):.4f}" for m in MEASURES))
    shown.add_row("pairs over none, points of 100", *(difference_cell(facts["over_none"][of][group][m]) for m in MEASURES))
    return shown
