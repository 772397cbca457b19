"""The facts of the report against receipts, rows and quarantine of a small lake that Spark never saw."""

import json
from datetime import timedelta

import pytest

from jobs.storage import NotPublishedError
from jobs.withdraw import withdraw
from schemas.contract import load
from sluice.report import contents
from sluice.report.contents import HIDDEN, hidden, profile_of
from sluice.report.facts import gather
from tests.sluice.report.planted import DAYS, FIRST, ITEMS, PIPELINE, ROWS, put, quarantine, receipt_on_disk, result
from training.manifest import create

SPACE, EVENTS = load("entire_space"), load("events")


def table(facts, name):
    return next(t for t in facts["tables"] if t["table"] == name)


def day(facts, name, which):
    return next(f for f in table(facts, name)["days"] if f["day"] == str(which))


def states(facts, name):
    return [f["state"] for f in table(facts, name)["days"]]


def test_the_facts_are_the_receipts(whole):
    facts = gather(str(whole))
    assert facts["days"] == [str(d) for d in DAYS] and facts["critical"] == []
    names = [t["table"] for t in facts["tables"] if any(f["receipt"] for f in t["days"])]
    assert sorted(names) == sorted(PIPELINE)
    for name in names:
        assert [f["receipt"] for f in table(facts, name)["days"]] == [receipt_on_disk(whole, name, d) for d in DAYS]
    assert states(facts, "events") == ["published"] * 6
    assert states(facts, "entire_space") == ["immature"] * 6
    assert [f["label_age"] for f in table(facts, "entire_space")["days"]] == [5, 4, 3, 2, 1, 0]
    assert states(facts, "hhsft_examples") == ["none"] * 6  # not in use here
    json.dumps(facts, allow_nan=False)


def test_columns_are_what_the_rows_hold(whole):
    columns = {c["column"]: c for c in table(gather(str(whole)), "items")["columns"]}
    price = columns["price_cents"]["days"]
    assert [(d["values"], d["null_share"], d["mean"], d["distance"]) for d in price] == [(3, 1 / 3, 178.0, None)] + [
        (3, 1 / 3, 178.0, 0)
    ] * 5
    assert columns["price_cents"]["histogram"] == {"labels": ["100", "256"], "day": [0.5, 0.5], "week": [0.5, 0.5]}
    assert columns["status"]["kind"] == "string" and sum(columns["status"]["histogram"]["day"]) == 1


def test_a_column_that_moved_is_worth_a_look_and_stops_nothing(lake):
    put(lake, ITEMS, DAYS[-1] + timedelta(days=1), [{**r, "price_cents": 9_999} for r in ROWS["items"]] * 20)
    facts = gather(str(lake))
    (entry,) = [w for w in facts["warnings"] if w["cause"] == "drift"]
    assert entry["table"] == "items" and entry["columns"] == ["price_cents"] and facts["critical"] == []
    first = table(facts, "items")["columns"][0]
    assert first["column"] == "price_cents" and first["days"][-1]["distance"] == 1.0


def test_a_profile_is_kept_by_content_and_read_again(lake, tmp_path, monkeypatch):
    first = gather(str(lake), kept=tmp_path / "kept")
    monkeypatch.setattr(contents, "profile", lambda *a, **k: pytest.fail("looked at rows again"))
    again = gather(str(lake), kept=tmp_path / "kept")
    assert [t["columns"] for t in again["tables"]] == [t["columns"] for t in first["tables"]]
    gather(str(lake), (DAYS[1], DAYS[1]), kept=tmp_path / "kept")
    assert {p.name[:10] for p in (tmp_path / "kept").rglob("*.json")} == {str(DAYS[1])}  # the others are shown no more


def test_a_profile_is_bounded(lake, monkeypatch):
    monkeypatch.setattr(contents, "MOST_ROWS", 2)
    found = profile_of(contents.open_table(str(lake), ITEMS), FIRST, receipt_on_disk(lake, "items", FIRST), None)
    assert found["item_id"].count == 2


def test_labels_at_each_age_come_from_the_rows_and_the_flips(lake):
    flips = {"y_click": {"to_1": 2, "to_0": 1}, "y_pay": {"to_1": 0, "to_0": 0}}
    put(lake, SPACE, FIRST, labels_flipped=flips, label_as_of=str(FIRST + timedelta(days=5)))
    (curve, *_) = table(gather(str(lake)), "entire_space")["labels"]["y_click"]
    # 4 samples, 2 of them clicked now; 2 became 1 and 1 became 0 since, so 1 of 4 was before
    assert curve == {"day": str(FIRST), "points": [{"age": 5, "share": 0.25}, {"age": 5, "share": 0.5}]}


def test_samples_of_quarantine_hide_persons_and_what_no_contract_names(lake):
    row = json.dumps({"event_id": "e", "user_id": "ann", "item_id": "a", "uid": "ann"})
    version = quarantine(lake, EVENTS, DAYS[5] + timedelta(days=1), [{"rule": "domain_known", "row": row, "key": '{"event_id": "e"}'}] * 5)
    put(lake, EVENTS, DAYS[5] + timedelta(days=1), quarantined={"domain_known": 5}, quarantine_version=version)
    found = day(gather(str(lake)), "events", DAYS[5] + timedelta(days=1))
    assert found["state"] == "quarantined" and found["do"].startswith("sluice quarantine events --day 2026-01-11")
    samples = found["quarantine"]["domain_known"]
    assert len(samples) == contents.SAMPLES and json.loads(samples[0]["key"]) == {"event_id": "e"}
    assert json.loads(samples[0]["row"]) == {"event_id": "e", "user_id": HIDDEN, "item_id": "a", "uid": HIDDEN}
    shown = day(gather(str(lake), personal=True), "events", DAYS[5] + timedelta(days=1))["quarantine"]["domain_known"]
    assert shown[0]["row"] == row


def test_a_line_that_is_no_json_is_hidden_whole():
    assert hidden(EVENTS, "e4;bob;yesterday") == HIDDEN and hidden(EVENTS, '["bob"]') == HIDDEN


def test_a_failed_warning_is_named_with_its_days(lake):
    broken = result(
        "expect_column_mean_to_be_between", "price_cents", success=False, severity="warning", observed_value=9.0, asked_max_value=5
    )
    for number in (1, 2):
        put(lake, ITEMS, DAYS[5] + timedelta(days=number), results=[broken])
    (entry,) = [w for w in gather(str(lake))["warnings"] if w["cause"] == "warned"]
    assert (entry["table"], entry["first"], entry["last"], entry["days"]) == ("items", "2026-01-11", "2026-01-12", 2)
    assert entry["why"] == ["expect_column_mean_to_be_between(price_cents)"]


def test_manifests_say_which_of_their_days_hold_other_rows_by_now(lake):
    create(lake, "base", "items", f"{DAYS[0]}..{DAYS[1]}")
    put(lake, ITEMS, DAYS[1], ROWS["items"][:1])
    (found,) = gather(str(lake))["manifests"]
    assert (found["name"], found["table"], found["rows"], found["replaced_since"]) == ("base", "items", 6, [str(DAYS[1])])


def test_days_that_could_be_built_are_open_and_until_makes_them_missing(lake):
    for name in ("items", "requests", "events"):
        put(lake, load(name), DAYS[5] + timedelta(days=1))
    facts = gather(str(lake))
    assert states(facts, "attributions")[-2:] == ["published", "open"]
    assert facts["critical"] == []
    late = gather(str(lake), until=DAYS[5] + timedelta(days=2))
    assert states(late, "attributions")[-3:] == ["published", "missing", "missing"] and states(late, "events")[-2:] == [
        "published",
        "missing",
    ]
    assert states(late, "hhsft_examples")[-1] == "none"


def test_a_span_is_shown_alone(whole):
    facts = gather(str(whole), (DAYS[1], DAYS[2]))
    assert facts["days"] == [str(DAYS[1]), str(DAYS[2])] and len(table(facts, "items")["days"]) == 2


def test_an_empty_lake_is_told(tmp_path):
    with pytest.raises(NotPublishedError, match=r"no table of .* has a published day; sluice ingest SOURCE"):
        gather(str(tmp_path))


def test_a_withdrawn_day_says_why_and_is_not_red(lake):
    withdraw(str(lake), ITEMS, DAYS[5], "a bad catalogue")
    facts = gather(str(lake))
    found = day(facts, "items", DAYS[5])
    assert (found["state"], found["receipt"], found["why"]) == ("withdrawn", None, {"withdrawn": ["withdrawn: a bad catalogue"]})
    assert {(c["cause"], c["table"]) for c in facts["critical"]} <= {("stale", "entire_space"), ("stale", "text_vectors")}
