"""The request budget: never more than so many requests in any minute, and not one second slower than that takes."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

WINDOW_SECONDS = 60.0
# The service's clock and ours may differ by what a request is on its way.
MARGIN_SECONDS = 0.05

Sleep = Callable[[float], Awaitable[None]]


class RequestBudget:
    """Grants requests one after the other; a minute is any minute, not one of the clock."""

    def __init__(
        self, per_minute: int, *, clock: Callable[[], float] = time.monotonic, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._sleep = sleep
        self._granted: deque[float] = deque()
        self._not_before = 0.0
        self._turn = asyncio.Lock()

    async def acquire(self) -> None:
        """Return when a request may be sent."""
        async with self._turn:
            while True:
                now = self._clock()
                while self._granted and now - self._granted[0] >= WINDOW_SECONDS + MARGIN_SECONDS:
                    self._granted.popleft()
                wait = self._not_before - now
                if len(self._granted) >= self._per_minute:
                    wait = max(wait, self._granted[0] + WINDOW_SECONDS + MARGIN_SECONDS - now)
                if wait <= 0:
                    self._granted.append(now)
                    return
                await self._sleep(wait)

    def pause(self, seconds: float) -> None:
        """Nobody sends anything for so long: the service said so to one, and means all."""
        self._not_before = max(self._not_before, self._clock() + seconds)

    def seconds_for(self, requests: int) -> float:
        """About how long so many further requests take by the budget alone."""
        now = self._clock()
        free = self._per_minute - sum(1 for at in self._granted if now - at < WINDOW_SECONDS)
        return max(0.0, requests - free) / self._per_minute * WINDOW_SECONDS
