"""Sums and comparisons are exact at the bounds of the contract: no model overflows or rounds what the gate accepts."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from csm_core.contract import MAX_AMOUNT, MAX_COUNT
from csm_core.warehouse.models import SQL_ROOT, load_model
from tests.examples import examples
from tests.sql.harness import fresh, queue_usage_days, run_model, run_signals, staged
from tests.sql.test_model_cases import prepare

DAY = "2026-06-30"
# The most that a sum can be: as many records as the project is made for, each at the bound.
MOST_RECORDS = 1_000_000_000
MOST_COUNT = MOST_RECORDS * MAX_COUNT
MOST_AMOUNT = MOST_RECORDS * Decimal(MAX_AMOUNT)
COPIES = st.sampled_from([1, 2, 9_999, 10_001])
COUNTS = st.one_of(st.sampled_from([0, 1, 99, 100, 101, MOST_COUNT - 1, MOST_COUNT]), st.integers(0, MOST_COUNT))


@settings(max_examples=examples(12))
@given(
    copies=COPIES,
    quantity=st.sampled_from([1, MAX_COUNT]),
    quantity_before=st.sampled_from([1, MAX_COUNT]),
    seats=st.sampled_from([0, 1, MAX_COUNT]),
    mrr=st.sampled_from([Decimal(0), Decimal("0.01"), MAX_AMOUNT - Decimal("0.01"), Decimal(MAX_AMOUNT)]),
)
@example(copies=10_001, quantity=MAX_COUNT, quantity_before=MAX_COUNT, seats=MAX_COUNT, mrr=Decimal(MAX_AMOUNT))
def test_sums_of_many_records_are_exact(copies: int, quantity: int, quantity_before: int, seats: int, mrr: Decimal):
    with fresh() as connection:
        staged(connection, "accounts", {"account_id": "A", "account_name": "A", "tenant_id": "t"})
        staged(connection, "features", {"feature": "f"})
        for moment, amount in (("2026-06-20", quantity), ("2026-05-20", quantity_before)):
            connection.execute(
                "insert into staging.stg_usage_events by name select $moment || range as event_id, 'A' as account_id, "
                "'u' as user_id, 'login' as event_name, 'f' as feature, $amount as quantity, "
                "cast($moment as timestamp) as occurred_at from range($copies)",
                {"moment": moment, "amount": amount, "copies": copies},
            )
        connection.execute(
            "insert into staging.stg_subscriptions by name select 's' || range as subscription_id, 'A' as account_id, "
            "$seats as seats, $mrr as mrr, 'USD' as currency, timestamp '2026-01-01' as started_at from range($copies)",
            {"seats": seats, "mrr": mrr, "copies": copies},
        )
        queue_usage_days(connection)
        (row,) = run_signals(connection, [DAY])
        usage = run_model(connection, "intermediate/int_account_usage", [DAY])[0]
        features = run_model(connection, "intermediate/int_account_features", [DAY])[0]
        paid = run_model(connection, "intermediate/int_account_subscriptions", [DAY])[0]
    assert (usage["events_in_window"], usage["events_in_window_before"]) == (
        copies * quantity,
        copies * quantity_before,
    )
    assert features["events_in_window"] == copies * quantity
    assert (paid["seats"], paid["mrr"]) == (copies * seats, copies * mrr)
    assert row["usage_trend"] == trend(copies * quantity, copies * quantity_before)
    assert row["seats_utilization_rate"] == (min(1 / (copies * seats), 2.0) if seats else 0.5)


def trend(now: int, before: int) -> str:
    if now == 0:
        return "inactive"
    if 100 * now >= 110 * before:
        return "growing"
    return "declining" if 100 * now <= 90 * before else "stable"


def given_tables(connection: Any, model: str) -> None:
    """Empty tables of what a mart reads."""
    for dependency in load_model(SQL_ROOT / "marts" / f"{model}.sql", "marts").dependencies:
        prepare(connection, dependency)


def fill(connection: Any, table: str, *rows: dict[str, Any]) -> None:
    """Rows of a table; the columns that are left out are null."""
    names = list(rows[0])
    connection.executemany(
        f"insert into {table} ({', '.join(names)}) values ({', '.join('?' * len(names))})",
        [list(row.values()) for row in rows],
    )


# Beside counts of any size, those at the edges: 110 % and 90 % of the count before, and one to either side of them.
PAIRS = st.one_of(
    st.tuples(COUNTS, COUNTS),
    st.builds(
        lambda before, percent, off: (min(max(before * percent // 100 + off, 0), MOST_COUNT), before),
        COUNTS,
        st.sampled_from([90, 110]),
        st.sampled_from([-1, 0, 1]),
    ),
)


@settings(max_examples=examples(5))
@given(pairs=st.lists(PAIRS, min_size=50, max_size=50))
@example(pairs=[(MOST_COUNT, MOST_COUNT), (MOST_COUNT, 1), (1, MOST_COUNT), (9 * MOST_COUNT // 10 + 1, MOST_COUNT)])
def test_the_trend_is_exact_at_any_count(pairs: list[tuple[int, int]]) -> None:
    with fresh() as connection:
        given_tables(connection, "csm_health_signals")
        keys = [{"tenant_id": "t", "account_id": f"A{number:03}", "as_of_date": DAY} for number in range(len(pairs))]
        fill(connection, "intermediate.int_account_days", *keys)
        for facts in ("interactions", "nps", "tam"):
            fill(connection, f"intermediate.int_account_{facts}", *keys)
        fill(connection, "intermediate.int_account_invoices", *({**key, "ever_invoiced": False} for key in keys))
        fill(connection, "intermediate.int_account_support", *({**key, "scoped_sentiments": 0} for key in keys))
        fill(connection, "intermediate.int_account_subscriptions", *({**key, "seats": MOST_COUNT} for key in keys))
        fill(
            connection,
            "intermediate.int_account_usage",
            *(
                {
                    **key,
                    "events_in_window": now,
                    "events_in_window_before": before,
                    "active_users_in_window": 1,
                    "login_days_in_window": 0,
                    "ever_active": True,
                    "ever_logged_in": True,
                    "ever_named_user": True,
                    "tenant_ever_named_feature": True,
                }
                for key, (now, before) in zip(keys, pairs, strict=True)
            ),
        )
        found = run_model(connection, "marts/csm_health_signals", [DAY])
    assert [row["usage_trend"] for row in found] == [trend(now, before) for now, before in pairs]


@settings(max_examples=examples(5))
@given(
    accounts=st.lists(
        st.tuples(
            st.sampled_from([0, 1, 4, 5, 9, 10, MOST_RECORDS - 1, MOST_RECORDS]),
            st.one_of(st.sampled_from([1, 5, 10, 11, MOST_RECORDS, MOST_COUNT]), st.integers(1, MOST_COUNT)),
            st.decimals(0, MOST_AMOUNT, places=2),
        ),
        min_size=30,
        max_size=30,
    )
)
@example(
    accounts=[(MOST_RECORDS, 1, MOST_AMOUNT), (MOST_RECORDS, MOST_RECORDS, MOST_AMOUNT), (1, MOST_COUNT, Decimal(0))]
)
def test_seats_are_compared_exactly(accounts: list[tuple[int, int, Decimal]]) -> None:
    with fresh() as connection:
        given_tables(connection, "csm_expansion_opportunities")
        keys = [{"tenant_id": "t", "account_id": f"A{number:03}", "as_of_date": DAY} for number in range(len(accounts))]
        fill(connection, "intermediate.int_account_days", *keys)
        fill(connection, "marts.csm_health_signals", *({**key, "invoice_payment_status": "current"} for key in keys))
        fill(
            connection,
            "marts.csm_health_scores",
            *({**key, "rag": "GREEN", "churn_risk_level": "low", "should_alert": False} for key in keys),
        )
        fill(
            connection,
            "intermediate.int_account_usage",
            *(
                {**key, "events_in_window": 1, "active_users_in_window": one[0]}
                for key, one in zip(keys, accounts, strict=True)
            ),
        )
        fill(
            connection,
            "intermediate.int_account_subscriptions",
            *(
                {**key, "seats": one[1], "mrr": one[2], "currency": "USD"}
                for key, one in zip(keys, accounts, strict=True)
            ),
        )
        found = run_model(connection, "marts/csm_expansion_opportunities", [DAY])
    expected = {
        key["account_id"]: (
            "high" if users > seats else "medium" if 100 * users >= 90 * seats else "low",
            pytest.approx((-(-100 * users // 80) - seats) * 12 * float(mrr) / seats),
        )
        for key, (users, seats, mrr) in zip(keys, accounts, strict=True)
        if 100 * users > 80 * seats
    }
    assert {row["account_id"]: (row["confidence"], row["estimated_arr_impact"]) for row in found} == expected


@settings(max_examples=examples(5))
@given(amounts=st.lists(st.decimals(0, MOST_AMOUNT, places=2), min_size=1, max_size=20))
@example(amounts=[MOST_AMOUNT] * 20)
@example(amounts=[Decimal("0.01")] * 3)
def test_revenue_at_risk_is_exact(amounts: list[Decimal]) -> None:
    with fresh() as connection:
        given_tables(connection, "csm_portfolio_daily")
        keys = [{"tenant_id": "t", "account_id": f"A{number:03}", "as_of_date": DAY} for number in range(len(amounts))]
        fill(connection, "intermediate.int_account_days", *keys)
        fill(connection, "marts.csm_health_signals", *({**key, "signal_coverage": 1.0} for key in keys))
        fill(
            connection,
            "marts.csm_health_scores",
            *({**key, "score": 30.0, "rag": "RED", "churn_risk_level": "high", "should_alert": True} for key in keys),
        )
        fill(
            connection,
            "intermediate.int_account_subscriptions",
            *({**key, "mrr": mrr, "currency": "USD"} for key, mrr in zip(keys, amounts, strict=True)),
        )
        (row,) = run_model(connection, "marts/csm_portfolio_daily", [DAY])
    assert row["mrr_at_risk"] == sum(amounts)
    assert row["mean_score"] == 30.0
    assert row["as_of_date"] == date.fromisoformat(DAY)
