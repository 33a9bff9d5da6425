"""The API over HTTP: checks authorisation, version, size and rate limit, injects faults, and calls the endpoint.

It is an ASGI application, so that a fault can truncate a response or reset the connection.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import struct
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from csm_core.logging import get_logger
from csm_core.notion_sandbox.api import Api
from csm_core.notion_sandbox.errors import ApiError, error_body
from csm_core.notion_sandbox.faults import WRITES_FIRST, Fault, Faults
from csm_core.notion_sandbox.file_endpoints import form_file
from csm_core.notion_sandbox.limits import SimulatedRateLimit
from csm_core.notion_sandbox.validation import MAX_PAYLOAD_BYTES
from csm_core.notion_sandbox.versions import VERSIONS, check_keys, shown_in

REQUESTS_KEPT = 100_000
# Notion's own requests have no more than about ten levels.
MAX_NESTING = 64

log = get_logger(__name__)

_UNKNOWN = "API token is invalid."
_HTML = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    "</body>\r\n</html>\r\n"
)


@dataclass(frozen=True)
class Request:
    """A request in the log: ``at`` is the time in seconds since the epoch, ``seconds`` the duration.

    ``fault`` is the kind of the injected fault, or None. ``status`` is 0 if the connection was reset.
    """

    method: str
    path: str
    status: int
    at: float
    seconds: float
    fault: str | None

    @property
    def is_write(self) -> bool:
        """Whether the request changes data."""
        return self.method in ("PATCH", "DELETE") or (
            self.method == "POST" and not self.path.endswith(("/query", "/search"))
        )

    def as_dict(self) -> dict[str, Any]:
        """The JSON object of this request."""
        return {**asdict(self), "is_write": self.is_write}


@dataclass
class _Answer:
    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]]


class Service:
    """All paths under ``/v1``. ``transport_of`` returns the transport of a connection, which a fault can reset."""

    def __init__(
        self,
        api: Api,
        token: str,
        rate_limit: SimulatedRateLimit | None,
        transport_of: Callable[[Scope], asyncio.Transport | None],
    ) -> None:
        self._api = api
        self._token = token
        self._rate_limit = rate_limit
        self._transport_of = transport_of
        self.faults = Faults()
        self.requests: deque[Request] = deque(maxlen=REQUESTS_KEPT)
        self.before_request: Callable[[str, str], None] | None = None
        self.after_request: Callable[[Request], None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        started, at = time.perf_counter(), time.time()
        method, path = scope["method"], scope["path"]
        body = await read_body(receive)
        if self.before_request is not None:
            self.before_request(method, path)
        fault = self.faults.take(method, path)
        status = await self._respond(scope, send, method, path, body, fault)
        kind = fault.kind if fault is not None else None
        request = Request(method, path, status, at, time.perf_counter() - started, kind)
        self.requests.append(request)
        if self.after_request is not None:
            self.after_request(request)

    async def _respond(
        self, scope: Scope, send: Send, method: str, path: str, body: bytes | None, fault: Fault | None
    ) -> int:
        request_id = str(uuid.uuid4())
        if fault is not None and fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        if fault is not None and fault.kind == "reset_before":
            return self._reset(scope)
        answer = None
        if fault is None or fault.kind == "delay" or fault.kind in WRITES_FIRST:
            answer = self._answer(scope, method, path, body, request_id)
        if fault is not None and fault.kind == "reset_after":
            return self._reset(scope)
        if fault is not None and fault.kind == "truncated" and answer is not None:
            return await self._truncate(scope, send, answer)
        if fault is not None and fault.kind != "delay" and (answer is None or answer.status == 200):
            answer = _faulty(fault, method, path, answer, request_id)
        if answer is None:
            raise RuntimeError(f"the fault {fault} left a request without an answer")
        await _send(send, answer, request_id)
        return answer.status

    def _answer(self, scope: Scope, method: str, path: str, body: bytes | None, request_id: str) -> _Answer:
        try:
            version = self._authorised_version(scope)
            self._check_rate_limit()
            place, value = path.removeprefix("/v1/"), _value_of(scope, body)
            check_keys(version, place, value)
            result = shown_in(version, self._api.handle(method, place, _query(scope), value))
            return _json_answer(200, {**result, "request_id": request_id})
        except ApiError as refusal:
            answer = _json_answer(refusal.status, refusal.body(request_id))
            if refusal.status == 429 and refusal.additional_data:
                answer.headers.append((b"retry-after", str(refusal.additional_data["retry_after"]).encode()))
            return answer
        except UnicodeEncodeError:
            # Texts of properties and blocks are checked before; this is for all other texts.
            message = "body failed validation: a text in it is not valid Unicode; it has half a surrogate pair."
            return _json_answer(400, error_body(400, "validation_error", message, request_id))
        except Exception:
            log.exception("sandbox failed", method=method, path=path)
            message = "Unexpected error occurred."
            return _json_answer(500, error_body(500, "internal_server_error", message, request_id))

    def _authorised_version(self, scope: Scope) -> str:
        """The API version of an authorised request."""
        headers = {name: value for name, value in scope["headers"] if name in (b"authorization", b"notion-version")}
        received = headers.get(b"authorization", b"")
        if not secrets.compare_digest(received, f"Bearer {self._token}".encode()):
            raise ApiError(401, "unauthorized", _UNKNOWN)
        version = headers.get(b"notion-version")
        if version is None:
            raise ApiError(
                400,
                "missing_version",
                "Notion-Version header failed validation: Notion-Version header should be defined, "
                "instead was `undefined`.",
            )
        name = version.decode("latin-1")
        if name not in VERSIONS:
            allowed = " or ".join(f'`"{one}"`' for one in VERSIONS)
            raise ApiError(
                400,
                "validation_error",
                f"Notion-Version header failed validation: Notion-Version header should be {allowed}, "
                f'instead was `"{name}"`.',
            )
        return name

    def _check_rate_limit(self) -> None:
        wait = self._rate_limit.wait() if self._rate_limit is not None else 0
        if wait:
            raise ApiError(
                429,
                "rate_limited",
                "You have been rate limited. Please try again in a few minutes.",
                {"retry_after": str(wait), "rate_limit_reason": "public_api_request_rate_limit"},
            )

    def _reset(self, scope: Scope) -> int:
        transport = self._transport_of(scope)
        if transport is not None:
            connection = transport.get_extra_info("socket")
            if connection is not None:
                # With a linger time of 0 the kernel sends RST instead of FIN, so the client gets a reset.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        return 0

    async def _truncate(self, scope: Scope, send: Send, answer: _Answer) -> int:
        await send({"type": "http.response.start", "status": answer.status, "headers": _headers(answer)})
        await send({"type": "http.response.body", "body": answer.body[: len(answer.body) // 2], "more_body": True})
        transport = self._transport_of(scope)
        if transport is not None:
            transport.close()
        return answer.status


async def read_body(receive: Receive) -> bytes | None:
    """The body, or None if it exceeds the maximum size."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= MAX_PAYLOAD_BYTES:
            parts.append(chunk)
        if not message.get("more_body", False):
            return b"".join(parts) if size <= MAX_PAYLOAD_BYTES else None


def parse_body(body: bytes | None) -> Any:
    """The JSON value of a request's body; None for an empty one.

    Raises ApiError with status 413 for a body that exceeds the maximum size (None), and with 400 for a body that is not
    JSON or is nested too deeply.
    """
    if body is None:
        message = f"body failed validation: body should be ≤ `{MAX_PAYLOAD_BYTES}` bytes."
        raise ApiError(413, "validation_error", message)
    if not body:
        return None
    try:
        value = json.loads(body, parse_constant=_no_constant)
        _require_shallow(value)
    except (ValueError, RecursionError):
        raise ApiError(400, "invalid_json", "Error parsing JSON body.") from None
    return value


def _value_of(scope: Scope, body: bytes | None) -> Any:
    """The JSON value of a body, or the file of a form."""
    content_type = next((value for name, value in scope["headers"] if name == b"content-type"), b"").decode("latin-1")
    if body is not None and content_type.startswith("multipart/form-data"):
        return form_file(content_type, body)
    return parse_body(body)


def _require_shallow(value: Any) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_NESTING):
        if not level:
            return
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [item for items in inner for item in items]
    message = f"more than {MAX_NESTING} levels"
    raise ValueError(message)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _query(scope: Scope) -> dict[str, Any]:
    query: dict[str, Any] = {}
    for name, value in parse_qsl(scope["query_string"].decode("latin-1")):
        if name in ("filter_properties", "filter_properties[]"):
            query.setdefault("filter_properties", []).append(value)
        else:
            query[name] = value
    return query


def _json_answer(status: int, body: dict[str, Any]) -> _Answer:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    # A message may quote half a surrogate pair from a path or a header.
    return _Answer(status, text.encode(errors="replace"), [(b"content-type", b"application/json; charset=utf-8")])


def _headers(answer: _Answer) -> list[tuple[bytes, bytes]]:
    return [*answer.headers, (b"content-length", str(len(answer.body)).encode())]


async def _send(send: Send, answer: _Answer, request_id: str) -> None:
    headers = [*_headers(answer), (b"x-notion-request-id", request_id.encode())]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _faulty(fault: Fault, method: str, path: str, answer: _Answer | None, request_id: str) -> _Answer:
    if fault.kind == "bad_gateway":
        return _Answer(502, _HTML.encode(), [(b"content-type", b"text/html")])
    status, code, message = _ERRORS.get(fault.kind, (fault.status, fault.code, fault.message))
    data: dict[str, Any] = {}
    headers: list[tuple[bytes, bytes]] = []
    if fault.kind in ("rate_limited", "blocked", "overloaded") and fault.retry_after is not None:
        if fault.retry_after_in != "body":
            headers.append((b"retry-after", str(fault.retry_after).encode()))
        if fault.retry_after_in != "header":
            data["retry_after"] = str(fault.retry_after)
    if fault.kind in ("rate_limited", "blocked"):
        data["rate_limit_reason"] = (
            "public_api_request_blocked" if fault.kind == "blocked" else "public_api_space_request_rate_limit"
        )
    if fault.kind == "unavailable_committed" and answer is not None:
        data.update(_committed(method, path, json.loads(answer.body)))
    shaped = _json_answer(status, error_body(status, code, message, request_id, data or None))
    shaped.headers.extend(headers)
    return shaped


def _committed(method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    guidance = {"retry_guidance": "The write was saved. Read the object instead of repeating the request."}
    if method == "POST":
        return {"committed_resource_id": body.get("id"), **guidance}
    if path.endswith("/children"):
        parent = path.removesuffix("/children").rsplit("/", 1)[-1]
        return {
            "committed_resource_id": parent,
            "committed_child_ids": [block["id"] for block in body.get("results", [])],
            **guidance,
        }
    return guidance


_UNAVAILABLE = (503, "service_unavailable", "Notion is unavailable, please try again later.")
_ERRORS: dict[str, tuple[int, str, str]] = {
    "rate_limited": (429, "rate_limited", "You have been rate limited. Please try again in a few minutes."),
    "blocked": (429, "rate_limited", "This connection is blocked."),
    "overloaded": (529, "service_overload", "Notion is overloaded, please try again later."),
    "conflict": (409, "conflict_error", "Conflict occurred while saving. Please try again."),
    "internal_error": (500, "internal_server_error", "Unexpected error occurred."),
    "unavailable": _UNAVAILABLE,
    "unavailable_written": _UNAVAILABLE,
    "unavailable_committed": _UNAVAILABLE,
    "gateway_timeout": (504, "gateway_timeout", "Notion timed out while completing this request."),
}
