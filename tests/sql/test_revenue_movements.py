"""``csm_revenue_movements`` leads from one month's MRR to the next to the cent, whatever customers do in 18 months.

The same is true of the amounts that are converted to the reporting currency, whatever the rates are.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.warehouse.fx_rates import store_rates
from tests.examples import examples
from tests.sql.harness import fresh, run_model, staged, table
from tests.sql.test_model_cases import prepare

FIRST, LAST = date(2025, 3, 1), date(2026, 8, 20)  # 18 months, the last of them unfinished
MONTHS = [date(2025 + number // 12, number % 12 + 1, 1) for number in range(2, 20)]
CURRENCIES = ("EUR", "JPY", "USD")
MOVEMENTS = {"new": 1, "expansion": 1, "contraction": -1, "churn": -1, "reactivation": 1}

# What happens to a subscription: for how many days it has a price in cents (0: a pause, else a plan or a discount).
TERMS = st.lists(
    st.tuples(st.integers(1, 200), st.sampled_from([0, 0, 1, 999, 10_000, 10_001, 12_345, 99_999_999])),
    min_size=1,
    max_size=6,
)
SUBSCRIPTIONS = st.tuples(st.sampled_from(CURRENCIES), st.integers(0, 500), TERMS, st.booleans())
ACCOUNTS = st.tuples(st.lists(SUBSCRIPTIONS, min_size=1, max_size=3), st.one_of(st.none(), st.integers(0, 540)))

# Any rates to USD, of both currencies or of one: an amount in a currency without a rate is not converted.
RATES = st.dictionaries(
    st.sampled_from(["EUR", "JPY"]),
    st.one_of(
        st.sampled_from(list(map(Decimal, ("1.08", "0.00671141", "0.5", "0.00000001", "999999.99999999")))),
        st.decimals("0.00000001", "2000", places=8),
    ),
    min_size=1,
)


def month_end(month: date) -> date:
    return min((month.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1), LAST)


def records_of(number: int, account: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The staged account and its subscriptions, a row for each price."""
    subscriptions, churned_after = account
    account_id = f"A{number}"
    churned = FIRST + timedelta(days=churned_after) if churned_after is not None else None
    rows: list[dict[str, Any]] = []
    for currency, begins, terms, goes_on in subscriptions:
        day = FIRST + timedelta(days=begins)
        for place, (days, cents) in enumerate(terms):
            ends = None if goes_on and place == len(terms) - 1 else day + timedelta(days=days)
            if cents:
                rows.append(
                    {
                        "subscription_id": f"{account_id}/{len(rows)}",
                        "account_id": account_id,
                        "mrr": Decimal(cents) / 100,
                        "currency": currency,
                        "started_at": day,
                        "ended_at": ends,
                    }
                )
            day += timedelta(days=days)
    return {"account_id": account_id, "account_name": "a", "tenant_id": "t", "churned_at": churned}, rows


def balance(account: dict[str, Any], rows: list[dict[str, Any]], currency: str, day: date) -> Decimal:
    """The MRR of an account in a currency at the end of a day."""
    if account["churned_at"] and account["churned_at"] <= day:
        return Decimal(0)
    return sum(
        (
            row["mrr"]
            for row in rows
            if row["currency"] == currency
            and row["started_at"] <= day
            and (row["ended_at"] is None or row["ended_at"] > day)
        ),
        Decimal(0),
    )


def expected_of(account: dict[str, Any], rows: list[dict[str, Any]], currency: str) -> list[tuple[Any, ...]]:
    """Month, start, movement, its amount and end, by the words of the definition."""
    found: list[tuple[Any, ...]] = []
    had_some = False
    before = balance(account, rows, currency, FIRST - timedelta(days=1))
    for month in MONTHS:
        after = balance(account, rows, currency, month_end(month))
        if before or after:
            if before and after:
                kind = "expansion" if after > before else "contraction" if after < before else None
            else:
                kind = "churn" if before else "reactivation" if had_some else "new"
            found.append((month, before, kind, abs(after - before), after))
        had_some = had_some or after > 0
        before = after
    return found


def movements_of(records: list[Any], rates: Mapping[str, Decimal]) -> list[dict[str, Any]]:
    """The rows of the mart, with rates to USD if there are any."""
    with fresh() as connection:
        if rates:
            store_rates(connection, {**rates, "USD": Decimal(1)}, "USD")
        prepare(connection, "marts.csm_health_scores")
        table(connection, "marts.csm_health_scores", [{"account_id": "A0", "as_of_date": LAST}])
        for account, rows in records:
            staged(connection, "accounts", account)
            staged(connection, "subscriptions", *rows)
        return run_model(connection, "marts/csm_revenue_movements")


@settings(max_examples=examples(30))
@given(st.lists(ACCOUNTS, min_size=1, max_size=4))
def test_movements_lead_from_month_to_month_to_the_cent(accounts):
    records = [records_of(number, account) for number, account in enumerate(accounts)]
    found = movements_of(records, {})
    amounts = ["mrr_start", *MOVEMENTS, "mrr_end"]
    assert all(isinstance(row[name], Decimal) for row in found for name in amounts)
    assert {row[f"{name}_reporting"] for row in found for name in amounts} <= {None}
    assert {row["reporting_currency"] for row in found} <= {None}

    by_account: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in found:
        by_account[row["account_id"], row["currency"]].append(row)
        assert row["month_end"] == month_end(row["month"])
    for account, rows in records:
        for currency in CURRENCIES:
            own = by_account.pop((account["account_id"], currency), [])
            assert [
                (
                    row["month"],
                    row["mrr_start"],
                    *next(((name, row[name]) for name in MOVEMENTS if row[name]), (None, 0)),
                    row["mrr_end"],
                )
                for row in own
            ] == expected_of(account, rows, currency)
            # Where months follow each other, one starts with what the other ended with.
            for earlier, later in pairwise(own):
                follows = later["month"] == month_end(earlier["month"]) + timedelta(days=1)
                assert later["mrr_start"] == (earlier["mrr_end"] if follows else 0)
    assert not by_account

    for keys in (("account_id", "month", "currency"), ("month", "currency"), ("currency",), ()):
        sums: dict[tuple[Any, ...], Decimal] = defaultdict(Decimal)
        for row in found:
            moved = sum(sign * row[name] for name, sign in MOVEMENTS.items())
            sums[tuple(row[key] for key in keys)] += row["mrr_start"] + moved - row["mrr_end"]
        assert set(sums.values()) <= {Decimal(0)}


@settings(max_examples=examples(40))
@given(st.lists(ACCOUNTS, min_size=1, max_size=4), RATES)
def test_converted_movements_lead_from_month_to_month_to_the_cent(accounts, rates):
    records = [records_of(number, account) for number, account in enumerate(accounts)]
    found = movements_of(records, rates)
    amounts = ["mrr_start", *MOVEMENTS, "mrr_end"]
    rated = {**rates, "USD": Decimal(1)}
    by_currency: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in found:
        assert row["reporting_currency"] == "USD"
        converted = {name: row[f"{name}_reporting"] for name in amounts}
        if row["currency"] not in rated:
            assert set(converted.values()) == {None}
            continue
        by_currency[row["account_id"], row["currency"]].append(row)
        # A balance is converted; a movement is the difference of two converted balances, in its own direction.
        for name in ("mrr_start", "mrr_end"):
            exact = row[name] * rated[row["currency"]]
            assert converted[name] == exact.quantize(Decimal("0.01"), ROUND_HALF_UP)
        assert all(converted[name] >= 0 for name in amounts)
        assert all(row[name] or not converted[name] for name in amounts)
        if row["currency"] == "USD":
            assert all(converted[name] == row[name] for name in amounts)
    for own in by_currency.values():
        for earlier, later in pairwise(own):
            follows = later["month"] == month_end(earlier["month"]) + timedelta(days=1)
            assert later["mrr_start_reporting"] == (earlier["mrr_end_reporting"] if follows else 0)

    # Sums over currencies, too.
    for keys in (("account_id", "month", "currency"), ("account_id", "month"), ("month",), ()):
        sums: dict[tuple[Any, ...], Decimal] = defaultdict(Decimal)
        for row in found:
            if row["currency"] in rated:
                moved = sum(sign * row[f"{name}_reporting"] for name, sign in MOVEMENTS.items())
                left = row["mrr_start_reporting"] + moved - row["mrr_end_reporting"]
                sums[tuple(row[key] for key in keys)] += left
        assert set(sums.values()) <= {Decimal(0)}
