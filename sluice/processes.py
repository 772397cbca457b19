"""Processes that go on when the command that started them ends: noted in a file with their start times, found again, stopped.

A process that is started gets a mark in its environment, which all below it inherit: so what a dead service left behind is found too,
and nothing else ever is.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from jobs.jars import SetupError

MARK = "SLUICE_SERVICES"
PATIENCE_S, HASTE_S = 30, 10
"""How long services may take to end in order, and what is left of them after that."""


@dataclass
class Services:
    """What one `sluice up` started: its mark, the ports that it chose, the lake, each process with the time that it started."""

    mark: str
    lake: str
    ports: dict[str, int]
    processes: dict[str, tuple[int, float]] = field(default_factory=dict)

    def address(self, port: str, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.ports[port]}"


def write_private(path: Path, text: str) -> None:
    """A file that nobody else may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def note(home: Path, services: Services) -> None:
    write_private(home / "services.json", json.dumps(asdict(services), indent=1) + "\n")


def noted(home: Path) -> Services | None:
    """What was started in this home and not stopped since; its processes may be dead by now."""
    path = home / "services.json"
    return Services(**json.loads(path.read_text())) if path.exists() else None


def start(home: Path, services: Services, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
    """Start a process apart from this one, its output in `logs/<name>.log`, and note it."""
    with open(log_of(home, name), "w") as log:
        process = subprocess.Popen(
            command, env={**env, MARK: services.mark}, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    services.processes[name] = (process.pid, psutil.Process(process.pid).create_time())
    note(home, services)


def log_of(home: Path, name: str) -> Path:
    folder = home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.log"


def alive(services: Services) -> dict[str, psutil.Process]:
    """Those noted processes that run still; another process that got the number of a dead one is none."""
    found = {name: psutil.Process(pid) for name, (pid, _) in services.processes.items() if psutil.pid_exists(pid)}
    return {name: process for name, process in found.items() if _runs(process) and _is_of(process, services.processes[name][1])}


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_of(process: psutil.Process, started: float) -> bool:
    return abs(process.create_time() - started) < 2  # the clock may have been set right since


def marked(services: Services) -> list[psutil.Process]:
    """All processes that descend from what was started, orphans too."""
    everything = psutil.process_iter(["environ"])  # None for those of other people
    return [process for process in everything if (process.info["environ"] or {}).get(MARK) == services.mark]


def stop(home: Path, services: Services) -> list[str]:
    """Ask the services to end, then whatever of them is left, then make it. Returns the names of those that ran."""
    running = alive(services)
    _signal(list(running.values()), signal.SIGTERM, PATIENCE_S)
    _signal(marked(services), signal.SIGTERM, HASTE_S)
    if stubborn := _signal(marked(services), signal.SIGKILL, HASTE_S):
        raise SetupError(f"these do not end: {', '.join(f'{p.name()} {p.pid}' for p in stubborn)}; end them by hand, then sluice down")
    (home / "services.json").unlink()
    return list(running)


def _signal(processes: list[psutil.Process], number: signal.Signals, seconds: float) -> list[psutil.Process]:
    """Those that run still so many seconds after the signal."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    until = time.monotonic() + seconds
    while (left := [p for p in processes if _runs(p)]) and time.monotonic() < until:
        time.sleep(0.1)
    return left


def tail(home: Path, name: str, lines: int = 15) -> str:
    return "\n".join(log_of(home, name).read_text(errors="replace").splitlines()[-lines:])
