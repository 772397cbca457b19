"""A standalone Spark cluster on loopback: a master and a worker whose Python finds what is installed, and not this checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyspark

from tests.object_store import free_port

SPARK = Path(pyspark.__file__).parent
DAEMONS = "org.apache.spark.deploy"
NO_REST = "-Dspark.master.rest.enabled=false"  # nothing is submitted that way, whose port is fixed


@dataclass(frozen=True)
class Cluster:
    """A running master and worker."""

    master: str
    environment: Mapping[str, str]
    """Of a driver: Spark's and Python's, with nothing of this checkout."""
    work: Path
    """Where the worker keeps what it was sent, a folder for each application."""


@contextmanager
def cluster(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """Start both, wait until the worker is known, stop both. `environment` is what the worker has besides."""
    port, page = free_port(), free_port()
    python = _python_without_checkout(folder / "python")
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SPARK_HOME", "VIRTUAL_ENV")}
    env |= {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": str(python), "PYSPARK_DRIVER_PYTHON": str(python), **(environment or {})}
    daemons = env | {"SPARK_DAEMON_MEMORY": "512m", "SPARK_DAEMON_JAVA_OPTS": NO_REST}
    master, work = f"spark://127.0.0.1:{port}", folder / "work"
    of_master = ["master.Master", "--port", port, "--webui-port", page]
    of_worker = ["worker.Worker", "--cores", 2, "--memory", "2g", "--work-dir", work, "--webui-port", free_port(), master]
    with ExitStack() as running:
        first = running.enter_context(_daemon(folder, of_master, daemons))
        _wait(page, first, "status", "ALIVE")
        running.enter_context(_daemon(folder, of_worker, daemons))
        _wait(page, first, "aliveworkers", 1)
        yield Cluster(master, env, work)


def _python_without_checkout(script: Path) -> Path:
    """The Python of this run as a program that sees installed packages, but not those that an editable install points at."""
    packages = os.pathsep.join(dict.fromkeys(sysconfig.get_paths()[kind] for kind in ("purelib", "platlib")))
    script.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{packages}" exec {sys.executable} -S "$@"\n')
    script.chmod(0o755)
    return script


@contextmanager
def _daemon(folder: Path, command: list[object], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    name, *options = map(str, command)
    start = [SPARK / "bin" / "spark-class", f"{DAEMONS}.{name}", "--host", "127.0.0.1", *options]
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen([str(part) for part in start], cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.terminate()  # the process is the JVM itself
            process.wait(timeout=30)


def _wait(page: int, process: subprocess.Popen[bytes], fact: str, wanted: object) -> None:
    """Until the master says so on its page."""
    until = time.time() + 90
    while process.poll() is None and time.time() < until:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{page}/json/", timeout=5) as answer:
                if json.loads(answer.read())[fact] == wanted:
                    return
        except OSError:
            pass  # it does not listen yet
        time.sleep(0.2)
    raise RuntimeError(f"the cluster did not start: {fact} is not {wanted}; its logs lie beside its work folder")
