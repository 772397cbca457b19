"""`sluice up` and `sluice down`: Airflow and a Spark cluster on this machine's loopback, set up to run the DAGs on a lake."""

import fcntl
import logging
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx

from jobs.jars import SetupError, check_java
from jobs.storage import check_lake, lake_address
from sluice.airflow_home import configure, environment, rest, write_settings
from sluice.processes import Services, alive, log_of, noted, start, stop, tail
from sluice.screens import say

PORTS = {"airflow": 8080, "spark": 7077, "spark_ui": 8081, "worker_ui": 8082}
"""Wanted; one that is taken is replaced by any that is free."""
AIRFLOW = ("api-server", "dag-processor", "triggerer", "scheduler")
PATIENCE_S = 300
"""For all to become healthy: 40 s on two idle cores, several times that on busy ones."""


logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells every question


def run_up(home: Path, lake: str, source: str | None, memory: int) -> tuple[Services, bool]:
    """All services, healthy, and whether they ran before. What was started is stopped again when one of them does not come up."""
    with _alone(home):
        found = noted(home)
        if found and len(running := alive(found)) == len(found.processes) == len(AIRFLOW) + 2:
            return found, True
        if found and running:
            dead = ", ".join(sorted(set(found.processes) - set(running)))
            raise SetupError(f"{dead} ended (logs in {home}/logs) and others run still; first: sluice down --home {home}")
        check_java()
        say("Starting Spark and Airflow, a minute or so ...")
        check_lake(lake, must_exist=False)
        services = Services(secrets.token_hex(16), lake_address(lake), {name: _port(wanted) for name, wanted in PORTS.items()})
        try:
            _start(home, services, source, memory)
        except BaseException as error:
            stop(home, services)
            if isinstance(error, httpx.HTTPError):
                raise SetupError(f"Airflow refuses its settings: {error}; see the logs in {home}/logs") from error
            raise
        return services, False


def run_down(home: Path) -> list[str]:
    """Names of the services that were stopped."""
    with _alone(home):
        found = noted(home)
        return stop(home, found) if found else []


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One `up` or `down` at a time in a home."""
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(f"another sluice up or down works in {home}; wait until it ends") from None
        yield


def _start(home: Path, services: Services, source: str | None, memory: int) -> None:
    slots = max(2, min(8, (os.cpu_count() or 2) // 2))
    env = environment(home)
    configure(home, services, slots, memory)
    _start_spark(home, services, slots, memory, env)
    _migrate(home, env)
    for name in AIRFLOW[:-1]:
        start(home, services, name, _airflow(name), env)
    _wait(home, services, lambda: _health(services).get("metadatabase"))
    with rest(home, services) as api:
        write_settings(api, home, services, source)
        start(home, services, "scheduler", _airflow("scheduler"), env)
        _wait(home, services, lambda: all(_health(services).get(name) for name in ("scheduler", "triggerer", "dag_processor")))
        _wait(home, services, lambda: api.get("/api/v2/dags").json()["dags"])
    _wait(home, services, lambda: _spark(services)["aliveworkers"])


def _start_spark(home: Path, services: Services, slots: int, memory: int, env: dict[str, str]) -> None:
    ports, master = services.ports, services.address("spark", "spark")
    script, package, where = f"{env['SPARK_HOME']}/bin/spark-class", "org.apache.spark.deploy", ["--host", "127.0.0.1", "--webui-port"]
    command = [script, f"{package}.master.Master", *where, str(ports["spark_ui"]), "--port", str(ports["spark"])]
    start(home, services, "spark-master", command, env)
    size = ["--cores", str(max(slots, os.cpu_count() or 2)), "--memory", f"{slots * memory}m", "--work-dir", str(home / "spark" / "work")]
    command = [script, f"{package}.worker.Worker", *where, str(ports["worker_ui"]), *size, master]
    start(home, services, "spark-worker", command, env)


def _port(wanted: int) -> int:
    """That port if nothing listens there, else any."""
    for port in (wanted, 0):
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return probe.getsockname()[1]
    raise SetupError("no port of 127.0.0.1 is free")


def _airflow(name: str) -> list[str]:
    """Without servers of task logs: they listen on every address, and the files lie here anyway."""
    return [sys.executable, "-m", "airflow", name, *(["--skip-serve-logs"] if name in ("scheduler", "triggerer") else [])]


def _migrate(home: Path, env: dict[str, str]) -> None:
    with open(log_of(home, "db-migrate"), "w") as log:
        done = subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], env=env, cwd=home, stdout=log, stderr=log)
    if done.returncode:
        raise SetupError(f"Airflow's database cannot be set up:\n{tail(home, 'db-migrate')}")


def _wait(home: Path, services: Services, is_there: Callable[[], object]) -> None:
    """Until it is there. Raises SetupError when a service ends meanwhile, or patience does."""
    until = time.monotonic() + PATIENCE_S
    while not _answers(is_there):
        if ended := set(services.processes) - set(alive(services)):
            name = min(ended)
            raise SetupError(f"{name} ended; the last lines of {log_of(home, name)}:\n{tail(home, name)}")
        if time.monotonic() > until:
            raise SetupError(f"after {PATIENCE_S} s not everything is healthy; see the logs in {home}/logs")
        time.sleep(0.5)


def _answers(is_there: Callable[[], object]) -> bool:
    try:
        return bool(is_there())
    except httpx.HTTPError:
        return False


def _health(services: Services) -> dict[str, bool]:
    """Parts of Airflow that say that they are well."""
    answer = httpx.get(f"{services.address('airflow')}/api/v2/monitor/health", trust_env=False).raise_for_status().json()
    return {name: part["status"] == "healthy" for name, part in answer.items()}


def _spark(services: Services) -> dict[str, int]:
    return httpx.get(f"{services.address('spark_ui')}/json/", trust_env=False).raise_for_status().json()
