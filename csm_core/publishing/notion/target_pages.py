"""What Notion should say of a day: the marts as items, each with its natural key, its content and a hash of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import duckdb

from csm_core.publishing import expansion, qbr
from csm_core.publishing.notion import databases as names
from csm_core.publishing.notion.adapter import (
    NotionCSMAdapter,
    render_expansion_blocks,
    render_health_record_blocks,
    render_qbr_blocks,
    shown_score,
)
from csm_core.publishing.notion.databases import EXPANSION, HEALTH, QBR, RECORD, SPECS, DatabaseSpec
from csm_core.publishing.notion.rich_text import Block, clean
from csm_core.rubric import SIGNAL_NAMES
from csm_core.schemas import CSMHealthScore, ExpansionOpportunity, QBRContent
from csm_core.warehouse.rows import fetch

Properties = Callable[[NotionCSMAdapter], Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Item:
    """A page as it should be, of the partition ``day``.

    ``facts`` is what later runs need to know of it; ``blocks`` is empty for accounts; ``removed`` counts the control
    characters that its texts lose.
    """

    kind: str
    key: str
    account_id: str
    label: str
    day: date
    content_hash: str
    properties: Properties
    blocks: tuple[Block, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    removed: int = 0

    @property
    def spec(self) -> DatabaseSpec:
        """The database that the page belongs to."""
        return SPECS[self.kind]


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


def load(connection: duckdb.DuckDBPyConnection, day: date, kinds: Sequence[str]) -> dict[str, list[Item]]:
    """The items of a day by kind. One query per kind, whatever the number of accounts."""
    found: dict[str, list[Item]] = {kind: [] for kind in kinds}
    if HEALTH in kinds or RECORD in kinds:
        for score, name in _scores(connection, day):
            if HEALTH in kinds:
                found[HEALTH].append(_health(score, name, day))
            if RECORD in kinds:
                found[RECORD].append(_record(score, name, day))
    if QBR in kinds:
        found[QBR] = [_review(one.content, one.account_name, day) for one in qbr.load_qbrs(connection, day)]
    if EXPANSION in kinds:
        found[EXPANSION] = [
            _opportunity(one.opportunity, one.account_name, one.currency, day)
            for one in expansion.load_opportunities(connection, day)
        ]
    return found


def content_hash(content: Any) -> str:
    """A hash of what is meant: of our own values, never of what comes back."""
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def _health(score: CSMHealthScore, name: str, day: date) -> Item:
    async def properties(adapter: NotionCSMAdapter) -> dict[str, Any]:
        return adapter.health_properties(score.score, score.rag)

    return Item(
        kind=HEALTH,
        key=key_of(score.account_id),
        account_id=score.account_id,
        label=name,
        day=day,
        content_hash=content_hash([shown_score(score.score), score.rag]),
        properties=properties,
        facts={"score": shown_score(score.score), "rag": score.rag},
        removed=_removed([score.account_id, name]),
    )


def _record(score: CSMHealthScore, name: str, day: date) -> Item:
    blocks = tuple(render_health_record_blocks(score))

    async def properties(adapter: NotionCSMAdapter) -> dict[str, Any]:
        return await adapter.record_properties(score, day, name)

    meant = [name, day, shown_score(score.score), score.rag, score.churn_risk_level, score.churn_triggered_by, blocks]
    return Item(
        kind=RECORD,
        key=key_of(score.account_id, day.isoformat()),
        account_id=score.account_id,
        label=f"{name} — {day}",
        day=day,
        content_hash=content_hash(meant),
        properties=properties,
        blocks=blocks,
        facts={"as_of_date": day.isoformat(), "rag": score.rag, "churn_risk_level": score.churn_risk_level},
        removed=_removed([score.account_id, name]),
    )


def _review(content: QBRContent, name: str, day: date) -> Item:
    blocks = tuple(render_qbr_blocks(content))

    async def properties(adapter: NotionCSMAdapter) -> dict[str, Any]:
        return await adapter.qbr_properties(content, name)

    return Item(
        kind=QBR,
        key=key_of(content.account_id, content.period, content.trigger),
        account_id=content.account_id,
        label=f"{name} — {content.period}",
        day=day,
        content_hash=content_hash([name, content.health_rag, content.generated_at, blocks]),
        properties=properties,
        blocks=blocks,
        removed=_removed([name, content.model_dump(mode="python")]),
    )


def _opportunity(opportunity: ExpansionOpportunity, name: str, currency: str | None, day: date) -> Item:
    blocks = tuple(render_expansion_blocks(opportunity, currency=currency))

    async def properties(adapter: NotionCSMAdapter) -> dict[str, Any]:
        return await adapter.expansion_properties(opportunity, name)

    return Item(
        kind=EXPANSION,
        key=key_of(opportunity.account_id, opportunity.opportunity_type, opportunity.subject),
        account_id=opportunity.account_id,
        label=f"{name}: {opportunity.opportunity_type} {opportunity.subject}".strip(),
        day=day,
        content_hash=content_hash([name, opportunity.confidence, opportunity.estimated_arr_impact, blocks]),
        properties=properties,
        blocks=blocks,
        removed=_removed([name, opportunity.model_dump(mode="python")]),
    )


def _removed(content: Any) -> int:
    """Control characters in all the texts of ``content``, which are not published."""
    if isinstance(content, str):
        return clean(content).removed
    if isinstance(content, Mapping):
        return sum(_removed(name) + _removed(value) for name, value in content.items())
    return sum(_removed(one) for one in content) if isinstance(content, (list, tuple)) else 0


def _scores(connection: duckdb.DuckDBPyConnection, day: date) -> list[tuple[CSMHealthScore, str]]:
    rows = fetch(
        connection,
        "select scores.*, account_days.account_name from marts.csm_health_scores as scores "
        "inner join intermediate.int_account_days as account_days on scores.account_id = account_days.account_id "
        "and scores.as_of_date = account_days.as_of_date where scores.as_of_date = ? order by scores.account_id",
        [day],
    )
    return [
        (
            CSMHealthScore(
                account_id=row["account_id"],
                score=row["score"],
                raw_score=row["raw_score"],
                rag=row["rag"],
                churn_risk_level=row["churn_risk_level"],
                churn_triggered_by=row["churn_triggered_by"],
                signal_breakdown={name: row[f"{name}_points"] for name in SIGNAL_NAMES},
            ),
            row["account_name"],
        )
        for row in rows
    ]
