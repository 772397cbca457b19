"""The DAGs on real Airflow services and a real Spark cluster, all started as `sluice up` starts them.

Three lakes, one after the other under the same services: a day from its source to a trained model by the schedule, a day that a gate
refuses by REST, three days by `airflow backfill`. Waits are for states.
"""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from jobs.storage import open_table
from schemas.contract import load
from sluice import running
from sluice.airflow_home import environment, rest, set_variable
from sluice.processes import alive, marked, noted
from tests.commands import sluice_says

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)  # what a schedule builds as soon as its DAG is switched on
BEFORE = [YESTERDAY - timedelta(days=n) for n in (3, 2, 1)]
SHOP = f"simulator --users 20 --items 400 --span {BEFORE[0]}..{YESTERDAY}"
RAW, SAMPLES = ("items", "requests", "events"), ("attributions", "query_item_stats", "text_vectors", "entire_space")
PATIENCE_S = 480


@pytest.fixture(scope="module")
def lakes(spark, tmp_path_factory):
    """A folder of lakes; in `samples` are raw logs of three days and samples of the last."""
    folder = tmp_path_factory.mktemp("lakes")
    lake = folder / "samples"
    sluice_says("ingest", *SHOP.split(), "--days", f"{BEFORE[0]}..{BEFORE[-1]}", "--lake", lake)
    for table in ("entire_space", "query_item_stats"):  # the next day's samples read the latter
        sluice_says("backfill", table, "--days", f"{BEFORE[-1]}..{BEFORE[-1]}", "--with-upstream", "--lake", lake)
    return folder


@pytest.fixture(scope="module")
def machine(lakes, tmp_path_factory) -> Iterator[SimpleNamespace]:
    """All services, until the last test of this file has ended, in whatever way."""
    home = tmp_path_factory.mktemp("home")
    try:
        services, _ = running.run_up(home, str(lakes / "samples"), SHOP, 512)
        with rest(home, services) as api:
            set_variable(api, "sluice_source_hours", "0")  # else the first hour of a day would wait for its end
            yield SimpleNamespace(home=home, services=services, api=api)
    finally:
        left = noted(home)
        running.run_down(home)
        assert left is None or not marked(left)


def until(is_so: Callable[[], Any], what: Callable[[], object]) -> Any:
    """What is so in the end; after eight minutes a failure that says how far things are."""
    end = time.monotonic() + PATIENCE_S
    while not (found := is_so()):
        assert time.monotonic() < end, f"after {PATIENCE_S} s: {what()}"
        time.sleep(0.5)
    return found


class Dag:
    """One DAG by Airflow's REST API."""

    def __init__(self, machine: SimpleNamespace, name: str):
        self.name, self.api, self.home = name, machine.api, machine.home

    def ask(self, path: str = "", **query: Any) -> dict[str, Any]:
        return self.api.get(f"/api/v2/dags/{self.name}{path}", params=query).raise_for_status().json()

    def switch(self, on: bool) -> None:
        until(lambda: self.api.get(f"/api/v2/dags/{self.name}").status_code == 200, lambda: f"Airflow knows no {self.name}")
        self.api.patch(f"/api/v2/dags/{self.name}", json={"is_paused": not on}).raise_for_status()

    def trigger(self, day: object) -> str:
        body = {"logical_date": None, "partition_key": str(day)}
        return self.api.post(f"/api/v2/dags/{self.name}/dagRuns", json=body).raise_for_status().json()["dag_run_id"]

    def runs(self, kind: str) -> dict[str, dict[str, Any]]:
        """Runs that were started that way, by partition key."""
        return {run["partition_key"]: run for run in self.ask("/dagRuns", limit=100)["dag_runs"] if run["run_type"] == kind}

    def ended(self, kind: str, day: object) -> dict[str, Any]:
        """The run of that day, when it has ended."""
        return until(lambda: self._over(self.runs(kind).get(str(day))), lambda: (self.name, self.runs(kind), self.states(kind, day)))

    def _over(self, run: dict[str, Any] | None) -> dict[str, Any] | None:
        return run if run and run["state"] in ("success", "failed") else None

    def states(self, kind: str, day: object) -> dict[str, str]:
        run = self.runs(kind).get(str(day))
        tasks = self.ask(f"/dagRuns/{run['dag_run_id']}/taskInstances")["task_instances"] if run else []
        return {task["task_id"]: task["state"] for task in tasks}

    def give_up(self, run: str) -> None:
        self.api.patch(f"/api/v2/dags/{self.name}/dagRuns/{run}", json={"state": "failed"}).raise_for_status()

    def is_done(self, run: str, task: str) -> None:
        self.api.patch(f"/api/v2/dags/{self.name}/dagRuns/{run}/taskInstances/{task}", json={"new_state": "success"}).raise_for_status()

    def log(self, run: str, task: str, attempt: int) -> str:
        """As Airflow shows it: events and what is told of an exception."""
        return json.dumps(self.ask(f"/dagRuns/{run}/taskInstances/{task}/logs/{attempt}", full_content=True)["content"])


def receipt(lake, table, day):
    return open_table(str(lake), load(table)).receipt(day)


def test_a_scheduled_day_goes_from_its_source_to_a_trained_model(machine, lakes):
    lake = shutil.copytree(lakes / "samples", lakes / "scheduled")
    sluice_says("run", "hhsft_examples", "--day", BEFORE[-1], "--lake", lake)
    set_variable(machine.api, "sluice_lake", str(lake))
    Dag(machine, "hhsft_train").switch(on=True)
    for name in ("ingest", "entire_space", "hhsft"):
        dag = Dag(machine, name)
        dag.switch(on=True)
        assert dag.ended("scheduled", YESTERDAY)["state"] == "success", dag.states("scheduled", YESTERDAY)
    for table in (*RAW, *SAMPLES, "hhsft_examples"):
        assert receipt(lake, table, YESTERDAY)["rows"] > 0
    training = Dag(machine, "hhsft_train")
    for day, state in ((YESTERDAY, "success"), (BEFORE[-1], "skipped")):  # the latter was issued again
        assert training.ended("asset_triggered", day)["state"] == "success"
        assert training.states("asset_triggered", day) == {"train": state}
    training.switch(on=False)  # what the other tests publish is for no training
    assert list(machine.home.glob("models/*/*/report.json"))
    assert_the_event_is_the_receipt(machine, lake)
    assert_days_were_issued_again_at_their_ages(machine, lake)


def assert_the_event_is_the_receipt(machine, lake):
    """To be asked for when no run is queued: Airflow answers 500 while an event's run has no start."""
    events = machine.api.get("/api/v2/assets/events", params={"limit": 100}).raise_for_status().json()["asset_events"]
    told = [e["extra"] for e in events if (e["name"], e["partition_key"]) == ("hhsft_examples", str(YESTERDAY))]
    expected = receipt(lake, "hhsft_examples", YESTERDAY)
    assert len(told) == 1
    assert {name: told[0][name] for name in ("version", "content_hash", "rows", "label_as_of")} == {
        name: expected[name] for name in ("version", "content_hash", "rows", "label_as_of")
    }


def assert_days_were_issued_again_at_their_ages(machine, lake):
    """At 1 day: its labels know yesterday now. What was never published is skipped."""
    for table, dag in (("entire_space", "entire_space"), ("hhsft_examples", "hhsft")):
        assert receipt(lake, table, BEFORE[-1])["label_as_of"] == str(YESTERDAY)
        states = Dag(machine, dag).states("scheduled", YESTERDAY)
        assert [states[f"{table}_after_{age}"] for age in (1, 3, 8)] == ["success", "skipped", "skipped"]


def test_a_refused_day_stops_what_comes_after_it_and_the_log_says_why(machine, lakes, tmp_path):
    """The log of search did not arrive: nothing but a list of recommendations, and no sample can come of that.

    The tables before the samples are built by hand, and their tasks told so while they wait for the logs.
    """
    lake, logs = lakes / "refused", tmp_path / "logs"
    logs.mkdir()
    at = f"{YESTERDAY}T10:00:00Z"
    rec = {"request_id": "r1", "user_id": "ann", "domain": "rec", "requested_at": at, "candidates": [{"item_id": "i1", "position": 1}]}
    fav = {"event_id": "e1", "user_id": "ann", "domain": "rec", "item_id": "i1", "event_type": "fav", "event_at": at}
    for name, row in (("requests", rec), ("events", fav), ("items", {"item_id": "i1", "title": "red shoes"})):
        (logs / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    sluice_says("ingest", "files", "--from", logs, "--lake", lake)
    for table in SAMPLES[:-1]:
        sluice_says("run", table, "--day", YESTERDAY, "--lake", lake)
    set_variable(machine.api, "sluice_lake", str(lake))
    samples, examples = (Dag(machine, name) for name in ("entire_space", "hhsft"))
    waiting, by_hand = examples.trigger(YESTERDAY), samples.trigger(YESTERDAY)
    for table in SAMPLES[:-1]:
        samples.is_done(by_hand, table)
    for dag in (samples, examples):
        dag.switch(on=True)
    run = samples.ended("manual", YESTERDAY)
    assert run["state"] == "failed"
    states = samples.states("manual", YESTERDAY)
    assert {table: states[table] for table in SAMPLES} == dict.fromkeys(SAMPLES[:-1], "success") | {"entire_space": "failed"}
    said = samples.log(by_hand, "entire_space", 1)
    assert "expect_table_row_count_to_be_between" in said and "the gate or the books refused it" in said
    after = until(lambda: examples.states("manual", YESTERDAY), lambda: "no run of hhsft")
    assert after["wait_for_entire_space"] != "success" and after["hhsft_examples"] is None
    examples.give_up(waiting)
    assert not open_table(str(lake), load("entire_space")).days and not (lake / "hhsft_examples").exists()


def test_a_backfill_by_airflow_gives_what_sluice_backfill_gives(machine, lakes):
    """From the last day to the first, so that order cannot matter."""
    days, by_sluice = f"{BEFORE[0]}..{BEFORE[-1]}", shutil.copytree(lakes / "samples", lakes / "by_sluice")
    sluice_says("backfill", "entire_space", "--days", days, "--with-upstream", "--lake", by_sluice)
    by_airflow = shutil.copytree(by_sluice, lakes / "by_airflow")
    sluice_says("backfill", "hhsft_examples", "--days", days, "--lake", by_sluice)
    set_variable(machine.api, "sluice_lake", str(by_airflow))
    dag = Dag(machine, "hhsft")
    dag.switch(on=True)
    dates = ["--from-date", str(BEFORE[0]), "--to-date", str(BEFORE[-1]), "--run-backwards"]
    command = [sys.executable, "-m", "airflow", "backfill", "create", "--dag-id", "hhsft", *dates]
    done = subprocess.run(command, env=environment(machine.home), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [dag.ended("backfill", day)["state"] for day in BEFORE] == ["success"] * 3
    hashes = [[receipt(lake, "hhsft_examples", day)["content_hash"] for day in BEFORE] for lake in (by_sluice, by_airflow)]
    assert hashes[0] == hashes[1] and len(set(hashes[0])) == 3


def test_it_listens_on_this_machine_alone_and_writes_no_secret_into_a_log(machine):
    processes = [p for p in marked(machine.services) if p.is_running()]
    assert len(processes) >= len(alive(machine.services)) == 6
    listening = [c.laddr.ip for p in processes for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert len(listening) >= 5 and {re.sub("^::ffff:", "", ip) for ip in listening} == {"127.0.0.1"}
    files = ("airflow/airflow.cfg", "spark/spark-defaults.conf", "airflow/passwords.json")
    text = "".join((machine.home / file).read_text() for file in files)
    words = re.findall(r'(?:(?:jwt_secret|fernet_key|secret_key) = |[.]secret |"admin": ")([^\s"]+)', text)
    logs = [path for path in machine.home.rglob("*") if path.is_file() and (path.suffix == ".log" or path.name in ("stdout", "stderr"))]
    assert len(logs) >= 10
    assert not [path for path in logs for word in words if word in path.read_text(errors="replace")]
