"""A chat-completion server on this machine that answers as a test says, also badly, and remembers what it was asked."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[list[str], int], tuple[int, Any]]
"""Status and body (text of the reply, or bytes as they are) for the queries of a call and its number from 0."""


@dataclass
class Server:
    address: str
    calls: list[list[str]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


def lines(queries: list[str], *, without: tuple[str, ...] = ()) -> str:
    """A good reply, but for the queries left out."""
    return "\n".join(f"{n}: {query} one | {query} two" for n, query in enumerate(queries, 1) if query not in without)


def good(queries: list[str], _: int) -> tuple[int, str]:
    return 200, lines(queries)


@contextmanager
def server(answer: Answer) -> Iterator[Server]:
    """Runs while the block does. An answer of status 0 is a cut connection."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            queries = [line.partition(": ")[2] for line in body["messages"][-1]["content"].splitlines()]
            with lock:
                number = len(running.calls)
                running.calls.append(queries)
                running.keys.append(self.headers.get("Authorization"))
            status, said = answer(queries, number)
            if not status:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            usage = {"prompt_tokens": 7 * len(queries) + 1, "completion_tokens": 3 * len(queries)}
            sent = said if isinstance(said, bytes) else json.dumps({"choices": [{"message": {"content": said}}], "usage": usage}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(sent)))
            if status == 429:
                self.send_header("Retry-After", "3")
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

        def handle(self) -> None:
            try:
                super().handle()
            except (ConnectionError, ValueError, OSError):  # the client did not wait, or we cut the line
                self.close_connection = True

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    running = Server(f"http://127.0.0.1:{httpd.server_port}/v1")
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
