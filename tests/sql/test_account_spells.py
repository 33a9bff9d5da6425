"""Spells against their definition in plain Python: whether an account is a customer at the end of each day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.sql.harness import add_spells, fresh, run_model, staged

DAYS = [date(2026, 6, day) for day in range(1, 13)]
MOMENTS = st.builds(
    lambda day, hour: datetime(2026, 6, day, hour, tzinfo=UTC).replace(tzinfo=None),
    st.integers(1, 12),
    st.sampled_from([0, 9, 17]),
)
EVENTS = st.lists(st.tuples(st.sampled_from(["started", "churned", "returned"]), MOMENTS), max_size=5)


def is_customer(
    created_at: datetime | None, churned_at: datetime | None, events: list[tuple[str, datetime]], end: datetime
) -> bool:
    """Whether the account is a customer just before ``end``, from what happened until then."""
    ordered = sorted(events, key=lambda one: (one[1], one[0] != "churned", one[0]))
    beginning = datetime.min  # noqa: DTZ901  # warehouse times have no zone
    moments = [(moment, 1 if kind == "churned" else 2, kind != "churned") for kind, moment in events]
    if not ordered or ordered[0][0] != "started":
        moments.append((created_at or beginning, 0, True))
    if churned_at is not None:
        moments.append((max(churned_at, created_at or beginning), 1, False))
    return ([False] + [state for moment, _, state in sorted(moments) if moment < end])[-1]


@settings(max_examples=examples(40), deadline=None)
@given(created_at=st.none() | MOMENTS, churned_at=st.none() | MOMENTS, events=EVENTS)
def test_an_account_is_in_the_population_on_the_days_of_its_spells(created_at, churned_at, events):
    account: dict[str, Any] = {"account_id": "A", "account_name": "a", "tenant_id": "t"}
    with fresh() as connection:
        staged(connection, "accounts", {**account, "created_at": created_at, "churned_at": churned_at})
        for number, (kind, occurred_at) in enumerate(events):
            event = {"event_id": f"e{number}", "account_id": "A", "kind": kind, "occurred_at": occurred_at}
            staged(connection, "lifecycle_events", event)
        rows = run_model(connection, "intermediate/int_account_days", DAYS)
        run_model(connection, "intermediate/int_account_subscriptions", DAYS)
        left = [row for row in run_model(connection, "marts/csm_accounts_daily", DAYS) if not row["is_customer"]]
    ends = {day: datetime.combine(day + timedelta(days=1), datetime.min.time()) for day in DAYS}
    wanted = [day for day in DAYS if is_customer(created_at, churned_at, events, ends[day])]
    assert [row["as_of_date"] for row in rows] == wanted
    assert not {row["as_of_date"] for row in left} & set(wanted)
    if not events:
        assert wanted == [
            day
            for day in DAYS
            if (created_at is None or created_at.date() <= day) and (churned_at is None or churned_at.date() > day)
        ]


def test_analysts_read_spells_from_a_view_with_the_columns_of_the_contract():
    with fresh() as connection:
        staged(connection, "accounts", {"account_id": "A", "account_name": "a", "tenant_id": "t"})
        churn = {"event_id": "e", "account_id": "A", "kind": "churned", "occurred_at": "2026-06-03", "reason": "budget"}
        staged(connection, "lifecycle_events", churn)
        # A second build replaces the table, and the view shows the new one.
        for _ in range(2):
            add_spells(connection)
        rows = connection.execute("from staging.account_spells")
        columns = [column[0] for column in rows.description]
        assert rows.fetchall() == [("A", None, datetime(2026, 6, 3, tzinfo=UTC).replace(tzinfo=None), "budget")]
        described = connection.execute(
            "select column_name from duckdb_columns() where table_name = 'account_spells' and comment is not null "
            "order by column_index"
        ).fetchall()
    assert columns == ["account_id", "started_at", "ended_at", "reason"] == [name for (name,) in described]
