"""A webhook on this machine, for tests of alerts."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer


class Hook:
    """What a webhook was sent, and the statuses that it answers with."""

    def __init__(self, server: HTTPServer) -> None:
        self.server = server
        self.received: list[dict] = []
        self.statuses: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/services/T00/B00/very-secret"


@contextmanager
def webhook() -> Iterator[Hook]:
    """A webhook that answers until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.headers["content-type"].startswith("application/json")
            found.received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(found.statuses.pop(0) if found.statuses else 200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_arguments):
            """Nothing on the console."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    found = Hook(server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
