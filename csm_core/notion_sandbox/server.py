"""The sandbox server on loopback: the API under ``/v1``, the browser view at ``/``, controls at ``/_sandbox``."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from csm_core.errors import InputError, NotionError
from csm_core.notion_sandbox.address import DEFAULT_VIEW_ADDRESS, SANDBOX_FILE, SANDBOX_TOKEN
from csm_core.notion_sandbox.api import QUERY_RESULT_LIMIT, Api
from csm_core.notion_sandbox.controls import Controls
from csm_core.notion_sandbox.errors import ApiError
from csm_core.notion_sandbox.faults import Faults
from csm_core.notion_sandbox.limits import SimulatedRateLimit
from csm_core.notion_sandbox.service import Request, Service
from csm_core.notion_sandbox.store import Store
from csm_core.notion_sandbox.user_actions import UserActions
from csm_core.notion_sandbox.validation import as_id
from csm_core.notion_sandbox.web_ui import WebUi
from csm_core.system.addresses import MAX_PORT

START_PATIENCE_SECONDS = 15.0
TICK_SECONDS = 0.02
TICKS_A_DAY = 86_400 * 50

_HOSTS = frozenset(("127.0.0.1", "localhost"))


class SandboxServer:
    """A local Notion server in a thread of this process.

    ``path`` is its file; ``port`` 0 selects a free port. ``requests_per_window`` requests are allowed per
    ``window_seconds``; None means no rate limit. ``query_result_limit`` is the maximum number of results of a query.
    ``view_address`` is the base URL of the pages' addresses, by default that of ``csm notion sandbox``. ``clock``
    returns the time for new and edited pages.

    A context manager that starts the server on entry and stops it on exit.
    """

    def __init__(
        self,
        path: Path,
        port: int = 0,
        *,
        token: str = SANDBOX_TOKEN,
        requests_per_window: int | None = None,
        window_seconds: float = 60.0,
        query_result_limit: int = QUERY_RESULT_LIMIT,
        view_address: str = DEFAULT_VIEW_ADDRESS,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        if not 0 <= port <= MAX_PORT:
            message = f"the port is {port}; expected a number from 1 to {MAX_PORT}, or 0 for any free port"
            raise InputError(message)
        self.token = token
        self.store = _store(path, clock)
        self._api = Api(self.store, view_address, query_result_limit)
        self.user_actions = UserActions(self._api)
        self._transports: dict[Any, asyncio.Transport] = {}
        limit = None if requests_per_window is None else SimulatedRateLimit(requests_per_window, window_seconds)
        self.service = Service(self._api, token, limit, self._transport_of)
        self._controls = Controls(self.service, self.user_actions, token)
        self._web_ui = WebUi(self.store, path)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(("127.0.0.1", port))
        except OSError as problem:
            self._socket.close()
            self.store.close()
            raise NotionError(
                f"the Notion sandbox cannot listen on 127.0.0.1:{port}: {problem.strerror}. Choose another port."
            ) from problem
        self._port = int(self._socket.getsockname()[1])
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port of the server."""
        return self._port

    @property
    def url(self) -> str:
        """The ``base_url`` for a client."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def root_page_id(self) -> str:
        """The root page of the workspace."""
        return self.store.root_id

    def has_database(self, database_id: str) -> bool:
        """Whether a database exists and is not in the trash; False for a text that is not an id."""
        try:
            row = self.store.databases.find(as_id(database_id, "id"))
        except ApiError:
            return False
        return row is not None and not row["in_trash"]

    @property
    def faults(self) -> Faults:
        """The injected faults."""
        return self.service.faults

    @property
    def requests(self) -> deque[Request]:
        """Every request under ``/v1`` since the start, oldest first."""
        return self.service.requests

    def start(self) -> SandboxServer:
        """Serve from a thread; return when the server accepts requests."""
        server = self._new_server()
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [self._socket]}, name="notion-sandbox", daemon=True
        )
        self._server, self._thread = server, thread
        thread.start()
        deadline = time.monotonic() + START_PATIENCE_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise NotionError("the Notion sandbox did not start")
            time.sleep(0.005)
        return self

    def serve_forever(self) -> None:
        """Serve from this thread until Ctrl-C."""
        self._server = self._new_server()
        try:
            # uvicorn raises KeyboardInterrupt again after its shutdown; here this is the normal end.
            with suppress(KeyboardInterrupt):
                self._server.run(sockets=[self._socket])
        finally:
            self.store.close()

    def stop(self) -> None:
        """Stop serving and close the file."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._server.force_exit = True
            self._thread.join(START_PATIENCE_SECONDS)
            self._server, self._thread = None, None
        self._socket.close()
        self.store.close()

    def __enter__(self) -> SandboxServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the API, the controls or the browser view."""
        if scope["type"] != "http":
            return
        part: ASGIApp = self._web_ui
        # A web page must not reach the sandbox by a host name that resolves to loopback (DNS rebinding).
        if not self._is_own_host(_header(scope, b"host")):
            part = _rejected(421, "the sandbox only accepts the hosts 127.0.0.1 and localhost")
        elif not self._is_own_origin(scope):
            part = _rejected(403, "the sandbox does not accept requests from other web pages")
        elif scope["path"].startswith("/v1/"):
            part = self.service
        elif scope["path"].startswith("/_sandbox/"):
            part = self._controls
        await part(scope, receive, send)

    def _is_own_host(self, host: str) -> bool:
        """Whether a Host header names loopback. With port forwarding, the port may differ."""
        name, _, port = host.lower().partition(":")
        return name in _HOSTS and (port.isdecimal() or not port)

    def _is_own_origin(self, scope: Scope) -> bool:
        """Whether a request has no Origin header, or the address of the sandbox as the browser shows it."""
        origin = _header(scope, b"origin").lower()
        return not origin or origin == f"http://{_header(scope, b'host').lower()}"

    def _new_server(self) -> uvicorn.Server:
        config = uvicorn.Config(
            self,
            http=_protocol(self._transports),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            timeout_keep_alive=120,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        return _PromptServer(config)

    def _transport_of(self, scope: Scope) -> asyncio.Transport | None:
        client = scope.get("client")
        return self._transports.get(tuple(client)) if client is not None else None


def _store(path: Path, clock: Callable[[], datetime] | None) -> Store:
    try:
        return Store(path, clock)
    except (OSError, sqlite3.Error) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise NotionError(
            f"the file {path} of the Notion sandbox cannot be opened: {reason}. If the disk is full, free space. If "
            "the file is damaged, move it to another folder; the sandbox then starts with an empty workspace."
        ) from None


class _PromptServer(uvicorn.Server):
    """A server that checks every few milliseconds whether it should stop, so that a run does not wait for it."""

    async def main_loop(self) -> None:
        """Serve until the server should stop."""
        ticks = 0
        while not await self.on_tick(ticks):
            ticks = (ticks + 1) % TICKS_A_DAY
            await asyncio.sleep(TICK_SECONDS)


def _protocol(transports: dict[Any, asyncio.Transport]) -> type[H11Protocol]:
    class TrackedProtocol(H11Protocol):
        """HTTP/1.1 that stores the transport of every peer, for faults that reset the connection."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            transports[tuple(transport.get_extra_info("peername"))] = transport

        def connection_lost(self, exc: Exception | None) -> None:
            transports.pop(tuple(self.transport.get_extra_info("peername")), None)
            super().connection_lost(exc)

    return TrackedProtocol


def _header(scope: Scope, wanted: bytes) -> str:
    """The joined values of a header: a repeated header never equals an expected value."""
    return ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == wanted)


def _rejected(status: int, message: str) -> ASGIApp:
    async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
        body = json.dumps({"message": message}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer


def ensure_sandbox(data_dir: Path) -> SandboxServer:
    """A started sandbox with the file ``notion_sandbox.sqlite`` in ``data_dir``; the caller stops it.

    Several processes may use the same file.
    """
    return SandboxServer(data_dir / SANDBOX_FILE).start()
