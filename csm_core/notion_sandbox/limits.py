"""The rate limit of the API: a number of requests per sliding window, then 429 until the oldest leaves the window.

Source: https://developers.notion.com/reference/request-limits
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable


class SimulatedRateLimit:
    """Counts requests in a sliding window. Not thread-safe."""

    def __init__(self, requests: int, window_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._requests = requests
        self._window = window_seconds
        self._clock = clock
        self._counted: deque[float] = deque()

    def wait(self) -> int:
        """Count a request and return 0 if one is allowed now, else the number of seconds to wait."""
        now = self._clock()
        while self._counted and self._counted[0] <= now - self._window:
            self._counted.popleft()
        if len(self._counted) < self._requests:
            self._counted.append(now)
            return 0
        return max(1, math.ceil(self._counted[0] + self._window - now))
