"""From a source to a published table, with a source of events made here: each line is accounted for, on its own day."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from deltalake import DeltaTable
from pyspark.sql import functions as F

from jobs import ingest as spine
from jobs.gate import GateError
from jobs.ingest import ingest, source_names
from jobs.messages import UsageError
from jobs.run import Outcome
from jobs.sources import RawTable
from jobs.storage import open_table, table_root
from schemas.contract import quarantine_of
from schemas.derive import spark_schema
from schemas.events import CONTRACT as EVENTS
from schemas.requests import CONTRACT as REQUESTS
from tests.frames import DAY, frame

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

EMPTY, LAST = DAY + timedelta(days=1), DAY + timedelta(days=2)
RANGE = (DAY, LAST)
NAME = "files"  # a source that is there: the receipt holds the fingerprint of its code
CONTROL = ", _fate string, _rule string, _reason string, _raw string, _line string, _num_lines int"

KEPT = [{"event_id": "e1"}, {"event_id": "e2"}]
TWICE = {"event_id": "e1", "_fate": "duplicate", "_num_lines": 3}
UNREADABLE = {
    "event_id": "torn",
    "_fate": "quarantined",
    "_rule": "unreadable_time",
    "_reason": "time is '25:00'",
    "_raw": "torn;25:00;ü",
    "_line": "log.csv:7",
}
BREAKS_A_RULE = {"event_id": "e3", "dwell_s": -1.0, "_line": "log.csv:8"}
ON_LAST = [{"event_id": "e4", "day": LAST}, {"event_id": "e4", "day": LAST, "_fate": "other_day"}]
ROWS = [*KEPT, TWICE, UNREADABLE, BREAKS_A_RULE, *ON_LAST]
LINES = 9  # seven rows, one of which stands for three lines


def raw(spark: "SparkSession", rows: Sequence[Mapping[str, Any]], lines: int) -> RawTable:
    plain = [{k: v for k, v in row.items() if not k.startswith("_")} for row in rows]
    filled = frame(spark, EVENTS, plain).collect()
    names = [n.split()[0] for n in CONTROL.split(", ")[1:]]
    control = [tuple({"_fate": "kept", "_num_lines": 1, **row}.get(n) for n in names) for row in rows]
    schema = ", ".join(f"{f.name} {f.dataType.simpleString()}" for f in spark_schema(EVENTS).fields) + CONTROL
    return RawTable(spark.createDataFrame([(*row, *more) for row, more in zip(filled, control, strict=True)], schema), lines)


def source_of(patch: pytest.MonkeyPatch, events: RawTable) -> None:
    module = ModuleType("made_here")
    module.OPTIONS = {"truth": "where the truth goes", "shop": "which shop"}
    module.read = lambda spark, path, days, **options: {"events": events}
    patch.setattr(spine, "source", lambda name: module)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ingest") / "lake"


@pytest.fixture(scope="module")
def published(spark: "SparkSession", lake: Path) -> list[Outcome]:
    with pytest.MonkeyPatch.context() as patch:
        source_of(patch, raw(spark, ROWS, LINES))
        return list(ingest(spark, str(lake), NAME, None, RANGE, {"shop": "7", "truth": "/elsewhere"}))


def fates(outcome: Outcome) -> dict[str, int]:
    return {fate: n for fate, n in outcome.receipt["accounts"][0]["fates"].items() if n}


def test_every_day_of_the_range_is_published_the_empty_one_too(published: list[Outcome], lake: Path) -> None:
    assert [(o.table, o.day, o.status, o.reasons) for o in published] == [
        ("events", day, "published", ("ingested",)) for day in (DAY, EMPTY, LAST)
    ]
    assert [o.receipt["rows"] for o in published] == [2, 0, 1]
    assert open_table(lake, EVENTS).days == [DAY, EMPTY, LAST]


def test_every_line_is_in_the_books_of_its_day(published: list[Outcome]) -> None:
    assert [o.receipt["accounts"][0]["in"] for o in published] == [7, 0, 2]
    assert [fates(o) for o in published] == [{"kept": 2, "duplicate": 3, "quarantined": 2}, {}, {"kept": 1, "other_day": 1}]
    assert {(o.receipt["accounts"][0]["input"], o.receipt["accounts"][0]["difference"]) for o in published} == {(NAME, 0)}


def test_the_receipt_names_source_and_options_but_not_where_the_truth_went(published: list[Outcome]) -> None:
    assert published[0].receipt["options"] == {"source": NAME, "shop": "7"}


def test_what_was_quarantined_is_found_by_its_run_with_line_and_reason(published: list[Outcome], lake: Path) -> None:
    first = published[0].receipt
    assert first["quarantined"] == {"dwell_not_negative": 1, "unreadable_time": 1}
    assert [(o.receipt["quarantined"], o.receipt["quarantine_version"]) for o in published[1:]] == [({}, None)] * 2
    table = DeltaTable(table_root(lake, quarantine_of(EVENTS)), version=first["quarantine_version"])
    rows = {r["rule"]: r for r in table.to_pyarrow_table().to_pylist()}
    assert {(r["run_id"], r["day"], r["element"]) for r in rows.values()} == {(first["run_id"], DAY, None)}
    torn, negative = rows["unreadable_time"], rows["dwell_not_negative"]
    assert (torn["row"], torn["reason"], torn["key"]) == ("torn;25:00;ü", "time is '25:00'; line log.csv:7", '{"event_id":"torn"}')
    assert '"dwell_s":-1.0' in negative["row"] and negative["reason"].endswith("; line log.csv:8")


def test_only_kept_rows_are_read_and_no_scratch_is_left(published: list[Outcome], lake: Path) -> None:
    table = DeltaTable(table_root(lake, EVENTS)).to_pyarrow_table(columns=["day", "event_id"]).to_pylist()
    assert sorted((r["day"], r["event_id"]) for r in table) == [(DAY, "e1"), (DAY, "e2"), (LAST, "e4")]
    assert list((lake / "_scratch").iterdir()) == []


def test_ingested_again_the_day_is_replaced_by_the_same_rows(
    spark: "SparkSession", published: list[Outcome], lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source_of(monkeypatch, raw(spark, [*reversed(KEPT), UNREADABLE], 3))
    [again] = ingest(spark, str(lake), NAME, None, (DAY, DAY), {})
    before = published[0].receipt
    assert again.receipt["content_hash"] == before["content_hash"] != published[2].receipt["content_hash"]
    assert (before["publish"], again.receipt["publish"]) == (1, 2)
    assert again.receipt["run_id"] != before["run_id"]
    rows = DeltaTable(table_root(lake, EVENTS)).to_pyarrow_table(columns=["event_id"], partitions=[("day", "=", str(DAY))])
    assert sorted(rows["event_id"].to_pylist()) == ["e1", "e2"]


@pytest.mark.parametrize(
    ("rows", "lines", "days", "message"),
    [
        ([*KEPT, TWICE], 6, RANGE, r"events: the source read 6 lines, its rows stand for 5; .*By fate: \{'duplicate': 3, 'kept': 2\}"),
        ([], 1, RANGE, "the source read 1 lines, its rows stand for 0"),
        ([*KEPT, *ON_LAST], 4, (DAY, EMPTY), rf"rows on {LAST}, outside the days asked for; nothing is published"),
    ],
    ids=["lost", "all_lost", "outside"],
)
def test_lines_that_would_be_lost_stop_the_ingest_before_anything_is_published(
    spark: "SparkSession", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: Any, lines: int, days: Any, message: str
) -> None:
    source_of(monkeypatch, raw(spark, rows, lines))
    with pytest.raises(GateError, match=message):
        list(ingest(spark, str(tmp_path), NAME, None, days, {}))
    assert open_table(tmp_path, EVENTS).days == []
    assert [p.name for p in tmp_path.iterdir()] == ["_scratch"] and not list((tmp_path / "_scratch").iterdir())


def test_an_unknown_option_is_named_with_those_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source_of(monkeypatch, RawTable(None, 0))
    with pytest.raises(UsageError, match=r"has no option colour, size; it has truth, shop\. What they mean: .* --help-source"):
        next(ingest(None, str(tmp_path / "lake"), NAME, None, RANGE, {"size": "1", "shop": "7", "colour": "red"}))
    assert not (tmp_path / "lake").exists()


def test_an_unknown_source_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    assert {"files", "simulator"} <= set(source_names()) and not any(name.startswith("_") for name in source_names())
    with pytest.raises(UsageError, match=f"no source 'filse'; there are {', '.join(source_names())}"):
        next(ingest(None, str(tmp_path), "filse", None, None, {}))


def test_days_without_a_range_reach_from_the_first_to_the_last_found() -> None:
    assert spine._days({(LAST, "kept"): 1, (DAY, "duplicate"): 2}, None, set()) == [DAY, EMPTY, LAST]
    assert spine._days({(EMPTY, "kept"): 1}, RANGE, set()) == [DAY, EMPTY, LAST]
    assert spine._days({}, RANGE, set()) == [DAY, EMPTY, LAST]
    assert spine._days({}, None, set()) == []


def test_events_have_every_day_that_requests_have(spark: "SparkSession", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = frame(spark, REQUESTS, [{"request_id": f"r{n}", "day": day} for n, day in enumerate((DAY, EMPTY, LAST))])
    control = {"_fate": F.lit("kept"), "_num_lines": F.lit(1)} | {
        name: F.lit(None).cast("string") for name in ("_rule", "_reason", "_raw", "_line")
    }
    module = ModuleType("made_here")
    module.OPTIONS = {}
    module.read = lambda *_, **__: {"requests": RawTable(requests.withColumns(control), 3), "events": raw(spark, KEPT, 2)}
    monkeypatch.setattr(spine, "source", lambda name: module)
    outcomes = [(o.table, o.day, o.receipt["rows"]) for o in ingest(spark, str(tmp_path), NAME, None, None, {})]
    assert outcomes == [("requests", d, 1) for d in (DAY, EMPTY, LAST)] + [("events", d, n) for d, n in ((DAY, 2), (EMPTY, 0), (LAST, 0))]
