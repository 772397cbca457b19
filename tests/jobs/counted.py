"""A small derived table that is run for real: one row for each credited event of a day, made by a build that a test may spoil."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from expectations.suite import Expectation, RowRule, Suite
from features.books import tally
from jobs import gate
from jobs import run as spine
from jobs.commit import publish
from jobs.run import Outcome, build_day
from jobs.storage import open_table, table_root
from schemas.contract import Account, Contract, Input, Total, load
from tests.frames import DAY
from tests.jobs.published import NOON, stage, staged
from tests.jobs.receipts_only import put

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ATTRIBUTIONS = load("attributions")
FATES = ("counted", "uncredited")
COUNTED = replace(
    load("query_item_stats"),
    inputs=(Input("attributions", (0, 1), (Account("events", FATES),)),),
    totals=(Total("clicks", "num_clicks_28d"), Total("rows_by_day", "1", by="day")),
    may_be_empty=False,
)
SUITE = Suite(
    row_rules=(RowRule("item_named", "item_id <> ''", note="the grain"), RowRule("pays_not_negative", "num_pays_28d >= 0")),
    expectations=(
        Expectation("expect_column_values_to_be_between", {"column": "num_clicks_28d", "max_value": 100}, note="our choice"),
        Expectation("expect_column_values_to_be_in_set", {"column": "query_norm", "value_set": ["lamp"]}, severity="warning"),
    ),
)
TOO_MANY = "expect_column_values_to_be_between(num_clicks_28d)"
Spoil = Callable[[DataFrame], DataFrame]


def build(inputs: Mapping[str, DataFrame], day: date) -> DataFrame:
    events = inputs["attributions"]
    fate = F.when(F.col("request_id").isNotNull(), "counted").otherwise("uncredited")
    counts = [F.lit(1).alias("num_clicks_28d"), F.lit(0).alias("num_pays_28d"), F.col("event_at").alias("last_event_at")]
    control = [F.when(fate == "counted", "kept").otherwise(fate).alias("_fate"), tally(fate, FATES).alias("_events")]
    return events.select(F.lit(day).alias("day"), "query_norm", "item_id", *counts, *control)


build.__module__ = "jobs.query_item_stats"


def spoiled(spoil: Spoil) -> Any:
    """The build with a fault in it that its code does not show."""

    def wrong(inputs: Mapping[str, DataFrame], day: date) -> DataFrame:
        return spoil(build(inputs, day))

    wrong.__module__ = build.__module__
    return wrong


def use_counted(monkeypatch: pytest.MonkeyPatch, contract: Contract = COUNTED, suite: Suite = SUITE) -> None:
    """Have the gate know this contract and suite under the table's name."""
    real = gate.load
    monkeypatch.setattr(gate, "load", lambda name: contract if name == contract.name else real(name))
    for module in (gate, spine):
        monkeypatch.setattr(module, "suite_of", lambda _: suite)


def put_events(lake: Path, *queries: str | None, content_hash: str = "one", day: date = DAY) -> None:
    """Publish a day of attributions: an event for each query, one without credit for None."""
    rows = [
        {
            **{"event_id": f"e{n}", "item_id": f"i{n}", "event_at": NOON, "available_at": NOON, "query_norm": query},
            **({"request_id": f"r{n}", "fate": "native"} if query else {"fate": "no_candidate"}),
        }
        for n, query in enumerate(queries)
    ]
    seen = open_table(lake, ATTRIBUTIONS).changes(day)
    run = f"events-{seen}"
    stage(lake, ATTRIBUTIONS, day, rows, run)
    files = staged(lake, ATTRIBUTIONS, day, run)
    receipt = {"table": "attributions", "day": day.isoformat(), "run_id": run, "rows": len(rows), "content_hash": content_hash}
    publish(table_root(lake, ATTRIBUTIONS), ATTRIBUTIONS, day, files, receipt | {"bytes": sum(f.size for f in files)}, seen)


def make_lake(lake: Path) -> Path:
    """Raw days without rows, and four events, of which three are credited."""
    for raw in ("requests", "events"):
        put(lake, load(raw), [DAY])
    put_events(lake, "lamp", "shoe", "hat", None)
    return lake


def run_day(spark: "SparkSession", lake: Path, make: Any = build, contract: Contract = COUNTED, **options: Any) -> Outcome:
    return build_day(spark, str(lake), contract, make, DAY, **options)
