"""The hook: what an address and a command get, and that none of them, slow, broken or absent, stops anything or tells a secret."""

import json
import shlex
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from jobs import hook
from jobs.hook import document, tell
from schemas.contract import load
from tests.jobs.listening import server

DAY = date(2026, 1, 5)
ITEMS = load("items")
WHAT = document("missing", ITEMS, [DAY], "the day is not published\nsince yesterday", "sluice ingest SOURCE", "/lake")
SECRET = "T0KEN"


def python(code: str, *arguments: str) -> str:
    return shlex.join([sys.executable, "-c", code, *arguments])


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    """Name a hook and tell it: whether it took the document, and what standard error says."""

    def say(name: str) -> tuple[bool, str]:
        monkeypatch.setenv(hook.HOOK, name)
        done = tell(WHAT)
        out, err = capfd.readouterr()
        assert not out and SECRET not in err, "standard output is the job's own"
        return done, err

    return say


def test_a_document_says_who_what_when_why_and_where_to_look() -> None:
    facts = {k: v for k, v in WHAT.items() if k != "at"}
    assert facts == {
        **{"kind": "missing", "table": "items", "day": "2026-01-05", "last_day": "2026-01-05", "owner": ITEMS.owner},
        **{"reason": "the day is not published\nsince yesterday", "expectations": [], "accounts": [], "run_id": None},
        **{"look": "sluice ingest SOURCE", "lake": "/lake"},
        "text": f"items 2026-01-05 is missing (owner {ITEMS.owner}): the day is not published. Look: sluice ingest SOURCE",
    }
    span = document("stale", ITEMS, [DAY, date(2026, 1, 7)], "x", "y", "/lake", expectations=["unique"], run_id="r")
    assert (span["day"], span["last_day"], span["expectations"], span["run_id"]) == ("2026-01-05", "2026-01-07", ["unique"], "r")
    assert "items 2026-01-05..2026-01-07 is stale" in span["text"]
    assert document("refused", ITEMS, [], "lines are lost", "y", "/lake")["text"].startswith("items is refused (owner")


def test_an_address_gets_a_post(told: Any) -> None:
    with server() as (address, got):
        assert told(f"{address}/hook?token={SECRET}") == (True, "")
    assert got == [(f"/hook?token={SECRET}", "application/json", WHAT)]


def test_a_command_gets_it_on_standard_input_and_no_shell_reads_it(told: Any, tmp_path: Path) -> None:
    code = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read()); print('seen')"
    assert told(python(code, str(tmp_path / "a b;$HOME"))) == (True, "seen\n")
    assert json.loads((tmp_path / "a b;$HOME").read_text()) == WHAT


def test_no_hook_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(hook.HOOK, raising=False)
    assert tell(WHAT)


@pytest.mark.parametrize(
    ("answer", "more", "fault"), [(500, {}, "it answered 500"), (302, {"Location": "/elsewhere"}, "it answered 302")], ids=str
)
def test_a_server_that_does_not_take_it_is_told_by_its_host_alone(told: Any, answer: int, more: dict[str, str], fault: str) -> None:
    with server(answer, **more) as (address, got):
        done, err = told(f"{address}/{SECRET}")
    assert not done and len(got) == 1
    assert err == f"the hook at 127.0.0.1 was not told that items 2026-01-05 is missing: {fault}\n"


def test_a_slow_server_and_a_slow_command_are_left_after_a_while(told: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hook, "PATIENCE_S", 0.3)
    began = time.monotonic()
    with server(after_s=1.5) as (address, _):
        done, err = told(f"{address}/{SECRET}")
    assert not done and err.endswith(": no answer in 0.3 s\n")
    late = tmp_path / "late"
    child = f"import time; time.sleep(1); open({str(late)!r}, 'w')"
    done, err = told(python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])", SECRET))
    assert not done and "python" in err and err.endswith(": no answer in 0.3 s\n")
    assert time.monotonic() - began < 5
    time.sleep(1.2)
    assert not late.exists(), "what the command had started was stopped with it"


def test_an_answer_that_never_ends_is_left_too(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook, "PATIENCE_S", 0.2)
    monkeypatch.setattr(hook, "_post", lambda *_: time.sleep(30))  # such as a look-up of a name
    done, err = told("http://127.0.0.1:1")
    assert not done and "no answer in 0.2 s" in err


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (f"/no/such/program --token {SECRET}", "the hook /no/such/program was not told that items 2026-01-05 is missing: No such file"),
        (python("raise SystemExit(3)", SECRET), "it ended with 3"),
        (f"PASSWORD={SECRET} mail", "the hook PASSWORD was not told"),
        (f"mail '{SECRET}", "ValueError"),
        (f"http://127.0.0.1:1/{SECRET}", "the hook at 127.0.0.1 was not told that items 2026-01-05 is missing: Connection refused"),
        (f"http://me:{SECRET}@127.0.0.1/", "the hook at 127.0.0.1 was not told"),
        (f"http://[{SECRET}/", "the hook that SLUICE_HOOK names was not told"),
        (f"https://127.0.0.1/ {SECRET}", "the hook at 127.0.0.1 was not told"),
    ],
)
def test_a_hook_that_cannot_be_told_says_so_without_its_secrets(told: Any, name: str, fault: str) -> None:
    done, err = told(name)
    assert not done and fault in err and err.count("\n") == 1
