"""The renewals of a day that are too near for a business review: nobody prepares one, so they are a note to call."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import duckdb

from csm_core.system.text_table import counted
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.rows import fetch_dicts


@dataclass(frozen=True)
class NearRenewal:
    """A renewal without a business review."""

    tenant_id: str
    account_id: str
    account_name: str
    renewal_date: date
    days_to_renewal: int

    def text(self) -> str:
        """What to do."""
        when = f"in {counted(self.days_to_renewal, 'day')}" if self.days_to_renewal else "today"
        return f"Renewal on {self.renewal_date} is {when}: too late for a review, call now."

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**asdict(self), "renewal_date": self.renewal_date.isoformat()}


def near_renewals(connection: duckdb.DuckDBPyConnection, day: date, qbr_min_days: int) -> list[NearRenewal]:
    """The renewals with fewer than ``qbr_min_days`` days left that have no business review, the nearest first."""
    needed = ("marts.csm_qbr", "intermediate.int_account_subscriptions", "intermediate.int_account_days")
    if not all(table_exists(connection, name) for name in needed):
        return []
    rows = fetch_dicts(
        connection,
        """
        select subscriptions.tenant_id, subscriptions.account_id, account_days.account_name,
            subscriptions.renewal_date, subscriptions.days_to_renewal
        from intermediate.int_account_subscriptions as subscriptions
        inner join intermediate.int_account_days as account_days
            on subscriptions.account_id = account_days.account_id
            and subscriptions.as_of_date = account_days.as_of_date
        where
            subscriptions.as_of_date = $day
            and subscriptions.days_to_renewal >= 0
            and subscriptions.days_to_renewal < $qbr_min_days
            and not exists (
                select 1
                from marts.csm_qbr as reviews
                where
                    reviews.account_id = subscriptions.account_id
                    and reviews.trigger = 'contract_proximity'
                    and reviews.renewal_date = subscriptions.renewal_date
                    and reviews.as_of_date <= $day
            )
        order by subscriptions.days_to_renewal, subscriptions.tenant_id, subscriptions.account_id
        """,
        {"day": day, "qbr_min_days": qbr_min_days},
    )
    return [NearRenewal(**row) for row in rows]
