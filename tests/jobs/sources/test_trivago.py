from dataclasses import replace
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from jobs.sources import SourceError, trivago
from jobs.sources._rows import CONTROL
from schemas.contract import load
from schemas.derive import spark_schema

NOON = 1541592000  # 2018-11-07 12:00 UTC
MIDNIGHT = 1541635200  # 2018-11-08 00:00 UTC
NAMES = tuple(trivago.COLUMNS)


def action(action_type, reference, *, at=NOON, step=1, session="s1", shown=None, prices=None, **others):
    line = {"user_id": "u1", "session_id": session, "timestamp": at, "step": step, "action_type": action_type, "reference": reference}
    line |= {"platform": "FR", "city": "Lyon, France", "device": "mobile", "current_filters": None, "impressions": shown}
    return line | {"prices": prices if prices or not shown else "|".join("10" for _ in shown.split("|"))} | others


def write(path, lines, names=NAMES):
    types = {name: pa.int64() if kind == "bigint" else pa.string() for name, kind in trivago.COLUMNS.items() if name in names}
    pq.write_table(pa.Table.from_pylist(lines, schema=pa.schema(types)), path)
    return str(path)


def accounts(raw):
    """(day, fate) -> lines, of each table; checks that they add up to what was counted apart."""
    found = {}
    for table, each in raw.items():
        rows = each.frame.groupBy("day", "_fate").agg(F.sum("_num_lines").alias("lines")).collect()
        found[table] = {(str(r["day"]), r["_fate"]): r["lines"] for r in rows if r["lines"]}
        assert sum(found[table].values()) == each.lines, table
    return found


@pytest.mark.slow
def test_real_sessions_give_the_counts_that_their_readme_tells(spark, shared_data):
    raw = trivago.read(spark, str(shared_data / "trivago_recsys2019_sample"), None)
    raw = {table: replace(each, frame=each.frame.cache()) for table, each in raw.items()}
    lines = accounts(raw)
    assert raw["requests"].lines == raw["events"].lines == 100_003
    assert raw["items"].lines == 312_539 + 13_597 + 68_538 + 1_829 + 1_445 + 1_159 + 1_044 - 4  # places, clickouts, details; 4 name no item
    assert lines["requests"] == {
        ("2018-11-07", "kept"): 6_844,  # two of the clickouts of the 8th click a list of the 7th
        ("2018-11-08", "kept"): 6_753,
        ("2018-11-07", "not_a_list"): 43_887,
        ("2018-11-08", "not_a_list"): 42_519,
    }
    assert lines["events"] == {
        ("2018-11-07", "kept"): 44_373,
        ("2018-11-08", "kept"): 43_235,
        ("2018-11-07", "no_item"): 4,
        ("2018-11-07", "not_an_event"): 6_352,
        ("2018-11-08", "not_an_event"): 6_039,
    }
    requests = raw["requests"].frame.where("_fate = 'kept'").select("request_id", "requested_at", "candidates", "_num_lines")
    clicks = raw["events"].frame.where("event_type = 'click'").select("request_id", "event_at", "item_id")
    shown = F.exists("candidates", lambda c: c["item_id"] == F.col("item_id")).cast("int")
    on_time = (F.col("event_at") >= F.col("requested_at")).cast("int")
    joined = clicks.join(requests, "request_id", "left").agg(F.count("*"), F.count("requested_at"), F.sum(on_time), F.sum(shown))
    assert tuple(joined.first()) == (13_597, 13_597, 13_597, 13_596)  # one clickout, of item 97752, is of no item on its list
    totals = requests.agg(
        F.count("*"), F.countDistinct("request_id"), F.sum(F.size("candidates")), F.sum(F.size("candidates") * F.col("_num_lines"))
    )
    assert tuple(totals.first()) == (9_267, 9_267, 211_897, 312_539)


def session_of_many_steps():
    """Two lists; the second is the next page of the first; then a filter. Clickouts at steps 3, 4, 5, 7."""
    steps = [
        action("search for destination", "Lyon, France", step=1, at=NOON),
        action("interaction item image", "11", step=2, at=NOON + 10),
        action(CLICK, "12", step=3, at=NOON + 20, shown="11|12", prices="70|81"),
        action(CLICK, "11", step=4, at=NOON + 30, shown="11|12", prices="70|81"),
        action(CLICK, "13", step=5, at=NOON + 40, shown="13|14"),
        action("filter selection", "Hotel", step=6, at=NOON + 50, current_filters="Hotel"),
        action(CLICK, "14", step=7, at=NOON + 60, shown="14|11", current_filters="Hotel|4 Star"),
    ]
    return [*steps, action(CLICK, "21", session="s0", at=NOON + 5, shown="21")]  # a session that begins with a clickout


CLICK = trivago.CLICKOUT


def test_a_list_is_requested_at_the_action_that_made_it(spark, tmp_path):
    raw = trivago.read(spark, write(tmp_path / "a.parquet", session_of_many_steps()), None)
    rows = raw["requests"].frame.where("_fate = 'kept'").orderBy("requested_at", "session_id").collect()
    assert [(r["requested_at"].timestamp() - NOON, [c["item_id"] for c in r["candidates"]], r["_num_lines"]) for r in rows] == [
        (0, ["11", "12"], 2),
        (5, ["21"], 1),
        (30, ["13", "14"], 1),  # the page after the clickout of step 4
        (50, ["14", "11"], 1),
    ]
    assert [(c["position"], c["price_cents"], c["stage"], c["is_exposed"]) for c in rows[0]["candidates"]] == [
        (1, 7000, "exposed", True),
        (2, 8100, "exposed", True),
    ]
    assert rows[3]["query_raw"] == "Lyon, France Hotel 4 Star"
    assert rows[3]["query_norm"] == "lyon, france hotel 4 star"
    assert rows[3]["page_context"] == {"platform": "FR", "device": "mobile", "city": "Lyon, France", "filters": "Hotel|4 Star"}
    assert "filters" not in rows[0]["page_context"]
    events = raw["events"].frame.where("_fate = 'kept'").orderBy("event_at").collect()
    assert [(e["event_type"], e["item_id"]) for e in events] == [
        ("click", "21"), ("detail", "11"), ("click", "12"), ("click", "11"), ("click", "13"), ("click", "14"),
    ]  # fmt: skip
    by_item = {c["item_id"]: r["request_id"] for r in (rows[1], rows[2]) for c in r["candidates"]}
    assert events[0]["request_id"] == by_item["21"] and events[4]["request_id"] == by_item["13"]
    assert events[2]["request_id"] == events[3]["request_id"] == rows[0]["request_id"]
    assert accounts(raw)["requests"] == {("2018-11-07", "kept"): 5, ("2018-11-07", "not_a_list"): 3}
    assert [f.dataType for f in raw["requests"].frame.schema][: -len(CONTROL)] == [f.dataType for f in spark_schema(load("requests"))]


def test_every_bad_line_is_told_and_counted(spark, tmp_path):
    lines = [
        action(CLICK, "11", shown="11|12"),
        action(CLICK, "11", shown="11|12"),  # the same event again
        action(CLICK, "11", step=2),  # logs no list
        action(CLICK, "11", step=3, shown="11|12", prices="10"),
        action(CLICK, "11", step=4, shown="11|12", prices="10|ten"),
        action("interaction item info", "unknown", step=5),
        action(CLICK, "11", step=6, at=None, shown="11|12"),
        action("interaction item info", "12", step=7, at=NOON * 1000),  # milliseconds
        action("interaction item info", "12", step=8, session=None),
        action(None, "12", step=9),
    ]
    raw = trivago.read(spark, write(tmp_path / "a.parquet", lines), None)
    rows = raw["requests"].frame.where("_fate = 'quarantined'").orderBy("_line").collect()
    assert [(r["_rule"], r["_line"]) for r in rows] == [
        ("no_impressions", "a.parquet:3"),
        ("prices_unlike_impressions", "a.parquet:4"),
        ("unreadable_prices", "a.parquet:5"),
        ("unreadable_timestamp", "a.parquet:7"),
        ("unreadable_timestamp", "a.parquet:8"),
    ]
    assert rows[1]["_reason"] == "2 impressions, 1 prices" and '"prices":"10|ten"' in rows[2]["_raw"]
    found = accounts(raw)
    assert found["requests"] == {("2018-11-07", "kept"): 2, ("2018-11-07", "quarantined"): 5, ("2018-11-07", "not_a_list"): 3}
    assert found["events"] == {
        ("2018-11-07", "kept"): 5,
        ("2018-11-07", "duplicate"): 1,
        ("2018-11-07", "quarantined"): 2,
        ("2018-11-07", "no_item"): 1,
        ("2018-11-07", "not_an_event"): 1,
    }


def test_a_list_of_yesterday_has_its_items_yesterday(spark, tmp_path):
    lines = [action("search for destination", "Lyon, France", at=MIDNIGHT - 60), action(CLICK, "11", step=2, at=MIDNIGHT, shown="11|12")]
    path = write(tmp_path / "a.parquet", lines)
    raw = trivago.read(spark, path, None)
    assert accounts(raw)["requests"] == {("2018-11-07", "kept"): 1, ("2018-11-07", "not_a_list"): 1}
    items = raw["items"].frame.orderBy("day", "item_id").collect()
    assert [(str(i["day"]), i["item_id"], i["_num_lines"], i["available_at"].hour) for i in items] == [
        ("2018-11-07", "11", 0, 0), ("2018-11-07", "12", 0, 0), ("2018-11-08", "11", 2, 0), ("2018-11-08", "12", 1, 0),
    ]  # fmt: skip
    second = date(2018, 11, 8)
    found = accounts(trivago.read(spark, path, (second, second)))
    assert found["requests"] == {("2018-11-08", "other_day"): 2}
    assert found["events"] == {("2018-11-08", "kept"): 1, ("2018-11-08", "other_day"): 1}


def test_input_that_cannot_be_read_is_told_at_once(spark, tmp_path):
    with pytest.raises(SourceError, match="there is no such file or folder; give the parquet"):
        trivago.read(spark, str(tmp_path / "absent"), None)
    with pytest.raises(SourceError, match=r"holds no \.parquet file"):
        trivago.read(spark, str(tmp_path), None)
    with pytest.raises(SourceError, match="name it with --from"):
        trivago.read(spark, None, None)
    good = write(tmp_path / "good.parquet", [action(CLICK, "11", shown="11|12")])
    with pytest.raises(SourceError, match=r"holds 2018-11-07\.\.2018-11-07, nothing of 2018-11-09"):
        trivago.read(spark, good, (date(2018, 11, 9), date(2018, 11, 9)))
    with pytest.raises(SourceError, match="no options, it was given start_day"):
        trivago.read(spark, good, None, start_day="2018-11-07")
    write(tmp_path / "lacks.parquet", [action(CLICK, "11", shown="11|12")], tuple(n for n in NAMES if n not in ("prices", "step")))
    with open(good, "rb") as whole, open(tmp_path / "torn.parquet", "wb") as torn:
        torn.write(whole.read()[:-100])
    with pytest.raises(SourceError) as told:
        trivago.read(spark, str(tmp_path), None)
    message = str(told.value)
    assert "lacks column prices (string); it has user_id" in message and "lacks column step (bigint)" in message
    assert "torn.parquet is no whole parquet file" in message and "good" not in message
