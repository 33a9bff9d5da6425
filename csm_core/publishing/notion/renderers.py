"""Renders health records, business reviews and expansion opportunities as blocks. Deterministic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from csm_core.display_names import SIGNALS, TRIGGERS
from csm_core.publishing.internal_notes import NEXT_STEPS
from csm_core.publishing.notion.record_details import RecordDetails, SignalChange
from csm_core.publishing.notion.rich_text import (
    CHILDREN_PER_BLOCK,
    Block,
    table_block,
    text_blocks,
    toggle_blocks,
)
from csm_core.rubric import RUBRIC
from csm_core.schemas import (
    CSMHealthScore,
    ExpansionOpportunity,
    InternalNote,
    QBRContent,
    Scalar,
    UsageComparison,
)

RAG_EMOJI = {"GREEN": "🟢", "AMBER": "🟠", "RED": "🔴"}
RAG_COLOUR = {"GREEN": "green_background", "AMBER": "orange_background", "RED": "red_background"}
# The minimum loss of a signal to be mentioned in the text.
LOST_POINTS = 1.0
INTERNAL_NOTES = "Internal notes: remove before sharing"
COMPARISON = ("Metric", "This period", "Previous period", "Change")
_MOST_STEPS = 3


def render_health_record_blocks(health_score: CSMHealthScore, *, details: RecordDetails | None = None) -> list[Block]:
    """A heading, a callout in the RAG colour, a paragraph with score, churn risk and largest losses, the points of
    each signal, and a step for each of the weakest signals.

    With ``details`` also the reason for the record, the changes since the last record, and the facts of the signals.
    """
    rag = health_score.rag
    alert = "  Needs attention." if health_score.should_alert else ""
    churn = f"Churn risk is {health_score.churn_risk_level}"
    if health_score.churn_triggered_by:
        churn += f": {TRIGGERS[health_score.churn_triggered_by]}"
    capped = (
        f" The points add up to {health_score.raw_score:.1f}; "
        "the technical account manager's assessment caps the score."
        if health_score.score != health_score.raw_score
        else ""
    )
    blocks = text_blocks("heading_2", "Account health")
    blocks += text_blocks(
        "callout",
        alert,
        bold=f"{rag}: {health_score.score:.1f} of 100.",
        icon={"type": "emoji", "emoji": RAG_EMOJI[rag]},
        color=RAG_COLOUR[rag],
    )
    if details:
        blocks += text_blocks("paragraph", f" {details.reason}", bold="Why this record:")
    blocks += text_blocks(
        "paragraph", f"The health score is {health_score.score:.1f} of 100.{capped} {churn}.{_lost(health_score)}"
    )
    if details:
        blocks += _changes(health_score, details)
    blocks += text_blocks("heading_3", "Points by signal")
    for signal in RUBRIC:
        points = f"{_points(health_score.signal_breakdown[signal.name])} of {signal.weight}"
        # A day without any fact was built by a version without facts.
        fact = details.facts.get(signal.name, "no data") if details and details.facts else None
        blocks += _item(_heading(SIGNALS[signal.name]), f"{points}. {_heading(fact)}." if fact else points)
    steps = [NEXT_STEPS[name] for name in _weakest(health_score)]
    if steps:
        blocks += text_blocks("heading_3", "What to do")
        for step in steps:
            blocks += text_blocks("numbered_list_item", step)
    return blocks


def render_qbr_blocks(qbr: QBRContent) -> list[Block]:
    """Four sections for the customer, each with a narrative and a list of metrics or items, or a sentence if there are
    none; then the internal notes, if there are any, in a toggle.
    """
    blocks = text_blocks("heading_1", "Account Health Summary")
    blocks += text_blocks("paragraph", qbr.health_summary or "No results on record for this period.")
    if qbr.health_summary:
        for label, value in (qbr.overview or {"Period": qbr.period}).items():
            blocks += _item(label, _shown(value))
    blocks += text_blocks("heading_2", "ROI & Business Impact")
    compared = {row.metric for row in qbr.usage_comparison}
    listed = [(name, _shown(value)) for name, value in qbr.roi_metrics.items() if name not in compared]
    blocks += _section(
        "Usage and support in this period, compared with the previous period.",
        listed,
        "" if compared else "No usage or support data for this period.",
    )
    blocks += _comparison(qbr.usage_comparison)
    blocks += text_blocks("heading_2", "Feature Adoption Scorecard")
    scorecard = [(feature, _detail(value)) for feature, value in qbr.feature_adoption_scorecard.items()]
    blocks += _section(
        "The features included in the plan, and how they are used. We are glad to show those that are not in use.",
        scorecard,
        "No features are listed for this account's plan.",
    )
    blocks += text_blocks("heading_2", "Expansion & Next Steps")
    blocks += _section(
        "Recommended next steps, the most important first.",
        [(None, step) for step in qbr.expansion_next_steps],
        "No next steps suggested.",
    )
    if qbr.internal_notes:
        blocks += toggle_blocks(INTERNAL_NOTES, render_internal_notes(qbr.internal_notes))
    return blocks


def render_internal_notes(notes: Sequence[InternalNote]) -> list[Block]:
    """The internal notes of a business review, one item each."""
    return [block for note in notes for block in _item(note.topic, note.text)]


def render_expansion_blocks(opportunity: ExpansionOpportunity, *, currency: str | None = None) -> list[Block]:
    """Type and confidence, evidence, ARR impact (in ``currency``, if known) and talk track."""
    subject = f": {opportunity.subject}" if opportunity.subject else ""
    impact = opportunity.estimated_arr_impact
    blocks = text_blocks(
        "callout",
        f", confidence {opportunity.confidence}",
        bold=f"{opportunity.opportunity_type.capitalize()}{subject}",
        icon={"type": "emoji", "emoji": "🌱"},
        color="green_background",
    )
    blocks += text_blocks("heading_2", "Evidence")
    blocks += text_blocks("paragraph", opportunity.evidence)
    blocks += text_blocks("heading_2", "Estimated ARR impact")
    amount = f"{impact:,.0f} {currency or ''}".strip() if impact is not None else ""
    blocks += text_blocks("paragraph", f"{amount} per year" if amount else "No estimate available.")
    blocks += text_blocks("heading_2", "Talk track")
    blocks += text_blocks("paragraph", opportunity.recommended_talk_track)
    return blocks


def _section(narrative: str, items: Sequence[tuple[str | None, str]], none: str) -> list[Block]:
    if not items and none:
        return text_blocks("paragraph", none)
    blocks = text_blocks("paragraph", narrative)
    for label, words in items:
        blocks += _item(label, words)
    return blocks


def _comparison(rows: Sequence[UsageComparison]) -> list[Block]:
    """The tables of the comparison, each with the names of the columns."""
    cells = [(row.metric, row.this_period, row.previous_period, row.change) for row in rows]
    size = CHILDREN_PER_BLOCK - 1
    return [table_block([COMPARISON, *cells[start : start + size]]) for start in range(0, len(cells), size)]


def _item(label: str | None, words: str) -> list[Block]:
    return text_blocks("bulleted_list_item", words if label is None else f": {words}", bold=label or "")


def _changes(health_score: CSMHealthScore, details: RecordDetails) -> list[Block]:
    """Score, band and churn risk in the last record and now, and the signals that moved most."""
    last = details.last
    if last is None:
        return []
    blocks = text_blocks("heading_3", f"Since the record of {last.day}")
    if last.score is not None:
        scores = f"{last.score:.1f}", f"{health_score.score:.1f}"
        by = f" ({round(health_score.score, 2) - last.score:+.1f})" if scores[0] != scores[1] else ""
        blocks += _item("Score", f"{_moved(*scores)}{by}")
    settled = details.settled
    bands = _with_settled(last.rag, last.settled.rag), _with_settled(health_score.rag, settled.rag)
    risks = (
        _with_settled(last.churn_risk_level, last.settled.churn_risk_level),
        _with_settled(health_score.churn_risk_level, settled.churn_risk_level),
    )
    blocks += _item("Band", _moved(*bands))
    blocks += _item("Churn risk", _moved(*risks))
    for change in details.moved:
        blocks += _item(_heading(SIGNALS[change.signal]), _signal_change(change))
    return blocks


def _moved(before: str, now: str) -> str:
    return f"{now}, unchanged" if before == now else f"{before} → {now}"


def _with_settled(exact: str | None, settled: str | None) -> str:
    """A band or risk of a day, with the settled one if that differs."""
    return f"{exact or 'unknown'}{f' (settled: {settled})' if settled not in (None, exact) else ''}"


def _signal_change(change: SignalChange) -> str:
    weight = next(signal.weight for signal in RUBRIC if signal.name == change.signal)
    text = f"{_points(change.points_before)} → {_points(change.points)} of {weight} points"
    facts = [
        f"{when}: {fact}." for when, fact in (("Then", change.fact_before), ("Now", change.fact)) if fact is not None
    ]
    return ". ".join([text, " ".join(facts)]) if facts else text


def _weakest(health_score: CSMHealthScore) -> list[str]:
    """The signals with the lowest shares of their weights, up to three, the first of the rubric among equals."""
    shares = {signal.name: health_score.signal_breakdown[signal.name] / signal.weight for signal in RUBRIC}
    return sorted((name for name in shares if shares[name] < 1), key=lambda name: shares[name])[:_MOST_STEPS]


def _points(points: float) -> str:
    return f"{round(points, 1):g}"


def _lost(health_score: CSMHealthScore) -> str:
    """The signals with the largest losses, up to three; empty if all losses are small."""
    missing = {signal.name: signal.weight - health_score.signal_breakdown[signal.name] for signal in RUBRIC}
    largest = sorted((name for name in missing if missing[name] >= LOST_POINTS), key=lambda name: -missing[name])[:3]
    if not largest:
        return ""
    parts = [f"{SIGNALS[name]} ({missing[name]:.3g})" for name in largest]
    listed = " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)
    return f" Largest point losses: {listed}."


def _detail(value: float | Mapping[str, Scalar]) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(detail)}" for name, detail in value.items())
    return f"{100 * value:.0f} %"


def _shown(value: Scalar) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if isinstance(value, float) else value


def _heading(name: str) -> str:
    return name[:1].upper() + name[1:]
