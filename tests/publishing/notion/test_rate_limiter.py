"""The request budget in simulated time: never above it in any minute, as the service sees it, and no slower."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.publishing.notion.rate_limiter import MARGIN_SECONDS, WINDOW_SECONDS, RateLimiter, shared_limiter
from tests.examples import examples


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next thing that is due."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def simulate(work: Callable[[SimulatedLoop], Awaitable[Any]]) -> Any:
    loop = SimulatedLoop()
    try:
        return loop.run_until_complete(work(loop))
    finally:
        loop.close()


async def spend(
    loop: SimulatedLoop, budget: RateLimiter, requests: int, workers: int, latency: Callable[[], tuple[float, float]]
) -> list[float]:
    """Send so many requests; when each arrived at the service. ``latency``: seconds there, and back."""
    arrivals: list[float] = []
    left = requests

    async def worker() -> None:
        nonlocal left
        while left:
            left -= 1
            await budget.acquire()
            there, back = latency()
            await asyncio.sleep(there)
            arrivals.append(loop.time())
            await asyncio.sleep(back)
            budget.release()

    await asyncio.gather(*(worker() for _ in range(workers)))
    return sorted(arrivals)


def most_in_a_window(arrivals: list[float]) -> int:
    return max(
        sum(1 for at in arrivals[number:] if at < start + WINDOW_SECONDS) for number, start in enumerate(arrivals)
    )


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(1, 20), st.integers(1, 90), st.integers(1, 8), st.integers(0, 10_000))
def test_never_above_the_budget_in_any_minute_whatever_the_network_does(
    per_minute: int, requests: int, workers: int, seed: int
) -> None:
    dice = random.Random(seed)

    async def work(loop: SimulatedLoop) -> list[float]:
        budget = RateLimiter(per_minute, clock=loop.time)
        return await spend(loop, budget, requests, workers, lambda: (dice.uniform(0, 20), dice.uniform(0, 5)))

    arrivals = simulate(work)
    assert len(arrivals) == requests
    assert most_in_a_window(arrivals) <= per_minute


@pytest.mark.parametrize(("requests", "minutes"), [(180, 0), (181, 1), (360, 1), (361, 2), (1000, 5)])
def test_it_takes_as_long_as_the_budget_makes_it_and_no_longer(requests: int, minutes: int) -> None:
    async def work(loop: SimulatedLoop) -> float:
        started = loop.time()
        budget = RateLimiter(180, clock=loop.time)
        await spend(loop, budget, requests, 6, lambda: (0.1, 0.1))
        return loop.time() - started

    seconds = simulate(work)
    # Six at a time, a fifth of a second each; after the first 180 the budget sets the pace.
    sending = min(requests, 180) / 6 * 0.2
    assert WINDOW_SECONDS * minutes <= seconds <= (WINDOW_SECONDS + 0.5) * minutes + sending + 0.5


def test_a_pause_holds_everybody_and_ends() -> None:
    async def work(loop: SimulatedLoop) -> list[float]:
        budget = RateLimiter(100, clock=loop.time)
        budget.pause(90)
        return [at - 1000.0 for at in await spend(loop, budget, 12, 4, lambda: (0.0, 1.0))]

    assert simulate(work) == [90.0] * 4 + [91.0] * 4 + [92.0] * 4


def test_requests_of_others_count() -> None:
    async def work(loop: SimulatedLoop) -> list[float]:
        budget = RateLimiter(10, clock=loop.time)
        budget.count_earlier(8, seconds_ago=20)
        return [at - 1000.0 for at in await spend(loop, budget, 4, 4, lambda: (0.0, 0.0))]

    assert simulate(work) == pytest.approx([0, 0, 40 + MARGIN_SECONDS, 40 + MARGIN_SECONDS])


def test_the_time_left_is_told() -> None:
    async def work(loop: SimulatedLoop) -> list[float]:
        budget = RateLimiter(60, clock=loop.time)
        told = [budget.seconds_for(60), budget.seconds_for(120)]
        await spend(loop, budget, 60, 6, lambda: (0.0, 0.0))
        budget.pause(5)
        return [*told, budget.seconds_for(30)]

    assert simulate(work) == [0.0, 60.0, 35.0]


def test_one_who_gives_up_waiting_takes_nothing() -> None:
    async def work(loop: SimulatedLoop) -> list[float]:
        budget = RateLimiter(1, clock=loop.time)
        await budget.acquire()
        budget.release()
        waiting = asyncio.create_task(budget.acquire())
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.sleep(0)
        return [at - 1000.0 for at in await spend(loop, budget, 1, 1, lambda: (0.0, 0.0))]

    assert simulate(work) == pytest.approx([WINDOW_SECONDS + MARGIN_SECONDS])


def test_a_budget_outlives_an_event_loop() -> None:
    budget = RateLimiter(5)
    acquired: list[int] = []

    async def contended(loop: int) -> None:
        async def one() -> None:
            await budget.acquire()
            acquired.append(loop)
            budget.release()

        await asyncio.gather(one(), one())

    asyncio.run(contended(1))
    asyncio.run(contended(2))
    assert acquired == [1, 1, 2, 2]


def test_publishing_in_one_process_spends_from_one_budget() -> None:
    first, made = shared_limiter("https://one.example", 1, 180)
    again, made_again = shared_limiter("https://one.example", 1, 180)
    other, _ = shared_limiter("https://one.example", 2, 180)
    assert (made, made_again) == (True, False)
    assert first is again
    assert other is not first
