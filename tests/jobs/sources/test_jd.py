from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import functions as F

from jobs.sources import SourceError, jd

START = {"start_day": "2026-01-01"}


def write(root, **files):
    for name, text in files.items():
        path = Path(root) / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(root)


def by_fate(raw):
    """fate -> lines, of each table; checks that they add up to what was counted apart."""
    found = {}
    for table, each in raw.items():
        rows = each.frame.groupBy("_fate").agg(F.sum("_num_lines").alias("lines")).collect()
        found[table] = {r["_fate"]: r["lines"] for r in rows}
        assert sum(found[table].values()) == each.lines, table
    return found


@pytest.mark.slow
def test_real_sessions_give_the_counts_that_their_readme_tells(spark, shared_data):
    raw = jd.read(spark, str(shared_data / "jd_micro_behaviors"), None, **START)
    raw = {table: replace(each, frame=each.frame.cache()) for table, each in raw.items()}
    entries = 96_110  # behaviours 1-5 of the 3,805 distinct lines
    duplicates = 156_584 - 146_543
    assert by_fate(raw) == {
        "items": {"kept": 146_543, "duplicate_session": duplicates},
        "requests": {"kept": entries, "not_an_entry": 146_543 - entries, "duplicate_session": duplicates},
        "events": {"kept": 146_543, "duplicate_session": duplicates},
    }
    events = raw["events"].frame.where("_fate = 'kept'")
    facts = events.agg(F.count("event_id"), F.countDistinct("session_id"), F.countDistinct("item_id"), F.min("day"), F.max("day"))
    assert tuple(facts.first()) == (146_543, 3_805, 26_261, date(2026, 1, 1), date(2026, 1, 7))
    types = dict(map(tuple, events.groupBy("event_type").count().collect()))
    assert types == {"click": entries, "detail": 40_787, "cart": 9_205, "pay": 441}
    requests = (
        raw["requests"].frame.where("_fate = 'kept'").select("request_id", "requested_at", "candidates", F.col("domain").alias("of_list"))
    )
    shown = F.exists("candidates", lambda c: c["item_id"] == F.col("item_id"))
    fits = shown & (F.col("event_at") >= F.col("requested_at")) & (F.col("domain") == F.col("of_list"))
    clicks = events.where("event_type = 'click'").join(requests, "request_id", "left").agg(F.count("*"), F.sum(fits.cast("int")))
    assert tuple(clicks.first()) == (entries, entries)
    assert requests.count() == 22_646  # as a plain loop over the lines counts them


SESSION = "11+5+753+10+3 12+5+753+20+4 11+7+753+5+4 11+5+753+100+9 21+3+753+1801+2 22+3+753+1+2 31+5+700+1+1 22+9+753+2+2 22+10+753+0+2"


def test_a_list_is_what_was_entered_from_one_page_and_category_within_half_an_hour(spark, tmp_path):
    raw = jd.read(spark, write(tmp_path, a__one=SESSION), None, **START)
    requests = raw["requests"].frame.where("_fate = 'kept'").orderBy("requested_at", "request_id").collect()
    lists = [(r["domain"], *map(r["page_context"].get, ("page", "category")), [c["item_id"] for c in r["candidates"]]) for r in requests]
    assert [(*each, r["_num_lines"]) for each, r in zip(lists, requests, strict=True)] == [
        ("search", "SearchList2Product", "753", ["11", "12"], 3),
        ("rec", "Sale2Product", "753", ["21"], 1),
        ("rec", "Sale2Product", "753", ["22"], 1),  # 1,801 s after 21
        ("search", "SearchList2Product", "700", ["31"], 1),
    ]  # fmt: skip
    assert [(c["position"], c["is_exposed"], c["stage"]) for c in requests[0]["candidates"]] == [(1, True, "exposed"), (2, True, "exposed")]
    events = raw["events"].frame.orderBy(F.split("event_id", ":")[1].cast("int")).collect()
    begin = events[0]["event_at"]
    assert [(e["event_at"] - begin).total_seconds() for e in events] == [0, 10, 30, 35, 135, 1936, 1937, 1938, 1940]
    assert [(e["event_type"], e["domain"]) for e in events[2:]] == [
        ("detail", "search"), ("click", "search"), ("click", "rec"), ("click", "rec"), ("click", "search"), ("cart", "rec"), ("pay", "rec"),
    ]  # fmt: skip
    first, second, third, fourth = (r["request_id"] for r in requests)
    assert [e["request_id"] for e in events] == [first, first, None, first, second, third, fourth, None, None]
    assert [e["order_id"] is not None for e in events] == [False] * 8 + [True]
    assert events[0]["dwell_s"] == 3.0 and events[0]["amount_cents"] is None and events[0]["available_at"] == begin
    items = (
        raw["items"].frame.where("_num_lines > 0").groupBy("item_id").agg(F.min("category_path"), F.sum("_num_lines")).orderBy("item_id")
    )
    assert list(map(tuple, items.collect())) == [
        ("11", ["753"], 3),
        ("12", ["753"], 1),
        ("21", ["753"], 1),
        ("22", ["753"], 3),
        ("31", ["700"], 1),
    ]


def test_bad_tokens_repeated_lines_and_odd_bytes_are_told_and_counted(spark, tmp_path):
    one = "11+5+753+10+3  12+5+753+20 oops\t12+11+753+1+1 13+5+753+1+1\r\n\r\n\n11+5+753+10+3 11+9+753+1+1\r\n"
    two = b"11+5+753+10+3 11+9+753+1+1\n\xff\xfe 7+9+1+1+1"  # a session of the other folder; bytes; an event with no entry before it
    raw = jd.read(spark, write(tmp_path, a__one=one, b__two=two, **{"README.md": "no session", "a__.hidden": "1 2 3"}), None, **START)
    assert by_fate(raw) == {
        "requests": {"kept": 3, "not_an_entry": 2, "broken_token": 4, "duplicate_session": 2},
        "events": {"kept": 5, "quarantined": 4, "duplicate_session": 2},
        "items": {"kept": 5, "broken_token": 4, "duplicate_session": 2},
    }
    told = raw["events"].frame.where("_fate = 'quarantined'").orderBy("_line", "_reason").collect()
    assert [(r["_rule"], r["_line"], r["_raw"]) for r in told] == [
        ("broken_token", "a/one:1", "12+5+753+20"),
        ("broken_token", "a/one:1", "oops"),
        ("broken_token", "a/one:1", "12+11+753+1+1"),
        ("broken_token", "b/two:2", r"\xff\xfe"),
    ]
    assert told[0]["_reason"] == "token 2 is not sku+behaviour+category+interval+dwell"
    orphan = raw["events"].frame.where("item_id = '7'").first()
    assert orphan["domain"] is None  # the gate quarantines it: nobody knows where it happened


def test_sessions_fit_into_the_days_and_fall_alike_in_every_run(spark, tmp_path):
    lines = "\n".join(f"{n}+5+1+80000+1 {n}+9+1+1+1 {n}+8+1+200000+1 {n}+8+1+1+1" for n in range(40))  # 3.24 days each
    path = write(tmp_path, one=lines)
    raw = jd.read(spark, path, None, **START, num_days="4")
    days = dict(map(tuple, raw["events"].frame.groupBy("day").count().collect()))
    assert by_fate(raw)["events"] == {"kept": 160} and set(days) == {date(2026, 1, n) for n in (1, 2, 4)}
    again = jd.read(spark, path, None, **START, num_days="4")["events"].frame
    assert raw["events"].frame.exceptAll(again).isEmpty()
    short = by_fate(jd.read(spark, path, None, **START, num_days="1"))["events"]
    assert short == {"kept": 120, "other_day": 40}  # no room: all begin at midnight, and the last token comes on the fourth day
    second = jd.read(spark, path, (date(2026, 1, 2), date(2026, 1, 2)), **START, num_days="4")
    assert by_fate(second)["events"] == {"kept": days[date(2026, 1, 2)], "other_day": 160 - days[date(2026, 1, 2)]}


def test_input_that_cannot_be_read_is_told(spark, tmp_path):
    with pytest.raises(SourceError, match=r"start_day is None, num_days '7'; give a day as 2026-01-01"):
        jd.read(spark, write(tmp_path / "good", one=SESSION), None)
    for wrong in ({"start_day": "January"}, {"start_day": "2026-01-01", "num_days": "0"}, {"start_day": "2026-01-01", "num_days": "many"}):
        with pytest.raises(SourceError, match="has no days of its own"):
            jd.read(spark, str(tmp_path / "good"), None, **wrong)
    with pytest.raises(SourceError, match=r"on 2026-01-01\.\.2026-01-07, nothing on 2026-02-01"):
        jd.read(spark, str(tmp_path / "good"), (date(2026, 2, 1), date(2026, 2, 2)), **START)
    with pytest.raises(SourceError, match="absent: no file in it; give the folder"):
        jd.read(spark, str(tmp_path / "absent"), None, **START)
    with pytest.raises(SourceError, match="no token in its files"):
        jd.read(spark, write(tmp_path / "blank", one="\n \n"), None, **START)
    with pytest.raises(SourceError, match=r"one\.gz: "):
        jd.read(spark, write(tmp_path / "torn", **{"one.gz": b"\x1f\x8b\x08\x00torn"}), None, **START)
    with pytest.raises(SourceError, match="name it with --from"):
        jd.read(spark, None, None, **START)
