"""An OpenAI-compatible server (vLLM and others) as rewriter: one call for several queries, tried again while it may get better.

Where it is and how it is called comes from the environment of the worker that calls, because none of it changes a reply:
SLUICE_ENDPOINT (address up to and with /v1), SLUICE_ENDPOINT_TOKEN (the key, sent as bearer token and written nowhere; Spark hides the
value of a setting of such a name), SLUICE_ENDPOINT_PARALLEL (calls at once, 8), SLUICE_ENDPOINT_TIMEOUT_S (120), SLUICE_ENDPOINT_TRIES (6).
On a cluster: `--conf spark.executorEnv.SLUICE_ENDPOINT=...`.
"""

import json
import os
import random
from collections.abc import Mapping, Sequence
from functools import cache
from time import sleep
from typing import Any
from urllib.parse import urlsplit

import urllib3

from features.generated import ANSWERED, REFUSED, Reply, instruction, parts, request
from jobs.replies import Asking

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
SEED = 17


class EndpointError(RuntimeError):
    """The server cannot be used; says which, what it did and what to do."""


class RejectedError(RuntimeError):
    """The server takes this request for wrong or forbidden (400, 413, 422): another try would end alike."""


def ask(queries: Sequence[str], asking: Asking) -> list[Reply]:
    """Replies to the queries of one call. What a call for several leaves unanswered is asked once more by itself.

    The tokens of a call are shared among its queries. Raises EndpointError.
    """
    replies = _one_call(queries, asking)
    if len(queries) > 1:
        for n, said in enumerate(replies):
            if said.status != ANSWERED:
                again = _one_call(queries[n : n + 1], asking)[0]
                tokens = (said.prompt_tokens + again.prompt_tokens, said.completion_tokens + again.completion_tokens)
                replies[n] = Reply(again.status, again.text, *tokens)
    return replies


def _one_call(queries: Sequence[str], asking: Asking) -> list[Reply]:
    messages = [{"role": "system", "content": instruction(asking.num_rewrites)}, {"role": "user", "content": request(queries)}]
    body = {"model": asking.model, "messages": messages, "temperature": 0, "seed": SEED, "max_tokens": asking.max_tokens * len(queries)}
    try:
        text, usage = post(body)
    except RejectedError:
        return [Reply(REFUSED, "", 0, 0)] * len(queries)
    shares = zip(_shares(usage[0], len(queries)), _shares(usage[1], len(queries)), strict=True)
    return [Reply(status, line, *tokens) for (status, line), tokens in zip(parts(text, len(queries)), shares, strict=True)]


def _shares(total: int, parts: int) -> list[int]:
    """A number cut into whole parts, as equal as can be."""
    return [total // parts + (n < total % parts) for n in range(parts)]


def post(body: Mapping[str, Any]) -> tuple[str, tuple[int, int]]:
    """The text of the reply, empty where the server withholds it, and its prompt and completion tokens.

    Tried again, with waits that double, jittered by a seeded draw and not shorter than the server asks for: no connection, no answer in
    time, 408, 409, 429, 5xx, and answers that are no chat completion. Raises RejectedError, and EndpointError when tries are used up.
    """
    address, tries = _address(), int(os.environ.get("SLUICE_ENDPOINT_TRIES", "6"))
    sent = json.dumps(body).encode()
    draw = random.Random(f"{SEED} {sent!r}")  # not the time: a rerun waits alike
    for attempt in range(tries):
        problem, wait_s = "", 0.0
        try:
            answer = _http().request("POST", address, body=sent, headers=_headers(), timeout=_timeout(), retries=False)
            problem = _problem(answer.status, answer.data, address)
            if not problem:
                return _reply(json.loads(answer.data))
            wait_s = _asked_wait(answer.headers)
        except urllib3.exceptions.HTTPError as error:
            problem = f"{type(error).__name__}: {str(error)[:200]}"
        except (ValueError, LookupError, TypeError) as error:
            problem = f"an answer that is no chat completion ({type(error).__name__})"
        if attempt + 1 < tries:
            sleep(min(max(wait_s, FIRST_WAIT_S * 2**attempt * draw.uniform(0.5, 1)), LONGEST_WAIT_S))
    raise EndpointError(f"{address} failed {tries} times, last: {problem}; replies that came are kept, so mend it and run the day again")


def _problem(status: int, data: bytes, address: str) -> str:
    """What is wrong with an answer that may be better next time, empty where nothing is."""
    if status == 200:
        return ""
    said = f"status {status}: {data[:200].decode(errors='replace')}"
    if status in (400, 413, 422):
        raise RejectedError(said)
    if status in (408, 409, 425, 429) or status >= 500:
        return said
    advice = {
        401: "set SLUICE_ENDPOINT_TOKEN",
        403: "set SLUICE_ENDPOINT_TOKEN",
        404: "check the address, which ends in /v1, and the model",
    }
    raise EndpointError(f"{address} answered with {said}; {advice.get(status, 'check SLUICE_ENDPOINT')}")


def _reply(answer: Mapping[str, Any]) -> tuple[str, tuple[int, int]]:
    choice, usage = answer["choices"][0], answer.get("usage") or {}
    said = choice["message"]
    text = "" if choice.get("finish_reason") == "content_filter" else said.get("content") or said.get("refusal") or ""
    withheld = choice.get("finish_reason") == "content_filter" or said.get("refusal")
    return ("I'm sorry" if withheld else str(text)), (int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0)))


def _asked_wait(headers: Mapping[str, str]) -> float:
    try:
        return float(headers.get("Retry-After", 0))
    except ValueError:  # a date: our own wait is as good
        return 0.0


def _address() -> str:
    """Where to post. Raises EndpointError when it is not set, or would carry a secret into messages."""
    address = os.environ.get("SLUICE_ENDPOINT", "")
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EndpointError("SLUICE_ENDPOINT is no address of a server; set it, such as http://localhost:8000/v1, where tasks run")
    if parts.username or parts.password or parts.query:
        raise EndpointError("SLUICE_ENDPOINT carries a user or a query; give the key as SLUICE_ENDPOINT_TOKEN")
    return address.rstrip("/") + "/chat/completions"


def _headers() -> dict[str, str]:
    key = os.environ.get("SLUICE_ENDPOINT_TOKEN")
    return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})


def _timeout() -> float:
    return float(os.environ.get("SLUICE_ENDPOINT_TIMEOUT_S", "120"))


def parallel() -> int:
    """Calls at once."""
    return int(os.environ.get("SLUICE_ENDPOINT_PARALLEL", "8"))


@cache
def _http() -> urllib3.PoolManager:
    """Connections of this process, made when first asked for."""
    return urllib3.PoolManager(maxsize=64)
