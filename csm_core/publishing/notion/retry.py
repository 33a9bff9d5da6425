"""What is retried, how often, and what is final: the one retry policy for Notion.

429 and 529 wait as the answer says and use up no attempt. 409 and passing faults of reads and of property updates are
tried three times. The same on a create or an append means that the write may have happened: the caller looks before it
writes again. Anything else is final at once.
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
from csm_core.publishing.notion.rate_limiter import RequestBudget, Sleep

ATTEMPTS = 3
DEFAULT_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 3600.0
# A 429 that no waiting mends: an administrator has to.
BLOCKED = "public_api_request_blocked"

Answer = TypeVar("Answer")


class Passing(Exception):  # noqa: N818 - not an error that leaves this module
    """A fault that may be gone the next time; the request that met it may have been carried out all the same."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(describe(cause))
        self.cause = cause


class Refused(NotionError):  # noqa: N818 - named for what Notion did
    """Notion's final no to one request: its status, code and message."""

    def __init__(self, message: str, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def gone(self) -> bool:
        """Whether the page is in the trash or is not there (any more)."""
        return self.status == 404 or (self.status == 400 and "archived" in str(self).lower())


class Caller:
    """Sends requests within the budget and by the retry policy."""

    def __init__(self, budget: RequestBudget, *, sleep: Sleep = asyncio.sleep) -> None:
        self.budget = budget
        self._sleep = sleep
        self.sent = 0

    async def repeat(self, request: Callable[[], Awaitable[Answer]]) -> Answer:
        """A read, or an update: sending it twice does no harm. Raises NotionError, Refused if Notion said no."""
        return await self._attempts(lambda: self._send(request))

    async def write_once(
        self,
        request: Callable[[], Awaitable[Answer]],
        look: Callable[[], Awaitable[Answer | None]],
        committed: Callable[[dict[str, Any]], Answer | None],
    ) -> Answer:
        """A create or an append: never sent again before it is known that it did not happen.

        After a fault ``committed`` reads in the answer what was written; where it does not say, ``look`` looks,
        by retries of its own, and gives what it found, None for nothing. Raises as ``repeat`` does.
        """
        uncertain = False

        async def once() -> Answer:
            nonlocal uncertain
            if uncertain:
                found = await look()
                if found is not None:
                    return found
            try:
                return await self._send(request)
            except Passing as fault:
                said = committed(body_of(fault.cause))
                if said is not None:
                    return said
                uncertain = True
                raise

        try:
            return await self._attempts(once)
        except NotionError:
            # The last attempt may have been carried out as well; only a look tells.
            found = await look() if uncertain else None
            if found is None:
                raise
            return found

    async def _attempts(self, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            async for one in AsyncRetrying(
                stop=stop_after_attempt(ATTEMPTS),
                wait=wait_exponential(multiplier=1, min=1, max=10),
                retry=retry_if_exception_type(Passing),
                sleep=self._sleep,
                reraise=True,
            ):
                with one:
                    return await attempt()
        except Passing as fault:
            message = f"Notion did not answer as it should in {ATTEMPTS} attempts: {fault}"
            raise NotionError(message) from fault.cause
        raise AssertionError(ATTEMPTS)  # the loop above returns or raises

    async def _send(self, request: Callable[[], Awaitable[Answer]]) -> Answer:
        while True:
            await self.budget.acquire()
            self.sent += 1
            try:
                answer = await request()
            except (HTTPResponseError, RequestTimeoutError, httpx.HTTPError, ValueError) as error:
                wait = _told_to_wait(error)
                if wait is None:
                    raise _judged(error) from error
                self.budget.pause(wait)
                continue
            finally:
                self.budget.release()
            if not isinstance(answer, dict):
                raise Passing(ValueError("the answer is no JSON object"))
            return answer


def describe(error: Exception) -> str:
    """What went wrong in a line, with Notion's own message; never a header, so never the token."""
    if isinstance(error, HTTPResponseError):
        code = getattr(error.code, "value", error.code)
        return f"{error.status} {code}: {error}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def body_of(error: Exception) -> dict[str, Any]:
    """The JSON object of an error's body, its additional data on the same level; empty for anything else."""
    if not isinstance(error, HTTPResponseError):
        return {}
    try:
        body = json.loads(error.body)
    except ValueError:
        return {}
    if not isinstance(body, dict):
        return {}
    found = cast("dict[str, Any]", body)
    extra = found.get("additional_data")
    return {**found, **cast("dict[str, Any]", extra)} if isinstance(extra, dict) else found


def _judged(error: Exception) -> Exception:
    if not isinstance(error, HTTPResponseError) or error.status == 409 or not 400 <= error.status < 500:
        return Passing(error)
    code = BLOCKED if BLOCKED in body_of(error).values() else str(getattr(error.code, "value", error.code))
    return Refused(f"Notion refused: {describe(error)}", error.status, code)


def _told_to_wait(error: Exception) -> float | None:
    if not isinstance(error, HTTPResponseError) or error.status not in (429, 529):
        return None
    body = body_of(error)
    if BLOCKED in body.values():
        return None
    stated = [_seconds(error.headers.get("retry-after")), _seconds(body.get("retry_after"))]
    known = [seconds for seconds in stated if seconds is not None]
    return min(max(known), LONGEST_WAIT_SECONDS) if known else DEFAULT_WAIT_SECONDS


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
