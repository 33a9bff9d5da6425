"""The details of account pages: owner, contract, the reason for the score, the latest change and the next step.

One query reads the details of all accounts of a day from the marts; the texts are composed here. ``target_pages``
defines the properties.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import duckdb

from csm_core.display_names import SIGNALS, TRIGGERS
from csm_core.publishing.internal_notes import NEXT_STEPS
from csm_core.publishing.notion.renderers import LOST_POINTS
from csm_core.publishing.notion.rich_text import option_name
from csm_core.receipts.issue import receipt_hashes
from csm_core.rubric import SIGNAL_NAMES
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.rows import fetch_dicts

# Notion accepts 100 options of a select; some may exist that no account has any more.
MAX_OPTIONS = 80
_REASONS = 2
_RENEWAL_SIGNAL = "days_to_renewal"
_RENEWAL_TRIGGERS = ("contract_proximity", "both")

_TABLES = ("marts.csm_accounts_daily", "marts.csm_signal_points", "marts.csm_rag_transitions")
# The signals of an account are one list, so that each account is one row.
_QUERY = """
    with signals as (
        select account_id, list({'signal': signal, 'points': points, 'weight': weight, 'fact': fact}) as signals
        from marts.csm_signal_points
        where as_of_date = $day
        group by account_id
    ),

    changes as (
        select account_id, arg_max(changed_on, as_of_date) as changed_on, arg_max(from_rag, as_of_date) as from_rag,
            arg_max(to_rag, as_of_date) as to_rag
        from marts.csm_rag_transitions
        where as_of_date <= $day
        group by account_id
    ),

    first_days as (
        select account_id, min(as_of_date) as first_scored_on
        from marts.csm_health_scores
        where as_of_date <= $day
        group by account_id
    )

    select scores.account_id, scores.rag, scores.score, scores.raw_score, scores.churn_risk_level,
        scores.churn_triggered_by, accounts.csm_owner, accounts.segment, accounts.plan, accounts.mrr,
        accounts.currency, accounts.renewal_date, signals.signals, changes.changed_on, changes.from_rag,
        changes.to_rag, first_days.first_scored_on
    from marts.csm_health_scores as scores
    inner join marts.csm_accounts_daily as accounts
        on scores.account_id = accounts.account_id and accounts.as_of_date = $day
    left join signals on scores.account_id = signals.account_id
    left join changes on scores.account_id = changes.account_id
    left join first_days on scores.account_id = first_days.account_id
    where scores.as_of_date = $day
    order by scores.account_id
"""


@dataclass(frozen=True)
class AccountDetails:
    """The details of an account page; unknown texts are empty. ``reason`` has facts that may change every day.

    ``receipt`` and ``root`` are the receipt hash, with its day, and the root that it leads to.
    """

    owner: str = ""
    segment: str = ""
    plan: str = ""
    mrr: float | None = None
    currency: str = ""
    renewal: date | None = None
    churn_risk: str = ""
    reason: str = ""
    next_step: str = ""
    last_change: str = ""
    receipt: str = ""
    root: str = ""

    @property
    def owner_email(self) -> str:
        """The owner's e-mail address in lower case; empty if the owner is not an e-mail address."""
        return self.owner.strip().casefold() if "@" in self.owner else ""


def load_details(connection: duckdb.DuckDBPyConnection, day: date) -> dict[str, AccountDetails]:
    """The details of the accounts that were scored on a day, by account; empty if a mart has not been built yet."""
    if not all(table_exists(connection, table) for table in _TABLES):
        return {}
    rows = fetch_dicts(connection, _QUERY, {"day": day})
    receipts = receipt_hashes(connection, day)
    details = {row["account_id"]: _details(row, day) for row in rows}
    segments = _common(one.segment for one in details.values())
    plans = _common(one.plan for one in details.values())
    return {
        account_id: replace(
            one,
            segment=one.segment if one.segment in segments else "",
            plan=one.plan if one.plan in plans else "",
            **_receipt(receipts.get(account_id), day),
        )
        for account_id, one in details.items()
    }


def _details(row: Mapping[str, Any], day: date) -> AccountDetails:
    losses = _losses(row["signals"] or ())
    return AccountDetails(
        owner=row["csm_owner"] or "",
        segment=option_name(row["segment"] or ""),
        plan=option_name(row["plan"] or ""),
        mrr=None if row["mrr"] is None else round(float(row["mrr"]), 2),
        currency=option_name(row["currency"] or ""),
        renewal=row["renewal_date"],
        churn_risk=row["churn_risk_level"],
        reason=_reason(row, losses, day),
        next_step=_next_step(row["churn_triggered_by"], losses),
        last_change=_last_change(row),
    )


def _receipt(hashes: tuple[str, str] | None, day: date) -> dict[str, str]:
    return {"receipt": f"{hashes[0]} of {day}", "root": hashes[1]} if hashes else {}


def _losses(signals: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The signals that lose a point or more, the largest loss first, equal losses in the order of the rubric."""
    lost = [one for one in signals if one["weight"] - one["points"] >= LOST_POINTS]
    return sorted(lost, key=lambda one: (one["points"] - one["weight"], SIGNAL_NAMES.index(one["signal"])))


def _reason(row: Mapping[str, Any], losses: Sequence[Mapping[str, Any]], day: date) -> str:
    parts: list[str] = []
    if row["churn_triggered_by"]:
        parts.append(f"{_sentence(TRIGGERS[row['churn_triggered_by']])}.")
    if row["score"] != row["raw_score"]:
        parts.append("The technical account manager's assessment caps the score.")
    for one in losses[:_REASONS]:
        fact = f": {one['fact']}" if one["fact"] else ""
        points = f"{round(float(one['points']), 1):g} of {one['weight']:g} points"
        parts.append(f"{_sentence(SIGNALS[one['signal']])}{fact} ({points}).")
    if row["signals"] and not losses:
        parts.append("All signals are at or near their maximum.")
    return " ".join([*parts, f"As of {day}."])


def _next_step(trigger: str | None, losses: Sequence[Mapping[str, Any]]) -> str:
    """The renewal if it is near, and the step for the signal with the largest loss."""
    signals = [_RENEWAL_SIGNAL] if trigger in _RENEWAL_TRIGGERS else []
    signals += [one["signal"] for one in losses[:1]]
    return " ".join(NEXT_STEPS[signal] for signal in dict.fromkeys(signals))


def _last_change(row: Mapping[str, Any]) -> str:
    if row["changed_on"]:
        return f"{row['from_rag']} to {row['to_rag']} on {row['changed_on']}"
    return f"{row['rag']} since the first score on {row['first_scored_on']}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _common(values: Iterable[str]) -> set[str]:
    counts = Counter(value for value in values if value)
    return set(sorted(counts, key=lambda value: (-counts[value], value))[:MAX_OPTIONS])
