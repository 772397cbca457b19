"""The command line as a user meets it: help, messages, exit codes, JSON; every command on one small lake."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import typer

import sluice
from jobs.storage import NotPublishedError, open_table
from schemas.contract import ContractError, load, table_names
from sluice.main import app
from tests.commands import sluice_says
from tests.dying import publish_input

ROOT = Path(__file__).parents[2]
FIRST, LAST = "2026-01-01", "2026-01-02"
DAYS = f"{FIRST}..{LAST}"
REFUSED_DAY = date(2026, 1, 9)
TOP = typer.main.get_command(app).commands
GROUPS = {name: command.commands for name, command in TOP.items() if hasattr(command, "commands")}
COMMANDS = {name: command for name, command in TOP.items() if name not in GROUPS}
COMMANDS |= {f"{group} {name}": command for group, held in GROUPS.items() for name, command in held.items()}


@pytest.fixture(scope="module")
def lake(spark, tmp_path_factory):
    """Two days of a simulated shop, one derived table of them, and a day of items that its gate refused."""
    lake = tmp_path_factory.mktemp("cli") / "lake"
    made = sluice_says("ingest", "simulator", "--days", DAYS, "--users", 20, "--set", "items=400", "--lake", lake, "--json")
    outcomes = json.loads(made.stdout)
    assert [(o["table"], o["day"], o["status"]) for o in outcomes] == [
        (table, day, "published") for table in ("items", "requests", "events") for day in (FIRST, LAST)
    ]
    built = sluice_says("backfill", "query_item_stats", "--days", DAYS, "--with-upstream", "--lake", lake, "--json")
    assert [(o["table"], o["day"]) for o in json.loads(built.stdout)] == [
        (table, day) for table in ("attributions", "query_item_stats") for day in (FIRST, LAST)
    ]
    return lake


# --- help


def test_every_command_has_help_with_an_example_that_parses():
    assert len(COMMANDS) >= 19
    for name, command in COMMANDS.items():
        text = sluice_says(*name.split(), "--help").stdout
        example = re.search(rf"^ *Example: (sluice {name}\b.*)$", text, re.MULTILINE)
        assert example, f"sluice {name} --help shows no example"
        words = shlex.split(example.group(1).split(" > ")[0])[1 + len(name.split()) :]
        with command.make_context(name, words) as context:
            assert context.params, name


def test_sluice_alone_prints_first_steps():
    text = sluice_says().stdout
    named = set(re.findall(r"^  sluice (\w+)", text, re.MULTILINE))
    assert {"demo", "doctor", "tables", "ingest", "backfill"} <= named <= set(COMMANDS)


def test_help_imports_no_engine():
    code = "import sys; sys.argv = ['sluice', '--help']\nfrom sluice.main import app\ntry:\n    app()\nexcept SystemExit:\n    pass\n"
    code += "print('LOADED', *sorted({n.partition('.')[0] for n in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "Usage" in done.stdout, done.stderr
    loaded = set(done.stdout.rpartition("LOADED")[2].split())
    assert "typer" in loaded and not loaded & {"pyspark", "pandas", "pyarrow", "deltalake", "numpy"}


# --- what went wrong, where, what to do


def test_wrong_use_is_told_with_what_to_write(lake):
    cases = [
        (("run", "nonsense", "--day", FIRST), ("no table 'nonsense'", "query_item_stats")),
        (("run", "attributions", "--day", "2026-13-01"), ("--day", "'2026-13-01' is no day", "2026-01-05")),
        (("run", "attributions"), ("Missing option '--day'",)),
        (("run", "attributions", "--day", "2999-01-01"), ("attributions 2999-01-01", "in the future", "UTC")),
        (("run", "requests", "--day", FIRST), ("requests is a raw table", f"sluice ingest SOURCE --days {FIRST}..{FIRST}")),
        (("backfill", "requests", "--days", DAYS), ("requests is a raw table", f"sluice ingest SOURCE --days {DAYS}")),
        (("backfill", "attributions", "--days", f"{LAST}..{FIRST}"), ("before the first", f"write {DAYS}")),
        (("backfill", "attributions", "--days", "January"), ("'January'", "2026-01-01..2026-01-10")),
        (("ingest", "nonsense"), ("no source 'nonsense'", "simulator", "files")),
        (("ingest", "simulator", "--flavour", "salt", "--days", DAYS), ("no option", "flavour", "users")),
        (("ingest", "simulator", "--set", "users"), ("'users' is not NAME=VALUE",)),
        (("ingest", "simulator", "stray"), ("'stray'",)),
        (("gate", "items", "--day", FIRST, "--accept", "x"), ("--accept and --because belong together",)),
        (("run", "attributions", "--day", FIRST, "--conf", "a"), ("'a' is not NAME=VALUE",)),
        (("nonsense",), ("No such command 'nonsense'",)),
    ]
    for arguments, parts in cases:
        lake_option = ("--lake", lake) if len(arguments) > 1 else ()
        result = sluice_says(*arguments, *lake_option, code=2)
        message = " ".join(result.stderr.replace("│", " ").split())
        assert all(part in message for part in parts), f"sluice {' '.join(arguments)}: {message}"
        assert not result.stdout


def test_what_is_not_there_is_told_with_what_to_run(lake):
    cases = [
        (("run", "attributions", "--day", "2026-01-05"), ("attributions 2026-01-05 cannot be built", "requests", "sluice ingest SOURCE")),
        (("run", "query_item_stats", "--day", "2026-01-03"), ("attributions 2026-01-03 is not published", "sluice run attributions")),
        (("backfill", "query_item_stats", "--days", "2026-01-02..2026-01-03"), ("attributions 2026-01-03", "--with-upstream")),
        (
            ("backfill", "query_item_stats", "--days", "2026-01-02..2026-01-04", "--with-upstream"),
            (f"hold {FIRST}..{LAST}", "sluice ingest SOURCE --days 2026-01-03..2026-01-04"),
        ),
        (("receipts", "entire_space"), ("entire_space has no published day", "sluice run entire_space")),
        (("receipts", "items", "--day", "2026-01-07"), ("items 2026-01-07 is not published", "sluice ingest SOURCE")),
        (("books", "items", "--day", "2026-01-07"), ("items 2026-01-07 is not published", "sluice ingest SOURCE")),
        (("quarantine", "items", "--day", "2026-01-07"), ("items 2026-01-07 is not published",)),
        (("stages", "--day", FIRST), ("entire_space 2026-01-01 is not published", "sluice run entire_space --day 2026-01-01")),
        (("bytes", "entire_space", "--day", FIRST), ("entire_space 2026-01-01 is not published",)),
        (("gate", "items", "--day", FIRST), ("no staged day waits", "sluice receipts items")),
        (("ingest", "simulator"), ("--days is needed", "2026-01-01..2026-01-10")),
        (("ingest", "files", "--from", "nowhere"), ("nowhere",)),
        (("ingest", "files"), ("--from",)),
        (("ingest", "simulator", "--days", DAYS, "--users", "many"), ("users", "many")),
    ]
    for arguments, parts in cases:
        result = sluice_says(*arguments, "--lake", lake, "--json", code=1)
        message = " ".join(result.stderr.split())
        assert all(part in message for part in parts), f"sluice {' '.join(arguments)}: {message}"
        assert not result.stdout


def test_a_lake_that_is_not_there_is_told_by_every_command_that_needs_one(tmp_path):
    nowhere = tmp_path / "nowhere"
    day = ("--day", FIRST)
    needing = [("run", "attributions", *day), ("backfill", "attributions", "--days", DAYS), ("gate", "items", *day), ("receipts", "items")]
    needing += [("books", "items", *day), ("quarantine", "items", *day), ("stages", *day), ("bytes", "requests", *day), ("maintain",)]
    needing += [("withdraw", "items", *day, "--because", "wrong"), ("retire", "items", "--version", 1)]
    for arguments in needing:
        message = sluice_says(*arguments, "--lake", nowhere, code=1).stderr
        assert f"no lake at {nowhere}" in message and "--lake" in message and "sluice ingest" in message, arguments
    assert not nowhere.exists()


def test_bytes_of_a_raw_table_with_lists(lake):
    found = json.loads(sluice_says("bytes", "requests", "--day", FIRST, "--lake", lake, "--json").stdout)
    assert [row["acts"] for row in found["sizes"]] == [None] and 0 < found["requests"] < found["samples"]
    assert "holds no list" in sluice_says("bytes", "events", "--day", FIRST, "--lake", lake, code=2).stderr


def test_exit_codes_of_the_real_command(lake):
    command = [sys.executable, "-m", "sluice.main"]
    for arguments, code in ((["books", "items", "--day", FIRST], 0), (["books", "items", "--day", "2026-01-07"], 1), (["books"], 2)):
        done = subprocess.run([*command, *arguments, "--lake", str(lake)], cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        assert bool(done.stdout) == (code == 0)


# --- facts


def test_json_is_one_document_and_nothing_else(lake):
    table = ("query_item_stats",)
    day = ("--day", LAST)
    commands = [("tables",), ("receipts", *table), ("receipts", *table, *day), ("books", "attributions", *day), ("maintain", "--dry-run")]
    commands += [("quarantine", "events", *day), ("run", *table, *day), ("backfill", *table, "--days", DAYS)]
    commands += [("backfill", *table, "--days", DAYS, "--dry-run"), ("run", *table, *day, "--force")]
    for arguments in commands:
        json.loads(sluice_says(*arguments, "--lake", lake, "--json").stdout)
    for arguments in (("contract", *table), ("contract", *table, "--odcs")):
        json.loads(sluice_says(*arguments, "--json").stdout)


def test_tables_lists_all_with_their_days(lake):
    text = sluice_says("tables", "--lake", lake).stdout
    facts = json.loads(sluice_says("tables", "--lake", lake, "--json").stdout)
    assert {f["table"] for f in facts} == set(table_names())
    assert all(name in text for name in table_names())
    held = {f["table"]: f["days"] for f in facts}
    assert held["query_item_stats"] == [FIRST, LAST] and held["entire_space"] == []
    assert f"2 days, {FIRST}..{LAST}" in text


def test_contract_shows_columns_and_the_standard_document():
    from ruamel.yaml import YAML

    text = sluice_says("contract", "attributions").stdout
    assert all(column.name in text for column in load("attributions").columns)
    document = YAML(typ="safe").load(sluice_says("contract", "attributions", "--odcs").stdout)
    assert document == json.loads(sluice_says("contract", "attributions", "--odcs", "--json").stdout)
    assert document["kind"] == "DataContract"


def test_receipts_and_books_agree_and_add_up(lake):
    receipt = json.loads(sluice_says("receipts", "attributions", "--day", LAST, "--lake", lake, "--json").stdout)
    accounts = json.loads(sluice_says("books", "attributions", "--day", LAST, "--lake", lake, "--json").stdout)
    assert receipt["accounts"] == accounts and len(accounts) == 1
    assert accounts[0]["in"] == sum(accounts[0]["fates"].values()) == receipt["rows"] > 0
    text = sluice_says("books", "attributions", "--day", LAST, "--lake", lake).stdout
    assert f"attributions {LAST}: events of events" in text and "difference 0" in text
    text = sluice_says("receipts", "attributions", "--day", LAST, "--lake", lake).stdout
    assert receipt["content_hash"] in text and f"run {receipt['run_id']} because missing" in text
    assert "conserves no input" in sluice_says("books", "query_item_stats", "--day", LAST, "--lake", lake).stdout


def test_quarantine_shows_rows_with_the_reason(spark, lake):
    day = date(2026, 1, 8)
    publish_input(spark, str(lake), "items", [{"item_id": "good", "day": day}, {"item_id": "odd", "price_cents": -1, "day": day}], day)
    found = json.loads(sluice_says("quarantine", "items", "--day", day, "--lake", lake, "--json").stdout)
    assert found["by_rule"] == {"price_not_negative": 1}
    assert json.loads(found["rows"][0]["key"]) == {"item_id": "odd"}
    text = sluice_says("quarantine", "items", "--day", day, "--lake", lake).stdout
    assert "items 2026-01-08: 1 taken out (1 price_not_negative)" in text and "price_cents >= 0" in text
    assert "items 2026-01-01: 0 taken out" in sluice_says("quarantine", "items", "--day", FIRST, "--lake", lake).stdout


# --- doing


def test_a_plan_names_each_table_day_and_why_and_a_second_backfill_finds_all_up_to_date(lake):
    arguments = ("backfill", "query_item_stats", "--days", DAYS, "--with-upstream", "--lake", lake)
    plan = json.loads(sluice_says(*arguments, "--dry-run", "--json").stdout)
    assert [(s["table"], s["day"], s["reasons"]) for s in plan["steps"]] == [
        (table, day, []) for table in ("attributions", "query_item_stats") for day in (FIRST, LAST)
    ]
    assert sluice_says(*arguments).stdout == "up to date: 4 table-days, nothing to build\n"
    again = sluice_says("run", "query_item_stats", "--day", LAST, "--lake", lake).stdout
    assert again.startswith(f"query_item_stats {LAST}: up to date (")
    ahead = sluice_says("backfill", "text_vectors", "--days", FIRST, "--dry-run", "--lake", lake).stdout
    assert "1 of 1 table-days to build" in ahead and re.search(rf"1\s+text_vectors\s+{FIRST}\s+missing", ahead)


def test_force_compares_and_publishes_nothing(lake):
    contract = load("query_item_stats")
    before = open_table(lake, contract).version
    text = sluice_says("run", "query_item_stats", "--day", LAST, "--force", "--lake", lake).stdout
    assert "built again, the same" in text and f"version {before} stays" in text
    outcome = json.loads(sluice_says("run", "query_item_stats", "--day", LAST, "--force", "--lake", lake, "--json").stdout)
    assert outcome["status"] == "verified"
    assert open_table(lake, contract).version == before


def test_a_refused_day_waits_until_a_person_accepts_it(spark, lake):
    closed = [{"item_id": f"i{n}", "status": "off_shelf", "day": REFUSED_DAY} for n in range(3)]
    with pytest.raises(RuntimeError, match="the gate refused to publish"):
        publish_input(spark, str(lake), "items", closed, REFUSED_DAY)
    gate = ("gate", "items", "--day", REFUSED_DAY, "--lake", lake)
    refused = sluice_says(*gate, code=3)
    name = "expect_column_values_to_be_in_set(status)"
    assert name in refused.stdout and "3 of 3" in refused.stdout
    assert refused.stderr.startswith("refused: items 2026-01-09") and f'--accept "{name}" --because' in refused.stderr
    other = sluice_says(*gate, "--accept", "expect_nothing", "--because", "why not", code=2).stderr
    assert "expect_nothing did not fail" in other and name in other
    assert not open_table(lake, load("items")).publishes(REFUSED_DAY)
    accepted = sluice_says(*gate, "--accept", name, "--because", "the shop is closed", "--json")
    assert json.loads(accepted.stdout)["accepted"] == {name: "the shop is closed"}
    text = sluice_says("receipts", "items", "--day", REFUSED_DAY, "--lake", lake).stdout
    assert f"accepted though it failed: {name}, because the shop is closed" in text
    assert "no staged day waits" in sluice_says(*gate, code=1).stderr


def test_maintain_says_what_it_would_remove_then_removes_it(lake, tmp_path):
    copy = shutil.copytree(lake, tmp_path / "lake")
    scratch = copy / "_scratch" / "dead"
    scratch.mkdir(parents=True)
    orphan = copy / "items" / "v1" / "day=2026-01-01" / "b=dead" / "part-0.parquet"
    orphan.parent.mkdir()
    orphan.write_bytes(b"x")
    announced = sluice_says("maintain", "--dry-run", "--lake", copy).stdout
    assert f"would remove {orphan.parent}" in announced and "1 leftover to remove" in announced
    assert orphan.exists()
    removed = json.loads(sluice_says("maintain", "--lake", copy, "--json").stdout)
    assert [fact["path"] for fact in removed] == [str(orphan.parent)] and not orphan.exists()
    assert "nothing removed" in sluice_says("maintain", "--lake", copy).stdout


def test_ingest_lists_the_options_of_a_source():
    from jobs.ingest import source, source_names

    assert {"simulator", "files"} <= set(source_names())
    for name in source_names():
        text = sluice_says("ingest", name, "--help-source").stdout
        assert all(f"--{option.replace('_', '-')}" in text for option in source(name).OPTIONS), name


# --- from a notebook


def test_open_table_stays_at_the_version_it_opened(spark, lake, tmp_path):
    copy = shutil.copytree(lake, tmp_path / "lake")
    opened = sluice.open_table("items", copy, days=FIRST)
    before = opened.dataset.to_table().num_rows
    assert before == opened.receipts[0]["rows"] == 400
    publish_input(spark, str(copy), "items", [{"item_id": "only"}], date.fromisoformat(FIRST))
    assert opened.dataset.to_table().num_rows == before
    assert sluice.open_table("items", copy, days=(date(2026, 1, 1), date(2026, 1, 1))).dataset.to_table().num_rows == 1
    assert sluice.open_table("items", copy, days=FIRST, version=opened.version).dataset.to_table().num_rows == before
    assert len(sluice.open_table("query_item_stats", copy).receipts) == 2


def test_open_table_names_what_is_missing(lake, tmp_path):
    with pytest.raises(
        NotPublishedError, match=r"query_item_stats is not published for 2026-01-03; sluice run query_item_stats --day 2026"
    ):
        sluice.open_table("query_item_stats", lake, days="2026-01-02..2026-01-03")
    with pytest.raises(NotPublishedError, match="entire_space is not published for any day"):
        sluice.open_table("entire_space", lake)
    with pytest.raises(ContractError, match="no table 'nonsense'"):
        sluice.open_table("nonsense", lake)
    with pytest.raises(NotPublishedError, match="items"):
        sluice.open_table("items", tmp_path / "nowhere", days=FIRST)
    with pytest.raises(NotPublishedError, match="version 9"):
        sluice.open_table("items", tmp_path / "nowhere", version=9)
