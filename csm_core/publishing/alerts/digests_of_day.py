"""Groups the due alerts of a day into digests: one for each route and owner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import duckdb

from csm_core.publishing.alerts.account_facts import AccountFacts, facts_of
from csm_core.publishing.alerts.digest import ACCOUNTS, Digest, Line, digest_id
from csm_core.publishing.alerts.states import DueAlert
from csm_core.publishing.alerts.tables import FIRED, REMINDER, RESOLVED
from csm_core.warehouse.alert_settings import EVERY_OWNER, SEVERITIES, AlertRoute, AlertSettings

_KINDS = (FIRED, REMINDER, RESOLVED)


def digests_of(
    connection: duckdb.DuckDBPyConnection, settings: AlertSettings, day: date, due: Sequence[DueAlert], now: datetime
) -> list[Digest]:
    """Return the digests of a day, in the order of routes and owners."""
    if not due:
        return []
    facts = facts_of(connection, day, {alert.account_id for alert in due})
    digests: list[Digest] = []
    for route in settings.account_routes:
        owners: dict[str, dict[tuple[str, str], list[DueAlert]]] = {}
        for alert in due:
            owner = facts[alert.account_id].owner if alert.account_id in facts else ""
            if _matches(route, owner, alert.severity):
                by_account = owners.setdefault(owner, {})
                # An account with a new alert is one line, also with a reminder of another rule.
                group = RESOLVED if alert.kind == RESOLVED else FIRED
                by_account.setdefault((alert.account_id, group), []).append(alert)
        for owner, by_account in sorted(owners.items()):
            lines = [_line(alerts, facts) for alerts in by_account.values()]
            digests.append(
                Digest(
                    digest_id=digest_id(route.label, owner, day, ACCOUNTS),
                    route=route.label,
                    owner=owner,
                    day=day,
                    kind=ACCOUNTS,
                    intended_at=now,
                    lines=sorted(lines, key=_order),
                )
            )
    return digests


def _matches(route: AlertRoute, owner: str, severity: str) -> bool:
    owns = route.owner == EVERY_OWNER or route.owner.lower() == owner.lower()
    return owns and _rank(severity) >= _rank(route.severity)


def _rank(severity: str) -> int:
    return [str(one) for one in SEVERITIES].index(severity)


def _line(alerts: Sequence[DueAlert], facts: Mapping[str, AccountFacts]) -> Line:
    account = alerts[0].account_id
    known = facts.get(account) or AccountFacts(account, "")
    listed = sorted(alerts, key=lambda alert: (-_rank(alert.severity), alert.rule))
    return Line(
        account_id=account,
        account_name=known.account_name,
        kind=min((alert.kind for alert in alerts), key=_KINDS.index),
        rules=tuple(alert.rule for alert in listed),
        severity=listed[0].severity,
        score=known.score,
        rag=known.rag,
        change=known.change,
        reason=known.reason,
        next_step=known.next_step,
        link=known.link,
    )


def _order(line: Line) -> tuple[bool, int, float, str]:
    """Resolved alerts are last, then severe ones first, and among them the lowest scores."""
    return (
        line.kind == RESOLVED,
        -_rank(line.severity),
        line.score if line.score is not None else -1.0,
        line.account_id,
    )
