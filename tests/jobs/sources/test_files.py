import json
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from jobs.sources import SourceError, _find, _given, _scan, _typed, files
from jobs.sources._rows import CONTROL
from schemas.contract import load
from schemas.derive import spark_schema

DAY = date(2026, 1, 5)
REQUESTS = "request_id,user_id,requested_at,query_raw\n"
CANDIDATES = "request_id,item_id,position\n"
EVENTS = "event_id,user_id,item_id,event_type,domain,event_at\n"
ONE_REQUEST = f"{REQUESTS}r1,u1,2026-01-05T10:00:00Z,desk\n"
ONE_CANDIDATE = f"{CANDIDATES}r1,i1,1\n"


def write(root, texts):
    for name, text in texts.items():
        path = Path(root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, pa.Table):
            pq.write_table(text, path, row_group_size=2)
        else:
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(root)


def rows_of(raw, table):
    """Rows by where they came from; checks columns, types, days and that the lines add up to what was counted apart."""
    each = raw[table]
    kinds = [(f.name, f.dataType) for f in spark_schema(load(table)).fields]
    assert [(f.name, f.dataType) for f in each.frame.schema][: len(kinds)] == kinds
    assert [(f.name, f.dataType.simpleString()) for f in each.frame.schema][len(kinds) :] == list(CONTROL.items())
    rows = each.frame.orderBy("_line", "day", "_fate").collect()
    assert sum(row["_num_lines"] for row in rows) == each.lines
    for row in rows:
        assert row["day"] is not None
        assert (row["_fate"] == "quarantined") == (row["_rule"] is not None) == (row["_reason"] is not None)
    return rows


def fates(rows):
    return [(row["_line"], row["_rule"] or row["_fate"]) for row in rows]


def told(*arguments, **options):
    with pytest.raises(SourceError) as error:
        files.read(*arguments, **options)
    return str(error.value)


def test_flat_csv_logs_become_requests_with_their_candidates(spark, tmp_path):
    path = write(tmp_path, {
        "requests/a.csv": "\ufeffid,user_id,ts,query_raw,page_context\r\n"
        'r1,u1,2026-01-05T10:00:00Z,"Red, big\r\n  Desk","{""sort"": ""price""}"\r\n'
        "r2,u1,2026-01-05 11:00:00,,\r\n"
        "r3,u2,yesterday,lamp,\r\n"
        "r1,u9,1767614400,again,\r\n"
        "r5,u2\r\n"
        "\r\n"
        ",u2,2026-01-05T12:00:00Z,机,\r\n"
        'r7,u3,2026-01-04T12:00:00Z,"lamp, 5 W",',
        "candidates.csv": CANDIDATES + "r1,i1,\nr1,i2,1\nr9,i3,1\nr2,i1,first\nr1,i4,\nr7,i1,1\n,i9,1\nr9,i4,\n",
        "events/e.jsonl": '{"user_id": "u1", "item_id": 5, "event_type": "click", "ts": 1767614400.5, "query_raw": "desk", '
        '"dwell_s": 1.5}\n',
        "items/i.tsv": "item_id\ttitle\tcategory_path\tprice_cents\ni1\t5\" desk\tHome > Desks\t10.0\n\tnothing\t\t\ni1\tagain\t\t\n",
        "readme.txt": "not ours",
        "events/_SUCCESS": "",
    })  # fmt: skip
    raw = files.read(spark, path, (DAY, DAY), rename="id=request_id, requests.ts=requested_at,events.ts=event_at")
    requests = {row["_line"]: row for row in rows_of(raw, "requests")}
    assert raw["requests"].lines == 7 + 8
    assert {line: (row["request_id"], row["_rule"] or row["_fate"], row["_num_lines"]) for line, row in requests.items()} == {
        "requests/a.csv:2": ("r1", "kept", 4),
        "requests/a.csv:4": ("r2", "kept", 1),
        "requests/a.csv:5": ("r3", "unreadable_requested_at", 1),
        "requests/a.csv:6": ("r1", "duplicate", 1),
        "requests/a.csv:7": (None, "broken_line", 1),
        "requests/a.csv:9": (None, "kept", 1),  # the gate takes a row without its key out
        "requests/a.csv:10": ("r7", "other_day", 2),
        "candidates.csv:4": ("r9", "no_such_request", 2),
        "candidates.csv:5": ("r2", "unreadable_position", 1),
        "candidates.csv:8": (None, "no_such_request", 1),
    }
    first = requests["requests/a.csv:2"]
    assert (first["query_raw"], first["query_norm"], first["domain"]) == ("Red, big\r\n  Desk", "red, big desk", "search")
    assert first["page_context"] == {"sort": "price"} and first["requested_at"].hour == 10
    assert [(c["item_id"], c["position"], c["is_exposed"], c["stage"]) for c in first["candidates"]] == [
        ("i1", None, False, "ranked"), ("i2", 1, True, "exposed"), ("i4", None, False, "ranked"),
    ]  # fmt: skip
    unread = requests["requests/a.csv:5"]
    assert unread["_raw"] == "r3,u2,yesterday,lamp," and unread["_reason"].startswith(
        "requested_at 'yesterday' is not a timestamp (as 2026-01-31T"
    )
    assert requests["requests/a.csv:7"]["_reason"] == "2 fields, the first line names 5"
    assert requests["requests/a.csv:4"]["domain"] is None  # no query, no domain: the gate takes it out
    assert requests["candidates.csv:4"]["_reason"] == "there are candidates of it, but no such request"
    event = rows_of(raw, "events")[0]
    assert (event["item_id"], event["dwell_s"], event["domain"], event["_line"]) == ("5", 1.5, "search", "events/e.jsonl:1")
    assert event["event_at"] == event["available_at"] == datetime(2026, 1, 5, 12, 0, 0, 500_000) and len(event["event_id"]) == 24
    items = rows_of(raw, "items")
    assert fates(items) == [("items/i.tsv:2", "kept"), ("items/i.tsv:3", "kept"), ("items/i.tsv:4", "duplicate")]
    assert (items[0]["title"], items[0]["category_path"], items[0]["price_cents"], items[0]["status"]) == (
        '5" desk',
        ["Home", "Desks"],
        10,
        "on_shelf",
    )
    assert items[0]["valid_at"] == items[0]["available_at"] == datetime(2026, 1, 5)


def request(number, **others):
    line = {"request_id": f"r{number}", "user_id": "u1", "domain": "search", "requested_at": datetime(2026, 1, 5, 10, tzinfo=UTC)}
    return line | {"candidates": [{"item_id": "i1", "is_exposed": True}]} | others


def test_parquet_of_pandas_and_of_warehouses_is_read_by_its_types(spark, tmp_path):
    names = ["request_id", "user_id", "domain", "requested_at", "candidates"]
    exact = spark_schema(load("requests"))
    listed = [[{"item_id": 7, "stage": "ranked"}, {"item_id": 8, "stage": "exposed"}, {"item_id": 9, "stage": "exposed"}]]
    odd = pa.table({
        "request_id": pa.array(["r1"]).dictionary_encode(),
        "user_id": pa.array([12.0]),  # pandas makes ids of a column with gaps float
        "domain": pa.array(["search"], pa.large_string()),
        "requested_at": pa.array([1767614400123456789], pa.timestamp("ns")),
        "candidates": pa.array(listed, pa.list_(pa.struct({"item_id": pa.uint32(), "stage": pa.string()}))),
    })  # fmt: skip
    text = pa.table(
        {
            name: [str(value)]
            for name, value in zip(names, ["r2", "u2", "rec", "1767614400", '[{"item_id": "i1", "position": 3}, 5]'], strict=True)
        }
    )
    kinds = {"request_id": pa.string(), "user_id": pa.string(), "domain": pa.string(), "requested_at": pa.timestamp("us", tz="UTC")}
    inner = pa.list_(pa.struct({"item_id": pa.string(), "is_exposed": pa.bool_()}))
    many = pa.Table.from_pylist([request(n) for n in range(3, 8)], schema=pa.schema({**kinds, "candidates": inner}))
    torn = request(8, requested_at=None, candidates=None)
    folder = "events/day=2026-01-04/domain=shop/session_id=a%20b/order_id=__HIVE_DEFAULT_PARTITION__"
    path = write(tmp_path, {
        "requests/odd.parquet": odd,
        "requests/deep/text.parquet": text,
        "requests/many.parquet": pa.concat_tables([many, pa.Table.from_pylist([torn], schema=many.schema)]),
        f"{folder}/a.csv": "user_id,item_id,event_type,event_at\nu1,i1,pay,2026-01-05T09:00:00Z\n",
    })  # fmt: skip
    raw = files.read(spark, path, None, items="derive")
    assert raw["requests"].frame.schema[9].dataType == exact["candidates"].dataType
    rows = {row["_line"]: row for row in rows_of(raw, "requests")}
    assert len(rows) == 8
    first = rows["requests/odd.parquet:1"]
    assert (first["request_id"], first["user_id"], first["requested_at"].microsecond) == ("r1", "12", 123456)
    assert [(c["item_id"], c["stage"], c["is_exposed"], c["position"]) for c in first["candidates"]] == [
        ("8", "exposed", True, 1), ("9", "exposed", True, 2), ("7", "ranked", False, None),
    ]  # fmt: skip
    bad = rows["requests/deep/text.parquet:1"]
    assert (bad["_rule"], bad["_fate"]) == ("unreadable_candidates", "quarantined") and '"request_id":"r2"' in bad["_raw"]
    assert [rows[f"requests/many.parquet:{n}"]["request_id"] for n in range(1, 7)] == ["r3", "r4", "r5", "r6", "r7", "r8"]
    assert rows["requests/many.parquet:6"]["_fate"] == "kept"  # null is nothing that cannot be read; the gate has its rules
    event = rows_of(raw, "events")[0]
    assert (event["domain"], event["day"], event["session_id"], event["order_id"]) == ("shop", DAY, "a b", None)
    assert event["_line"] == f"{folder}/a.csv:2"
    items = rows_of(raw, "items")
    assert raw["items"].lines == 0 and sorted(row["item_id"] for row in items) == ["7", "8", "9", "i1"]


def test_objects_of_json_lines_may_each_have_other_names(spark, tmp_path):
    lines = [
        {
            "request_id": "r1",
            "user_id": "u1",
            "query_raw": "a",
            "requested_at": 1767614400000,
            "impressions": [{"sku": 1, "pos": 1}, {"sku": 2}],
        },
        {
            "request_id": "r2",
            "user_id": "NULL",
            "query_raw": "",
            "domain": "rec",
            "requested_at": "2026-01-06T00:00:00+01:00",
            "impressions": [],
        },
        {
            "request_id": "r3",
            "user_id": "u3",
            "query_raw": "b",
            "query_norm": "B!",
            "requested_at": {"at": 1},
            "impressions": [{"sku": 3, "pos": "x"}],
        },
        {"request_id": "r4", "user_id": "u3", "domain": "shop", "query_raw": "c", "requested_at": 1767614400, "impressions": [7]},
        {"request_id": "r5", "user_id": "u3", "domain": "shop", "requested_at": 1767614400},
    ]
    event = {"user_id": "u1", "item_id": "1", "event_type": "click", "domain": "rec", "event_at": "2026-01-04T23:59:59Z"}
    events = [event | {"available_at": at} for at in (None, None, "2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z")]
    items = ["day,item_id,status\n2026-01-05,i1,off_shelf\n2026-01-06,i1,\nnever,i1,\n", "item_id,valid_at\ni2,2026-01-05T08:00:00Z\n"]
    path = write(tmp_path, {
        "requests.jsonl": "\n".join(map(json.dumps, lines)),
        "events.ndjson": "\r\n".join(map(json.dumps, events)),
        "items/a.csv": items[0],
        "items/b.csv": items[1],
        "items/empty.csv": "",
    })  # fmt: skip
    rename = "impressions=candidates,candidates.sku=item_id,candidates.pos=position"
    raw = files.read(spark, path, (DAY, DAY), rename=rename, nulls="NULL,\\N")
    rows = {row["request_id"]: row for row in rows_of(raw, "requests")}
    assert [(c["item_id"], c["position"], c["is_exposed"]) for c in rows["r1"]["candidates"]] == [("1", 1, True), ("2", None, False)]
    assert (rows["r2"]["user_id"], rows["r2"]["query_raw"], rows["r2"]["query_norm"], rows["r2"]["candidates"]) == (None, None, None, [])
    assert rows["r2"]["requested_at"] == datetime(2026, 1, 5, 23)
    assert rows["r3"]["_rule"] == "unreadable_requested_at" and rows["r3"]["query_norm"] == "B!"
    assert rows["r3"]["_reason"].startswith('requested_at \'{"at": "1"}\' is not a timestamp')
    assert "; candidates 'position x' is not a whole number" in rows["r3"]["_reason"]
    assert (rows["r4"]["_rule"], rows["r4"]["query_norm"]) == ("unreadable_candidates", None)
    assert rows["r5"]["candidates"] is None and rows["r5"]["_fate"] == "kept"  # the gate's rule takes it out
    arrived = [(row["_fate"], str(row["day"]), str(row["available_at"])) for row in rows_of(raw, "events")]
    assert arrived == [
        ("other_day", "2026-01-05", "2026-01-04 23:59:59"),
        ("other_day", "2026-01-05", "2026-01-04 23:59:59"),
        ("kept", "2026-01-05", "2026-01-05 00:00:00"),  # what happened before midnight arrived after it
        ("other_day", "2026-01-05", "2026-01-06 00:00:00"),
    ]
    found = {row["_line"]: (row["_rule"] or row["_fate"], row["status"], str(row["valid_at"])) for row in rows_of(raw, "items")}
    assert found == {
        "items/a.csv:2": ("kept", "off_shelf", "2026-01-05 00:00:00"),
        "items/a.csv:3": ("other_day", "on_shelf", "2026-01-05 00:00:00"),
        "items/a.csv:4": ("unreadable_day", "on_shelf", "2026-01-05 00:00:00"),
        "items/b.csv:2": ("kept", "on_shelf", "2026-01-05 08:00:00"),
    }


def test_a_catalogue_without_days_holds_for_every_day(spark, tmp_path):
    path = write(tmp_path, {"items.csv": "item_id,price_cents\ni1,5\ni2,cheap\n"})
    raw = files.read(spark, path, (DAY, date(2026, 1, 7)))
    rows = rows_of(raw, "items")
    assert set(raw) == {"items"}
    assert [(row["item_id"], row["day"].day, row["_fate"], row["_num_lines"]) for row in rows] == [
        ("i1", 5, "kept", 1), ("i1", 6, "kept", 0), ("i1", 7, "kept", 0), ("i2", 5, "quarantined", 1),
    ]  # fmt: skip
    assert "no days of its own; say which days it holds for with --days A..B" in told(spark, path, None)


def test_the_same_folder_gives_the_same_rows(spark, tmp_path):
    lines = "".join(f"u{n % 7},i{n % 11},click,rec,2026-01-05T10:00:{n % 60:02}Z\n" for n in range(300))
    path = write(tmp_path, {f"events/{part}.csv": EVENTS.removeprefix("event_id,") + lines for part in "ab"})
    once = files.read(spark, path, None)["events"].frame
    again = files.read(spark, path, None)["events"].frame.repartition(3)
    assert once.exceptAll(again).isEmpty()
    totals = dict(map(tuple, once.groupBy("_fate").agg(F.count("*")).collect()))
    assert totals == {
        "kept": 300,
        "duplicate": 300,
    }  # the second file repeats the first; nothing within it repeats: 60, 7, 11 share no factor
    assert once.where("_fate = 'kept'").agg(F.countDistinct("event_id"), F.min("_line"), F.max("_line")).first()[:2] == (
        300,
        "events/a.csv:10",
    )


def test_all_that_is_wrong_is_told_at_once(spark, tmp_path):
    whole = pa.table({"request_id": ["r1"], "user_id": ["u1"], "requested_at": [True], "query_raw": ["a"], "candidates": [[{"sku": "i1"}]]})
    path = write(tmp_path, {
        "requests/whole.parquet": whole,
        "requests/list.json": '[{"request_id": 1}]',
        "requests/old.csv": "request_id,user_id\rr1,u1\r",
        "candidates/c.xlsx": "",
        "events/e.csv": "ts,user_id,item_id,event_type,kind\n1,2,3,4,5\n",
        "events/twice.csv": "event_at,event_at\n",
        "events/wide.csv": "ts,event_at\n".encode("utf-16"),
    })  # fmt: skip
    torn = (tmp_path / "requests/whole.parquet").read_bytes()
    write(tmp_path, {"requests/torn.parquet": torn[:-20]})
    message = told(spark, path, None, rename="events.tss=event_at,kind=event_sort,price=price_cents", delimiter="||")
    assert message.count("\n- ") == message.count("\n")
    for part in (
        f"files cannot read {path}:",
        "requests/whole.parquet: requested_at is boolean, requested_at must be timestamp: When the request arrived, UTC.",
        "requests/whole.parquet: candidates lack item_id; their fields are sku",
        "requests/whole.parquet: candidates lack is_exposed or stage or position; their fields are sku",
        "requests/torn.parquet cannot be read: ",
        "requests/list.json cannot be read: it is one JSON list; write one object on each line (jq -c '.[]')",
        "requests/old.csv cannot be read: its lines end in a carriage return alone",
        "candidates/c.xlsx is of no known kind; its name must end in .parquet, .jsonl",
        "events/e.csv: lacks event_at, timestamp: When it happened, UTC. It has ts, user_id, item_id, event_type, kind; "
        "if one of these is it, say rename=events.ITS_NAME=event_at",
        "events/e.csv: lacks domain (or query_raw), string: Where it happened: search, rec, shop.",
        "events/twice.csv cannot be read: its first line names 'event_at' twice",
        "events/wide.csv cannot be read: it is UTF-16; write it as UTF-8",
        "option rename: no file of events has a column tss",
        "option rename: no file has a column price",
        "option rename: 'kind=event_sort' must be old=new or table.old=new, and new one of amount_cents, attributes, ",
        "option delimiter is '||', must be one character",
        "there is no items/: give the catalogue, or option items=derive",
    ):
        assert part in message, f"{part}\nis not in\n{message}"


def test_tables_that_do_not_fit_together_are_told(spark, tmp_path):
    flat = write(tmp_path / "flat", {"candidates.csv": ONE_CANDIDATE})
    assert "there are candidates/ but no requests/ that they belong to" in told(spark, flat, None)
    lacking = write(tmp_path / "lacking", {"requests.csv": ONE_REQUEST})
    message = told(spark, lacking, None, items="none")
    assert "requests.csv: lacks candidates, array<struct<item_id string not null" in message and "as lines in candidates/" in message
    assert "option items is 'none', must be derive or leave" in message
    twice = {
        "requests.csv": "candidates," + ONE_REQUEST.replace("\nr1", "\n[],r1"),
        "candidates.csv": ONE_CANDIDATE,
        "items.csv": "item_id\ni1\n",
    }
    message = told(spark, write(tmp_path / "twice", twice), None, items="derive", rename="query_raw=query_norm,user_id=request_id")
    assert "candidates are given twice: in requests.csv and in candidates/" in message
    assert "option items is derive, but there is a catalogue in items/" in message
    assert "requests.csv: user_id is renamed to request_id, which is there already" in message
    assert "there are no logs: the folder is absent or holds no file requests/*.csv" in told(spark, str(tmp_path / "absent"), None)
    (tmp_path / "empty").mkdir()
    assert "there are no logs" in told(spark, str(tmp_path / "empty"), None)
    assert "name it with --from" in told(spark, None, None)


def test_days_that_a_log_does_not_hold_are_told(spark, tmp_path):
    path = write(tmp_path / "log", {"requests.csv": ONE_REQUEST, "candidates.csv": ONE_CANDIDATE})
    after = (date(2026, 2, 1), date(2026, 2, 2))
    message = told(spark, path, after, items="leave")
    assert "requests holds 2026-01-05..2026-01-05 (by requested_at), nothing of 2026-02-01..2026-02-02; ask for days it holds" in message
    events = EVENTS + "e1,u1,i1,pay,rec,later\n"
    assert "no line of events has a time that can be read" in told(spark, write(tmp_path / "timeless", {"events.csv": events}), None)
    events = EVENTS + "e1,u1,i1,pay,rec,1967-01-05\ne2,u1,i1,pay,rec,2026-01-05\n"
    message = told(spark, write(tmp_path / "long", {"events.csv": events}), None)
    assert "its lines span 1967-01-05..2026-01-05, more than 366 days; say with --days which of them you mean" in message


def test_packed_text_is_read_and_torn_text_is_told(spark, tmp_path):
    import gzip

    packed = gzip.compress((EVENTS + "e1,u1,i1,pay,rec,2026-01-05\n" * 1000).encode())
    path = write(tmp_path / "good", {"events/e.csv.gz": packed})
    raw = files.read(spark, path, None)
    assert raw["events"].lines == 1000 and raw["events"].frame.where("_fate = 'duplicate'").count() == 999
    message = told(spark, write(tmp_path / "torn", {"events/e.csv.gz": packed[:-8]}), None)
    assert "events/e.csv.gz cannot be read" in message


def test_files_are_found_by_table_and_kind(tmp_path):
    path = write(
        tmp_path,
        {"events/b/x.CSV": EVENTS, "items.jsonl": '{"item_id": 1}', "other/x.csv": "a\n", "events/.x.csv": "a\n", "events/n.csv": "\n"},
    )
    found, problems = _find.find(path, ";")
    assert [(f.table, f.name, f.kind, f.columns) for f in found] == [
        ("events", "events/b/x.CSV", "csv", (EVENTS.strip(),)),  # another delimiter
        ("items", "items.jsonl", "jsonl", ("item_id",)),
    ]
    assert problems == [] and _scan.files_below(path)[0] == "events/b/x.CSV"
    group = _given.given(path, "", ",", "", "")["items"][0]
    assert group.own_names == {"item_id": "item_id"} and _typed.uncastable(group) == {}
