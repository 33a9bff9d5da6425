"""The name, owner, segment, MRR and renewal of an account on a day, and the numbers behind its signals in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb

from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.rows import fetch_dicts

ACCOUNTS = "marts.csm_accounts_daily"
POINTS = "marts.csm_signal_points"
_FACTS = ("account_name", "csm_owner", "segment", "mrr", "currency", "renewal_date")


@dataclass(frozen=True)
class AccountFacts:
    """Attributes and contract of an account on a day; None if unknown. An account without an owner is unassigned."""

    account_name: str
    csm_owner: str | None
    segment: str | None
    mrr: Decimal | None
    currency: str | None
    renewal_date: date | None


def load_account_facts(
    connection: duckdb.DuckDBPyConnection, tenant_id: str, account_id: str, day: date
) -> AccountFacts | None:
    """The facts of an account on a day; None if the table, or its row, does not exist.

    A copy of an earlier version does not have the table, and days that it built do not have rows.
    """
    if not table_exists(connection, ACCOUNTS):
        return None
    rows = fetch_dicts(
        connection,
        f"select {', '.join(_FACTS)} from {ACCOUNTS} "
        "where tenant_id = $tenant and account_id = $account and as_of_date = $day",
        {"tenant": tenant_id, "account": account_id, "day": day},
    )
    return AccountFacts(**rows[0]) if rows else None


def load_signal_facts(
    connection: duckdb.DuckDBPyConnection, tenant_id: str, account_id: str, day: date
) -> dict[str, str]:
    """The fact of each signal of an account on a day, without the signals that have none.

    A copy of an earlier version does not have the facts, and days that it built do not have them either.
    """
    if not table_exists(connection, POINTS):
        return {}
    columns = {row[0] for row in connection.execute(f"describe {POINTS}").fetchall()}
    if "fact" not in columns:
        return {}
    rows = connection.execute(
        f"select signal, fact from {POINTS} where tenant_id = ? and account_id = ? and as_of_date = ? "
        "and fact is not null",
        [tenant_id, account_id, day],
    ).fetchall()
    return dict(rows)


def facts_as_dict(facts: AccountFacts | None) -> dict[str, Any]:
    """For ``--json``: each value or None; the amount is text, to keep all digits."""
    values: dict[str, Any] = asdict(facts) if facts else dict.fromkeys(_FACTS)
    if facts and facts.mrr is not None:
        values["mrr"] = str(facts.mrr)
    if facts and facts.renewal_date:
        values["renewal_date"] = facts.renewal_date.isoformat()
    return values
