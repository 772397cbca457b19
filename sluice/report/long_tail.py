"""What came of rare queries: searched, in the pool, reworded, paired; by decile and type, with examples. From receipts and rows."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from jobs.inputs import Tables
from jobs.messages import UsageError
from jobs.storage import filesystem
from schemas.derive import arrow_schema
from sluice.report import flow, pictures
from sluice.report.contents import HIDDEN

STATS, REWRITES, PAIRS = TABLES = ("query_stats", "query_rewrites", "synthetic_pairs")
POOL = ("rewritten", "all_dropped", "no_rewrite")
"""Fates of queries that are in the pool; the others are why a query is not."""
REPLIES = ("answered", "refused", "malformed", "over_budget")
"""Fates in query_rewrites of what a language model said, and not of a rewrite."""
OF_REWRITES = ("nothing_found", "evaluation")
"""Fates in synthetic_pairs of a rewrite, and not of a candidate."""
GOOD = 0.665
"""Least relevance of a judged pair that counts as right: a mean grade of 2.33 between 1 and 3."""
OF_QUERIES, OF_PAIRS = {"decile": "decile", "type": "hardness"}, ("rewriter", "channel")
NAMES = {"decile": tuple(range(1, 11)), "type": ("question", "alternative", "negation", "knowledge", "plain")}
EXAMPLES, SEED = 3, 17
PERSONAL = ("query_norm", "rewrite")


def long_tail(tables: Tables, span: Sequence[date], personal: bool = False, truth: Path | None = None) -> dict[str, Any] | None:
    """The newest day of the span on which all three tables are published, and the counts of every such day; None where there is none.

    `truth` is the folder of the simulator's planted truth: of a query that it names all pairs are judged, and those it lacks are wrong.
    Without it a pair is judged if the lake's `judgements` hold it.
    """
    days = [d for d in span if all(tables[name].publishes(d) for name in TABLES)]
    if not days:
        return None
    rows = _rows(tables, PAIRS, days[-1:])
    pairs = rows.select(["query_norm", "item_id", "hardness", *OF_PAIRS]).to_pandas()
    pairs = pairs.join(_verdicts(pairs, tables, truth))
    counts = [_counts(tables, d) for d in days]
    found = counts[-1] | {"days": counts, "judged_by": "planted truth" if truth else "judgements", "all": _told(pairs)}
    by_query = _by_query(tables, days[-1], pairs)
    for name, column in OF_QUERIES.items():
        of_group = {group: by_query[by_query[column] == group] for group in NAMES[name]}
        found[name] = [{name: group} | _yield(queries) for group, queries in of_group.items() if len(queries)]
    for name in OF_PAIRS:
        found[name] = [{name: group} | _told(of_group) for group, of_group in pairs.groupby(name)]
    return found | {"examples": _examples(rows, pairs, tables, days[-1], personal)}


def _by_query(tables: Tables, day: date, pairs: pd.DataFrame) -> pd.DataFrame:
    """Each query that was searched with how many rewrites and pairs it has; null where none."""
    stats = _rows(tables, STATS, [day], ["query_norm", *OF_QUERIES.values()]).to_pandas()
    made = pairs.groupby("query_norm").agg(pairs=("item_id", "size"), judged=("judged", "sum"), good=("good", "sum"))
    counts = {name: made[name].to_dict() for name in made.columns}
    counts["rewrites"] = _rows(tables, REWRITES, [day], ["query_norm"]).to_pandas()["query_norm"].value_counts().to_dict()
    return stats.assign(**{name: stats["query_norm"].map(of_query.get).astype("float") for name, of_query in counts.items()})


def check_truth(folder: str) -> Path:
    """The folder of planted truth. Raises UsageError for one that holds none of queries."""
    if not (Path(folder) / "queries").is_dir():
        raise UsageError(f"--truth is {folder}: it has no queries/; give the folder that sluice ingest simulator --truth wrote")
    return Path(folder)


def _counts(tables: Tables, day: date) -> dict[str, Any]:
    """What the receipts of the day say: how many queries, rewrites and candidates there were, and the fates that they met."""
    rewrites, pairs = (tables[name].receipt(day) for name in (REWRITES, PAIRS))
    queries = next(a["fates"] for a in rewrites["accounts"] if a["account"] == "queries")
    searched = next(a["fates"] for a in pairs["accounts"] if a["account"] == "rewrites")
    pool = {fate: queries[fate] for fate in POOL}
    made = {fate: n - queries.get(fate, 0) for fate, n in rewrites.get("excluded", {}).items() if fate not in REPLIES}
    found = {fate: n for fate, n in pairs.get("excluded", {}).items() if fate not in OF_REWRITES}
    fates = {"queries": {"in_pool": sum(pool.values())} | {fate: n for fate, n in queries.items() if fate not in POOL}, "pool": pool}
    fates |= {"rewrites": _kept(rewrites, made), "searched": searched, "candidates": _kept(pairs, found)}
    told: dict[str, Any] = {name: {"in": sum(of.values()), "fates": of} for name, of in fates.items()}
    return {"day": day.isoformat()} | told | {"replies": rewrites.get("figures", {}).get("replies", {})}


def _kept(receipt: Mapping[str, Any], dropped: Mapping[str, int]) -> dict[str, int]:
    """Rows kept first, then why others were not, most first."""
    why = {fate: n for fate, n in sorted(dropped.items(), key=lambda f: (-f[1], f[0])) if n}
    return {"kept": receipt["rows"]} | why | {"quarantined": sum(receipt["quarantined"].values())}


def _rows(tables: Tables, name: str, days: Sequence[date], columns: Sequence[str] | None = None, where: Any = None) -> pa.Table:
    table = tables[name]
    fs, _ = filesystem(table.root)
    schema, files = arrow_schema(table.contract), [filesystem(f)[1] for f in table.files(days)]
    wanted = [c for c in columns or schema.names if c != "day"]  # that is in the path
    if not files:
        return schema.empty_table().select(wanted)
    return ds.dataset(files, filesystem=fs, format="parquet", schema=schema).to_table(columns=wanted, filter=where)


def _verdicts(pairs: pd.DataFrame, tables: Tables, truth: Path | None) -> pd.DataFrame:
    """judged and good of each pair, by its place."""
    keys = ["query_norm", "item_id"]
    if truth:
        right = ds.dataset(truth / "queries", format="parquet").to_table(keys).to_pandas()
        good = pd.MultiIndex.from_frame(pairs[keys]).isin(pd.MultiIndex.from_frame(right))
        return pd.DataFrame({"judged": pairs["query_norm"].isin(right["query_norm"]), "good": good}, index=pairs.index)
    grades = _rows(tables, "judgements", tables["judgements"].days, [*keys, "relevance"]).to_pandas()
    means = grades.groupby(keys)["relevance"].mean().to_dict()
    relevance = pd.Series([means.get(key) for key in zip(pairs["query_norm"], pairs["item_id"], strict=True)], pairs.index, "float")
    return pd.DataFrame({"judged": relevance.notna(), "good": relevance >= GOOD}, index=pairs.index)


def _told(pairs: pd.DataFrame) -> dict[str, Any]:
    judged, good = int(pairs["judged"].sum()), int(pairs["good"].sum())
    return {
        "with_pairs": int(pairs["query_norm"].nunique()),
        "pairs": len(pairs),
        "judged": judged,
        "precision": good / judged if judged else None,
    }


def _yield(queries: pd.DataFrame) -> dict[str, Any]:
    """How many of these queries have rewrites and pairs, and what is known of the pairs."""
    counted = {"queries": len(queries), "rewritten": int(queries["rewrites"].count()), "with_pairs": int(queries["pairs"].count())}
    pairs, judged, good = (int(queries[name].sum()) for name in ("pairs", "judged", "good"))
    return counted | {"pairs": pairs, "judged": judged, "precision": good / judged if judged else None}


def _examples(rows: pa.Table, pairs: pd.DataFrame, tables: Tables, day: date, personal: bool) -> list[dict[str, Any]]:
    """A few pairs of each type, drawn and not picked, with the title of the item; what users typed is hidden unless `personal`."""
    of_type = [pairs[pairs["hardness"] == name] for name in NAMES["type"]]
    drawn = [n for some in of_type for n in some.sample(min(len(some), EXAMPLES), random_state=SEED).index]
    shown = rows.take(pa.array(drawn, pa.int64())).to_pylist()
    items = _rows(
        tables, "items", [day], ["item_id", "title"], ds.field("item_id").isin(pa.array([row["item_id"] for row in shown], pa.string()))
    ).to_pylist()
    titles = {item["item_id"]: item["title"] for item in items}
    verdicts = [bool(pairs["good"][n]) if pairs["judged"][n] else None for n in drawn]
    hidden = {} if personal else dict.fromkeys(PERSONAL, HIDDEN)
    return [row | hidden | {"title": titles.get(row["item_id"]), "good": good} for row, good in zip(shown, verdicts, strict=True)]


def view(found: Mapping[str, Any]) -> dict[str, Any]:
    """Pictures of the page: the way as a flow, and the counts over the days."""
    accounts = {
        "pool": [("queries", STATS, "in_pool")],
        REWRITES: [("pool", "pool", "rewritten"), ("rewrites", "pool", "kept")],
        PAIRS: [("searched", REWRITES, "retrieved"), ("candidates", REWRITES, "kept")],
    }
    boxes = []
    for name, given in accounts.items():
        inputs = [{"table": of, "accounts": [account]} for account, of, _ in given]
        books = [{"account": account, "input": of, "on": on} | found[account] for account, of, on in given]
        boxes.append({"table": name, "contract": {"inputs": inputs}, "days": [{"day": found["day"], "receipt": {"accounts": books}}]})
    drawn = flow.books(boxes, found["day"], lambda name: f"{REWRITES if name == 'pool' else name}/index.html")
    ends = {"queries": "in_pool", "pool": "rewritten", "rewrites": "kept", "candidates": "kept"}
    names = ("queries in the pool", "queries with a rewrite", "rewrites kept", "pairs kept")
    over = []
    for name, (account, fate) in zip(names, ends.items(), strict=True):
        points = [(day["day"], day[account]["fates"][fate]) for day in found["days"]]
        over.append((name, pictures.spark(points, name), points[-1][1]))
    return {"flow": drawn, "over": over, "meter": pictures.meter}
