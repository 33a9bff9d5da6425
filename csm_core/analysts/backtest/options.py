"""What a backtest reads: the range of dates, the grid, the lead and the horizon, the basis, and the accounts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from csm_core.errors import InputError
from csm_core.system.paths import shown

MONTH, WEEK = "month", "week"
GRIDS = (MONTH, WEEK)
AS_KNOWN, RECONSTRUCTED, ALL = "as_known", "reconstructed", "all"
BASES = (AS_KNOWN, RECONSTRUCTED, ALL)
DEFAULT_LEAD_DAYS, DEFAULT_HORIZON_DAYS = 0, 90
# Ten years: longer than any history, and short enough for every date.
MAXIMUM_DAYS = 3650


@dataclass(frozen=True)
class BacktestOptions:
    """The options of a backtest, validated. Raises InputError for one that cannot be used.

    :ivar first: no observation before this day; None: the first scored day.
    :ivar last: no observation after this day; None: the last scored day.
    :ivar every: ``month`` (the last day of each month) or ``week`` (each Sunday).
    :ivar lead_days: an end within so many days after an observation comes too late to act on.
    :ivar horizon_days: the days after the lead in which an end counts as churned.
    :ivar basis: ``as_known``, ``reconstructed`` or ``all``; None: ``as_known`` if there are such rows, else ``all``.
    :ivar tenant: only accounts of this tenant.
    :ivar segment: only observations of accounts that are in this segment on the date.
    """

    first: date | None = None
    last: date | None = None
    every: str = MONTH
    lead_days: int = DEFAULT_LEAD_DAYS
    horizon_days: int = DEFAULT_HORIZON_DAYS
    basis: str | None = None
    tenant: str | None = None
    segment: str | None = None

    def __post_init__(self) -> None:
        if self.every not in GRIDS:
            message = f"--every must be one of {', '.join(GRIDS)}, not {shown(self.every)}"
            raise InputError(message)
        if self.basis is not None and self.basis not in BASES:
            message = f"--basis must be one of {', '.join(BASES)}, not {shown(self.basis)}"
            raise InputError(message)
        for name, days, minimum in (("--lead", self.lead_days, 0), ("--horizon", self.horizon_days, 1)):
            if not minimum <= days <= MAXIMUM_DAYS:
                message = f"{name} must be from {minimum} to {MAXIMUM_DAYS} days, not {days}"
                raise InputError(message)
        if self.first and self.last and self.first > self.last:
            message = f"--from {self.first} is after --to {self.last}"
            raise InputError(message)


def grid_dates(first: date, last: date, every: str) -> list[date]:
    """Return the last day of each month, or each Sunday, from ``first`` to ``last``, both included."""
    return [day for day in _days(first, last) if _ends_period(day, every)]


def _ends_period(day: date, every: str) -> bool:
    return day.isoweekday() == 7 if every == WEEK else (day + timedelta(days=1)).day == 1


def _days(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)
