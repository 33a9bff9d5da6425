"""The retry policy for requests to Notion.

429 and 529 wait for the time that the answer states and do not count as an attempt. 409 and transient errors of reads
and of property updates are tried three times. After the same errors of a create or an append, the write may have
happened, so the caller checks before it writes again. All other errors are final.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar, cast

import httpx
from notion_client.errors import HTTPResponseError, RequestTimeoutError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from csm_core.errors import NotionError
from csm_core.publishing.notion.rate_limiter import RateLimiter, Sleep

ATTEMPTS = 3
DEFAULT_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 3600.0
# A 429 that waiting does not fix: an administrator has to unblock the integration.
BLOCKED = "public_api_request_blocked"

Answer = TypeVar("Answer")


class TransientError(Exception):
    """An error that a retry may resolve; Notion may have carried out the request."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(describe(cause))
        self.cause = cause


class RequestRejected(NotionError):  # noqa: N818 - named for what Notion did
    """A request that Notion rejected, with its status, code and message. A retry does not help."""

    def __init__(self, message: str, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def gone(self) -> bool:
        """Whether the page is in the trash or does not exist."""
        message = str(self).lower()
        return self.status == 404 or (self.status == 400 and ("archived" in message or "in trash" in message))


class Caller:
    """Sends requests with the rate limit and the retry policy."""

    def __init__(self, limiter: RateLimiter, *, sleep: Sleep = asyncio.sleep) -> None:
        self.limiter = limiter
        self.sleep = sleep
        self.sent = 0

    async def repeat(self, request: Callable[[], Awaitable[Answer]]) -> Answer:
        """Send an idempotent request: a read or an update. Raises NotionError, or RequestRejected if it is rejected."""
        return await self._attempts(lambda: self._send(request))

    async def write_once(
        self,
        request: Callable[[], Awaitable[Answer]],
        find_written: Callable[[], Awaitable[Answer | None]],
        committed: Callable[[dict[str, Any]], Answer | None],
    ) -> Answer:
        """Send a create or an append. It is sent again only after a check that Notion did not carry it out.

        After an error, ``committed`` reads from the answer what was written. If the answer does not state it,
        ``find_written`` searches for the result, with its own retries, and returns None if there is none. Raises the
        same errors as ``repeat``.
        """
        uncertain = False

        async def once() -> Answer:
            nonlocal uncertain
            if uncertain:
                written_before = await find_written()
                if written_before is not None:
                    return written_before
            try:
                return await self._send(request)
            except TransientError as error:
                written = committed(body_of(error.cause))
                if written is not None:
                    return written
                uncertain = True
                raise

        try:
            return await self._attempts(once)
        except NotionError:
            # Notion may have carried out the last attempt as well.
            written_before = await find_written() if uncertain else None
            if written_before is None:
                raise
            return written_before

    async def _attempts(self, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            async for one in AsyncRetrying(
                stop=stop_after_attempt(ATTEMPTS),
                wait=wait_exponential(multiplier=1, min=1, max=10),
                retry=retry_if_exception_type(TransientError),
                sleep=self.sleep,
                reraise=True,
            ):
                with one:
                    return await attempt()
        except TransientError as error:
            message = f"Notion did not return a valid answer in {ATTEMPTS} attempts: {error}"
            raise NotionError(message) from error.cause
        raise AssertionError(ATTEMPTS)  # the loop above returns or raises

    async def _send(self, request: Callable[[], Awaitable[Answer]]) -> Answer:
        while True:
            await self.limiter.acquire()
            self.sent += 1
            try:
                answer = await request()
            except (HTTPResponseError, RequestTimeoutError, httpx.HTTPError, ValueError) as error:
                wait = _requested_wait(error)
                if wait is None:
                    raise _classified(error) from error
                self.limiter.pause(wait)
                continue
            finally:
                self.limiter.release()
            if not isinstance(answer, dict):
                raise TransientError(ValueError("the answer is not a JSON object"))
            return answer


def describe(error: Exception) -> str:
    """An error in one line, with Notion's message. Headers are not included, so the token is never shown."""
    if isinstance(error, HTTPResponseError):
        code = getattr(error.code, "value", error.code)
        return f"{error.status} {code}: {error}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def body_of(error: Exception) -> dict[str, Any]:
    """The JSON object in an error's body, merged with its additional data; empty if there is none."""
    if not isinstance(error, HTTPResponseError):
        return {}
    try:
        body = json.loads(error.body)
    except ValueError:
        return {}
    if not isinstance(body, dict):
        return {}
    values = cast("dict[str, Any]", body)
    extra = values.get("additional_data")
    return {**values, **cast("dict[str, Any]", extra)} if isinstance(extra, dict) else values


def _classified(error: Exception) -> Exception:
    if not isinstance(error, HTTPResponseError) or error.status == 409 or not 400 <= error.status < 500:
        return TransientError(error)
    code = BLOCKED if BLOCKED in body_of(error).values() else str(getattr(error.code, "value", error.code))
    return RequestRejected(f"Notion rejected the request: {describe(error)}", error.status, code)


def _requested_wait(error: Exception) -> float | None:
    if not isinstance(error, HTTPResponseError) or error.status not in (429, 529):
        return None
    body = body_of(error)
    if BLOCKED in body.values():
        return None
    stated = [_seconds(error.headers.get("retry-after")), _seconds(body.get("retry_after"))]
    seconds_stated = [seconds for seconds in stated if seconds is not None]
    return min(max(seconds_stated), LONGEST_WAIT_SECONDS) if seconds_stated else DEFAULT_WAIT_SECONDS


def _seconds(stated: Any) -> float | None:
    if stated is None:
        return None
    try:
        return max(0.0, float(stated))
    except (TypeError, ValueError):
        pass
    try:
        return max(0.0, parsedate_to_datetime(str(stated)).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
