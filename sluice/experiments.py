"""What experiments share: raw tables of a source and a table with all that it is made of. What is there is not made again."""

import shutil
import time
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from jobs.ingest import ingest as ingest_source
from jobs.plan import plan, run_plan
from jobs.run import UsageError
from jobs.storage import open_table
from schemas.contract import load
from sluice.screens import say
from sluice.work import watched

FIRST = date(2026, 1, 1)
Spark = Callable[[], Any]
Days = tuple[date, date]


def span(seconds: float) -> str:
    """About how long, for a person."""
    minutes = max(round(seconds / 60), 1)
    return f"{seconds / 3600:.1f} hours" if minutes > 90 else f"{minutes} minute{'s' if minutes > 1 else ''}"


def ingest(spark: Spark, lake: str, source: str, path: str | None, days: Days | None, options: Mapping[str, str]) -> None:
    """Fill the raw tables, unless they hold just this; all of it anew where a run was stopped halfway, the folder `truth` too."""
    requests, events = (open_table(lake, load(name)) for name in ("requests", "events"))  # events come last
    given = {"source": source} | {k: v for k, v in options.items() if k != "truth"}
    other = [r["day"] for table in (requests, events) for r in table.receipts() if r["options"] != given]
    if other or (days and events.days and not days[0] == events.days[0] <= events.days[-1] <= days[1]):
        raise UsageError(f"{lake} holds other logs than this run would make; choose another folder with --out")
    if events.days and events.days[-1] >= (days or requests.days)[-1]:
        return
    if "truth" in options:
        shutil.rmtree(options["truth"], ignore_errors=True)
    say(f"Logs of {source} into {lake} ...")
    began, outcomes = time.time(), list(watched(ingest_source(spark(), lake, source, path, days, options), None))
    say(f"  {sum(o.receipt['rows'] for o in outcomes):,} raw rows in {time.time() - began:.0f} s")


def build(spark: Spark, lake: str, table: str, days: Days) -> None:
    """The days of a table with all that they are made of, where they are not up to date."""
    steps = [s for s in plan(lake, table, *days, with_upstream=True) if s.reasons]
    if steps:
        say(f"Building {len(steps)} table-days for {table} {days[0]}..{days[1]} ...")
        began, done = time.time(), list(watched(run_plan(spark(), lake, steps), len(steps)))
        say(f"  {len(done)} table-days in {time.time() - began:.0f} s")
