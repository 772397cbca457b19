"""`sluice backfill` and `sluice withdraw` as a person meets them, on three days of one search each, with Spark."""

import json
import re
import shlex
import shutil
from dataclasses import replace
from datetime import date, timedelta

import pytest

import sluice
from jobs.retire import at_version
from jobs.storage import open_table
from schemas.contract import load
from tests.dying import EVENTS, publish_input, publish_inputs
from tests.sluice.test_main import ROOT, sluice_says

pytestmark = pytest.mark.slow
FIRST = date(2026, 1, 5)
DAYS = [FIRST + timedelta(days=n) for n in range(3)]
SPAN = f"{DAYS[0]}..{DAYS[-1]}"


@pytest.fixture(scope="module")
def raw(spark, tmp_path_factory):
    """A lake with the raw days alone."""
    folder = tmp_path_factory.mktemp("backfill") / "raw"
    for day in DAYS:
        publish_inputs(spark, str(folder), day)
    return folder


@pytest.fixture(scope="module")
def built(raw):
    """The lake with attributions and their statistics, built one after the other."""
    lake = shutil.copytree(raw, raw.with_name("built"))
    sluice_says("backfill", "query_item_stats", "--days", SPAN, "--with-upstream", "--lake", lake)
    return lake


@pytest.fixture
def lake(built, tmp_path):
    return shutil.copytree(built, tmp_path / "lake")


def hashes(lake):
    tables = [open_table(lake, load(name)) for name in ("attributions", "query_item_stats")]
    return {(t.contract.name, str(d)): t.receipt(d)["content_hash"] for t in tables for d in t.days}


def dry_run(lake, *options):
    return json.loads(sluice_says("backfill", *options, "--dry-run", "--json", "--lake", lake).stdout)


def test_days_that_are_built_at_once_come_out_as_one_after_the_other(raw, built, tmp_path):
    lake = shutil.copytree(raw, tmp_path / "lake")
    plan = dry_run(lake, "query_item_stats", "--days", SPAN, "--with-upstream", "--parallel", 3)
    assert plan["unknown"] == 6 and plan["expected"]["core_s"] is None
    arguments = ("backfill", "query_item_stats", "--days", SPAN, "--with-upstream", "--parallel", 3, "--lake", lake)
    done = json.loads(sluice_says(*arguments, "--plan-hash", plan["plan_hash"], "--json").stdout)
    assert {o["status"] for o in done} == {"published"} and len(done) == 6
    assert hashes(lake) == hashes(built) and len(hashes(lake)) == 6
    assert all(o["receipt"]["core_s"] > 0 for o in done)
    assert "up to date: 6 table-days, nothing to build" in sluice_says(*arguments, "--plan-hash", plan["plan_hash"]).stdout


def test_the_plan_is_told_with_its_cost_what_becomes_stale_and_its_hash(spark, lake):
    publish_input(spark, str(lake), "events", [{"event_id": "e", "user_id": "u", "item_id": "i0", "day": DAYS[1]}], DAYS[1])
    text = sluice_says("backfill", "attributions", "--days", SPAN, "--dry-run", "--lake", lake).stdout
    assert "2 of 3 table-days to build" in text and re.search(rf"1\s+attributions\s+{DAYS[1]}\s+input changed: events", text)
    assert re.search(r"wave 1: 2 of attributions; reads [\d.]+ MB, \d+ core seconds, \d+ seconds", text), text
    assert f"stale after it, or may be: query_item_stats {DAYS[1]}..{DAYS[2]} (2 days)" in text
    plan = dry_run(lake, "attributions", "--days", SPAN)
    assert f"--plan-hash {plan['plan_hash']} runs this" in text
    step, _ = [s for s in plan["steps"] if s["reasons"]]  # attributions read the events of the days before
    assert step["from_receipts"] == 3 and step["core_s"] > 0 and step["bytes"] > 0 and step["wave"] == 1
    assert plan["downstream"] == [{"table": "query_item_stats", "day": str(d)} for d in DAYS[1:]]


def test_another_plan_than_the_reviewed_one_does_not_begin(spark, lake):
    publish_input(spark, str(lake), "events", [{"event_id": "e", "user_id": "u", "item_id": "i0", "day": DAYS[1]}], DAYS[1])
    signed = dry_run(lake, "attributions", "--days", SPAN)["plan_hash"]
    publish_input(spark, str(lake), "events", [{"event_id": "f", "user_id": "u", "item_id": "i0", "day": DAYS[1]}], DAYS[1])
    before = hashes(lake)
    told = sluice_says("backfill", "attributions", "--days", SPAN, "--plan-hash", signed, "--lake", lake, code=1).stderr
    assert f"attributions {DAYS[1]}: input changed: events {DAYS[1]}" in told and signed in told
    assert hashes(lake) == before


def test_a_withdrawn_day_is_told_by_every_command_and_stays_so_until_it_is_forced(lake):
    day, before = DAYS[1], hashes(lake)
    text = sluice_says("withdraw", "attributions", "--day", day, "--because", "half of the logs", "--lake", lake).stdout
    assert f"attributions {day}: publish 1 withdrawn as version 4; nothing stands in its place" in text
    assert f"stale after it, or may be: query_item_stats {day}..{DAYS[2]} (2 days)" in text
    for arguments in (("receipts", "attributions"), ("run", "attributions", "--day", day), ("backfill", "attributions", "--days", SPAN)):
        told = sluice_says(*arguments, "--lake", lake).stdout
        assert f"attributions {day} was withdrawn by" in told and "half of the logs" in told and "--force" in told, arguments
    assert "half of the logs" in sluice_says("receipts", "attributions", "--day", day, "--lake", lake, code=1).stderr
    assert "was withdrawn" in sluice_says("backfill", "query_item_stats", "--days", SPAN, "--lake", lake, code=1).stderr
    assert "published as version 5" in sluice_says("run", "attributions", "--day", day, "--force", "--lake", lake).stdout
    assert hashes(lake) == before
    stale = dry_run(lake, "query_item_stats", "--days", SPAN)
    assert not [s for s in stale["steps"] if s["reasons"]], "the same rows came out: nothing is stale"


def test_a_withdrawal_is_one_document_and_goes_back_to_a_version(spark, lake):
    publish_input(spark, str(lake), "events", [{"event_id": "only", "user_id": "u", "item_id": "i0", "day": FIRST}], FIRST)
    withdraw = ("withdraw", "events", "--day", FIRST, "--because", "a test of the shop", "--lake", lake, "--json")
    found = json.loads(sluice_says(*withdraw).stdout)
    assert (found["receipt"]["withdrawal"]["restores"], found["receipt"]["rows"]) == (1, EVENTS)
    assert {d["table"] for d in found["downstream"]} == {"attributions", "query_item_stats"}
    assert open_table(lake, load("events")).read(spark, [FIRST]).count() == EVENTS
    again = json.loads(sluice_says(*withdraw, "--to", 4).stdout)
    assert (again["receipt"]["withdrawal"]["restores"], again["receipt"]["rows"]) == (2, 1)
    text = sluice_says("receipts", "events", "--day", FIRST, "--lake", lake).stdout
    assert "a test of the shop" in text and "publish 2 stands again" in text
    assert "stands already" in sluice_says(*withdraw, "--to", 4, code=2).stderr
    assert "--because" in sluice_says("withdraw", "events", "--day", FIRST, "--because", " ", "--lake", lake, code=2).stderr


@pytest.fixture
def second_version(monkeypatch):
    """The code of a branch in which attributions have a new version."""
    monkeypatch.setattr("schemas.attributions.CONTRACT", replace(load("attributions"), version=2))


def test_the_way_to_a_new_version_of_a_table_is_the_one_that_is_written_down(lake, second_version, monkeypatch):
    section = (ROOT / "schemas/README.md").read_text().partition("## A new version of a table")[2]
    commands = re.findall(r"^\$ sluice (.+)$", section, re.MULTILINE)
    assert len(commands) == 6
    monkeypatch.setenv("SLUICE_LAKE", str(lake))
    told, before = [], [r["content_hash"] for r in at_version(str(lake), load("attributions"), 1).receipts()]
    old = sluice.open_table("attributions", lake, SPAN, contract_version=1).dataset.to_table()
    for command in commands:
        told.append(sluice_says(*shlex.split(command)).stdout)
        if not (lake / "attributions" / "v2" / "_receipts").exists():
            assert "3 of 3 table-days to build" in told[-1] and "missing" in told[-1]
    assert "not retired: 1" in told[2]
    assert "up to date: 3 table-days" in told[3], "the same rows came out: what reads them is not stale"
    assert f"would remove {lake}/attributions/v1" in told[4] and f"removed {lake}/attributions/v1" in told[5]
    assert not (lake / "attributions/v1").exists() and (lake / "attributions/v2").exists()
    assert sluice.open_table("attributions", lake, SPAN).dataset.to_table().num_rows == old.num_rows == len(DAYS) * EVENTS
    assert [hashes(lake)["attributions", str(d)] for d in DAYS] == before
