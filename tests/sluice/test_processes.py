"""Processes are found again and stopped with all that descends from them, and nothing else is."""

import json
import os
import stat
import subprocess
import sys
import time

import psutil
import pytest

from sluice import processes
from sluice.processes import Services, alive, marked, note, noted, start, stop, write_private

ORPHAN = "import subprocess, sys; subprocess.Popen(['sleep', '60'], start_new_session=True); print('left it')"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


@pytest.fixture
def services(tmp_path):
    found = Services(mark=f"test-{os.getpid()}-{tmp_path.name}", lake="lake", ports={"airflow": 1234})
    yield found
    for process in marked(found):
        process.kill()


def run(home, services, name, *command):
    start(home, services, name, command, os.environ)


def wait_for(log, text):
    until = time.monotonic() + 10
    while text not in log.read_text():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_what_was_started_is_noted_found_by_another_process_and_stopped(services, tmp_path):
    run(tmp_path, services, "one", "sleep", "60")
    run(tmp_path, services, "two", "sleep", "60")
    again = noted(tmp_path)
    assert set(alive(again)) == {"one", "two"} and again.address("airflow") == "http://127.0.0.1:1234"
    assert stat.S_IMODE((tmp_path / "services.json").stat().st_mode) == 0o600
    assert sorted(stop(tmp_path, again)) == ["one", "two"]
    assert not alive(again) and not marked(again) and noted(tmp_path) is None


def test_a_process_that_got_the_number_of_a_dead_one_is_left_alone(services, tmp_path):
    with subprocess.Popen(["sleep", "60"]) as stranger:
        services.processes["scheduler"] = (stranger.pid, psutil.Process(stranger.pid).create_time() - 100)
        note(tmp_path, services)
        assert alive(services) == {}
        assert stop(tmp_path, services) == []
        assert stranger.poll() is None
        stranger.kill()


def test_what_a_dead_service_left_behind_is_stopped_too(services, tmp_path):
    """As after a crash: the child in a session of its own goes on, and nothing but its environment tells whose it is."""
    run(tmp_path, services, "crashed", sys.executable, "-c", ORPHAN)
    wait_for(tmp_path / "logs" / "crashed.log", "left it")
    until = time.monotonic() + 10
    while alive(services) and time.monotonic() < until:
        time.sleep(0.02)
    assert [process.name() for process in marked(services)] == ["sleep"]
    assert stop(tmp_path, services) == []
    assert not marked(services)


def test_what_does_not_end_when_asked_is_made_to(services, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE_S", 0.2)
    monkeypatch.setattr(processes, "HASTE_S", 0.5)
    run(tmp_path, services, "deaf", sys.executable, "-c", DEAF)
    wait_for(tmp_path / "logs" / "deaf.log", "deaf")
    assert stop(tmp_path, services) == ["deaf"]
    assert not marked(services)


def test_a_private_file_is_private_though_it_was_not(tmp_path):
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_the_note_is_plain_data(services, tmp_path):
    run(tmp_path, services, "one", "true")
    written = json.loads((tmp_path / "services.json").read_text())
    assert written["processes"]["one"][0] > 0 and written["lake"] == "lake"
