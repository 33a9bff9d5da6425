"""The scalar reference of the health score: plain Python, one account at a time.

The rules are in the rubric; ``csm_core.vectorized_scorer`` computes bit-identical results in SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import ValidationError

from csm_core.errors import SignalError
from csm_core.rubric import (
    BEHAVIOURAL_LOGIN_DAYS,
    BEHAVIOURAL_TRENDS,
    CHURN_RULES,
    CONTRACT_RAGS,
    DEFAULT_AMBER_THRESHOLD,
    DEFAULT_CHURN_WINDOW_DAYS,
    DEFAULT_GREEN_THRESHOLD,
    RUBRIC,
    TAM_CAPS,
    Band,
    Bands,
    Compare,
    Levels,
    Rate,
    Signal,
)
from csm_core.schemas import ChurnRisk, ChurnTrigger, CSMHealthScore, CSMHealthSignals, Rag
from csm_core.thresholds import Thresholds


class CSMHealthScorer:
    """Scores one account. Thresholds are keyword-only; raises InputError unless 0 <= amber < green <= 100."""

    def __init__(
        self,
        *,
        green_threshold: float = DEFAULT_GREEN_THRESHOLD,
        amber_threshold: float = DEFAULT_AMBER_THRESHOLD,
        churn_window_days: int = DEFAULT_CHURN_WINDOW_DAYS,
    ) -> None:
        self.thresholds = Thresholds(green_threshold, amber_threshold, churn_window_days)

    def score(self, signals: CSMHealthSignals, account_id: str = "") -> CSMHealthScore:
        """Compute the points of every signal, their sum, the technical-account cap, RAG and churn risk.

        Raises SignalError, with account and field, for unvalidated signals outside the contract.
        """
        return self._scored(checked_signals(_fields_of(signals), account_id), account_id)

    def score_record(self, record: Mapping[str, Any], account_id: str = "") -> CSMHealthScore:
        """Like ``score``, for a mapping of inputs. Raises SignalError, with account and field, for invalid inputs."""
        return self._scored(checked_signals(record, account_id), account_id)

    def _scored(self, signals: CSMHealthSignals, account_id: str) -> CSMHealthScore:
        breakdown = {signal.name: points(signal, signals) for signal in RUBRIC}
        raw_score = raw_sum(breakdown)
        score = capped(raw_score, signals.tam_health_rag)
        rag = self.rag(score)
        trigger, risk = self.churn(signals, rag)
        return CSMHealthScore(
            account_id=account_id,
            score=score,
            raw_score=raw_score,
            rag=rag,
            churn_risk_level=risk,
            churn_triggered_by=trigger,
            signal_breakdown=breakdown,
        )

    def rag(self, score: float) -> Rag:
        """Return the band: GREEN from the green threshold, AMBER from the amber threshold, RED below."""
        if score >= self.thresholds.green_threshold:
            return "GREEN"
        if score >= self.thresholds.amber_threshold:
            return "AMBER"
        return "RED"

    def churn(self, signals: CSMHealthSignals, rag: Rag) -> tuple[ChurnTrigger | None, ChurnRisk]:
        """Return the churn triggers that apply (upcoming renewal, not GREEN; declining usage) and the churn risk."""
        contract = (
            rag in CONTRACT_RAGS
            and signals.days_to_renewal is not None
            and signals.days_to_renewal <= self.thresholds.churn_window_days
        )
        behavioural = signals.usage_trend in BEHAVIOURAL_TRENDS and (
            signals.login_frequency_days is None or signals.login_frequency_days > BEHAVIOURAL_LOGIN_DAYS
        )
        rule = next(rule for rule in CHURN_RULES if (rule.contract, rule.behavioural) == (contract, behavioural))
        return cast("ChurnTrigger | None", rule.called), cast("ChurnRisk", dict(rule.risks)[rag])


def checked_signals(record: Mapping[str, Any], account_id: str = "") -> CSMHealthSignals:
    """Validate a record's inputs. Raises SignalError with the account and every field outside the contract."""
    try:
        return CSMHealthSignals.model_validate(record)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg'].removeprefix('Value error, ')}"
            + ("" if problem["type"] == "missing" else f" (found {problem['input']!r:.80})")
            for problem in error.errors()
        )
        message = f"account {account_id!r}: {problems}"
        raise SignalError(message) from None


def points(signal: Signal, signals: CSMHealthSignals) -> float:
    """Return the points of a signal before the cap."""
    value = getattr(signals, signal.name)
    match signal.rule:
        case Rate():
            return float(signal.weight) * value
        case Levels(levels):
            number = dict(levels)[value]
        case Bands(bands, otherwise, null):
            number = cast("int", null) if value is None else _banded(value, bands, otherwise)
    if signal.deduction:
        number = max(number - min(getattr(signals, signal.deduction.field), signal.deduction.maximum), 0)
    return float(number)


def raw_sum(breakdown: Mapping[str, float]) -> float:
    """Return the raw score: the points of the rate, plus the sum of the integer points of all other signals."""
    whole = sum(int(breakdown[signal.name]) for signal in RUBRIC if not isinstance(signal.rule, Rate))
    (rated,) = (breakdown[signal.name] for signal in RUBRIC if isinstance(signal.rule, Rate))
    return rated + whole


def capped(raw_score: float, tam_health_rag: Rag | None) -> float:
    """Return the score after the technical-account cap."""
    for level, factor in TAM_CAPS:
        if tam_health_rag == level:
            return raw_score * factor
    return raw_score


def _fields_of(signals: CSMHealthSignals) -> dict[str, Any]:
    # Read from the instance: a model created without validation may have invalid or missing fields.
    return {name: getattr(signals, name) for name in CSMHealthSignals.model_fields if hasattr(signals, name)}


def _banded(value: float, bands: tuple[Band, ...], otherwise: int) -> int:
    return next((band.points for band in bands if _meets(value, band)), otherwise)


def _meets(value: float, band: Band) -> bool:
    match band.compare:
        case Compare.AT_MOST:
            return value <= band.edge
        case Compare.AT_LEAST:
            return value >= band.edge
        case Compare.ABOVE:
            return value > band.edge
