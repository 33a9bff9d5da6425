"""Target pages: the content of a page in Notion as one plain dictionary, with its natural key. Pure functions.

The hash of the dictionary determines whether a page changed, so everything in it is published. ``day_pages`` selects
the pages of a day; ``adapter`` writes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from typing import Any

from csm_core.publishing.notion import databases as names
from csm_core.publishing.notion.account_details import AccountDetails
from csm_core.publishing.notion.databases import EXPANSION, HEALTH, NOTES, QBR, RECORD, SPECS, DatabaseSpec
from csm_core.publishing.notion.record_details import RecordDetails, Settled
from csm_core.publishing.notion.renderers import (
    render_expansion_blocks,
    render_health_record_blocks,
    render_internal_notes,
    render_qbr_blocks,
)
from csm_core.publishing.notion.rich_text import RUNS_PER_ARRAY, Block, clean, option_name, plain, runs
from csm_core.publishing.notion.titled_pages import TitledPage
from csm_core.publishing.opportunity_status import OPEN, OpportunityKey
from csm_core.schemas import CSMHealthScore, ExpansionOpportunity, InternalNote, QBRContent

# The keys of a record's facts that are no properties of its page.
SETTLED_RAG = "settled_rag"
SETTLED_CHURN_RISK_LEVEL = "settled_churn_risk_level"
# The prefix of each hash in the ledger. After a new prefix, all pages are written once more.
_HASH_VERSION = "2:"


@dataclass(frozen=True)
class TargetPage:
    """The target content of a page, from the partition ``day``.

    ``content`` has the ``title``, ``properties`` (in the API's format) and ``blocks`` that publishing keeps up to date.
    ``initial`` has the title and properties that only a new page gets, because users own them afterwards. The name of
    the title property and the time of writing are added when the page is written, and the relation to the account's
    page. ``along`` are properties that are written together with the content, but whose change alone is not written:
    texts that are different every day. ``facts`` are the values that later runs need; ``removed`` counts the control
    characters that are removed from the texts. ``notes`` is the page of the internal notes of a review, if they have a
    page of their own.
    """

    kind: str
    key: str
    account_id: str
    label: str
    day: date
    content: Mapping[str, Any]
    initial: Mapping[str, Any] = field(default_factory=dict[str, Any])
    along: Mapping[str, Any] = field(default_factory=dict[str, Any])
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    removed: int = 0
    notes: TitledPage | None = None

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
        """A hash of ``content``: of our own values, not of the values that Notion returns."""
        # The names in `along`: a property that is new in the database is written once to each page.
        hashed = {**self.content, "along": sorted(self.along)} if self.along else self.content
        canonical = json.dumps(hashed, sort_keys=True, ensure_ascii=False)
        return _HASH_VERSION + hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()

    def limited_to(self, present: Collection[str]) -> TargetPage:
        """The page without the properties that have a switch and are not ``present``."""
        left_out = {item.name for item in self.spec.properties if item.switch} - set(present)

        def limited(properties: Mapping[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in properties.items() if name not in left_out}

        return replace(
            self,
            content={**self.content, "properties": limited(self.content["properties"])},
            initial={**self.initial, "properties": limited(self.initial.get("properties", {}))},
            along=limited(self.along),
        )

    def matches(self, facts: Mapping[str, Any]) -> bool:
        """Whether a page that was read from Notion has the values of the content; people are not compared."""
        properties = self.content["properties"]
        return all(facts[name] == _plain_value(value) for name, value in properties.items() if "people" not in value)


def is_current_hash(content_hash: str) -> bool:
    """Whether a hash in the ledger is from the current version and can be compared."""
    return content_hash.startswith(_HASH_VERSION)


def key_of(*parts: str) -> str:
    """A natural key as text, without control characters, as Notion stores it."""
    return json.dumps([clean(part).text for part in parts], ensure_ascii=False)


def account_of(key: str) -> str:
    """The account id of a natural key."""
    return str(json.loads(key)[0])


def opportunity_of(key: str) -> OpportunityKey:
    """The account id, type and subject of an opportunity's natural key."""
    account_id, opportunity_type, subject = json.loads(key)
    return account_id, opportunity_type, subject


def key_of_facts(kind: str, facts: Mapping[str, Any]) -> str:
    """The natural key of a page that was read from Notion."""
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


def account_page(
    account_id: str, name: str, score: float, rag: str, day: date, details: AccountDetails | None = None
) -> TargetPage:
    """The page of an account. Publishing updates score, RAG and the ``details``; users own the other properties."""
    return TargetPage(
        kind=HEALTH,
        key=key_of(account_id),
        account_id=account_id,
        label=name,
        day=day,
        content={"properties": health_properties(score, rag) | (_detail_properties(details) if details else {})},
        along=_along(details) if details else {},
        initial={"title": name or account_id, "properties": {names.ACCOUNT_ID: _text(account_id)}},
        facts={"score": shown_score(score), "rag": rag},
        removed=_removed([account_id, name, details.owner if details else ""]),
    )


def _along(details: AccountDetails) -> dict[str, Any]:
    # A day that is rebuilt may have another root although nothing on the page changed, and every day has its own.
    return {
        names.CSM_REASON: _text(details.reason),
        names.CSM_RECEIPT: _text(details.receipt),
        names.CSM_ROOT: _text(details.root),
    }


def _detail_properties(details: AccountDetails) -> dict[str, Any]:
    # Without an e-mail address, users may select the owner themselves.
    person = {names.CSM_OWNER: {"people": [{"email": details.owner_email}]}} if details.owner_email else {}
    return {
        names.CSM_CHURN_RISK: _select(details.churn_risk),
        names.CSM_NEXT_STEP: _text(details.next_step),
        names.CSM_LAST_CHANGE: _text(details.last_change),
        **person,
        names.CSM_OWNER_NAME: _text(details.owner),
        names.CSM_SEGMENT: _select(details.segment),
        names.CSM_PLAN: _select(details.plan),
        names.CSM_MRR: {"number": details.mrr},
        names.CSM_CURRENCY: _select(details.currency),
        names.CSM_RENEWAL: {"date": {"start": details.renewal.isoformat()} if details.renewal else None},
    }


def owner_email(target: TargetPage) -> str:
    """The e-mail address of the person on an account page; empty if there is none."""
    people = target.content["properties"].get(names.CSM_OWNER, {}).get("people", ())
    return str(people[0]["email"]) if people else ""


def health_properties(score: float, rag: str) -> dict[str, Any]:
    """The score and RAG properties of an account page; the scan time is added when they are written."""
    return {
        names.CSM_HEALTH_SCORE: {"number": shown_score(score)},
        names.CSM_HEALTH_RAG: {"select": {"name": rag}},
    }


def record_page(
    score: CSMHealthScore,
    name: str,
    day: date,
    *,
    details: RecordDetails | None = None,
) -> TargetPage:
    """The page that records an account's health on a day.

    Its facts have the settled band and risk of ``details``, which decide on the next record; without them, those of the
    day decide.
    """
    trigger = score.churn_triggered_by
    settled = details.settled if details else Settled()
    settled_facts = {SETTLED_RAG: settled.rag, SETTLED_CHURN_RISK_LEVEL: settled.churn_risk_level}
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
            "blocks": render_health_record_blocks(score, details=details),
        },
        facts={
            "as_of_date": day.isoformat(),
            "score": shown_score(score.score),
            "rag": score.rag,
            "churn_risk_level": score.churn_risk_level,
            **{fact: value for fact, value in settled_facts.items() if value},
        },
        removed=_removed([score.account_id, name, details.facts if details else {}]),
    )


def review_page(review: QBRContent, name: str, day: date, notes: Sequence[InternalNote] = ()) -> TargetPage:
    """The page of a business review; ``notes`` are internal notes that are on a page of their own."""
    key = key_of(review.account_id, review.period, review.trigger)
    title = f"QBR: {name or review.account_id} — {review.period}"
    # The account id tells two accounts with the same name apart, because the page is found by its title.
    notes_page = TitledPage(
        kind=NOTES,
        key=key,
        name=f"Internal notes: {title} ({review.account_id})",
        icon="🔒",
        spec=SPECS[QBR],
        day=day,
        blocks=render_internal_notes(notes),
    )
    return TargetPage(
        kind=QBR,
        key=key,
        account_id=review.account_id,
        label=f"{name} — {review.period}",
        day=day,
        content={
            "title": title,
            "properties": {
                names.ACCOUNT_ID: _text(review.account_id),
                names.PERIOD: _text(review.period),
                names.HEALTH_RAG: {"select": {"name": review.health_rag} if review.health_rag else None},
                names.TRIGGER: {"select": {"name": review.trigger}},
                names.GENERATED_AT: {"date": {"start": review.generated_at.isoformat()}},
            },
            "blocks": render_qbr_blocks(review),
        },
        removed=_removed([name, review.model_dump(mode="python"), [note.model_dump() for note in notes]]),
        notes=notes_page if notes else None,
    )


def opportunity_page(
    opportunity: ExpansionOpportunity, name: str, day: date, *, currency: str | None = None
) -> TargetPage:
    """The page of an expansion opportunity. Users own its status, which starts as open."""
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
        initial={"properties": {names.CSM_STATUS: {"select": {"name": OPEN}}}},
        removed=_removed([name, opportunity.model_dump(mode="python")]),
    )


def shown_score(score: float) -> float:
    """A score rounded to two decimals for display; the warehouse has the exact value."""
    return round(score, 2)


def _text(value: str) -> dict[str, Any]:
    return {"rich_text": runs(value)[:RUNS_PER_ARRAY]}


def _select(option: str) -> dict[str, Any]:
    return {"select": {"name": option} if option else None}


def _plain_value(value: Mapping[str, Any]) -> Any:
    """A value in the API's format as a plain value, as ``page_facts`` reads it."""
    if "rich_text" in value:
        return plain(value["rich_text"])
    if "select" in value:
        return value["select"]["name"] if value["select"] else None
    if "date" in value:
        return value["date"]["start"] if value["date"] else None
    return value["number"]


def _removed(content: Any) -> int:
    """The number of control characters in all texts of ``content``; they are not published."""
    if isinstance(content, str):
        return clean(content).removed
    if isinstance(content, Mapping):
        return sum(_removed(name) + _removed(value) for name, value in content.items())
    return sum(_removed(one) for one in content) if isinstance(content, (list, tuple)) else 0
