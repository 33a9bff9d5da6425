"""Limits the number of requests in any 60 seconds, without waiting longer than the limit requires."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

WINDOW_SECONDS = 60.0
# The clock of the service may run slightly faster than ours.
MARGIN_SECONDS = 0.05
# The polling interval while all permitted requests are in progress.
LOOK_SECONDS = 0.05

Sleep = Callable[[float], Awaitable[None]]


class RateLimiter:
    """Grants requests in order, at most ``per_minute`` in any 60 seconds (a sliding window).

    A request counts from the time it is granted until one minute after its answer, because the service may count it at
    any time in between. Tests can replace ``clock`` (seconds) and ``sleep``.
    """

    def __init__(
        self, per_minute: int, *, clock: Callable[[], float] = time.monotonic, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._sleep = sleep
        self._in_progress = 0
        self._answered: deque[float] = deque()
        self._not_before = clock()
        self._turn: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    async def acquire(self) -> None:
        """Wait until a request may be sent. Callers are served in order."""
        async with self._lock():
            while True:
                now = self._clock()
                self._forget(now)
                wait = self._not_before - now
                if self._in_progress + len(self._answered) >= self._per_minute:
                    free = self._answered[0] + WINDOW_SECONDS + MARGIN_SECONDS - now if self._answered else LOOK_SECONDS
                    wait = max(wait, free)
                elif wait <= 0:
                    self._in_progress += 1
                    return
                await self._sleep(max(wait, 0.001))

    def release(self) -> None:
        """Report that a request was answered or lost."""
        self._in_progress -= 1
        self._answered.append(self._clock())

    def count_earlier(self, requests: int, seconds_ago: float = 0.0) -> None:
        """Count requests that were sent earlier under the same limit."""
        at = self._clock() - seconds_ago
        self._answered = deque(sorted([*self._answered, *(at for _ in range(requests))]))

    def pause(self, seconds: float) -> None:
        """Stop all requests for some seconds, because the service asked one of them to wait."""
        self._not_before = max(self._not_before, self._clock() + seconds)

    def seconds_for(self, requests: int) -> float:
        """The approximate time in seconds that further requests take because of the limit."""
        now = self._clock()
        self._forget(now)
        free = self._per_minute - self._in_progress - len(self._answered)
        waited = max(0.0, self._not_before - now)
        return waited + max(0.0, requests - max(0, free)) / self._per_minute * WINDOW_SECONDS

    def _forget(self, now: float) -> None:
        while self._answered and self._answered[0] + WINDOW_SECONDS + MARGIN_SECONDS <= now:
            self._answered.popleft()

    def _lock(self) -> asyncio.Lock:
        # A limiter may be used with several event loops, a lock with only one.
        loop = asyncio.get_running_loop()
        if self._turn is None or self._turn[0] is not loop:
            self._turn = (loop, asyncio.Lock())
        return self._turn[1]


_shared: dict[tuple[str, int, int], RateLimiter] = {}


def shared_limiter(address: str, owner: int, per_minute: int) -> tuple[RateLimiter, bool]:
    """The rate limiter of this process for a service and a token, and whether it is new.

    Notion counts requests by token, so all publishing in a process shares one limiter. ``owner`` is a number that
    identifies the token, such as a hash.
    """
    key = (address, owner, per_minute)
    is_new = key not in _shared
    if is_new:
        _shared[key] = RateLimiter(per_minute)
    return _shared[key], is_new
