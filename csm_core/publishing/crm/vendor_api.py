"""Sends requests to a vendor's API that writes: timeouts, retries, and errors without secrets.

Every request may be sent again: reads change nothing, and an upsert with the same values has the same result. Redirects
are not followed, because the token would go to another host.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, cast

import httpx

from csm_core.errors import PublishError
from csm_core.redaction import without_secrets
from csm_core.system.text_table import counted

ATTEMPTS = 5
LONGEST_WAIT_SECONDS = 60.0
_MAX_ANSWER_BYTES = 32_000_000
# Request timeout, locked, too early, too many requests, and HubSpot's status during a migration of an account.
_TEMPORARY = (408, 423, 425, 429, 477)
_MAX_MESSAGE = 1000

Sleep = Callable[[float], None]
LimitMessage = Callable[[int, Any], str | None]


class Unreachable(PublishError):  # noqa: N818 - named for what the vendor is
    """All attempts of a request failed; the vendor may have carried out any of them."""


class LimitReached(PublishError):  # noqa: N818 - named for what happened
    """The vendor accepts no more requests today."""


@dataclass(frozen=True)
class Answer:
    """A response below status 500: the status, and the JSON value of its body; None if it is not JSON."""

    status: int
    value: Any
    text: str = ""

    @property
    def is_success(self) -> bool:
        """Whether the status is 200 to 299."""
        return 200 <= self.status < 300

    def mapping(self) -> dict[str, Any]:
        """The body if it is a JSON object, else an empty one."""
        return cast("dict[str, Any]", self.value) if isinstance(self.value, dict) else {}


class _TemporaryError(Exception):
    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class VendorApi:
    """A connection to one API.

    ``limit_message`` returns what to say about a response that states that a daily limit is reached, else None.
    """

    def __init__(
        self,
        vendor: str,
        base_url: str,
        *,
        timeout_seconds: float,
        limit_message: LimitMessage,
        sleep: Sleep = time.sleep,
    ) -> None:
        self.vendor = vendor
        self.base_url = base_url
        self.sent = 0
        self._timeout = timeout_seconds
        self._limit_message = limit_message
        self._sleep = sleep
        self._secrets: set[str] = set()
        self._client = httpx.Client(timeout=timeout_seconds, follow_redirects=False)

    def __enter__(self) -> VendorApi:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._client.close()

    def hide(self, value: str) -> None:
        """Leave a secret, such as a session token, out of all messages."""
        if value:
            self._secrets.add(value)

    def masked(self, text: str) -> str:
        """Return a text of the vendor on one line, without secrets, at most 1,000 characters."""
        for value in self._secrets:
            text = text.replace(value, "(hidden)")
        return " ".join(without_secrets(text).split())[:_MAX_MESSAGE]

    def pause(self, attempt: int, wait: float | None = None) -> None:
        """Wait before the next attempt: for the time that the vendor states, at most a minute, else 1, 2, 4, … s."""
        self._sleep(min(2.0 ** (attempt - 1) if wait is None else wait, LONGEST_WAIT_SECONDS))

    def request(self, method: str, path: str, **more: Any) -> Answer:
        """Return the response to a request, which is sent again after temporary errors.

        Raises Unreachable if all attempts fail, LimitReached, and PublishError for a redirect.
        """
        reason = ""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._once(method, path, more)
            except _TemporaryError as error:
                reason = str(error)
                if attempt < ATTEMPTS:
                    self.pause(attempt, error.wait)
        message = (
            f"{self.vendor} did not return a valid response for {path} in {counted(ATTEMPTS, 'attempt')}: {reason}. "
            "The next run sends these records again."
        )
        raise Unreachable(self.masked(message))

    def _once(self, method: str, path: str, more: Mapping[str, Any]) -> Answer:
        self.sent += 1
        try:
            with self._client.stream(method, self.base_url + path, **more) as response:
                content = self._read(response)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _TemporaryError(type(error).__name__) from None
        status = response.status_code
        value = _decoded(content)
        text = content[:4000].decode("utf-8", "replace")
        if 300 <= status < 400:
            message = (
                f"{self.vendor} redirects {path} (status {status}). Redirects are not followed, because the token "
                "would go to another address. Correct the address of the destination."
            )
            raise PublishError(message)
        limit = self._limit_message(status, value)
        if limit:
            raise LimitReached(self.masked(f"{self.vendor}: {limit}"))
        if status in _TEMPORARY or status >= 500:
            raise _TemporaryError(f"status {status}", _stated_wait(response.headers.get("retry-after")))
        if 200 <= status < 300 and value is None:
            raise _TemporaryError("the response is not JSON")
        return Answer(status, value, text)

    def _read(self, response: httpx.Response) -> bytes:
        """Return the body. The timeout of the client is for each part of it; this is for all."""
        end = time.monotonic() + self._timeout
        content = bytearray()
        for part in response.iter_bytes():
            content += part
            if len(content) > _MAX_ANSWER_BYTES:
                raise _TemporaryError(f"the response is longer than {_MAX_ANSWER_BYTES:,} bytes")
            if time.monotonic() > end:
                raise _TemporaryError(f"the response took longer than {self._timeout:g} s")
        return bytes(content)


def _decoded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _stated_wait(stated: str | None) -> float | None:
    """The seconds of the header Retry-After, which is a number or a date."""
    if stated is None:
        return None
    try:
        seconds = float(stated)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(stated).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    # A comparison with "nan" is false.
    return seconds if seconds >= 0 else 0.0 if seconds < 0 else None
