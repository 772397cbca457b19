"""A simulated shop: requests, events and items with planted truth, of any size, the same for the same options.

Stands in for logs that cannot be had: full candidate lists in three domains, with positions, propensities and cross-domain behaviour.
Lacks nothing of the contracts. Nothing is quarantined; an event that arrives twice on one day is `duplicate` the second time.

What is planted (rates: `jobs.sources._shop.Shop`; kernels beside it):
- Users have a taste, a budget, favourite leaf categories; items a hidden quality and taste, a title made of facets. Queries are made of
  the same words, Zipf from head to tail; of the rarer half a quarter demands all its words and finds few items.
- A search recalls 50 items by words, ranks 40 by estimated utility and shows 7 to 13. One place goes to a ranked item past the cut, drawn
  evenly, so `propensity` is known: 1 for the others shown, 1 / (number past the cut) for the rest of the ranked, 0 for the unranked.
- p_click = bias(domain, position) * preference. A list brings a fixed number of clicks on average, shared by bias * exp(utility). The
  domains differ in bias, in what counts (words, taste, quality) and in how much the price does; the reasons stand at `Shop.domains`.
- Users come back in rec and shop to an item of an earlier search, shown or nearly shown; else feeds leave out what was just searched.
- Some of what real logs suffer: 1 % of events late by one to three days, redeliveries, double clicks, lost request ids, bots, a hot user
  (the first), a hot item (the first), items off shelf still listed, an item twice in one list. Prices change at midnight, but a day's
  snapshot can be read from 01:00-02:00 on only.
- With `hard_share` above 0 that share of searches is asked in other words than the catalogue's, 40 queries a leaf category, Zipf within
  it: questions ("how can i do homework in timber"), synonyms ("crimson timber workstation", type knowledge), alternatives ("wood desk
  like vesodi"), negations ("desk without steel"). The first two find up to 6 items of another category; for the others the engine lists
  first what they exclude. They bring a tenth of the clicks, and nobody comes back for their items. `reformulate_share` of people's hard
  searches are put plainly within 5 minutes of the same visit; a true product that is then shown is clicked. True is what the query says:
  items of the leaf with all the words meant and without what is excluded; for a plain query those with all its words (truth: queries/).
- What arrives after the last day is not in the log. Nothing happened before the first.

Rates, from UniScale's table of multipliers with R searches, S = 10 R exposures, C = 0.05 S = 0.5 R native clicks:

| stage | requests | samples | click positives | planted, per search request |
| --- | --- | --- | --- | --- |
| exposed only | R | S | C | 10 exposures, 0.5 clicks |
| unexposed | R | 3 S | C | 40 ranked: at least 27 left of which 2 per exposure are drawn |
| attribution | R | 3 S | 2 C | 0.5 = clicks on exposed 0.30 and unexposed 0.175 * 4/5, pays on them 0.02 and 0.015 * 4/5, chance 0.03 |
| searchification | 2 R | 5 S | 4 C | 1.0 clicks outside search that nothing credits, each with 19 negatives of its leaf category |

4/5: of the unexposed 2/3 are drawn, and some of the others were shown by another request. Chance: native clicks that lost their
request (0.01), and unrelated events that meet a list. Uncredited: 0.175 / 5 on unexposed without a sample + 0.05 after more than a day
+ 1.0 for each list of rec or shop, on items not sought; those lists are 0.30 + 0.175 + 0.05 + 0.05 of users who come back and 0.43 of
others; together 1.09, of which lost request ids (2 %), late arrivals (1 %), bots (who never come back) and chance take 6 to 8 %.
Measured by a query apart from the jobs (1,000 users, days 4-8 of 10, 2026-11-21): requests 2.03, samples 2.98 then 5.05, click positives
2.02 then 4.17 times the exposed-only ones; CTR 0.049, positive rate of pseudo-requests 0.051. Four of five credits beyond the native ones
go to the very request that was the cause: people search the same things several times a day. The first day lacks what came before, the
last six what comes after.
Source: UniScale (arXiv 2603.24226), ES3; the mechanisms are our choice.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import date
from typing import TYPE_CHECKING

from jobs.sources import RawTable, SourceError
from jobs.sources._shop import Plan
from schemas.contract import load, parse_days
from schemas.derive import spark_schema

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

OPTIONS = {
    "seed": "whole number; another seed is another shop (7)",
    "users": "number of users; rows grow with it (200)",
    "items": "number of items, at least 400; a leaf category holds about 250 (5000)",
    "span": "first and last day of the whole simulation, such as 2026-01-01..2026-03-31, when it is ingested in parts (--days)",
    "searches_per_user_day": "mean search requests of a user and day; all other behaviour is in proportion (3)",
    "hard_share": "share of searches whose words the catalogue does not use: synonyms, uses, questions, negations, alternatives (0)",
    "reformulate_share": "share of hard searches that people put plainly right after, and then click what they meant (0.4)",
    "truth": "absent or empty local or mounted folder for the planted truth: events/, candidates/, queries/; no job reads it (not written)",
    "scratch": "absent or empty folder, seen by all Spark workers, for the generated rows; keep it until they are read (a temporary one)",
    "partitions": "Spark tasks that generate; rows do not depend on it (four per core)",
}
TABLES = ("items", "requests", "events")
_COUNTS = ("seed", "users", "items", "partitions")
_TYPES: dict[str, Callable[[str], object]] = dict.fromkeys(_COUNTS, int) | dict.fromkeys(
    ("searches_per_user_day", "hard_share", "reformulate_share"), float
)
_LEAST = {"seed": 0, "users": 1, "items": 400, "searches_per_user_day": 0.001, "partitions": 1, "hard_share": 0, "reformulate_share": 0}
_MOST = {"hard_share": 1, "reformulate_share": 1}


def read(spark: "SparkSession", path: str | None, days: tuple[date, date] | None, **options: str) -> dict[str, RawTable]:
    """items, requests and events of the days (both ends included), generated once into the scratch folder by one Spark job.

    Columns: those of the contracts, then _fate, _rule, _reason, _raw, _line (null: there are no source lines), _num_lines.
    `lines` is what the workers say they wrote, not what the frames read.
    Raises: SourceError for a path, missing days, unknown or unusable options, folders that are not empty.
    """
    plan, partitions = _plan(path, days, options)
    folders = _folders(options)
    written = _generate(spark, plan, days, folders, partitions)
    return {table: RawTable(_frame(spark, table, f"{folders['scratch']}/{table}"), written[table]) for table in TABLES}


def _plan(path: str | None, days: tuple[date, date] | None, options: dict[str, str]) -> tuple[Plan, int | None]:
    problems = [f"path {path!r} is given, but the simulator reads nothing; leave it out"] if path is not None else []
    problems += [f"option {name!r} is unknown; there are {', '.join(OPTIONS)}" for name in sorted(set(options) - set(OPTIONS))]
    if days is None or days[0] > days[1]:
        given = f"--days is {days[0]}..{days[1]}" if days else "--days is needed"
        problems.append(f"{given}; give the first and the last day to simulate, as 2026-01-01..2026-01-10")
    elif "span" in options:
        problems += _span_faults(options["span"], days)
    values = {}
    for name, kind in _TYPES.items():
        if name in options:
            try:
                values[name] = kind(options[name])
            except ValueError:
                values[name] = -1
            if not _LEAST[name] <= values[name] <= _MOST.get(name, 10**9):
                limits = f"from 0 to {_MOST[name]}" if name in _MOST else f"of at least {_LEAST[name]}"
                problems.append(f"option {name} is {options[name]!r}, must be a number {limits}: {OPTIONS[name]}")
    if "reformulate_share" in values and not values.get("hard_share"):
        problems.append("option reformulate_share has no effect without hard_share above 0")
    if problems:
        raise SourceError("simulator: " + "; ".join(problems))
    partitions = values.pop("partitions", None)
    first, last = parse_days(options["span"]) if "span" in options else days
    return Plan(first=first, num_days=(last - first).days + 1, **values), partitions


def _span_faults(span: str, days: tuple[date, date]) -> list[str]:
    try:
        first, last = parse_days(span)
    except ValueError as error:
        return [f"option span: {error}"]
    return [] if first <= days[0] and days[1] <= last else [f"the days {days[0]}..{days[1]} are not all within option span, {span}"]


def _folders(options: dict[str, str]) -> dict[str, str]:
    """Absolute folders by role, empty; a temporary scratch folder goes when the process ends."""
    folders = {role: os.path.abspath(options[role]) for role in ("scratch", "truth") if role in options}
    problems = [f"{role} {options[role]} is no local or mounted folder; name one" for role in folders if "://" in options[role]]
    problems += [
        f"{role} {folder} is not empty; name another or empty it"
        for role, folder in folders.items()
        if os.path.exists(folder) and (not os.path.isdir(folder) or os.listdir(folder))
    ]
    if problems:
        raise SourceError("simulator: " + "; ".join(problems))
    if "scratch" not in folders:
        folders["scratch"] = tempfile.mkdtemp(prefix="sluice-shop-")
        atexit.register(shutil.rmtree, folders["scratch"], ignore_errors=True)
    return folders


def _generate(
    spark: "SparkSession", plan: Plan, days: tuple[date, date], folders: dict[str, str], partitions: int | None
) -> dict[str, int]:
    """Rows written by table. Work is numbered: chunks of users, then days of items; workers write parquet and return counts only."""
    from pyspark.sql import functions as F

    work = plan.num_chunks + (days[1] - days[0]).days + 1
    targets = {table: f"{folders['scratch']}/{table}" for table in TABLES}
    targets |= {f"truth_{table}": f"{folders['truth']}/{table}" for table in ("events", "candidates", "queries") if "truth" in folders}
    for folder in targets.values():
        os.makedirs(folder, exist_ok=True)
    numbers = spark.range(0, work, 1, min(work, partitions or 4 * spark.sparkContext.defaultParallelism))
    # parquet from the worker: rows that went through the JVM to be written took several times as long; no built-in makes such rows
    counts = numbers.mapInArrow(lambda batches: _write(plan, days, targets, batches), "name string, num_rows bigint")
    totals = counts.groupBy("name").agg(F.sum("num_rows").alias("num_rows")).collect()
    return dict.fromkeys(targets, 0) | {row["name"]: row["num_rows"] for row in totals}


def _write(plan: Plan, days: tuple[date, date], targets: dict[str, str], batches: Iterable["pa.RecordBatch"]) -> Iterator["pa.RecordBatch"]:
    """Counts of rows written for the numbers in `batches`, one file per task and table, a row group per number."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyspark import TaskContext

    counts = dict.fromkeys(targets, 0)
    name = f"part-{TaskContext.get().partitionId():05d}.parquet"  # a task that is tried again writes the same rows over its file
    with ExitStack() as stack:
        writers: dict[str, pq.ParquetWriter] = {}
        for batch in batches:
            for number in batch.column(0).to_pylist():
                for table, rows in _tables(plan, days, number, targets).items():
                    if table in targets:
                        if table not in writers:
                            writers[table] = stack.enter_context(
                                pq.ParquetWriter(f"{targets[table]}/{name}", rows.schema, compression="zstd")
                            )
                        writers[table].write_table(rows)
                        counts[table] += rows.num_rows
    yield pa.RecordBatch.from_pydict({"name": list(counts), "num_rows": pa.array(counts.values(), pa.int64())})


def _tables(plan: Plan, days: tuple[date, date], number: int, targets: Mapping[str, str]) -> dict[str, "pa.Table"]:
    """Rows of the days, of one chunk of users or, for the numbers after those, of one day of items; the truth of all days."""
    import pyarrow.compute as pc

    from jobs.sources._shop.behaviour import simulate
    from jobs.sources._shop.tables import chunk_tables, item_table, query_truth

    if number >= plan.num_chunks:
        truth = {"truth_queries": query_truth(plan)} if number == plan.num_chunks and "truth_queries" in targets else {}  # once in all
        return truth | {"items": item_table(plan, (days[0] - plan.first).days + number - plan.num_chunks)}
    tables = chunk_tables(plan, number, simulate(plan, number))
    is_asked = (pc.field("day") >= days[0]) & (pc.field("day") <= days[1])
    return tables | {name: tables[name].filter(is_asked) for name in ("requests", "events")}


def _frame(spark: "SparkSession", table: str, folder: str) -> "DataFrame":
    from pyspark.sql import functions as F
    from pyspark.sql.types import StringType, StructField

    contract = load(table)
    rows = spark.read.schema(spark_schema(contract).add(StructField("_fate", StringType()))).parquet(folder)
    nulls = [F.lit(None).cast("string").alias(name) for name in ("_rule", "_reason", "_raw", "_line")]
    return rows.select(*(column.name for column in contract.columns), "_fate", *nulls, F.lit(1).alias("_num_lines"))
