"""An S3-compatible server on loopback with one empty bucket, and the environment by which everybody finds it."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

BUCKET = "shop"
SECRET = "correct-horse-battery-staple"
KEYS = {"AWS_ACCESS_KEY_ID": "KEYOFTHETEST", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "eu-west-1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def object_store(folder: Path) -> Iterator[Mapping[str, str]]:
    """The variables that name the server. Its log is `<folder>/store.log`."""
    found = KEYS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", found["AWS_ENDPOINT_URL"].rpartition(":")[2]]
    with (folder / "store.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | found)
        try:
            _make_bucket(found["AWS_ENDPOINT_URL"], server)
            yield found
        finally:
            server.terminate()
            server.wait(timeout=30)


def _make_bucket(address: str, server: subprocess.Popen[bytes]) -> None:
    place = f"<CreateBucketConfiguration><LocationConstraint>{KEYS['AWS_REGION']}</LocationConstraint></CreateBucketConfiguration>"
    wanted = urllib.request.Request(f"{address}/{BUCKET}", data=place.encode(), method="PUT")
    until = time.time() + 60
    while server.poll() is None and time.time() < until:
        try:
            urllib.request.urlopen(wanted, timeout=10).close()
            return
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()) from error
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the object store did not start: code {server.poll()}")
