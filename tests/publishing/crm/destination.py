"""What the tests of destinations share: marts of made-up accounts, both vendors, and publishing without waits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import duckdb

from csm_core.config import Config
from csm_core.publishing.crm.apply import CrmReport
from csm_core.publishing.crm.publish import publish_destination
from csm_core.publishing.crm.targets import Configured
from csm_core.warehouse.migrations import upgrade
from tests.publishing.crm.vendors import CLIENT_SECRET, TOKEN, CrmServer, HubSpotServer, SalesforceServer
from tests.web_server import serving

DAY = date(2026, 6, 30)
ENVIRONMENT = {
    "HUBSPOT_WRITE_TOKEN": TOKEN,
    "SALESFORCE_CLIENT_ID": "the-consumer-key",
    "SALESFORCE_CLIENT_SECRET": CLIENT_SECRET,
}
VENDORS = ("hubspot", "salesforce")
COLUMNS = {"score": "number", "rag": "text", "renewal_date": "date", "account_name": "text"}
FIELDS = {
    "hubspot": dict(zip(("csm_score", "csm_rag", "csm_renewal", "csm_name"), COLUMNS, strict=True)),
    "salesforce": dict(zip(("CSM_Score__c", "CSM_Rag__c", "CSM_Renewal__c", "CSM_Name__c"), COLUMNS, strict=True)),
}

Row = Mapping[str, Any]


def marts(connection: duckdb.DuckDBPyConnection, rows: Mapping[str, Row], *, day: date = DAY) -> None:
    """The latest rows of accounts, by account; ``days_ago`` of a row: since when the account is not scored."""
    upgrade(connection)
    connection.execute("create or replace table marts.csm_health_scores as select ? as as_of_date", [day])
    connection.execute(
        "create or replace table marts.csm_health_last (account_id varchar, as_of_date date, score double, "
        "rag varchar, renewal_date date, account_name varchar, mrr decimal(38, 2))"
    )
    # So that the newest day has a row.
    connection.executemany(
        "insert into marts.csm_health_last (account_id, as_of_date, score, rag, renewal_date, account_name) "
        "values (?, ?, ?, ?, ?, ?)",
        [
            [key, day - timedelta(days=row.get("days_ago", 0)), *(row.get(column) for column in COLUMNS)]
            for key, row in rows.items()
        ],
    )


def row(score: float | None = 71.5, **more: Any) -> dict[str, Any]:
    """The row of an account."""
    return {"score": score, "rag": "GREEN", "renewal_date": date(2026, 12, 31), "account_name": "Ahlers", **more}


@contextmanager
def vendor_server(vendor: str) -> Iterator[CrmServer]:
    """A vendor with the fields of the tests."""
    kinds = {field: COLUMNS[column] for field, column in FIELDS[vendor].items()}
    made: CrmServer = HubSpotServer(kinds) if vendor == "hubspot" else SalesforceServer(kinds)
    with serving(made) as server:
        yield server


def settings_of(server: CrmServer, **more: Any) -> dict[str, Any]:
    """The settings of the destination."""
    key = {"hubspot": "csm_account_id", "salesforce": "CSM_Account_Id__c"}[server.vendor]
    return {
        "to": server.vendor,
        "key": key,
        "fields": FIELDS[server.vendor],
        "base_url": server.url,
        "timeout_seconds": 10,
        **more,
    }


def destination_of(server: CrmServer, **more: Any) -> Configured:
    """The destination, as it is configured."""
    (found,) = Config.model_validate({"publish": [settings_of(server, **more)]}).publish
    return found


def publish(
    connection: duckdb.DuckDBPyConnection,
    destination: Configured,
    waits: list[float] | None = None,
    *,
    retry_rejected: bool = False,
) -> CrmReport:
    """Publish without waiting; ``waits`` gets the seconds that each wait would take."""
    taken: list[float] = [] if waits is None else waits
    return publish_destination(
        connection, destination, environment=ENVIRONMENT, sleep=taken.append, retry_rejected=retry_rejected
    )


def field(server: CrmServer, column: str) -> str:
    """The field of the vendor that has a column."""
    return next(name for name, of in FIELDS[server.vendor].items() if of == column)


def scores(server: CrmServer) -> dict[str, float | None]:
    """The score in each record; None without one."""
    return {
        key: None if value in (None, "") else float(value)
        for key, value in server.values(field(server, "score")).items()
    }
