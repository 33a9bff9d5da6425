"""What Notion should say of a day: the marts as items, each with its natural key, its content and a hash of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import duckdb

from csm_core import expansion, qbr
from csm_core.notion import databases as names
from csm_core.notion.databases import ACCOUNTS, EXPANSIONS, HEALTH_RECORDS, QBRS, DatabaseSpec
from csm_core.notion.rich_text import Block
from csm_core.notion_adapter import (
    NotionCSMAdapter,
    render_expansion_blocks,
    render_health_record_blocks,
    render_qbr_blocks,
    shown_score,
)
from csm_core.rows import fetch
from csm_core.rubric import SIGNAL_NAMES
from csm_core.schemas import CSMHealthScore, ExpansionOpportunity, QBRContent

HEALTH, RECORD, QBR, EXPANSION = "health", "record", "qbr", "expansion"
KINDS = (HEALTH, RECORD, QBR, EXPANSION)
SPECS: dict[str, DatabaseSpec] = {HEALTH: ACCOUNTS, RECORD: HEALTH_RECORDS, QBR: QBRS, EXPANSION: EXPANSIONS}

Properties = Callable[[NotionCSMAdapter], Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Item:
    """A page as it should be. ``facts`` is what later runs need to know of it; ``blocks`` is empty for accounts."""

    kind: str
    key: str
    account_id: str
    label: str
    content_hash: str
    properties: Properties
    blocks: tuple[Block, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def spec(self) -> DatabaseSpec:
        """The database that the page belongs to."""
        return SPECS[self.kind]


def key_of(*parts: str) -> str:
    """A natural key as text."""
    return json.dumps(parts, ensure_ascii=False)


def key_of_facts(kind: str, facts: dict[str, Any]) -> str:
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
                found[HEALTH].append(_health(score, name))
            if RECORD in kinds:
                found[RECORD].append(_record(score, name, day))
    if QBR in kinds:
        found[QBR] = [_review(one.content, one.account_name) for one in qbr.load_qbrs(connection, day)]
    if EXPANSION in kinds:
        found[EXPANSION] = [
            _opportunity(one.opportunity, one.account_name) for one in expansion.load_opportunities(connection, day)
        ]
    return found


def content_hash(content: Any) -> str:
    """A hash of what is meant: of our own values, never of what comes back."""
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def _health(score: CSMHealthScore, name: str) -> Item:
    async def properties(adapter: NotionCSMAdapter) -> dict[str, Any]:
        return adapter.health_properties(score.score, score.rag)

    return Item(
        HEALTH,
        key_of(score.account_id),
        score.account_id,
        name,
        content_hash([shown_score(score.score), score.rag]),
        properties,
        facts={"score": shown_score(score.score), "rag": score.rag},
    )


def _record(score: CSMHealthScore, name: str, day: date) -> Item:
    blocks = tuple(render_health_record_blocks(score))

    async def properties(adapter: NotionCSMAdapter) -> dict[str, Any]:
        return await adapter.record_properties(score, day, name)

    facts = {"as_of_date": day.isoformat(), "rag": score.rag, "churn_risk_level": score.churn_risk_level}
    meant = [name, day, shown_score(score.score), score.rag, score.churn_risk_level, score.churn_triggered_by, blocks]
    return Item(
        RECORD,
        key_of(score.account_id, day.isoformat()),
        score.account_id,
        f"{name} — {day}",
        content_hash(meant),
        properties,
        blocks,
        facts,
    )


def _review(content: QBRContent, name: str) -> Item:
    blocks = tuple(render_qbr_blocks(content))

    async def properties(adapter: NotionCSMAdapter) -> dict[str, Any]:
        return await adapter.qbr_properties(content, name)

    return Item(
        QBR,
        key_of(content.account_id, content.period, content.trigger),
        content.account_id,
        f"{name} — {content.period}",
        content_hash([name, content.health_rag, content.generated_at, blocks]),
        properties,
        blocks,
    )


def _opportunity(opportunity: ExpansionOpportunity, name: str) -> Item:
    blocks = tuple(render_expansion_blocks(opportunity))

    async def properties(adapter: NotionCSMAdapter) -> dict[str, Any]:
        return await adapter.expansion_properties(opportunity, name)

    return Item(
        EXPANSION,
        key_of(opportunity.account_id, opportunity.opportunity_type, opportunity.subject),
        opportunity.account_id,
        f"{name}: {opportunity.opportunity_type} {opportunity.subject}".strip(),
        content_hash([name, opportunity.confidence, opportunity.estimated_arr_impact, blocks]),
        properties,
        blocks,
    )


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
