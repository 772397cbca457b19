"""A web server of this machine, for tests of what calls out."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def server(answer: int = 200, after_s: float = 0.0, **headers: str) -> Iterator[tuple[str, list[Any]]]:
    """A web server of this machine that answers each POST so; its address, and what it got."""
    got: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, self.headers["Content-Type"], json.loads(body)))
            time.sleep(after_s)
            self.send_response(answer)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def do_GET(self) -> None:
            got.append((self.path, None, None))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{serving.server_port}", got
    finally:
        serving.shutdown()
        serving.server_close()
