"""The thresholds of a policy: the lower limits of GREEN and AMBER, and the window of the contract-risk trigger."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from csm_core.errors import InputError
from csm_core.rubric import DEFAULT_AMBER_THRESHOLD, DEFAULT_CHURN_WINDOW_DAYS, DEFAULT_GREEN_THRESHOLD


@dataclass(frozen=True)
class Thresholds:
    """Validated thresholds; raises InputError unless 0 <= amber < green <= 100 and the window is 0 days or more."""

    green_threshold: float = DEFAULT_GREEN_THRESHOLD
    amber_threshold: float = DEFAULT_AMBER_THRESHOLD
    churn_window_days: int = DEFAULT_CHURN_WINDOW_DAYS

    def __post_init__(self) -> None:
        for name in ("green_threshold", "amber_threshold"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                message = f"{name} must be a number from 0 to 100, not {value!r}"
                raise InputError(message)
            if not 0 <= value <= 100:
                message = f"{name} must be from 0 to 100, not {value:g}"
                raise InputError(message)
        if self.amber_threshold >= self.green_threshold:
            message = (
                f"amber_threshold ({self.amber_threshold:g}) must be below green_threshold ({self.green_threshold:g})"
            )
            raise InputError(message)
        window = self.churn_window_days
        if isinstance(window, bool) or not isinstance(window, int) or window < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            message = f"churn_window_days must be an integer number of days, 0 or more, not {window!r}"
            raise InputError(message)


THRESHOLDS: tuple[str, ...] = tuple(field.name for field in fields(Thresholds))
"""The names of the thresholds in policies and in the columns of scored rows."""
