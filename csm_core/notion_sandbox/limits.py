"""The request budget of a connection: so many requests in any window, then 429 until the oldest has left it.

Source: https://developers.notion.com/reference/request-limits
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable


class SimulatedRateLimit:
    """Counts requests over a sliding window. Used by one thread."""

    def __init__(self, requests: int, window_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._requests = requests
        self._window = window_seconds
        self._clock = clock
        self._taken: deque[float] = deque()

    def wait(self) -> int:
        """0 if a request is free now, and then it is taken; otherwise whole seconds to wait."""
        now = self._clock()
        while self._taken and self._taken[0] <= now - self._window:
            self._taken.popleft()
        if len(self._taken) < self._requests:
            self._taken.append(now)
            return 0
        return max(1, math.ceil(self._taken[0] + self._window - now))
