"""The request budget: never more than so many requests in any minute, and not one second slower than that takes."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

WINDOW_SECONDS = 60.0
# The service's clock may run a little faster than ours.
MARGIN_SECONDS = 0.05
# How often to look again while the whole budget is on its way and nothing is known of any of it.
LOOK_SECONDS = 0.05

Sleep = Callable[[float], Awaitable[None]]


class RequestBudget:
    """Grants requests one after the other; a minute is any minute, not one of the clock.

    A request counts from when it is granted until a minute after it was answered: when on its way the service counted
    it is not known, and so it is never counted too early, whatever the network does. ``clock`` gives seconds, ``sleep``
    waits them; both can be replaced in tests.
    """

    def __init__(
        self, per_minute: int, *, clock: Callable[[], float] = time.monotonic, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._sleep = sleep
        self._under_way = 0
        self._answered: deque[float] = deque()
        self._not_before = clock()
        self._turn: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    async def acquire(self) -> None:
        """Return when a request may be sent; those who wait are served in their order."""
        async with self._lock():
            while True:
                now = self._clock()
                self._forget(now)
                wait = self._not_before - now
                if self._under_way + len(self._answered) >= self._per_minute:
                    free = self._answered[0] + WINDOW_SECONDS + MARGIN_SECONDS - now if self._answered else LOOK_SECONDS
                    wait = max(wait, free)
                elif wait <= 0:
                    self._under_way += 1
                    return
                await self._sleep(max(wait, 0.001))

    def release(self) -> None:
        """The request was answered, or is known to be lost."""
        self._under_way -= 1
        self._answered.append(self._clock())

    def count_earlier(self, requests: int, seconds_ago: float = 0.0) -> None:
        """Take account of requests that somebody sent before, under the same budget."""
        at = self._clock() - seconds_ago
        self._answered = deque(sorted([*self._answered, *(at for _ in range(requests))]))

    def pause(self, seconds: float) -> None:
        """Nobody sends anything for so long: the service said so to one, and means all."""
        self._not_before = max(self._not_before, self._clock() + seconds)

    def seconds_for(self, requests: int) -> float:
        """About how long so many further requests take by the budget alone."""
        now = self._clock()
        self._forget(now)
        free = self._per_minute - self._under_way - len(self._answered)
        waited = max(0.0, self._not_before - now)
        return waited + max(0.0, requests - max(0, free)) / self._per_minute * WINDOW_SECONDS

    def _forget(self, now: float) -> None:
        while self._answered and self._answered[0] + WINDOW_SECONDS + MARGIN_SECONDS <= now:
            self._answered.popleft()

    def _lock(self) -> asyncio.Lock:
        # A budget may outlive an event loop, a lock may not.
        loop = asyncio.get_running_loop()
        if self._turn is None or self._turn[0] is not loop:
            self._turn = (loop, asyncio.Lock())
        return self._turn[1]


_shared: dict[tuple[str, int, int], RequestBudget] = {}


def shared_budget(address: str, owner: int, per_minute: int) -> tuple[RequestBudget, bool]:
    """The budget of this process for a service and an owner of a token, and whether it was made just now.

    Notion counts by token, so that whoever publishes after one another in a process spends from one budget. ``owner``
    is any number that tells tokens apart, such as a hash.
    """
    key = (address, owner, per_minute)
    made = key not in _shared
    if made:
        _shared[key] = RequestBudget(per_minute)
    return _shared[key], made
