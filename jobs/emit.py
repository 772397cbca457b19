"""Where lineage goes: events of every run to `<lake>/_lineage`, and to an OpenLineage endpoint if the environment names one.

`OPENLINEAGE_DISABLED=true` switches both off; `OPENLINEAGE_URL`, `OPENLINEAGE_CONFIG` and the client's other variables name the
endpoint. A thread of its own makes and sends the events while Spark works, so that neither the client's import nor an endpoint
that is slow or down holds up a job, let alone fails it.
"""

import atexit
import logging
import os
import queue
import threading
import time
from collections import Counter
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from schemas.address import filesystem, write_whole

LINEAGE = "_lineage"
PATIENCE_S = 10.0
"""How long the end of a process waits for events that are not sent yet."""
MAX_FAULTS = 3
"""Faults of the endpoint in a row, after which this process sends it no more."""
CHATTY = ("openlineage", "urllib3", "httpx2", "httpcore2")
"""What the client logs could repeat an address with a token in it; what matters is told here."""

log = logging.getLogger("sluice")
_waiting: "queue.Queue[dict[str, Any]]" = queue.Queue()
_starting = threading.Lock()
_sender: list[threading.Thread] = []
_lines: dict[str, list[str]] = {}
_faults: Counter[str] = Counter()


def emit(**told: Any) -> None:
    """Have one state of a run told: fields of `jobs.lineage.Told`. Returns at once and raises nothing."""
    if os.environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return
    _waiting.put(told)
    with _starting:
        if not _sender or not _sender[0].is_alive():
            _sender[:] = [threading.Thread(target=_send_all, name="lineage", daemon=True)]
            _sender[0].start()
            atexit.register(flush)


def flush(patience_s: float | None = None) -> bool:
    """Wait until all is sent, at most so long. What is left then is kept in the lake alone: False, and a word on standard error."""
    end = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s)
    while _waiting.unfinished_tasks and time.monotonic() < end:
        time.sleep(0.01)
    late = _waiting.unfinished_tasks
    if late:
        _faults["endpoint"] = MAX_FAULTS
        while not _waiting.empty():
            _take()
        log.warning("lineage: the endpoint is slow; events of %s steps of runs were not sent, the lake keeps them in %s", late, LINEAGE)
    return not late


def _send_all() -> None:
    while True:
        _take()


def _take() -> None:
    """Tell what waits longest, or wait for it."""
    told = _waiting.get()
    try:
        _send(told)
    except Exception as error:
        log.warning("lineage of %s %s is lost: %s", told["contract"].name, told["day"], type(error).__name__)
    finally:
        _waiting.task_done()


def _send(told: dict[str, Any]) -> None:
    from openlineage.client.serde import Serde

    from jobs.lineage import Told, events

    told = told | {"run_id": told["draft"]["run_id"]}
    found = events(Told(**told))
    _keep(
        f"{told['lake']}/{LINEAGE}/{told['contract'].name}/{told['day']}.{told['run_id']}.jsonl",
        [Serde.to_json(e) for e in found],
        told["state"],
    )
    for event in found:
        _send_on(event)


def _keep(address: str, lines: list[str], state: str) -> None:
    """Write the events of a run so far. A file of its own for each run, written whole: two writers never meet, and object stores do."""
    held = _lines.setdefault(address, [])
    held += lines
    write_whole(*filesystem(address), "".join(f"{line}\n" for line in held).encode())
    if state != "START":
        del _lines[address]


@cache
def _client() -> Any:
    """The official client, if its own settings name an endpoint; else None."""
    from openlineage.client import OpenLineageClient
    from openlineage.client.transport.noop import NoopConfig, NoopTransport

    if "OPENLINEAGE_CLIENT_LOGGING" not in os.environ:
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.CRITICAL)
    settings = OpenLineageClient(transport=NoopTransport(NoopConfig())).config.transport or {}
    return OpenLineageClient() if settings.get("type") or os.environ.get("OPENLINEAGE_URL") else None


def _send_on(event: Any) -> None:
    """Send an event to the endpoint, if there is one; what goes wrong is told, and after some times in a row not tried again."""
    if _faults["endpoint"] >= MAX_FAULTS:
        return
    client = None
    try:
        client = _client()
        if client:
            client.emit(event)
        _faults["endpoint"] = 0
    except Exception as error:
        _faults["endpoint"] += 1
        where = _endpoint(client) if client else "what the OpenLineage settings name"
        more = "; this process sends it no more" if _faults["endpoint"] == MAX_FAULTS else ""
        log.warning("lineage: %s did not take an event (%s)%s; the lake keeps it in %s", where, type(error).__name__, more, LINEAGE)


def _endpoint(client: Any) -> str:
    """The endpoint by its kind and host; the rest of an address may be a secret."""
    host = urlsplit(str(getattr(client.transport, "url", ""))).hostname
    return f"the {client.transport.kind} endpoint" + (f" at {host}" if host else "")
