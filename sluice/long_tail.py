"""`sluice reproduce synthetic_pairs`: are the pairs right, do they lift a retriever on rare queries, what does each step add.

On a simulated shop with hard queries, whose true products are planted; the gates, the tables and the trainer are the usual ones.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from jobs.run import build_day
from jobs.storage import lake_address, open_table
from schemas.contract import load
from sluice import open_table as opened
from sluice.experiments import FIRST, Spark, build, ingest, span
from sluice.long_tail_screens import NAMES, difference_cell, screen
from sluice.screens import print_json, say
from training import questions as asking
from training.hhsft.reproduce import T_975, difference
from training.manifest import Manifest, create
from training.retriever import SIZES, TABLE, Examples, read

RAW = ("items", "requests", "events")
STEPS = ("query_rewrites", "synthetic_pairs", TABLE)
WHOLE = "as it is"
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "no rewrite filter": ("query_rewrites", {"min_relevance": 0.0, "max_overlap": 1.0, "banned": ()}),
    "no difference set": ("synthetic_pairs", {"known_share": 1.0}),
    "business scorer alone": ("synthetic_pairs", {"scorers": ("p_business",)}),
    "general scorer alone": ("synthetic_pairs", {"scorers": ("p_general",)}),
}
"""What each leaves out, as parameters of the table that it changes."""
HARD = ("question", "alternative", "negation", "knowledge")
GROUPS = ("tail", "head", "hard", *HARD)
MEASURES = ("hr@50", "good_rate@10", "good_lists@10")


@dataclass(frozen=True)
class Scale:
    """How much is simulated and trained."""

    users: int
    items: int
    num_days: int
    seeds: int
    shares: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.4)
    share: float = 0.2
    """At which the variants are trained, and that is compared with none."""
    hard_share: float = 0.2
    variants: tuple[str, ...] = tuple(VARIANTS)

    @property
    def day(self) -> date:
        return FIRST + timedelta(days=self.num_days - 1)


FULL = Scale(users=200, items=3000, num_days=21, seeds=3)
QUICK = Scale(users=100, items=1500, num_days=10, seeds=1, shares=(0.0, 0.2), variants=("no difference set", "business scorer alone"))


def synthetic_pairs(spark: Spark, out: str, scale: Scale, size: str, device: str, as_json: bool) -> None:
    """Simulate, build, train, print. Everything lies in `out` and is found there again, so that a run which was cut off goes on."""
    folder, day = Path(out), scale.day
    lake, truth = lake_address(str(folder / "lake")), folder / "truth"
    options = {"users": str(scale.users), "items": str(scale.items), "hard_share": str(scale.hard_share), "truth": str(truth)}
    ingest(spark, lake, "simulator", None, (FIRST, day), options)
    build(spark, lake, TABLE, (day, day))
    write_questions(spark, lake, truth, day, folder / "questions")
    questions = asking.read_questions(folder / "questions", good=1.0)
    shares = {f"share {share:.0%}": (WHOLE, share) for share in scale.shares}
    reports = train_all(shares, {WHOLE: pinned(lake, day)}, questions, folder / "runs", scale, size, device)
    lakes = {name: variant(spark, lake, folder / "variants" / name.replace(" ", "-"), day, name) for name in scale.variants}
    others = {name: (name, scale.share) for name in lakes}
    manifests = {name: pinned(each, day) for name, each in lakes.items()}
    reports |= train_all(others, manifests, questions, folder / "runs", scale, size, device)
    pairs = {name: quality(each, truth, day) for name, each in ({WHOLE: lake} | lakes).items()}
    facts = {"day": str(day), "seeds": scale.seeds, "pool": pool(lake, day), "pairs": pairs} | of_runs(reports, scale)
    facts |= {"claims": claims(facts)}
    print_json(facts) if as_json else screen(facts)


def variant(spark: Spark, lake: str, folder: Path, day: date, name: str) -> str:
    """A lake with the same tables up to the one that the variant changes, and that one and those after it built its way."""
    changed, changes = VARIANTS[name]
    again, target = STEPS[STEPS.index(changed) :], folder / "lake"
    for table in (t for t in os.listdir(lake) if not t.startswith("_") and t.removesuffix("_quarantine") not in again):
        shutil.rmtree(target / table, ignore_errors=True)  # of an earlier run, which may have been stopped
        shutil.copytree(Path(lake) / table, target / table, copy_function=os.link)  # published files never change
    began, built = time.time(), []
    for table in again:
        module = import_module(f"jobs.{table}")
        way = built_with(module, changes) if table == changed else module.build
        built.append(build_day(spark(), lake_address(str(target)), load(table), way, day).status)
    if "published" in built:
        say(f"  {name}: {len(built)} table-days in {time.time() - began:.0f} s")
    return lake_address(str(target))


def built_with(module: Any, changes: Mapping[str, Any]) -> Callable[..., Any]:
    """The job's build with other parameters."""

    def build(inputs: Mapping[str, Any], day: date) -> Any:
        return module.build(inputs, day, params=replace(module.PARAMS, **changes))

    build.__module__ = module.__name__  # whose code is fingerprinted
    return build


def write_questions(spark: Spark, lake: str, truth: Path, day: date, folder: Path) -> None:
    """Evaluation queries that were searched, by traffic and planted type, and all their planted products."""
    from pyspark.sql import functions as F

    from features.retriever import query_ids

    planted = spark().read.parquet(str(truth / "queries"))
    types = planted.groupBy("query_norm").agg(F.min("hardness").alias("planted"))
    stats = open_table(lake, load("query_stats")).read(spark(), [day]).where("is_evaluation").select("query_norm", "segment")
    is_hard = F.when(F.col("planted") != "plain", F.lit("hard"))
    groups = F.array_compact(F.array("segment", "planted", is_hard))
    asked = stats.join(types, on=["query_norm"], how="inner")
    asked = asked.select("query_norm", query_ids(F.col("query_norm")).alias("query_tokens"), groups.alias("groups"))
    answers = planted.join(asked.select("query_norm"), on=["query_norm"], how="left_semi")
    answers = answers.select("query_norm", F.xxhash64("item_id").alias("item_hash"), F.lit(1.0).alias("gain"))
    asked.coalesce(1).write.mode("overwrite").parquet(str(folder / asking.QUESTIONS))
    answers.coalesce(1).write.mode("overwrite").parquet(str(folder / asking.ANSWERS))


def pinned(lake: str, day: date) -> Manifest:
    return create(lake, f"{TABLE}-{day}", TABLE, (day, day))


def pool(lake: str, day: date) -> dict[str, int]:
    """What became of the queries of the pool, by the books of query_rewrites, and how many have pairs."""
    receipt = opened("query_rewrites", lake, (day, day)).receipts[0]
    fates = next(a["fates"] for a in receipt["accounts"] if a["account"] == "queries")
    told = {fate: fates[fate] for fate in ("rewritten", "all_dropped", "no_rewrite")}
    with_pairs = opened("synthetic_pairs", lake, (day, day)).dataset.to_table(["query_norm"])["query_norm"].unique()
    return told | {"queries": sum(told.values()), "with_pairs": len(with_pairs)}


def quality(lake: str, truth: Path, day: date) -> dict[str, Any]:
    """Pairs, queries and the share of pairs that the planted truth holds: in all, and by type, decile, rewriter, channel."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    columns = ["query_norm", "item_id", "rewriter", "channel", "is_new"]
    made = opened("synthetic_pairs", lake, (day, day)).dataset.to_table(columns)
    planted = ds.dataset(truth / "queries", format="parquet").to_table()
    types = planted.group_by("query_norm").aggregate([("hardness", "min")]).rename_columns(["query_norm", "type"])
    known = planted.select(["query_norm", "item_id"]).append_column("is_true", pa.repeat(True, len(planted)))
    stats = opened("query_stats", lake, (day, day)).dataset.to_table(["query_norm", "decile"])
    rows = made.join(known, ["query_norm", "item_id"]).join(types, "query_norm").join(stats, "query_norm")
    rows = rows.set_column(rows.column_names.index("is_true"), "is_true", pc.fill_null(rows["is_true"], False).cast("int64"))
    found: dict[str, Any] = {
        "pairs": len(rows),
        "queries": len(made["query_norm"].unique()),
        "precision": pc.mean(rows["is_true"]).as_py(),
    }
    for by in ("type", "decile", "rewriter", "channel", "is_new"):
        grouped = rows.group_by(by).aggregate([("is_true", "mean"), ("is_true", "count")]).sort_by(by).to_pylist()
        found[by] = {str(g[by]): {"precision": g["is_true_mean"], "pairs": g["is_true_count"]} for g in grouped}
    return found


def train_all(
    runs: Mapping[str, tuple[str, float]],
    manifests: Mapping[str, Manifest],
    questions: asking.Questions,
    out: Path,
    scale: Scale,
    size: str,
    device: str,
) -> dict[str, list[dict[str, Any]]]:
    """Reports by run, one for each seed; each run is (whose examples, share of synthetic pairs)."""
    examples: dict[str, Examples] = {name: read(manifest) for name, manifest in manifests.items()}
    seconds = scale.seeds * sum(asking.seconds_of(examples[of], replace(SIZES[size](), share=share)) for of, share in runs.values())
    total = len(runs) * scale.seeds
    say(
        f"{total} trainings ({len(runs)} x {scale.seeds} seeds): about {span(seconds)} in all. "
        f"What is done lies in {out}: stopped, the same command goes on"
    )
    reports: dict[str, list[dict[str, Any]]] = {name: [] for name in runs}
    for seed in range(scale.seeds):
        for name, (of, share) in runs.items():
            place, settings = out / name.replace(" ", "-") / f"seed-{seed}", replace(SIZES[size](), share=share)
            report = asking.run(manifests[of], examples[of], questions, settings, place, seed=seed, device=device)
            reports[name].append(report)
            found = report["model"]["all"]
            say(f"  {sum(map(len, reports.values()))}/{total} {name}, seed {seed}: HR@50 {found['hr@50']:.3f}, {report['fit_s']:.0f} s")
    return reports


def of_runs(reports: Mapping[str, list[dict[str, Any]]], scale: Scale) -> dict[str, Any]:
    """Values over seeds by run, group and measure; and for each run the paired difference to the one without pairs, in points of 100."""
    first = next(iter(reports.values()))[0]
    groups = [group for group in GROUPS if group in first["model"]]
    values = {
        name: {group: {m: [r["model"][group][m] for r in of_run] for m in MEASURES} for group in groups} for name, of_run in reports.items()
    }
    none = values[f"share {0:.0%}"]
    over = {
        name: {group: {m: _over(v[m], none[group][m]) for m in MEASURES} for group, v in of_run.items()} for name, of_run in values.items()
    }
    queries = {group: first["model"][group]["queries"] for group in groups}
    lexical = {group: {m: first["lexical"][group][m] for m in MEASURES} for group in groups}
    return {"share": scale.share, "queries": queries, "values": values, "lexical": lexical, "over_none": over}


def _over(ours: list[float | None], base: list[float | None]) -> dict[str, float | None] | None:
    if None in ours or None in base:
        return None
    found = difference(ours, base)
    half = found["half_width"]
    return found | {"standard_error": half / T_975[len(ours) - 2] if half is not None else None}


def claims(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """What should come out, what did, and yes, no or open: one seed says nothing of a gain, nor does an interval with 0 in it."""
    whole, pool, over = facts["pairs"][WHOLE], facts["pool"], facts["over_none"][f"share {facts['share']:.0%}"]
    precision, covered = whole["precision"] or 0.0, pool["with_pairs"] / max(pool["queries"], 1)
    told = [
        ("pairs are true, 90 % and more", f"{precision:.1%}", precision >= 0.9),
        ("queries of the pool have pairs, 50 % and more", f"{covered:.1%}", covered >= 0.5),
    ]
    for group, says, holds in (("tail", "gain", _is_gain), ("head", "lose at most one standard error", _is_kept)):
        for measure in ("hr@50", "good_rate@10"):
            found = over.get(group, {}).get(measure)
            if found:
                is_right = holds(**found) if found["half_width"] is not None else None
                told.append((f"{group} queries {says}: {NAMES[measure]}", difference_cell(found), is_right))
    words = {True: "yes", False: "no", None: "open"}
    return [{"claim": claim, "found": found, "came_out": words[is_right]} for claim, found, is_right in told]


def _is_gain(mean: float, half_width: float, **_: float) -> bool | None:
    return mean > 0 if abs(mean) > half_width else None


def _is_kept(mean: float, standard_error: float, **_: float) -> bool:
    return mean >= -standard_error
