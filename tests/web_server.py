"""A vendor's web API on a free port of this machine: it notes what it is asked, and fails as it is told to."""

from __future__ import annotations

import json
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request; ``query`` has the first value of each parameter, ``every`` has all of them."""

    method: str
    path: str
    query: Mapping[str, str]
    every: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What is sent: ``body`` as JSON, or as it is where it is bytes."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] | None = None


Failure = Callable[[BaseHTTPRequestHandler], None]
"""Answers one request in a way that no API should."""


class WebServer(ABC):
    """Subclasses say in ``respond`` what the API answers.

    The next requests get the ``failures``, one each, before any is answered; ``asked`` has all of them, failed or not.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.failures: list[Failure] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body are written separately: without this, the body waits for an acknowledgement.
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                outer._handle(self)

            do_POST = do_GET  # noqa: N815  # the names that http.server calls
            do_PATCH = do_GET  # noqa: N815

            def log_message(self, *arguments: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @abstractmethod
    def respond(self, asked: Asked) -> Answer:
        """What the API answers."""

    @property
    def paths(self) -> list[str]:
        """The paths asked for so far, in order."""
        return [one.path for one in self.asked]

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        every = parse_qs(parts.query, keep_blank_values=True)
        length = int(request.headers.get("Content-Length") or 0)
        asked = Asked(
            method=str(request.command),
            path=parts.path,
            query={name: values[0] for name, values in every.items()},
            every=every,
            headers=dict(request.headers.items()),
            body=request.rfile.read(length),
        )
        self.asked.append(asked)
        if self.failures:
            self.failures.pop(0)(request)
        else:
            send(request, self.respond(asked))


def send(request: BaseHTTPRequestHandler, answer: Answer, *, cut: int = 0) -> None:
    """Send an answer, without the last ``cut`` bytes that its head promises."""
    text = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
    request.send_response(answer.status)
    for name, value in {"Content-Type": "application/json", "Content-Length": str(len(text))}.items():
        request.send_header(name, value)
    for name, value in (answer.headers or {}).items():
        request.send_header(name, value)
    request.end_headers()
    # Who asked may have been killed meanwhile.
    with suppress(BrokenPipeError, ConnectionResetError):
        request.wfile.write(text[: len(text) - cut])


def drop(request: BaseHTTPRequestHandler) -> None:
    """Hang up without a word."""
    request.close_connection = True
    request.connection.shutdown(socket.SHUT_RDWR)


def truncate(request: BaseHTTPRequestHandler) -> None:
    """Promise a body, and hang up in the middle of it."""
    send(request, Answer({"data": ["x" * 1000]}), cut=500)
    drop(request)


def refuse(status: int, body: Any = None, **headers: str) -> Failure:
    """A failure with this status; ``Retry_After="1"`` becomes the header `Retry-After`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: send(request, Answer(body or {}, status, named))


AnyServer = TypeVar("AnyServer", bound=WebServer)


@contextmanager
def serving(server: AnyServer) -> Generator[AnyServer]:
    """The server, answering until the end of the block."""
    server.start()
    try:
        yield server
    finally:
        server.stop()
