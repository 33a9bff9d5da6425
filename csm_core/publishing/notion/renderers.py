"""The blocks of a health record, a business review and an expansion opportunity: the same input, the same blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from csm_core.publishing.notion.rich_text import Block, text_blocks
from csm_core.publishing.qbr import LABELS
from csm_core.rubric import RUBRIC
from csm_core.schemas import CSMHealthScore, ExpansionOpportunity, QBRContent, Scalar

RAG_EMOJI = {"GREEN": "🟢", "AMBER": "🟠", "RED": "🔴"}
RAG_COLOUR = {"GREEN": "green_background", "AMBER": "orange_background", "RED": "red_background"}
# From so many points on, what a signal lacks is worth a word.
LOST_POINTS = 1.0
RISK_TEXT = {
    "both": "the renewal is near and usage is fading",
    "contract_proximity": "the renewal is near",
    "behavioral": "usage is fading",
}


def render_health_record_blocks(health_score: CSMHealthScore) -> list[Block]:
    """Heading, a callout in the RAG's colour, score, churn risk and where most points are lost as a paragraph, every
    signal against its weight.
    """
    rag = health_score.rag
    alert = "  Somebody should look at this account." if health_score.should_alert else ""
    churn = f"Churn risk is {health_score.churn_risk_level}"
    if health_score.churn_triggered_by:
        churn += f": {RISK_TEXT[health_score.churn_triggered_by]}"
    capped = (
        f" The points add up to {health_score.raw_score:.1f}; the technical account manager's assessment lowers it."
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
    blocks += text_blocks(
        "paragraph", f"The health score is {health_score.score:.1f} of 100.{capped} {churn}.{_lost(health_score)}"
    )
    blocks += text_blocks("heading_3", "Points by signal")
    for signal in RUBRIC:
        given = health_score.signal_breakdown[signal.name]
        blocks += _item(_words(signal.name), f"{round(given, 1):g} of {signal.weight}")
    return blocks


def render_qbr_blocks(qbr: QBRContent) -> list[Block]:
    """Four sections, each a narrative and then a list of its metrics or items, or a plain sentence for none."""
    blocks = text_blocks("heading_1", "Account Health Summary")
    blocks += text_blocks("paragraph", qbr.health_summary or "Nothing is known of the account's health in this period.")
    if qbr.health_rag:
        blocks += _item("Health at the end of the period", f"{RAG_EMOJI[qbr.health_rag]} {qbr.health_rag}")
    blocks += text_blocks("heading_2", "ROI & Business Impact")
    blocks += _section(
        "What the account used in this period, against the period before.",
        [(name, _shown(value)) for name, value in qbr.roi_metrics.items()],
        "No figures are known for this period.",
    )
    blocks += text_blocks("heading_2", "Feature Adoption Scorecard")
    scorecard = [(feature, _detail(value)) for feature, value in qbr.feature_adoption_scorecard.items()]
    blocks += _section(
        "The features of the plan: what the account used, and how many of the customers who have them use them.",
        scorecard,
        "No features are known for this account.",
    )
    blocks += text_blocks("heading_2", "Expansion & Next Steps")
    blocks += _section(
        "What to talk about next, the most promising first.",
        [(None, step) for step in qbr.expansion_next_steps],
        "No next steps suggested.",
    )
    return blocks


def render_expansion_blocks(opportunity: ExpansionOpportunity, *, currency: str | None = None) -> list[Block]:
    """Type and confidence, evidence, ARR impact (in ``currency``, where it is known), talk track."""
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
    blocks += text_blocks("paragraph", f"{amount} per year" if amount else "It cannot be estimated.")
    blocks += text_blocks("heading_2", "Talk track")
    blocks += text_blocks("paragraph", opportunity.recommended_talk_track)
    return blocks


def _section(narrative: str, items: Sequence[tuple[str | None, str]], none: str) -> list[Block]:
    if not items:
        return text_blocks("paragraph", none)
    blocks = text_blocks("paragraph", narrative)
    for label, words in items:
        blocks += _item(label, words)
    return blocks


def _item(label: str | None, words: str) -> list[Block]:
    return text_blocks("bulleted_list_item", words if label is None else f": {words}", bold=label or "")


def _lost(health_score: CSMHealthScore) -> str:
    """Where most points are lost, up to three signals; nothing where hardly any are."""
    missing = {signal.name: signal.weight - health_score.signal_breakdown[signal.name] for signal in RUBRIC}
    most = sorted((name for name in missing if missing[name] >= LOST_POINTS), key=lambda name: -missing[name])[:3]
    if not most:
        return ""
    parts = [f"{LABELS[name]} ({missing[name]:.3g})" for name in most]
    listed = " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)
    return f" Most points are lost on {listed}."


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


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize().replace("Nps", "NPS")
