"""The values that the records of a destination should have, from the latest row of each account."""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, cast

import duckdb

from csm_core.errors import InputError
from csm_core.system.crm_section import HubSpotDestination, SalesforceDestination
from csm_core.warehouse.catalog import columns_of, table_exists
from csm_core.warehouse.day_status import require_newest
from csm_core.warehouse.models import quoted

Configured = HubSpotDestination | SalesforceDestination
Value = str | int | float | bool | None

TABLE = "marts.csm_health_last"
# The longest text of a HubSpot property. Shorter fields of Salesforce reject a text with a message.
MAX_CHARACTERS = 65_536
DECIMALS = 6


@dataclass(frozen=True)
class Target:
    """The values of an account by field of the vendor; ``churned``: the account is not scored on the newest day."""

    account_id: str
    values: Mapping[str, Value]
    churned: bool


@dataclass(frozen=True)
class Targets:
    """The targets of the newest complete day, by account."""

    day: date
    accounts: Sequence[Target]


def load_targets(connection: duckdb.DuckDBPyConnection, destination: Configured) -> Targets:
    """Read the values of all accounts. Raises InputError without a complete day, or if the mart is not of that day."""
    newest = require_newest(connection)
    if not table_exists(connection, TABLE):
        message = f"{TABLE} is not built yet; run `csm run`"
        raise InputError(message)
    row = connection.execute(f"select max(as_of_date) from {TABLE}").fetchone()
    if row is None or row[0] != newest:
        # With an outdated mart, every account would seem to have left.
        message = (
            f"{TABLE} is of {row[0] if row else None}, and the newest complete day is {newest}; build it with "
            f"csm run --as-of {newest}"
        )
        raise InputError(message)
    missing = sorted(set(destination.fields.values()) - set(columns_of(connection, TABLE)))
    if missing:
        message = f"{TABLE} was built without {', '.join(missing)}; build it with csm run --as-of {newest}"
        raise InputError(message)
    columns = ", ".join(quoted(column) for column in destination.fields.values())
    rows = connection.execute(
        f"select account_id, as_of_date < ? as churned, {columns} from {TABLE} order by account_id", [newest]
    ).fetchall()
    fields = list(destination.fields)
    return Targets(
        newest,
        tuple(
            Target(account_id, dict(zip(fields, map(plain, values), strict=True)), churned)
            for account_id, churned, *values in rows
        ),
    )


def plain(value: Any) -> Value:
    """Return a value of the warehouse as a value of JSON: dates in ISO 8601, lists joined by semicolons.

    Numbers have at most six decimal places; one that is not finite is null. Text has no control characters except line
    breaks and tabs, and at most 65,536 characters.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Decimal):
        return plain(int(value) if value == value.to_integral_value() else float(value))
    if isinstance(value, float):
        # Scores are sums that are not rounded: 82.64999999999999.
        return round(value, DECIMALS) if math.isfinite(value) else None
    if isinstance(value, datetime):
        moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        items = cast("list[Any] | tuple[Any, ...]", value)
        return plain("; ".join(str(plain(item)) for item in items if item is not None))
    kept = "".join(one for one in str(value) if one in "\n\t" or unicodedata.category(one) not in ("Cc", "Cs"))
    return kept[:MAX_CHARACTERS]


def content_hash(destination: Configured, values: Mapping[str, Value]) -> str:
    """Return a hash of the values and of the place that they are sent to.

    A destination with another address, object or key has other records, so what was sent before does not count.
    """
    place = [destination.to, destination.base_url, destination.object_name, destination.key]
    if isinstance(destination, SalesforceDestination):
        place.append(destination.url_variable)
    text = json.dumps([place, dict(values)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
