import csv
import json
from collections import Counter
from datetime import date, datetime

import pytest

from jobs.sources import SourceError, bestbuy
from tests.jobs.sources.collecting import by_fate, collected

TRAIN = "user,sku,category,query,click_time,query_time"
TEST = "user,category,query,click_time,query_time"
PATHS = [{"id": "c2", "path": [{"id": "c0", "name": "Best Buy"}, {"id": "c1", "name": "TV"}, {"id": "c2", "name": "Flat TVs"}]}]


def wrapped(*fields):
    """A line as the copies have it: a csv line that is itself one quoted field."""
    inner = ",".join(f'"{field}"' if " " in field else field for field in fields)
    return '"' + inner.replace('"', '""') + '"'


def write(root, paths=None, **files):
    root.mkdir(parents=True, exist_ok=True)
    for name, lines in files.items():
        (root / f"{name}.csv").write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    if paths is not None:
        (root / "categories.json").write_text(paths if isinstance(paths, str) else json.dumps(paths))
    return str(root)


def kept(rows, *order):
    return sorted((r for r in rows if r["_fate"] == "kept"), key=lambda r: tuple(r[name] for name in order))


def test_the_real_files_give_what_pythons_csv_reads_twice(spark, shared_data):
    folder, told = shared_data / "bestbuy_queries", {}
    for name in ("train", "test"):
        with open(folder / f"{name}.csv", encoding="utf-8", newline="") as stream:
            names, *rows = (next(csv.reader(line)) for line in csv.reader(stream))
        told[name] = [dict(zip(names, row, strict=True)) for row in rows]
    clicks, both = told["train"], told["train"] + told["test"]
    assert (len(clicks), len(both)) == (999, 1998)
    rows = collected(spark, bestbuy.read(spark, str(folder), None))
    assert by_fate(rows) == {
        "requests": {"kept": 1998},
        "events": {"kept": 999, "no_item": 999},
        "items": {"kept": 999, "no_item": 999},
    }
    events = kept(rows["events"])
    wanted = Counter((r["user"], r["sku"], r["query"].strip(), datetime.fromisoformat(r["click_time"])) for r in clicks)
    assert Counter((e["user_id"], e["item_id"], e["query_raw"], e["event_at"]) for e in events) == wanted
    requests = {r["request_id"]: r for r in rows["requests"]}
    assert len(requests) == len({(r["user"], r["query"], r["query_time"]) for r in both})
    for event in events:
        search = requests[event["request_id"]]
        assert search["requested_at"] < event["event_at"] and search["user_id"] == event["user_id"]
        assert event["item_id"] in [c["item_id"] for c in search["candidates"]]
    assert sum(not r["candidates"] for r in requests.values()) == len(
        {(r["user"], r["query_time"]) for r in both} - {(r["user"], r["query_time"]) for r in clicks}
    )
    names = {each["id"]: [step["name"] for step in each["path"]] for each in json.loads((folder / "categories.json").read_text())}
    paths = {}
    for r in sorted(clicks, key=lambda r: r["click_time"], reverse=True):
        paths[r["sku"], r["click_time"][:10]] = names.get(r["category"], [r["category"]])
    items = {(i["item_id"], str(i["day"])): i["category_path"] for i in kept(rows["items"]) if i["_num_lines"]}
    assert items == paths and 0.8 < sum(len(path) > 1 for path in items.values()) / len(items) < 0.95  # some ids are in no tree


A1 = ("ann", "7", "c2", "flat  TV", "2011-09-01 00:00:10.5", "2011-08-31 23:59:59.75")
A2 = ("ann", "8", "c9", "flat  TV", "2011-09-01 00:00:05", "2011-08-31 23:59:59.75")
A3 = ("ann", "c2", "flat  TV", "2011-09-01 00:00:07", "2011-08-31 23:59:59.75")
B1 = ("bob", "c9", "nook", "2011-09-01 12:00:10", "2011-09-01 12:00:00")


def test_clicks_after_one_query_are_one_search_of_both_files(spark, tmp_path):
    files = {
        "train": [wrapped(*TRAIN.split(",")), wrapped(*A1), wrapped(*A2)],
        "test": [wrapped(*TEST.split(",")), wrapped(*A3), wrapped(*B1)],
    }
    rows = collected(spark, bestbuy.read(spark, write(tmp_path, PATHS, **files), None))
    assert by_fate(rows)["events"] == {"kept": 2, "no_item": 2}
    ann, bob = kept(rows["requests"], "user_id")
    assert [(c["item_id"], c["position"], c["is_exposed"], c["stage"]) for c in ann["candidates"]] == [
        ("8", 1, True, "exposed"),
        ("7", 2, True, "exposed"),
    ]
    assert (ann["day"], ann["query_raw"], ann["query_norm"], ann["domain"], ann["_num_lines"]) == (
        date(2011, 8, 31), "flat  TV", "flat tv", "search", 3,
    )  # fmt: skip
    assert ann["requested_at"] == datetime(2011, 8, 31, 23, 59, 59, 750_000) and bob["candidates"] == [] and ann["page_context"] is None
    events = kept(rows["events"], "event_at")
    assert [(e["item_id"], e["event_type"], e["day"], e["request_id"], e["available_at"] == e["event_at"]) for e in events] == [
        ("8", "click", date(2011, 9, 1), ann["request_id"], True),
        ("7", "click", date(2011, 9, 1), ann["request_id"], True),
    ]
    items = kept(rows["items"], "day", "item_id")
    assert [(i["day"].isoformat(), i["item_id"], i["category_path"], i["_num_lines"]) for i in items] == [
        ("2011-08-31", "7", ["Best Buy", "TV", "Flat TVs"], 0),
        ("2011-08-31", "8", ["c9"], 0),
        ("2011-09-01", "7", ["Best Buy", "TV", "Flat TVs"], 1),
        ("2011-09-01", "8", ["c9"], 1),
    ]
    plain = write(tmp_path / "plain", train=[TRAIN, ",".join(A1), ",".join(A2)], test=[TEST, ",".join(A3), ",".join(B1)])
    again = collected(spark, bestbuy.read(spark, plain, (date(2011, 9, 1), date(2011, 9, 1))))
    assert kept(again["events"], "event_at") == events  # lines that nobody wrapped
    assert by_fate(again)["requests"] == {"kept": 1, "other_day": 3}


def test_bad_lines_are_told_and_counted(spark, tmp_path):
    bad = [
        wrapped("ann", "7", "c2", "flat TV"),
        wrapped("", "7", "c2", "flat TV", *A1[4:]),
        wrapped("ann", "7", "c2", " ", *A1[4:]),
        wrapped("ann", "7", "c2", "flat TV", "yesterday", A1[5]),
        wrapped("ann", "7", "c2", "flat TV", A1[5], A1[4]),
        wrapped(*A1),
        b"\xff\xfe",
        "",
        wrapped("cy", "", "", "nook", *A1[4:]),
    ]
    rows = collected(spark, bestbuy.read(spark, write(tmp_path, train=[wrapped(*TRAIN.split(",")), wrapped(*A1), *bad]), None))
    assert by_fate(rows) == {
        "events": {"kept": 1, "quarantined": 6, "duplicate": 1, "no_item": 1},
        "requests": {"kept": 2, "broken_line": 6, "duplicate": 1},
        "items": {"kept": 1, "broken_line": 6, "duplicate": 1, "no_item": 1},
    }
    told = [r for r in rows["events"] if r["_fate"] == "quarantined"]
    assert {(r["_line"], r["_rule"], r["_reason"]) for r in told} == {
        ("train.csv:3", "broken_line", "4 fields, the first line names 6"),
        ("train.csv:4", "no_user", "there is no user"),
        ("train.csv:5", "no_query", "there is no query"),
        ("train.csv:6", "unreadable_time", "click_time or query_time is no time, such as 2011-09-01 23:44:52.533"),
        ("train.csv:7", "click_before_query", "click_time is before query_time"),
        ("train.csv:9", "broken_line", "not UTF-8"),
    }
    assert {r["_raw"] for r in told if r["_line"] == "train.csv:9"} == {r"\xff\xfe"}


def test_input_that_cannot_be_read_is_told(spark, tmp_path):
    good = write(tmp_path / "good", train=[TRAIN, ",".join(A1)])
    with pytest.raises(SourceError, match="has no options, it was given start_day"):
        bestbuy.read(spark, good, None, start_day="2026-01-01")
    with pytest.raises(SourceError, match="name it with --from"):
        bestbuy.read(spark, None, None)
    with pytest.raises(SourceError, match=r"absent: no \.csv, .* in it; give the folder"):
        bestbuy.read(spark, str(tmp_path / "absent"), None)
    with pytest.raises(SourceError, match=r"holds 2011-08-31\.\.2011-09-01, nothing of 2012-01-01"):
        bestbuy.read(spark, good, (date(2012, 1, 1), date(2012, 1, 2)))
    write(tmp_path / "good", test=[wrapped("user", "query", "click_time")])
    with pytest.raises(SourceError, match=r"- test\.csv: lacks column category, query_time; its first line names user, query, click_time"):
        bestbuy.read(spark, good, None)
    with pytest.raises(SourceError, match="no line below the names"):
        bestbuy.read(spark, write(tmp_path / "empty", train=[TRAIN]), None)
    with pytest.raises(SourceError, match=r"no line of train\.csv has a user, a query and both times"):
        bestbuy.read(spark, write(tmp_path / "bad", train=[TRAIN, "a,b"]), None)
    for paths in ("[{", '[{"id": "c2"}]', "7"):
        with pytest.raises(SourceError, match=r"categories\.json \(.*\); it must be a list of objects with id and path, or not be there"):
            bestbuy.read(spark, write(tmp_path / "paths", paths, train=[TRAIN, ",".join(A1)]), None)
