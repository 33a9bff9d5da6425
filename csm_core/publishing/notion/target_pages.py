"""Target pages: what a page in Notion contains, as one plain dictionary with its natural key. Pure.

A page is compared with what was published by a hash of that dictionary, so whatever is added to it is published. Not
here: which pages a day has (``day_pages``), and how they are written (``adapter``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

from csm_core.publishing.notion import databases as names
from csm_core.publishing.notion.databases import EXPANSION, HEALTH, QBR, RECORD, SPECS, DatabaseSpec
from csm_core.publishing.notion.renderers import (
    render_expansion_blocks,
    render_health_record_blocks,
    render_qbr_blocks,
)
from csm_core.publishing.notion.rich_text import Block, clean, option_name, runs
from csm_core.schemas import CSMHealthScore, ExpansionOpportunity, QBRContent

# In the ledger before each hash. Another one: pages published by an earlier version are written once more.
_HASH_VERSION = "2:"


@dataclass(frozen=True)
class TargetPage:
    """A page as it should be, of the partition ``day``.

    ``content`` has ``title``, ``properties`` (as the API takes them) and ``blocks``, each where it is kept up to date;
    ``initial`` has the title and properties that only a new page gets, because people own them afterwards. The name of
    the title property and the time of writing are added when the page is written. ``facts`` is what later runs need to
    know of the page; ``removed`` counts the control characters that its texts lose.
    """

    kind: str
    key: str
    account_id: str
    label: str
    day: date
    content: Mapping[str, Any]
    initial: Mapping[str, Any] = field(default_factory=dict[str, Any])
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    removed: int = 0

    @property
    def spec(self) -> DatabaseSpec:
        """The database that the page belongs to."""
        return SPECS[self.kind]

    @property
    def blocks(self) -> Sequence[Block]:
        """The page's blocks; none for accounts."""
        return self.content.get("blocks", ())

    @cached_property
    def content_hash(self) -> str:
        """A hash of ``content``: of our own values, never of what Notion returns."""
        canonical = json.dumps(self.content, sort_keys=True, ensure_ascii=False)
        return _HASH_VERSION + hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def is_current_hash(content_hash: str) -> bool:
    """Whether a hash in the ledger can be compared: an earlier version made others."""
    return content_hash.startswith(_HASH_VERSION)


def key_of(*parts: str) -> str:
    """A natural key as text: of what Notion keeps, which is without control characters."""
    return json.dumps([clean(part).text for part in parts], ensure_ascii=False)


def account_of(key: str) -> str:
    """The account that a natural key is about."""
    return str(json.loads(key)[0])


def key_of_facts(kind: str, facts: Mapping[str, Any]) -> str:
    """The natural key of a page as it was read."""
    account_id = facts[names.ACCOUNT_ID] or ""
    match kind:
        case "health":
            return key_of(account_id)
        case "record":
            return key_of(account_id, facts[names.AS_OF_DATE] or "")
        case "qbr":
            return key_of(account_id, facts[names.PERIOD] or "", facts[names.TRIGGER] or "")
        case _:
            return key_of(account_id, facts[names.OPPORTUNITY_TYPE] or "", facts[names.SUBJECT] or "")


def account_page(account_id: str, name: str, score: float, rag: str, day: date) -> TargetPage:
    """The page of an account: score and RAG are kept up to date, the rest belongs to people."""
    return TargetPage(
        kind=HEALTH,
        key=key_of(account_id),
        account_id=account_id,
        label=name,
        day=day,
        content={"properties": health_properties(score, rag)},
        initial={"title": name or account_id, "properties": {names.ACCOUNT_ID: _text(account_id)}},
        facts={"score": shown_score(score), "rag": rag},
        removed=_removed([account_id, name]),
    )


def health_properties(score: float, rag: str) -> dict[str, Any]:
    """Score and RAG as the properties of an account page; the time of the scan is added when they are written."""
    return {
        names.CSM_HEALTH_SCORE: {"number": shown_score(score)},
        names.CSM_HEALTH_RAG: {"select": {"name": rag}},
    }


def record_page(score: CSMHealthScore, name: str, day: date) -> TargetPage:
    """The page that records an account's health on a day."""
    trigger = score.churn_triggered_by
    return TargetPage(
        kind=RECORD,
        key=key_of(score.account_id, day.isoformat()),
        account_id=score.account_id,
        label=f"{name} — {day}",
        day=day,
        content={
            "title": f"{name or score.account_id} — {day}",
            "properties": {
                names.ACCOUNT_ID: _text(score.account_id),
                names.AS_OF_DATE: {"date": {"start": day.isoformat()}},
                names.SCORE: {"number": shown_score(score.score)},
                names.RAG: {"select": {"name": score.rag}},
                names.CHURN_RISK_LEVEL: {"select": {"name": score.churn_risk_level}},
                names.CHURN_TRIGGERED_BY: {"select": {"name": trigger} if trigger else None},
                names.SHOULD_ALERT: {"checkbox": score.should_alert},
            },
            "blocks": render_health_record_blocks(score),
        },
        facts={"as_of_date": day.isoformat(), "rag": score.rag, "churn_risk_level": score.churn_risk_level},
        removed=_removed([score.account_id, name]),
    )


def review_page(review: QBRContent, name: str, day: date) -> TargetPage:
    """The page of a business review."""
    return TargetPage(
        kind=QBR,
        key=key_of(review.account_id, review.period, review.trigger),
        account_id=review.account_id,
        label=f"{name} — {review.period}",
        day=day,
        content={
            "title": f"QBR: {name or review.account_id} — {review.period}",
            "properties": {
                names.ACCOUNT_ID: _text(review.account_id),
                names.PERIOD: _text(review.period),
                names.HEALTH_RAG: {"select": {"name": review.health_rag} if review.health_rag else None},
                names.TRIGGER: {"select": {"name": review.trigger}},
                names.GENERATED_AT: {"date": {"start": review.generated_at.isoformat()}},
            },
            "blocks": render_qbr_blocks(review),
        },
        removed=_removed([name, review.model_dump(mode="python")]),
    )


def opportunity_page(
    opportunity: ExpansionOpportunity, name: str, day: date, *, currency: str | None = None
) -> TargetPage:
    """The page of an expansion opportunity."""
    title = f"{name or opportunity.account_id}: {opportunity.opportunity_type} {opportunity.subject}".strip()
    amount = opportunity.estimated_arr_impact
    return TargetPage(
        kind=EXPANSION,
        key=key_of(opportunity.account_id, opportunity.opportunity_type, opportunity.subject),
        account_id=opportunity.account_id,
        label=title,
        day=day,
        content={
            "title": title,
            "properties": {
                names.ACCOUNT_ID: _text(opportunity.account_id),
                names.OPPORTUNITY_TYPE: {"select": {"name": option_name(opportunity.opportunity_type)}},
                names.SUBJECT: _text(opportunity.subject),
                names.CONFIDENCE: {"select": {"name": option_name(opportunity.confidence)}},
                names.ESTIMATED_ARR_IMPACT: {"number": None if amount is None else round(amount, 2)},
            },
            "blocks": render_expansion_blocks(opportunity, currency=currency),
        },
        removed=_removed([name, opportunity.model_dump(mode="python")]),
    )


def shown_score(score: float) -> float:
    """A score as people read it, to the hundredth; the warehouse keeps all of it."""
    return round(score, 2)


def _text(value: str) -> dict[str, Any]:
    return {"rich_text": runs(value)}


def _removed(content: Any) -> int:
    """Control characters in all the texts of ``content``, which are not published."""
    if isinstance(content, str):
        return clean(content).removed
    if isinstance(content, Mapping):
        return sum(_removed(name) + _removed(value) for name, value in content.items())
    return sum(_removed(one) for one in content) if isinstance(content, (list, tuple)) else 0
