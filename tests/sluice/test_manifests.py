"""`sluice manifest` as a user meets it: on a lake of two small tables, published without Spark."""

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.storage import table_root
from schemas.entire_space import CONTRACT as SAMPLES
from schemas.items import CONTRACT as ITEMS
from sluice.main import app
from tests.commands import sluice_says
from tests.jobs.published import NOON, item, publish_day
from training.manifest import create, load

D1, D2 = date(2026, 1, 5), date(2026, 1, 6)
DAYS = f"{D1}..{D2}"


says = partial(sluice_says, "manifest")


def sample(request_id, click):
    fields = {"item_id": "a", "stage": "exposed", "is_exposed": True, "sample_type": "exposed", "p_inclusion": 1.0, "weight": 1.0}
    row = {"user_id": "u", "domain": "search", "is_pseudo": False, "requested_at": NOON, "query_source": "native"}
    return row | {"request_id": request_id, "items": [fields | {"y_click": click, "y_pay": 0}]}


@pytest.fixture
def lake(tmp_path):
    """Two days of items and of samples; the labels of the second day are a day short."""
    folder = tmp_path / "lake"
    for day, age in ((D1, 8), (D2, 7)):
        publish_day(folder, ITEMS, day, [item("a"), item("b")])
        publish_day(folder, SAMPLES, day, [sample("r", 1)], label_as_of=str(day + timedelta(days=age)))
    return folder


def test_a_manifest_from_its_making_to_its_end(lake):
    where = ("--lake", lake)
    assert says("list", *where).stdout.startswith("no manifest yet; make one: sluice manifest create")
    made = says("create", "base", "--table", "items", "--days", DAYS, *where).stdout
    size = load(lake, "base").bytes
    assert made == f"base: items {DAYS} at version 2, 4 rows in 2 files, {size:,} bytes; no labels\n"
    again = says("create", "base", "--table", "items", "--days", DAYS, *where).stdout
    assert again == made.rstrip("\n") + "; it was there already, with the same content\n"
    listed = says("list", *where).stdout.splitlines()
    assert listed[0].startswith(f"Manifests of {lake}") and listed[2].split()[:5] == ["base", "items", DAYS, "4", f"{size:,}"]
    shown = says("show", "base", *where).stdout
    assert shown.startswith(made) and "seed 17" in shown
    held = [line.split() for line in shown.splitlines()[-2:]]
    hashes = [r["content_hash"] for r in load(lake, "base").receipts.values()]
    assert [(row[0], row[1], row[2], row[-1]) for row in held] == [(str(D1), "2", "1", hashes[0]), (str(D2), "2", "1", hashes[1])]
    assert says("verify", "base", *where).stdout == "base: files (2) and receipts (2) are as they were pinned\n"
    assert says("delete", "base", *where).stdout.startswith("base is deleted")
    assert not (lake / "_manifests" / "base.json").exists()


def test_json_is_one_document_and_nothing_else(lake):
    where = ("--lake", lake, "--json")
    first = json.loads(says("create", "first", "--table", "entire_space", "--days", f"{D1}..{D1}", "--mature", "--seed", 5, *where).stdout)
    assert (first["rows"], first["is_mature"], first["sampler"]["seed"], first["is_new"]) == (1, True, 5, True)
    both = json.loads(says("create", "both", "--table", "entire_space", "--days", DAYS, *where).stdout)
    shown = json.loads(says("show", "both", *where).stdout)
    assert shown == {key: value for key, value in both.items() if key != "is_new"}
    assert shown["files"] == json.loads((lake / "_manifests" / "both.json").read_text())["files"]
    listed = json.loads(says("list", *where).stdout)
    assert [(m["name"], m["rows"], m["identity"]) for m in listed] == [("both", 2, both["identity"]), ("first", 1, first["identity"])]
    assert json.loads(says("verify", "both", *where).stdout) == {"name": "both", "table": "entire_space", "files": 2, "faults": []}
    found = json.loads(says("diff", "first", "both", *where).stdout)
    assert (found["rows"], found["labels"]["y_click"], found["days"]["added"]) == ([1, 2], [1, 2], [str(D2)])
    assert json.loads(says("delete", "both", *where).stdout) == {"name": "both", "deleted": True}


def test_what_may_not_be_pinned_is_told_with_what_to_run(lake):
    days = f"2026-01-04..{D2}"
    refused = says("create", "base", "--table", "entire_space", "--days", days, "--mature", "--lake", lake, code=1)
    assert not refused.stdout and refused.stderr.startswith(f"failed: manifest base of entire_space {days} is refused:\n")
    for part in (
        "entire_space 2026-01-04 has no receipt, so no gate has let it in: sluice backfill entire_space --days 2026-01-04..2026-01-04",
        f"entire_space {D2}: labels are still open, known for 7 of 8 days; once the lake holds its inputs up to 2026-01-14: sluice ",
    ):
        assert part in refused.stderr
    create(lake, "base", "items", DAYS)
    taken = says("create", "base", "--table", "items", "--days", f"{D1}..{D1}", "--lake", lake, "--json", code=1)
    assert not taken.stdout and "sluice manifest delete base" in taken.stderr


def test_verify_fails_when_something_is_not_as_it_was_pinned(lake):
    made = create(lake, "base", "items", DAYS)
    path = Path(table_root(str(lake), ITEMS), made.files[0].path)
    path.unlink()
    told = says("verify", "base", "--lake", lake, code=1)
    assert told.stdout.startswith(f"{made.files[0].path} under {made.root} is gone")
    assert told.stderr == "failed: base is not as it was pinned (1 fault, see above)\n"
    found = json.loads(says("verify", "base", "--lake", lake, "--json", code=1).stdout)
    assert [fault.split(" under ")[0] for fault in found["faults"]] == [made.files[0].path]


def test_diff_shows_what_moved_the_most_first(lake):
    create(lake, "before", "entire_space", DAYS)
    publish_day(lake, SAMPLES, D2, [sample("s", 0), sample("t", 0)], run="two", label_as_of="2026-01-14", code="n3w")
    create(lake, "after", "entire_space", DAYS)
    lines = says("diff", "before", "after", "--lake", lake).stdout.splitlines()
    assert lines[:3] == ["before -> after: rows 2 -> 3", "label y_click: 2 -> 1", "label y_pay: 0 -> 0"]
    assert f"{D2}: labels known to 2026-01-13 -> 2026-01-14" in lines and f"{D2}: code c0de -> n3w" in lines
    assert any(line.startswith(f"{D2}: content 1-") for line in lines)
    (row,) = (line.split() for line in lines if "items.y_click" in line)
    assert row[1:6] == ["0.00%", "0.00%", "1", "0.33333", "0.6667"]
    assert lines[-1].split()[0] == "request_id", "others did not move"
    limited = says("diff", "before", "after", "--limit", 1, "--lake", lake).stdout.splitlines()
    assert limited[-1] == "... and 1 more (--limit 2)"
    assert says("diff", "after", "after", "--lake", lake).stdout.splitlines()[-1].startswith("no distribution of ")


def test_wrong_use_is_told_with_what_to_write(lake):
    create(lake, "base", "items", DAYS)
    cases = [
        (("create", "../up", "--table", "items", "--days", DAYS), 2, "'../up' is no name of a manifest"),
        (("show", "a/b"), 2, "'a/b' is no name of a manifest"),
        (("delete", ".."), 2, "'..' is no name of a manifest"),
        (("create", "new", "--table", "orders", "--days", DAYS), 2, "no table 'orders'"),
        (("create", "new", "--table", "items", "--days", "January"), 2, "'January'"),
        (("create", "new", "--table", "items"), 2, "Missing option '--days'"),
        (("show", "other"), 1, "no manifest other in"),
        (("verify", "other"), 1, "(there: base)"),
        (("diff", "base", "other"), 1, "no manifest other in"),
        (("delete", "other"), 1, "no manifest other in"),
    ]
    for arguments, code, part in cases:
        result = says(*arguments, "--lake", lake, "--json", code=code)
        assert part in " ".join(result.stderr.replace("│", " ").split()) and not result.stdout, (arguments, result.stderr)
    nowhere = lake / "nowhere"
    for arguments in (("list",), ("show", "base"), ("create", "base", "--table", "items", "--days", DAYS)):
        assert f"no lake at {nowhere}" in says(*arguments, "--lake", nowhere, code=1).stderr
    assert not nowhere.exists()


def test_a_broken_manifest_hides_no_other(lake):
    create(lake, "base", "items", DAYS)
    (lake / "_manifests" / "broken.json").write_text("{")
    text = says("list", "--lake", lake).stdout
    assert " base " in text and "broken.json is no manifest" in " ".join(text.split())
    listed = json.loads(says("list", "--lake", lake, "--json").stdout)
    assert [m["name"] for m in listed] == ["base", "broken"] and "fault" in listed[1]
    says("delete", "broken", "--lake", lake)


def test_maintain_takes_what_was_replaced_once_the_manifest_is_deleted(lake):
    create(lake, "base", "items", DAYS)
    publish_day(lake, ITEMS, D1, [item("c")], run="two")
    log = max(Path(table_root(str(lake), ITEMS), "_delta_log").glob("*.json"))
    text, count = re.subn(r'"deletionTimestamp":\d+', '"deletionTimestamp":1600000000000', log.read_text())  # retention is a day at least
    log.write_text(text)
    assert count == 1
    maintain = ["maintain", "--lake", str(lake)]
    assert CliRunner().invoke(app, maintain).stdout == "nothing removed\n"
    says("verify", "base", "--lake", lake)
    says("delete", "base", "--lake", lake)
    told = CliRunner().invoke(app, maintain).stdout.splitlines()
    assert told[0].endswith("b=one/split=kept/part-0.parquet (replaced in items)") and told[1:] == ["1 leftover removed"]


def test_the_real_command_reads_the_lake_from_the_environment(lake):
    create(lake, "base", "items", DAYS)
    shutil.rmtree(table_root(str(lake), ITEMS))
    environment = os.environ | {"SLUICE_LAKE": str(lake)}
    command = [sys.executable, "-m", "sluice.main", "manifest", "verify", "base"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (1, f"there is no table any more at {table_root(str(lake), ITEMS)}\n"), done.stderr
    assert done.stderr == "failed: base is not as it was pinned (1 fault, see above)\n"
