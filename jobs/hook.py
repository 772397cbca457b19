"""The hook: one command or web address that hears of what people should look at: a refused day, a missing one, overdue labels.

`SLUICE_HOOK` names it. An http(s) address gets the document as a POST; anything else is a command, started without a shell,
that gets it on standard input. A hook that fails, or takes longer than PATIENCE_S, is told on standard error and stops nothing.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlsplit

from schemas.contract import Contract

HOOK = "SLUICE_HOOK"
PATIENCE_S = 10.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its document, at a host that nobody named."""

    def redirect_request(self, *_: Any) -> None:
        return None


def document(kind: str, contract: Contract, days: Sequence[date], reason: str, look: str, lake: str, **more: Any) -> dict[str, Any]:
    """What a hook gets; jobs/README.md says what each field is. `more` has the expectations, accounts and run of a refusal."""
    first, last = (str(min(days)), str(max(days))) if days else (None, None)
    when = "" if first is None else f" {first}" if first == last else f" {first}..{last}"
    facts = {"kind": kind, "table": contract.name, "day": first, "last_day": last, "owner": contract.owner, "reason": reason}
    facts |= {"expectations": [], "accounts": [], "look": look, "lake": lake, "run_id": None} | more
    told = reason.partition("\n")[0]
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return facts | {"at": at, "text": f"{contract.name}{when} is {kind} (owner {contract.owner}): {told}. Look: {look}"}


def tell(what: dict[str, Any]) -> bool:
    """Hand a document to the hook, if one is named. False when it failed, which standard error says; nothing is raised."""
    hook = os.environ.get(HOOK, "").strip()
    if not hook:
        return True
    faults = [f"no answer in {PATIENCE_S:g} s"]
    body = json.dumps(what, default=str).encode()
    thread = threading.Thread(target=lambda: faults.append(_fault(hook, body)), daemon=True)  # a look-up of a name has no time-out
    thread.start()
    thread.join(PATIENCE_S + 1)
    if faults[-1]:
        print(f"the hook {_name(hook)} was not told that {what['table']} {what['day']} is {what['kind']}: {faults[-1]}", file=sys.stderr)
    return not faults[-1]


def _is_address(hook: str) -> bool:
    return re.match(r"https?://", hook, re.IGNORECASE) is not None


def _name(hook: str) -> str:
    """The hook without what may be a secret: of an address its host, of a command its program."""
    try:
        return f"at {urlsplit(hook).hostname}" if _is_address(hook) else shlex.split(hook)[0].partition("=")[0]
    except (ValueError, IndexError):
        return f"that {HOOK} names"


def _fault(hook: str, body: bytes) -> str:
    """Tell the hook; what went wrong in a few words, without its address or arguments, or nothing."""
    try:
        return _post(hook, body) if _is_address(hook) else _start(shlex.split(hook), body)
    except (TimeoutError, subprocess.TimeoutExpired):
        return f"no answer in {PATIENCE_S:g} s"
    except OSError as error:  # of urllib too; its cause is a reason, or an error with one
        reason = getattr(error, "reason", error)
        return f"no answer in {PATIENCE_S:g} s" if isinstance(reason, TimeoutError) else getattr(reason, "strerror", None) or str(reason)
    except Exception as error:  # such as a malformed address, which the message would repeat
        return type(error).__name__


def _post(address: str, body: bytes) -> str:
    request = urllib.request.Request(address, body, {"Content-Type": "application/json", "User-Agent": "sluice"})
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=PATIENCE_S):
            return ""
    except urllib.error.HTTPError as error:
        return f"it answered {error.code}"


def _start(command: list[str], body: bytes) -> str:
    """Run the command; what it prints goes to standard error. One that is too slow is stopped with all that it started."""
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=2, start_new_session=True)
    try:
        started.communicate(body, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()
        raise
    return f"it ended with {started.returncode}" if started.returncode else ""
