"""Table-days that go the way of every run but for Spark: planned, pinned, judged, published; a rule gives their content.

`python -m tests.jobs.unbuilt LAKE NUMBER` backfills `query_item_stats` of three days in a process that dies at its NUMBER-th publish.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from datetime import date
from typing import Any

import pytest

from jobs import plan as planning
from jobs import run as spine
from jobs.commit import publish
from jobs.plan import plan, run_plan
from jobs.run import Outcome
from jobs.storage import Table, table_root
from schemas.contract import Contract
from tests.jobs.receipts_only import DAY, after, use_small_windows

Content = Callable[[str, date], str]


class Spark:
    """In place of a session: counts those made of it."""

    def __init__(self) -> None:
        self.sessions = 0

    def newSession(self) -> str:  # noqa: N802
        self.sessions += 1
        return f"session {self.sessions}"


def use_unbuilt(monkeypatch: pytest.MonkeyPatch, content: Content, watch: Callable[[Any, str, date], None] = lambda *_: None) -> None:
    """Have runs publish days of this content without a row; `watch` is called with session, table and day before each publish."""

    def publish_rows(spark: Any, lake: str, contract: Contract, _rows: None, day: date, _accounts: Any, draft: dict[str, Any]) -> Outcome:
        watch(spark, contract.name, day)
        known = {name: draft[name] for name in ("code", "contract", "suite", "options", "inputs", "label_as_of", "reasons")}
        receipt = known | {"table": contract.name, "day": day.isoformat(), "run_id": f"run-{day}", "rows": 2, "bytes": 1000}
        receipt |= {"content_hash": content(contract.name, day), "core_s": 2.0, "build_s": 1.0, "gate_s": 1.0}
        receipt = publish(table_root(lake, contract), contract, day, [], receipt, draft["seen"])
        return Outcome(contract.name, day, "published", tuple(draft["reasons"]), receipt)

    def job_build(table: str) -> Any:
        def build(_frames: Any, _day: date) -> None: ...

        build.__module__ = f"jobs.{table}"
        return build

    use_small_windows(monkeypatch)
    monkeypatch.setattr(spine, "publish_rows", publish_rows)
    monkeypatch.setattr(spine, "suited_to", lambda *_: nullcontext())
    monkeypatch.setattr(spine, "left_sides", lambda *_: [])
    monkeypatch.setattr(Table, "read", lambda *_: None)
    monkeypatch.setattr(planning, "job_build", job_build)


def backfill(lake: str, table: str = "query_item_stats", last: int = 2, parallel: int = 1) -> list[Outcome]:
    steps = plan(lake, table, DAY, after(last), with_upstream=True)
    return list(run_plan(Spark(), lake, steps, parallel=parallel))


def same(_table: str, day: date) -> str:
    return f"of {day}"


def main(lake: str, number: int) -> None:
    done: list[date] = []

    def die(_spark: Any, _table: str, day: date) -> None:
        done.append(day)
        if len(done) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    use_unbuilt(pytest.MonkeyPatch(), same, die)
    backfill(lake)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
