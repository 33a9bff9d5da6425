"""The scalar reference of the health score: plain Python, one account at a time, no clock but the time stamp.

The rules are the rubric's; ``csm_core.vectorized_scorer`` gives the same bits in SQL.
"""

from __future__ import annotations

from csm_core.policy import Thresholds
from csm_core.rubric import (
    BEHAVIOURAL_LOGIN_DAYS,
    BEHAVIOURAL_TRENDS,
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
        """Points of every signal, their sum, the technical-account cap, RAG and churn risk."""
        breakdown = {signal.name: points(signal, signals) for signal in RUBRIC}
        raw_score = raw_sum(breakdown, signals)
        score = capped(raw_score, signals.tam_health_rag)
        rag = self.rag(score)
        trigger = self.churn_trigger(signals, rag)
        return CSMHealthScore(
            account_id=account_id,
            score=score,
            raw_score=raw_score,
            rag=rag,
            churn_risk_level=churn_risk(trigger, rag),
            churn_triggered_by=trigger,
            signal_breakdown=breakdown,
        )

    def rag(self, score: float) -> Rag:
        """GREEN from the green threshold, AMBER from the amber one, RED below."""
        if score >= self.thresholds.green_threshold:
            return "GREEN"
        if score >= self.thresholds.amber_threshold:
            return "AMBER"
        return "RED"

    def churn_trigger(self, signals: CSMHealthSignals, rag: Rag) -> ChurnTrigger | None:
        """Which of the two triggers hold: a renewal near while not GREEN, or usage and logins fading."""
        contract = (
            rag in ("RED", "AMBER")
            and signals.days_to_renewal is not None
            and signals.days_to_renewal <= self.thresholds.churn_window_days
        )
        behavioural = signals.usage_trend in BEHAVIOURAL_TRENDS and (
            signals.login_frequency_days is None or signals.login_frequency_days > BEHAVIOURAL_LOGIN_DAYS
        )
        if contract and behavioural:
            return "both"
        if contract:
            return "contract_proximity"
        return "behavioral" if behavioural else None


def points(signal: Signal, signals: CSMHealthSignals) -> float:
    """The points of one signal, before the cap."""
    value = getattr(signals, signal.name)
    match signal.rule:
        case Rate():
            return float(signal.weight) * value
        case Levels(levels):
            given = dict(levels)[value]
        case Bands(bands, otherwise, null):
            given = (null or 0) if value is None else _banded(value, bands, otherwise)
    if signal.deduction:
        given = max(given - min(getattr(signals, signal.deduction.field), signal.deduction.most), 0)
    return float(given)


def raw_sum(breakdown: dict[str, float], signals: CSMHealthSignals) -> float:
    """The raw score with a single rounding: the rate's points plus the whole points, summed as an integer."""
    whole = sum(int(breakdown[signal.name]) for signal in RUBRIC if not isinstance(signal.rule, Rate))
    rated = sum(
        float(signal.weight) * getattr(signals, signal.name) for signal in RUBRIC if isinstance(signal.rule, Rate)
    )
    return rated + whole


def capped(raw_score: float, tam_health_rag: Rag | None) -> float:
    """The score after the technical-account cap."""
    for level, factor in TAM_CAPS:
        if tam_health_rag == level:
            return raw_score * factor
    return raw_score


def churn_risk(trigger: ChurnTrigger | None, rag: Rag) -> ChurnRisk:
    """The risk level of a trigger at a RAG."""
    match trigger:
        case "both":
            return "critical"
        case "contract_proximity":
            return "critical" if rag == "RED" else "high"
        case "behavioral":
            return "high" if rag in ("RED", "AMBER") else "medium"
        case None:
            return "low" if rag == "GREEN" else "medium"


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
