"""A server that is down, slow, talks nonsense, refuses, or fails and recovers."""

import threading

import pytest

from features.generated import ANSWERED, MALFORMED, REFUSED
from jobs import endpoint
from jobs.replies import Asking
from tests.jobs.misbehaving import good, lines, server

ASKING = Asking(model="tiny", folder=None, num_rewrites=2)
HARD = ["warm seat", "lamp without cord", "what to wear"]


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Seconds that were waited, without waiting them."""
    found = []
    monkeypatch.setattr(endpoint, "sleep", found.append)
    monkeypatch.setenv("SLUICE_ENDPOINT_TRIES", "4")
    monkeypatch.setenv("SLUICE_ENDPOINT_TIMEOUT_S", "10")
    monkeypatch.delenv("SLUICE_ENDPOINT_TOKEN", raising=False)
    return found


def ask(monkeypatch, running, queries=tuple(HARD)):
    monkeypatch.setenv("SLUICE_ENDPOINT", running.address)
    return endpoint.ask(list(queries), ASKING)


def test_several_queries_go_in_one_call_and_share_its_tokens(monkeypatch, waits):
    with server(good) as running:
        replies = ask(monkeypatch, running)
    assert running.calls == [HARD]
    assert [said.text for said in replies] == [f"{query} one | {query} two" for query in HARD]
    assert [(said.status, said.prompt_tokens, said.completion_tokens) for said in replies] == [
        (ANSWERED, 8, 3),
        (ANSWERED, 7, 3),
        (ANSWERED, 7, 3),
    ]
    assert waits == []


def test_after_429_500_and_a_cut_connection_it_answers(monkeypatch, waits):
    with server(lambda queries, n: [(429, b"busy"), (500, b"oops"), (0, b""), (200, lines(queries))][n]) as running:
        replies = ask(monkeypatch, running)
        first, waited = waits[:], waits.copy()
        waits.clear()
        running.calls.clear()
        ask(monkeypatch, running)
    assert [said.status for said in replies] == [ANSWERED] * 3
    assert first[0] == 3.0  # what the server asked for
    assert 0.5 <= first[1] <= 1 and 1 <= first[2] <= 2 and len(first) == 3  # doubled, jittered downwards to half
    assert waits == waited  # the draw is seeded


def test_slow_answers_are_given_up_and_asked_for_again(monkeypatch, waits):
    monkeypatch.setenv("SLUICE_ENDPOINT_TIMEOUT_S", "0.2")
    pause = threading.Event()
    with server(lambda queries, n: (pause.wait(1), good(queries, n))[1] if n == 0 else good(queries, n)) as running:
        replies = ask(monkeypatch, running)
        pause.set()
    assert [said.status for said in replies] == [ANSWERED] * 3
    assert len(running.calls) == 2 and len(waits) == 1


def test_a_server_that_is_down_is_named_with_what_to_do(monkeypatch, waits):
    with server(good) as running:
        pass
    monkeypatch.setenv("SLUICE_ENDPOINT_TOKEN", "sk-secret")
    with pytest.raises(endpoint.EndpointError, match=rf"{running.address}/chat/completions failed 4 times.*run the day again") as caught:
        ask(monkeypatch, running)
    assert len(waits) == 3
    assert "sk-secret" not in f"{caught.value!r} {caught.value.__context__!r}"


def test_what_a_call_for_several_leaves_out_is_asked_once_more_alone(monkeypatch):
    with server(lambda queries, n: (200, "Sure! Here you are:\n" + lines(queries, without=() if n else (HARD[1],)))) as running:
        replies = ask(monkeypatch, running)
    assert running.calls == [HARD, [HARD[1]]]
    assert [said.status for said in replies] == [ANSWERED] * 3
    assert (replies[1].prompt_tokens, replies[1].completion_tokens) == (7 + 8, 3 + 3)  # both calls are paid


def test_nonsense_and_refusals_are_what_they_are_and_spoil_no_other_query(monkeypatch):
    def answer(queries, _):
        if HARD[0] in queries:
            return 200, "I'm sorry, but I can't help with that."
        return 200, "%$ <html>" if HARD[1] in queries else lines(queries)

    with server(answer) as running:
        replies = ask(monkeypatch, running)
    assert running.calls == [HARD, *([query] for query in HARD)]
    assert [said.status for said in replies] == [REFUSED, MALFORMED, ANSWERED]
    assert [bool(said.text) for said in replies] == [False, False, True]


def test_a_rejected_query_is_refused_and_its_neighbours_are_answered(monkeypatch, waits):
    with server(lambda queries, n: (400, b"too long") if HARD[0] in queries else good(queries, n)) as running:
        replies = ask(monkeypatch, running)
    assert [said.status for said in replies] == [REFUSED, ANSWERED, ANSWERED]
    assert len(running.calls) == 4 and waits == []


@pytest.mark.parametrize(("status", "advice"), [(401, "set SLUICE_ENDPOINT_TOKEN"), (404, "which ends in /v1, and the model")])
def test_what_cannot_get_better_is_not_tried_again(monkeypatch, waits, status, advice):
    with server(lambda *_: (status, b"no")) as running, pytest.raises(endpoint.EndpointError, match=advice):
        ask(monkeypatch, running)
    assert len(running.calls) == 1 and waits == []


@pytest.mark.parametrize("page", [b"<html>login</html>", b'{"choices": []}', b"[]"])
def test_an_answer_that_is_no_completion_is_an_error_and_no_reply(monkeypatch, page):
    with server(lambda *_: (200, page)) as running, pytest.raises(endpoint.EndpointError, match="no chat completion"):
        ask(monkeypatch, running)
    assert len(running.calls) == 4


def test_the_key_is_sent_as_a_token(monkeypatch):
    monkeypatch.setenv("SLUICE_ENDPOINT_TOKEN", "sk-secret")
    with server(good) as running:
        ask(monkeypatch, running)
    assert running.keys == ["Bearer sk-secret"]


@pytest.mark.parametrize("address", ["", "localhost:8000", "http://user:secret@localhost/v1", "http://localhost/v1?key=secret"])
def test_an_address_that_is_none_or_has_a_secret_is_refused_without_showing_it(monkeypatch, address):
    monkeypatch.setenv("SLUICE_ENDPOINT", address)
    with pytest.raises(endpoint.EndpointError, match="SLUICE_ENDPOINT") as caught:
        endpoint.ask(HARD, ASKING)
    assert "secret" not in str(caught.value)
