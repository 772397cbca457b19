"""Replies are asked for once, kept for good, and cut by the budget in the same place whoever was asked when."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace

import pytest

from features.generated import ANSWERED, OVER_BUDGET, Reply
from jobs import replies as module
from jobs.replies import Asking, Replies, waves
from tests.jobs.misbehaving import good, server

QUERIES = [f"query {n}" for n in range(40)]


@pytest.fixture
def asking(tmp_path):
    return Asking(model="tiny", folder=str(tmp_path / "replies"), num_rewrites=2, batch=4)


def asked(asking, ask, parallel=1, queries=QUERIES):
    with closing(Replies(asking.folder)) as kept:
        return {query: said for wave in waves(queries, asking, ask, kept, parallel) for query, said in wave.items()}


class Model:
    """Answers each query with its own text and ten tokens; fails at the call that is named."""

    def __init__(self, fails_at=None):
        self.calls, self.fails_at = [], fails_at

    def __call__(self, queries):
        self.calls.append(list(queries))
        if len(self.calls) - 1 == self.fails_at:
            raise RuntimeError("no more")
        return [Reply(ANSWERED, f"{query} | other", 7, 3) for query in queries]


def test_each_query_is_asked_once_and_read_from_the_folder_ever_after(asking):
    model = Model()
    first = asked(asking, model)
    assert sorted(query for call in model.calls for query in call) == sorted(QUERIES) and len(model.calls) == 10
    assert list(first) == QUERIES
    assert asked(asking, model) == first and len(model.calls) == 10
    assert asked(replace(asking, model="other"), model) == first and len(model.calls) == 20  # another model is asked itself


def test_without_a_folder_nothing_is_kept(asking):
    model = Model()
    nowhere = replace(asking, folder=None)
    assert asked(nowhere, model) == asked(nowhere, model)
    assert len(model.calls) == 20


@pytest.mark.parametrize("parallel", [1, 3])
def test_what_was_answered_before_a_failure_is_not_asked_again(asking, parallel):
    model = Model(fails_at=4)
    with pytest.raises(RuntimeError, match="no more"):
        asked(asking, model, parallel)
    answered = [query for n, call in enumerate(model.calls) if n != 4 for query in call]
    again = Model()
    assert list(asked(asking, again, parallel)) == QUERIES
    assert sorted(query for call in again.calls for query in call) == sorted(set(QUERIES) - set(answered))
    assert answered


def test_the_budget_is_never_exceeded_and_cuts_in_the_same_place_with_and_without_the_folder(asking):
    bound = asking.bound(QUERIES[-1])
    for budget in (0, bound - 1, 5 * bound, 5 * bound + 200):
        tight = replace(asking, budget_tokens=budget, folder=f"{asking.folder}-{budget}")
        model = Model()
        found = asked(tight, model)
        used = [query for query, said in found.items() if said.status == ANSWERED]
        assert 10 * len(used) <= budget and used == QUERIES[: len(used)]
        assert len(used) == len(QUERIES) or budget - 10 * len(used) < bound  # no query was left out that could be paid
        assert {said.status for said in found.values()} <= {ANSWERED, OVER_BUDGET}
        assert asked(tight, model) == found
        assert sum(map(len, model.calls)) == len(used)
    assert len(used) == len(QUERIES)  # the last budget pays for all: they cost 400


def test_waves_are_asked_one_after_the_other(asking, monkeypatch):
    monkeypatch.setattr(module, "WAVE", 16)
    model = Model()
    assert len(asked(asking, model, parallel=4)) == len(QUERIES)
    assert [len(call) for call in model.calls] == [4] * 10


CHILD = """
import sys
from functools import partial
from contextlib import closing
from jobs import endpoint
from jobs.replies import Asking, Replies, waves
asking = Asking(model="tiny", folder=sys.argv[1], num_rewrites=2, batch=4)
with closing(Replies(asking.folder)) as kept:
    for wave in waves([f"query {n}" for n in range(40)], asking, partial(endpoint.ask, asking=asking), kept, 2):
        print(len(wave))
"""


def test_a_killed_run_goes_on_and_pays_no_reply_twice(asking):
    def answer(queries, number):
        time.sleep(0.05)
        return good(queries, number)

    with server(answer) as running:
        command = [sys.executable, "-c", CHILD, asking.folder]
        environment = os.environ | {"SLUICE_ENDPOINT": running.address, "PYTHONPATH": os.getcwd()}
        child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        until = time.monotonic() + 60
        while len(running.calls) < 6 and time.monotonic() < until:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
        kept = Replies(asking.folder)
        there = [query for query in QUERIES if kept.get([asking.key(query)])]
        kept.close()
        assert 8 <= len(there) < len(QUERIES)
        before = len(running.calls)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "40\n"
    again = [query for call in running.calls[before:] for query in call]
    assert sorted(again) == sorted(set(QUERIES) - set(there))
    twice = sum(len(call) for call in running.calls) - len(QUERIES)
    assert twice <= 2 * 4  # the two calls in flight
