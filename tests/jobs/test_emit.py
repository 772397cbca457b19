"""Where events go: to a file for each run, to an endpoint as well, nowhere when switched off; never in a job's way."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs import emit as emitting
from jobs.emit import LINEAGE, emit, flush
from jobs.withdraw import withdraw
from schemas.contract import load
from tests.jobs.listening import server
from tests.jobs.published import item, publish_day

DAY, ITEMS, SECRET = date(2026, 1, 5), load("items"), "T0KEN"


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings are read once a process: here once a test."""
    for name in ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE_DISABLED", "OPENLINEAGE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield
    assert flush(20)
    emitting._client.cache_clear()
    emitting._faults.clear()


def run(lake: Path, number: int = 1, states: tuple[str, ...] = ("START", "COMPLETE")) -> None:
    now = datetime(2026, 1, 6, tzinfo=UTC)
    for state in states:
        draft = {"run_id": f"run-{number}", "inputs": {}, "accounts": []}
        emit(state=state, at=now, started=now, lake=str(lake), contract=ITEMS, day=str(DAY), job="items", draft=draft)


def kept(lake: Path) -> list[list[dict[str, Any]]]:
    assert flush(20)
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in sorted((lake / LINEAGE).rglob("*.jsonl"))]


def test_each_run_has_a_file_of_its_own_in_the_lake(tmp_path: Path) -> None:
    threads = [threading.Thread(target=run, args=(tmp_path, number)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = kept(tmp_path)
    assert [[e["eventType"] for e in events] for events in found] == [["START", "COMPLETE"]] * 8
    assert len({events[0]["run"]["runId"] for events in found}) == 8
    assert sorted(p.name for p in (tmp_path / LINEAGE / "items").iterdir())[0] == "2026-01-05.run-0.jsonl"


def test_a_run_that_dies_leaves_its_start(tmp_path: Path) -> None:
    run(tmp_path, states=("START",))
    assert [e["eventType"] for e in kept(tmp_path)[0]] == ["START"]


def test_an_endpoint_gets_every_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server() as (address, got):
        monkeypatch.setenv("OPENLINEAGE_URL", address)
        run(tmp_path)
        found = kept(tmp_path)
    assert [(path, kind) for path, kind, _ in got] == [("/api/v1/lineage", "application/json")] * 2
    sent = [body for _, _, body in got]
    assert [body["run"]["facets"].pop("tags")["tags"][0]["key"] for body in sent] == ["openlineage_client_version"] * 2
    assert sent == found[0], "but for what the client adds the lake keeps what was sent"


def test_an_endpoint_of_a_settings_file_is_used_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "openlineage.yml"
    settings.write_text(f"transport:\n  type: file\n  log_file_path: {tmp_path / 'events'}\n  append: true\n")
    monkeypatch.setenv("OPENLINEAGE_CONFIG", str(settings))
    run(tmp_path)
    found = kept(tmp_path)
    assert [json.loads(line)["run"]["runId"] for line in (tmp_path / "events").read_text().splitlines()] == [
        e["run"]["runId"] for e in found[0]
    ]


def test_switched_off_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    run(tmp_path)
    assert kept(tmp_path) == []


def test_an_endpoint_that_is_down_is_told_and_then_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with server(500) as (address, got), caplog.at_level(logging.INFO):
        settings = {"type": "http", "url": f"{address}/{SECRET}", "retry": {"total": 0}, "auth": {"type": "api_key", "apiKey": SECRET}}
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT", json.dumps(settings))
        for number in range(3):
            run(tmp_path, number)
        assert len(kept(tmp_path)) == 3 and len(got) == emitting.MAX_FAULTS
    told = "lineage: the http endpoint at 127.0.0.1 did not take an event (HTTPError)"
    assert caplog.messages[-1] == f"{told}; this process sends it no more; the lake keeps it in _lineage"
    assert len(caplog.messages) == emitting.MAX_FAULTS and SECRET not in caplog.text


def test_settings_that_are_wrong_and_events_that_cannot_be_made_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", f"not an address {SECRET}")
    run(tmp_path)
    emit(state="DONE", at=None, started=None, lake=str(tmp_path), contract=ITEMS, day=str(DAY), job="items", draft={"run_id": "x"})
    assert len(kept(tmp_path)) == 1
    assert "what the OpenLineage settings name did not take an event (ValueError)" in caplog.text and SECRET not in caplog.text
    assert "lineage of items 2026-01-05 is lost" in caplog.text


def test_the_end_of_a_process_waits_but_not_for_ever_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with server(after_s=1.0) as (address, got):
        monkeypatch.setenv("OPENLINEAGE_URL", address)
        run(tmp_path)
        run(tmp_path, 2)
        while not got:
            time.sleep(0.01)
        assert not flush(0.1)
        assert [[e["eventType"] for e in events] for events in kept(tmp_path)] == [["START", "COMPLETE"]] * 2
    assert len(got) == 1 and "the endpoint is slow; events of 4 steps of runs were not sent" in caplog.text


def test_a_withdrawal_has_events_that_say_why(tmp_path: Path) -> None:
    for number in (1, 2):
        publish_day(tmp_path, ITEMS, DAY, [item(f"i{n}") for n in range(number)], run=f"run{number}")
    withdraw(str(tmp_path), ITEMS, DAY, "half of it was missing")
    ((start, end),) = kept(tmp_path)
    assert (start["eventType"], end["eventType"], end["job"]["name"]) == ("START", "COMPLETE", "withdraw.items")
    assert (
        end["inputs"][0]["facets"]["version"]["datasetVersion"] == "1" and end["outputs"][0]["facets"]["version"]["datasetVersion"] == "3"
    )
    assert end["run"]["facets"]["sluice_tableDay"]["withdrawal"]["because"] == "half of it was missing"
    withdraw(str(tmp_path), ITEMS, DAY, "all of it was wrong")
    gone = max(kept(tmp_path), key=lambda events: events[0]["eventTime"])[-1]
    assert gone["eventType"] == "COMPLETE" and "outputStatistics" not in gone["outputs"][0]["outputFacets"]
