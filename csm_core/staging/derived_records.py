"""Ignores derived records of accounts about which another source states records of the same entity.

A staging model with ``derived: true`` in its yml concludes records from records of other entities, such as a churn from
the ends of subscriptions. What a source states takes precedence over what is concluded.
"""

from __future__ import annotations

from csm_core.contract import ACCOUNT_COLUMN, IGNORED
from csm_core.staging.plan import Scope
from csm_core.warehouse.models import literal

OTHER_SOURCE = "other_source"


def ignore_derived(scope: Scope, rows: str) -> None:
    """Mark derived records in a table of validated records as ignored if their account has a stated, valid record."""
    if not scope.derived:
        return
    is_derived = f"_system in ({', '.join(map(literal, sorted(scope.derived)))})"
    scope.connection.execute(
        f"update {rows} set {IGNORED} = {literal(OTHER_SOURCE)} where {is_derived} "
        f"and _problem is null and {IGNORED} is null and {ACCOUNT_COLUMN} in (select {ACCOUNT_COLUMN} from {rows} "
        f"where not {is_derived} and _problem is null and {IGNORED} is null)"
    )
