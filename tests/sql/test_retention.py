"""``csm_retention_monthly`` of five accounts, worked out by hand from their subscriptions."""

from datetime import date
from decimal import Decimal

import pytest

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
