"""What a health record states besides the score: why it was written, what changed since the last one, and the facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date


@dataclass(frozen=True)
class Settled:
    """The settled band and churn risk; None if they are unknown."""

    rag: str | None = None
    churn_risk_level: str | None = None


@dataclass(frozen=True)
class LastRecord:
    """The health record before this one; ``score`` is None if it is unknown."""

    day: date
    score: float | None
    rag: str | None
    churn_risk_level: str | None
    settled: Settled = Settled()


@dataclass(frozen=True)
class SignalChange:
    """The points of a signal on the day of the last record and now, each with its fact; None if it has none."""

    signal: str
    points_before: float
    points: float
    fact_before: str | None = None
    fact: str | None = None

    @property
    def change(self) -> float:
        """The points now minus the points then."""
        return self.points - self.points_before


@dataclass(frozen=True)
class RecordDetails:
    """The details of a health record.

    ``reason`` says in words why the record was written, ``facts`` are those of the signals that have one, and ``moved``
    are the signals that moved most since ``last``.
    """

    reason: str = ""
    settled: Settled = Settled()
    last: LastRecord | None = None
    moved: Sequence[SignalChange] = ()
    facts: Mapping[str, str] = field(default_factory=dict[str, str])
