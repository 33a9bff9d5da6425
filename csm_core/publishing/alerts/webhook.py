"""Posts JSON to a webhook, and says whether the receiver has accepted it, has not, or may have.

The address is a secret: no result, log or error contains it.
"""

from __future__ import annotations

import functools
import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

TIMEOUT_SECONDS = 10.0
_MAX_ANSWER_BYTES = 65_536
_TOO_MANY_REQUESTS = 429


@dataclass(frozen=True)
class Posted:
    """The result of a post.

    - ``accepted``: the receiver returned a status of success.
    - ``rejected``: it returned a status that says that it did not accept the message.
    - ``unreachable``: there was no connection; ``busy``: it asked to wait. It has accepted nothing.
    - ``uncertain``: the request was sent and failed; the receiver may have accepted the message.
    """

    outcome: Literal["accepted", "rejected", "unreachable", "busy", "uncertain"]
    problem: str = ""


def post_json(
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str] | None = None,
    on_connected: Callable[[], None] | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> Posted:
    """Post ``body`` to a checked address once, without following redirects.

    ``on_connected`` is called between the connection and the request: before it, the receiver has read nothing.
    """
    # httpx is not used here, because it logs the address of every request.
    connected: list[bool] = []

    def note() -> None:
        if on_connected and not connected:
            on_connected()
        connected.append(True)

    request = urllib.request.Request(  # noqa: S310  # the scheme was checked
        url,
        data=body,
        headers={"content-type": "application/json; charset=utf-8", **(headers or {})},
        method="POST",
    )
    opener = urllib.request.build_opener(_PlainHandler(note), _SecureHandler(note), _WithoutRedirects())
    try:
        with opener.open(request, timeout=timeout) as answer:
            # The status counts; the rest of the response is read so that the connection ends in order.
            _read(answer)
        return Posted("accepted")
    except urllib.error.HTTPError as rejection:
        with rejection:
            problem = f"the webhook returned status {rejection.code}"
            if rejection.code == _TOO_MANY_REQUESTS:
                return Posted("busy", problem)
            return Posted("uncertain" if rejection.code >= 500 else "rejected", problem)
    except (OSError, http.client.HTTPException) as failure:
        cause = failure.reason if isinstance(failure, urllib.error.URLError) else failure
        name = type(cause).__name__
        if connected:
            return Posted("uncertain", f"the connection failed after the request was sent ({name})")
        return Posted("unreachable", f"no connection ({name})")


def _read(answer: Any) -> None:
    try:
        answer.read(_MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException):
        return


class _Plain(http.client.HTTPConnection):
    def __init__(self, *arguments: Any, note: Callable[[], None], **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._note = note

    def connect(self) -> None:
        super().connect()
        self._note()


class _Secure(_Plain, http.client.HTTPSConnection):
    """The same over TLS."""


class _PlainHandler(urllib.request.HTTPHandler):
    def __init__(self, note: Callable[[], None]) -> None:
        super().__init__()
        self._note = note

    def http_open(self, req: urllib.request.Request) -> Any:
        opened: Any = self
        return opened.do_open(functools.partial(_Plain, note=self._note), req)


class _SecureHandler(urllib.request.HTTPSHandler):
    def __init__(self, note: Callable[[], None]) -> None:
        super().__init__()
        self._note = note

    def https_open(self, req: urllib.request.Request) -> Any:
        opened: Any = self
        secure = functools.partial(_Secure, note=self._note, context=ssl.create_default_context())
        return opened.do_open(secure, req)


class _WithoutRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any, **_more: Any) -> None:
        # A redirected POST becomes a GET, which no webhook accepts.
        return
