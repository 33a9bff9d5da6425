"""A small warehouse with scored days, for the tests of receipts: records in, signals, scores and roots out."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import duckdb

from csm_core.config import Config
from csm_core.receipts.day_roots import record_roots
from csm_core.receipts.issue import issue, state_of
from csm_core.scoring.known_scores import keep_revised_signals
from csm_core.scoring.score_days import score_days
from csm_core.warehouse.day_status import COMPLETE
from csm_core.warehouse.duckdb_engine import DuckDbEngine
from csm_core.warehouse.models import load_models
from tests.sql.harness import INTERMEDIATE, PARAMETERS, queue_usage_days, run_model, staged

DAY = date(2026, 6, 30)
ODD = 'A "quote", a \\ backslash,\ta tab, é, 😀, \x0b and \x7f'


def stage_accounts(connection: duckdb.DuckDBPyConnection, number: int = 5, tenant: str = "north") -> None:
    """Accounts with records of every entity; texts are odd."""
    for at in range(number):
        account = f"{tenant}-{at:02}"
        staged(
            connection,
            "accounts",
            {"account_id": account, "account_name": f"{ODD} {at}", "tenant_id": tenant, "plan": "pro"},
        )
        staged(
            connection,
            "usage_events",
            *(
                {
                    "event_id": f"{account}-{day}",
                    "account_id": account,
                    "user_id": "u1",
                    "event_name": "login",
                    "feature": "reports",
                    "quantity": at + 1,
                    "occurred_at": f"2026-06-{day:02} 10:00:00",
                }
                for day in range(1, 29, at + 1)
            ),
        )
        staged(
            connection,
            "invoices",
            {
                "invoice_id": f"{account} {ODD}",
                "account_id": account,
                "amount_due": 100 * at + 0.25,
                "currency": "EUR",
                "issued_at": "2026-05-01 00:00:00.123456",
                "due_at": f"2026-06-{at + 1:02}",
            },
        )
        staged(
            connection,
            "tickets",
            {"ticket_id": f"t-{account}", "account_id": account, "opened_at": "2026-06-20", "sentiment": "negative"},
        )
        staged(
            connection,
            "subscriptions",
            {
                "subscription_id": f"s-{account}",
                "account_id": account,
                "seats": 3 + at,
                "mrr": 1234.5,
                "currency": "EUR",
                "started_at": "2026-01-01",
                "renews_at": "2026-08-01",
            },
        )
        staged(
            connection,
            "interactions",
            {
                "interaction_id": f"i-{account}",
                "account_id": account,
                "contact_id": "c",
                "kind": "call",
                "occurred_at": "2026-02-01",
            },
        )
        staged(
            connection,
            "nps_responses",
            {
                "response_id": f"n-{account}",
                "account_id": account,
                "respondent_id": "r",
                "score": at,
                "responded_at": "2026-06-01",
            },
        )
        staged(
            connection,
            "tam_assessments",
            {"assessment_id": f"a-{account}", "account_id": account, "rag": "AMBER", "assessed_at": "2026-06-10"},
        )
    if not connection.execute("select 1 from staging.stg_features").fetchone():
        staged(connection, "features", {"feature": "reports", "module": "core"}, {"feature": "api"}, {"feature": "sso"})


def publish(connection: duckdb.DuckDBPyConnection, days: Sequence[date] = (DAY,), at: str = "2026-07-01 07:00") -> int:
    """Score the days, complete them and record their roots; returns the number of new roots."""
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    queue_usage_days(connection)
    engine, marts, span = DuckDbEngine(connection), load_models("marts"), (min(days), max(days))
    for name in INTERMEDIATE:
        run_model(connection, f"intermediate/{name}", days)
    engine.build(marts["csm_health_signals"], PARAMETERS, span, around=keep_revised_signals)
    score_days(engine, marts["csm_health_scores"], Config(), span, scored_at=moment)
    for day in days:
        connection.execute(
            "insert or replace into run.days_status values (?, ?, '', '', null, 'run', true, ?)",
            [day, COMPLETE, moment.replace(tzinfo=None)],
        )
    return record_roots(connection, days, PARAMETERS, moment)


def roots(connection: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    """The roots in the order in which they were written: tenant, day, accounts, root and previous root."""
    return connection.execute(
        "select tenant_id, as_of_date, accounts, root, previous_root from marts.csm_day_roots order by root_id"
    ).fetchall()


def receipt_lines(
    connection: duckdb.DuckDBPyConnection,
    tenant: str = "north",
    account: str | None = None,
    day: date = DAY,
    known_at: datetime | None = None,
) -> list[str]:
    """The receipts of a tenant, or of one account."""
    state = state_of(connection, tenant, day, known_at)
    return [one.line for one in issue(connection, state, PARAMETERS, account)]
