"""Settled bands and levels by their definition, in plain Python; a value is its place among the names."""

from collections.abc import Mapping
from datetime import date
from typing import Any

BANDS = ("GREEN", "AMBER", "RED")
LEVELS = ("low", "medium", "high", "critical")
LOOK_BACK, GAP = 92, 28


def decides(
    days: list[date], values: Mapping[date, int], days_to_settle: int, *, worst_at_once: bool
) -> dict[Any, Any]:
    """The days whose value decides, each with the first day of the spell and the day on which the spell settled."""
    found: dict[date, tuple[date, date]] = {}
    since = days[0]
    at_once, settled_on = True, None
    for number, day in enumerate(days):
        before = days[number - 1] if number else None
        starts_over = before is None or (day - before).days > GAP
        if starts_over or values[day] != values[before]:
            since, settled_on = day, None
            at_once = (
                starts_over
                or abs(values[day] - values[before]) > 1
                or (worst_at_once and values[day] == len(LEVELS) - 1)
            )
        if at_once or (day - since).days + 1 >= days_to_settle:
            settled_on = settled_on or day
            found[day] = (since, settled_on)
    return found


def settled(days: list[date], values: Mapping[date, int], found: Mapping[date, Any], day: date) -> tuple[Any, ...]:
    """The settled value of a day with the first day of its spell and the day on which that settled."""
    recent = [one for one in days if one <= day and (day - one).days <= LOOK_BACK]
    deciding = [one for one in recent if one in found]
    if not deciding:
        return max(values[one] for one in recent), None, None
    since, on = found[deciding[-1]]
    return values[deciding[-1]], *(one if (day - one).days <= LOOK_BACK else None for one in (since, on))
