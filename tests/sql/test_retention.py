"""``csm_retention_monthly`` of five accounts, worked out by hand from their subscriptions."""

from datetime import date
from decimal import Decimal

import pytest

from csm_core.warehouse.fx_rates import store_rates
from tests.sql.harness import fresh, run_model, staged, table
from tests.sql.test_model_cases import prepare

# Account, MRR, first day and day of the end. A stays, B grows in November, C shrinks in February, D leaves in March, E
# pauses from January to May and comes back for less. N is new in June 2026.
SUBSCRIPTIONS = (
    ("A", "100.00", "2025-08-10", None),
    ("B", "200.00", "2025-08-10", "2025-11-20"),
    ("B", "260.00", "2025-11-20", None),
    ("C", "300.00", "2025-08-10", "2026-02-10"),
    ("C", "240.00", "2026-02-10", None),
    ("D", "150.00", "2025-08-10", "2026-03-10"),
    ("E", "250.00", "2025-08-10", "2026-01-15"),
    ("E", "200.00", "2026-05-01", None),
    ("N", "999.00", "2026-06-01", None),
)


@pytest.fixture(scope="module")
def retention():
    with fresh() as connection:
        prepare(connection, "marts.csm_health_scores")
        table(connection, "marts.csm_health_scores", [{"account_id": "A", "as_of_date": date(2026, 8, 31)}])
        for account in "ABCDEN":
            staged(
                connection,
                "accounts",
                {"account_id": account, "account_name": account, "tenant_id": "t", "segment": "smb"},
            )
        for number, (account, mrr, started, ended) in enumerate(SUBSCRIPTIONS):
            row = {"subscription_id": str(number), "account_id": account, "mrr": Decimal(mrr), "currency": "USD"}
            staged(connection, "subscriptions", {**row, "started_at": started, "ended_at": ended})
        run_model(connection, "marts/csm_revenue_movements")
        rows = run_model(connection, "marts/csm_retention_monthly")
    return {(str(row["month"]), row["window_months"]): row for row in rows}


@pytest.mark.parametrize(
    ("month", "window", "start", "retained", "end", "accounts"),
    [
        # B has 60 more: 1,000 becomes 1,060.
        ("2025-11-01", 1, 1000, 1000, 1060, (5, 5)),
        # E pauses: 250 of 1,060 are gone.
        ("2026-01-01", 1, 1060, 810, 810, (5, 4)),
        # C has 60 less.
        ("2026-02-01", 1, 810, 750, 750, (4, 4)),
        # D leaves with 150.
        ("2026-03-01", 1, 750, 600, 600, (4, 3)),
        # E comes back, but had nothing at the start of the month.
        ("2026-05-01", 1, 600, 600, 600, (3, 3)),
        # N comes in June and counts from July on: A, B, C, E and N are 100 + 260 + 240 + 200 + 999.
        ("2026-06-01", 1, 800, 800, 800, (4, 4)),
        ("2026-07-01", 1, 1799, 1799, 1799, (5, 5)),
        # Over the year: A 100 of 100, B 200 of 200 and 60 more, C 240 of 300, D 0 of 150, E 200 of 250.
        ("2026-08-01", 12, 1000, 740, 800, (5, 4)),
    ],
)
def test_retention_is_what_was_worked_out_by_hand(retention, month, window, start, retained, end, accounts):
    row = retention[month, window]
    assert (row["mrr_start"], row["mrr_retained"], row["mrr_end"]) == (start, retained, end)
    assert (row["accounts_start"], row["accounts_end"]) == accounts
    assert row["gross_revenue_retention"] == retained / start
    assert row["net_revenue_retention"] == end / start
    assert row["logo_retention"] == accounts[1] / accounts[0]


def test_every_month_after_the_first_has_a_window_of_a_month_and_the_last_one_of_twelve(retention):
    assert sorted(month for month, window in retention if window == 1) == [
        *(f"2025-{month:02}-01" for month in range(9, 13)),
        *(f"2026-{month:02}-01" for month in range(1, 9)),
    ]
    assert [month for month, window in retention if window == 12] == ["2026-08-01"]
    assert all(row["gross_revenue_retention"] <= min(1, row["net_revenue_retention"]) for row in retention.values())


# The same months in three currencies, with EUR at 1.10 and JPY at 0.006 USD, and in SEK without a rate. E grows, J
# shrinks, U leaves, S stays, and M moves from EUR to USD.
CONVERTED = (
    ("E", "100.00", "EUR", "2025-08-10", "2026-02-10"),
    ("E", "150.00", "EUR", "2026-02-10", None),
    ("J", "50000.00", "JPY", "2025-08-10", "2026-02-10"),
    ("J", "40000.00", "JPY", "2026-02-10", None),
    ("U", "200.00", "USD", "2025-08-10", "2026-02-10"),
    ("S", "900.00", "SEK", "2025-08-10", None),
    ("M", "10.01", "EUR", "2025-08-10", "2026-02-10"),
    ("M", "11.01", "USD", "2026-02-10", None),
)


@pytest.fixture(scope="module")
def converted_retention():
    with fresh() as connection:
        rates = {"EUR": Decimal("1.10"), "JPY": Decimal("0.006"), "USD": Decimal(1)}
        store_rates(connection, rates, "USD")
        prepare(connection, "marts.csm_health_scores")
        table(connection, "marts.csm_health_scores", [{"account_id": "E", "as_of_date": date(2026, 8, 31)}])
        for account in "EJUSM":
            row = {"account_id": account, "account_name": account, "tenant_id": "t", "segment": "smb"}
            staged(connection, "accounts", row)
        for number, (account, mrr, currency, started, ended) in enumerate(CONVERTED):
            row = {"subscription_id": str(number), "account_id": account, "mrr": Decimal(mrr), "currency": currency}
            staged(connection, "subscriptions", {**row, "started_at": started, "ended_at": ended})
        run_model(connection, "marts/csm_revenue_movements")
        rows = run_model(connection, "marts/csm_retention_monthly")
    return {row["currency"]: row for row in rows if (str(row["month"]), row["window_months"]) == ("2026-02-01", 1)}


@pytest.mark.parametrize(
    ("currency", "amounts", "converted"),
    [
        # E has 150 of 100, M has none of 10.01: 110.01 EUR are 110.00 and 11.01 USD, 150 EUR are 165 USD.
        ("EUR", ("110.01", "100", "150"), ("121.01", "110", "165")),
        # 50,000 JPY are 300 USD, 40,000 are 240.
        ("JPY", ("50000", "40000", "40000"), ("300", "240", "240")),
        # U leaves. M is new in USD, so it does not count there.
        ("USD", ("200", "0", "0"), ("200", "0", "0")),
        ("SEK", ("900", "900", "900"), (None, None, None)),
    ],
)
def test_converted_amounts_are_what_was_worked_out_by_hand(converted_retention, currency, amounts, converted):
    row = converted_retention[currency]
    names = ("mrr_start", "mrr_retained", "mrr_end")
    assert tuple(row[name] for name in names) == tuple(map(Decimal, amounts))
    assert tuple(row[f"{name}_reporting"] for name in names) == tuple(one and Decimal(one) for one in converted)
    assert row["reporting_currency"] == "USD"


def test_the_retention_over_all_currencies_divides_the_sums_of_converted_amounts(converted_retention):
    rows = [row for row in converted_retention.values() if row["mrr_start_reporting"] is not None]
    start, retained, end = (
        sum(row[f"{name}_reporting"] for row in rows) for name in ("mrr_start", "mrr_retained", "mrr_end")
    )
    assert (start, retained, end) == (Decimal("621.01"), Decimal("350.00"), Decimal("405.00"))


def test_without_rates_no_amount_is_converted(retention):
    names = ("mrr_start_reporting", "mrr_retained_reporting", "mrr_end_reporting", "reporting_currency")
    assert {row[name] for row in retention.values() for name in names} == {None}
