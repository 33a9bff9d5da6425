"""Explains a score, its change between two days, and the changes of inputs that reach the next band.

The parts of an explanation add up exactly:

- One day: ``math.fsum`` of the points (one rounding) equals ``raw_score``; ``raw_score + cap`` equals ``score`` without
  rounding.
- A change: each part is the difference between the contributions of a signal, or of the cap, to the two scores.
  Adoption contributes ``raw_score`` minus the whole points, which differs from its points only by the rounding of that
  sum (below 1e-13). If a double cannot represent a difference exactly, the remainder (below 1e-13) is the part
  ``rounding``, so the exact sum of the parts equals the exact difference of the two scores.

Thresholds do not affect a score, so the policy's part of a score change is 0. The policy has a part in the change of
the distance to a threshold, and it can move an account into another band; the report contains both.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from functools import cached_property
from typing import Any, cast

from csm_core.health_scorer import CSMHealthScorer
from csm_core.rubric import FIELDS, RAGS, RUBRIC, Bands, Compare, Field, Rate
from csm_core.schemas import CSMHealthScore, CSMHealthSignals, Rag
from csm_core.thresholds import Thresholds

CAP = "cap"
POLICY = "policy"
ROUNDING = "rounding"
_CENT = Decimal("0.01")
SUPPORTING = {signal.deduction.field: signal.name for signal in RUBRIC if signal.deduction}
_FIELDS = {field.name: field for field in FIELDS}


@dataclass(frozen=True)
class Part:
    """The contribution of one signal: its value, points, weight (maximum points) and the amount added to the score."""

    signal: str
    value: Any
    points: float
    weight: int
    added: float

    @property
    def lost(self) -> float:
        """The weight minus the points."""
        return self.weight - self.points


@dataclass(frozen=True)
class Explanation:
    """A score and its parts: ``fsum(points) == raw_score == sum(added)`` and ``raw_score + cap == score``."""

    signals: CSMHealthSignals
    score: CSMHealthScore
    parts: tuple[Part, ...]
    cap: float

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "account_id": self.score.account_id,
            "score": self.score.score,
            "raw_score": self.score.raw_score,
            "rag": self.score.rag,
            "churn_risk_level": self.score.churn_risk_level,
            "churn_triggered_by": self.score.churn_triggered_by,
            "should_alert": self.score.should_alert,
            "signals": {
                part.signal: {"value": part.value, "points": part.points, "weight": part.weight} for part in self.parts
            },
            "open_ticket_count": self.signals.open_ticket_count,
            "tam_health_rag": self.signals.tam_health_rag,
            CAP: self.cap,
        }


@dataclass(frozen=True)
class Cents:
    """An explanation rounded to hundredths for display, so that the printed numbers add up."""

    parts: Mapping[str, Decimal]
    raw_score: Decimal
    cap: Decimal
    score: Decimal

    @classmethod
    def of(cls, explanation: Explanation) -> Cents:
        """Round the scores; adoption and the cap, the only fractional parts, get the remainder."""
        raw_score, score = cents(explanation.score.raw_score), cents(explanation.score.score)
        whole = {part.signal: cents(part.points) for part in explanation.parts if part.signal != _RATED}
        rated = raw_score - sum(whole.values(), Decimal(0))
        parts = {part.signal: whole.get(part.signal, rated) for part in explanation.parts}
        return cls(parts, raw_score, score - raw_score, score)


@dataclass(frozen=True)
class Change:
    """The difference between two scores of an account, and its parts.

    ``sum(Fraction(part) for part in parts.values()) == Fraction(after.score) - Fraction(before.score)``, and
    ``math.fsum(parts.values()) == change``. The parts are the signals in their order, then ``cap``, ``policy`` (0) and
    ``rounding`` (mostly 0).
    """

    before: Explanation
    after: Explanation
    policy_before: Thresholds
    policy_after: Thresholds
    parts: Mapping[str, float]

    @property
    def change(self) -> float:
        """The later score minus the earlier score."""
        return self.after.score.score - self.before.score.score

    @cached_property
    def rag_under_earlier_policy(self) -> Rag:
        """The band of the later score with the earlier thresholds."""
        return _scorer(self.policy_before).rag(self.after.score.score)

    @property
    def rag_moved_by(self) -> tuple[str, ...]:
        """The causes of a band change: the score, the policy, both, or neither."""
        moved: list[str] = []
        if self.rag_under_earlier_policy != self.before.score.rag:
            moved.append("score")
        if self.rag_under_earlier_policy != self.after.score.rag:
            moved.append("policy")
        return tuple(moved)

    def margins(self) -> dict[str, dict[str, Decimal]]:
        """The distance of the score from each threshold, in hundredths, and the parts of its change."""
        before, after = Cents.of(self.before), Cents.of(self.after)
        margins: dict[str, dict[str, Decimal]] = {}
        for name in ("green_threshold", "amber_threshold"):
            earlier, later = cents(getattr(self.policy_before, name)), cents(getattr(self.policy_after, name))
            margins[name.removesuffix("_threshold")] = {
                "before": before.score - earlier,
                "signals": after.raw_score - before.raw_score,
                CAP: after.cap - before.cap,
                POLICY: earlier - later,
                "after": after.score - later,
            }
        return margins

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            "change": self.change,
            "parts": dict(self.parts),
            "rag_moved_by": list(self.rag_moved_by),
            "policy_before": asdict(self.policy_before),
            "policy_after": asdict(self.policy_after),
            "margins": {
                band: {name: float(distance) for name, distance in margin.items()}
                for band, margin in self.margins().items()
            },
        }


@dataclass(frozen=True)
class Move:
    """The smallest change of one input that reaches another band, with the resulting score and band."""

    field: str
    signal: str | None
    value: Any
    to: Any
    score: float
    rag: Rag

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "input": self.field,
            "value": self.value,
            "to": self.to,
            "score": self.score,
            "rag": self.rag,
        }


@dataclass(frozen=True)
class BandMoves:
    """The target band (the next better one; for GREEN, the band below) and the single-input moves that reach it."""

    target: Rag
    up: bool
    moves: tuple[Move, ...]

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"target": self.target, "up": self.up, "moves": [move.as_dict() for move in self.moves]}


def explain(signals: CSMHealthSignals, score: CSMHealthScore) -> Explanation:
    """Split a score into parts. ``score`` belongs to these signals; the points come from its breakdown."""
    whole = math.fsum(points for name, points in score.signal_breakdown.items() if name != _RATED)
    parts = tuple(
        Part(
            name,
            getattr(signals, name),
            score.signal_breakdown[name],
            weight,
            # Exact: raw_score and whole are multiples of the last digit of raw_score, and so is their difference.
            score.raw_score - whole if name == _RATED else score.signal_breakdown[name],
        )
        for name, weight in ((signal.name, signal.weight) for signal in RUBRIC)
    )
    # Exact as well: the capped score is more than half of the raw score.
    return Explanation(signals, score, parts, score.score - score.raw_score)


def explain_change(
    before: Explanation, after: Explanation, policy_before: Thresholds, policy_after: Thresholds
) -> Change:
    """Split the difference between two explained scores of one account into parts."""
    exact = {
        earlier.signal: Fraction(later.added) - Fraction(earlier.added)
        for earlier, later in zip(before.parts, after.parts, strict=True)
    }
    exact[CAP] = Fraction(after.cap) - Fraction(before.cap)
    parts = {name: float(part) for name, part in exact.items()}
    parts[POLICY] = 0.0
    whole = Fraction(after.score.score) - Fraction(before.score.score)
    parts[ROUNDING] = float(whole - sum((Fraction(part) for part in parts.values()), Fraction(0)))
    return Change(before, after, policy_before, policy_after, parts)


def next_band_moves(signals: CSMHealthSignals, policy: Thresholds) -> BandMoves:
    """For each input, the smallest change of that input alone that reaches the next better band (for GREEN, AMBER).

    The scorer checks every move. For an input without a value, the least demanding sufficient value is used. Inputs
    that cannot reach the band alone are omitted; the others have the order of the scoring table.
    """
    scorer = _scorer(policy)
    now = scorer.score(signals)
    place = RAGS.index(now.rag)
    up = place > 0
    target = cast("Rag", RAGS[place - 1] if up else RAGS[place + 1])

    def reached(field: str, value: Any) -> CSMHealthScore | None:
        then = scorer.score(signals.model_copy(update={field: value}))
        moved = RAGS.index(then.rag) < place if up else RAGS.index(then.rag) > place
        return then if moved else None

    moves: list[Move] = []
    for field in FIELDS:
        value = getattr(signals, field.name)
        for candidate in _candidates(field, value, up, reached):
            then = reached(field.name, candidate)
            if then:
                signal = SUPPORTING.get(field.name, field.name if field.name in now.signal_breakdown else None)
                moves.append(Move(field.name, signal, value, candidate, then.score, then.rag))
                break
    return BandMoves(target, up, tuple(moves))


def _candidates(
    field: Field, value: Any, up: bool, reached: Callable[[str, Any], CSMHealthScore | None]
) -> Iterator[Any]:
    """Values to try, ordered by distance from the current value."""
    signal = next((signal for signal in RUBRIC if signal.name == field.name), None)
    if field.kind == "level":
        yield from _levels_by_distance(field, value)
    elif signal and isinstance(signal.rule, Rate):
        nearest = _nearest_rate(field, value, up, reached)
        if nearest is not None:
            yield nearest
    elif signal and isinstance(signal.rule, Bands):
        edges = _edge_values(field, signal.rule)
        yield from _least_demanding_first(edges, signal.rule, up) if value is None else _by_distance(edges, value)
    else:
        deduction = next(
            signal.deduction for signal in RUBRIC if signal.deduction and signal.deduction.field == field.name
        )
        yield from _by_distance(range(deduction.maximum + 1), value)


def _levels_by_distance(field: Field, value: str | None) -> list[str]:
    # No assessment counts like the best level.
    place = field.levels.index(value) if value is not None else 0
    return sorted(
        (level for level in field.levels if level != value), key=lambda level: abs(field.levels.index(level) - place)
    )


def _by_distance(values: Sequence[float], value: float) -> list[float]:
    return sorted((other for other in values if other != value), key=lambda other: abs(other - value))


def _least_demanding_first(values: Sequence[float], rule: Bands, up: bool) -> list[float]:
    fewer_is_better = rule.bands[0].compare is Compare.AT_MOST
    return sorted(values, reverse=fewer_is_better is up)


def _edge_values(field: Field, rule: Bands) -> list[float]:
    """The numbers on both sides of each edge, within the range of the field."""
    numbers: set[float] = set()
    for band in rule.bands:
        edge = band.edge if field.kind == "rate" else int(band.edge)
        numbers |= {edge, _step(field, edge, -1 if band.compare is Compare.AT_LEAST else 1)}
    return sorted(number for number in numbers if field.minimum <= number <= field.maximum)


def _step(field: Field, number: float, direction: int) -> float:
    return math.nextafter(number, math.inf * direction) if field.kind == "rate" else number + direction


def _nearest_rate(
    field: Field, value: float, up: bool, reached: Callable[[str, Any], CSMHealthScore | None]
) -> float | None:
    """The rate nearest to ``value`` that reaches the band, found by bisection over doubles; None if there is none."""
    far = field.maximum if up else field.minimum
    if not reached(field.name, far):
        return None
    # Non-negative doubles have the same order as their bits.
    near_bits, far_bits = _bits(value), _bits(far)
    while abs(far_bits - near_bits) > 1:
        middle = (near_bits + far_bits) // 2
        if reached(field.name, _double(middle)):
            far_bits = middle
        else:
            near_bits = middle
    return _double(far_bits)


def _bits(number: float) -> int:
    return struct.unpack("<q", struct.pack("<d", number + 0.0))[0]


def _double(bits: int) -> float:
    return struct.unpack("<d", struct.pack("<q", bits))[0]


def _scorer(policy: Thresholds) -> CSMHealthScorer:
    return CSMHealthScorer(**asdict(policy))


def cents(number: float) -> Decimal:
    """The number rounded to hundredths."""
    return Decimal(number).quantize(_CENT, rounding=ROUND_HALF_EVEN)


(_RATED,) = (signal.name for signal in RUBRIC if isinstance(signal.rule, Rate))
