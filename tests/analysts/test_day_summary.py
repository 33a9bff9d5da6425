"""The summary of a day: mean score, MRR at risk, and signals without data."""

from datetime import date
from decimal import Decimal

from csm_core.analysts.day_summary import summarise_day
from csm_core.analysts.day_summary_text import day_lines
from tests.sql.harness import fresh, table
from tests.sql.test_model_cases import prepare

DAY, BEFORE = date(2026, 6, 30), date(2026, 6, 29)
TABLES = (
    "marts.csm_health_scores",
    "marts.csm_health_signals",
    "intermediate.int_account_subscriptions",
    "intermediate.int_account_days",
)


def summary_of(scores, signals=(), subscriptions=()):
    with fresh() as connection:
        for name, rows in zip(TABLES, (scores, signals, subscriptions, ()), strict=True):
            prepare(connection, name)
            table(connection, name, [{"tenant_id": "t", "as_of_date": DAY, **row} for row in rows])
        return summarise_day(connection, DAY)


def scored(account, score, risk="low", day=DAY):
    return {"account_id": account, "as_of_date": day, "score": score, "rag": "AMBER", "churn_risk_level": risk}


def test_the_mean_score_is_compared_with_the_day_before():
    summary = summary_of([scored("A", 60.0), scored("B", 71.0), scored("A", 62.0, day=BEFORE)])
    assert (summary.mean_score, summary.mean_score_before) == (65.5, 62.0)
    assert day_lines(summary)[0].endswith("mean score 65.5 (+3.5)")
    alone = summary_of([scored("A", 60.0)])
    assert alone.mean_score_before is None
    assert day_lines(alone)[0].endswith("mean score 60.0")
    equal = summary_of([scored("A", 60.01), scored("A", 60.04, day=BEFORE)])
    assert day_lines(equal)[0].endswith("mean score 60.0 (=)")


def test_the_mrr_at_risk_is_summed_by_currency_never_across():
    summary = summary_of(
        [scored("A", 60.0, "high"), scored("B", 50.0, "critical"), scored("C", 50.0, "high"), scored("D", 90.0)],
        subscriptions=[
            {"account_id": "A", "mrr": Decimal("100.10"), "currency": "EUR"},
            {"account_id": "B", "mrr": Decimal("0.25"), "currency": "EUR"},
            {"account_id": "C", "mrr": Decimal("900.00"), "currency": "USD"},
            {"account_id": "D", "mrr": Decimal("5000.00"), "currency": "USD"},
        ],
    )
    assert summary.mrr_at_risk == {"USD": Decimal("900.00"), "EUR": Decimal("100.35")}
    assert "At risk    MRR of accounts with high or critical churn risk: 900.00 USD, 100.35 EUR" in day_lines(summary)
    assert summary.as_dict()["mrr_at_risk"] == {"USD": "900.00", "EUR": "100.35"}
    assert (summary.as_dict()["mrr_at_risk_reporting"], summary.reporting_currency) == (None, None)
    assert not any(line.startswith("No rate") for line in day_lines(summary))


def test_the_mrr_at_risk_is_also_converted_and_accounts_without_a_rate_are_counted():
    summary = summary_of(
        [scored(name, 60.0, "high") for name in "ABC"] + [scored(name, 90.0) for name in "DEF"],
        subscriptions=[
            {
                "account_id": account,
                "mrr": mrr and Decimal(mrr),
                "currency": currency,
                "mrr_reporting": converted and Decimal(converted),
                "reporting_currency": "USD",
            }
            for account, mrr, currency, converted in (
                ("A", "100.10", "EUR", "108.11"),
                ("B", "900.00", "USD", "900.00"),
                ("C", "7.00", "SEK", None),
                ("D", "500.00", "USD", "500.00"),
                ("E", "8.00", "SEK", None),
                ("F", None, None, None),
            )
        ],
    )
    assert summary.mrr_at_risk == {"USD": Decimal("900.00"), "EUR": Decimal("100.10"), "SEK": Decimal("7.00")}
    lines = day_lines(summary)
    assert (
        "At risk    MRR of accounts with high or critical churn risk: 900.00 USD, 100.10 EUR, 7.00 SEK; "
        "converted 1,008.11 USD"
    ) in lines
    assert "No rate    the MRR of 2 accounts is not converted; add the rates of their currencies to fx" in lines
    stated = summary.as_dict()
    assert (stated["mrr_at_risk_reporting"], stated["reporting_currency"]) == ("1008.11", "USD")
    assert stated["accounts_without_rate"] == 2


def test_signals_without_data_are_counted_and_the_most_frequent_are_listed():
    missing = ["nps_score,usage_trend", "nps_score", "", "nps_score,usage_trend,days_to_renewal,support_sentiment"]
    summary = summary_of(
        [scored(name, 60.0) for name in "ABCD"],
        signals=[
            {"account_id": name, "missing_signals": text, "signal_coverage": share}
            for name, text, share in zip("ABCD", missing, (0.8, 0.9, 1.0, 0.5), strict=True)
        ],
    )
    assert summary.missing == {"nps_score": 3, "usage_trend": 2, "days_to_renewal": 1, "support_sentiment": 1}
    assert summary.mean_coverage == 0.8
    assert (
        "No data    NPS 3 accounts, usage trend 2 accounts, time to renewal 1 account, and 1 more; mean coverage 80%"
    ) in day_lines(summary)
    assert not any(line.startswith("No data") for line in day_lines(summary_of([scored("A", 60.0)])))


def test_a_renewal_that_is_too_near_for_a_review_is_a_note_to_call():
    renewals = [
        {"account_id": "A", "renewal_date": date(2026, 7, 5), "days_to_renewal": 5},
        {"account_id": "B", "renewal_date": date(2026, 6, 30), "days_to_renewal": 0},
        {"account_id": "C", "renewal_date": date(2026, 7, 14), "days_to_renewal": 14},
        {"account_id": "D", "renewal_date": date(2026, 7, 4), "days_to_renewal": 4},
        {"account_id": "E", "renewal_date": date(2026, 6, 29), "days_to_renewal": -1},
    ]
    review = {"account_id": "D", "period": "Renewal 2026-07-04", "trigger": "contract_proximity"}
    with fresh() as connection:
        rows = {
            "marts.csm_health_scores": [scored(one["account_id"], 60.0) for one in renewals],
            "marts.csm_health_signals": [],
            "intermediate.int_account_subscriptions": renewals,
            "intermediate.int_account_days": [
                {"account_id": one["account_id"], "account_name": f"Name {one['account_id']}"} for one in renewals
            ],
            "marts.csm_qbr": [{**review, "as_of_date": date(2026, 4, 5), "renewal_date": date(2026, 7, 4)}],
        }
        for name in rows:
            prepare(connection, name)
        for name, given in rows.items():
            table(connection, name, [{"tenant_id": "t", "as_of_date": DAY, **row} for row in given])
        summary = summarise_day(connection, DAY)
        wide = summarise_day(connection, DAY, 15)
    assert [line for line in day_lines(summary) if "call now" in line] == [
        "Renewal    Name B (B): Renewal on 2026-06-30 is today: too late for a review, call now.",
        "Renewal    Name A (A): Renewal on 2026-07-05 is in 5 days: too late for a review, call now.",
    ]
    assert [one["account_id"] for one in summary.as_dict()["near_renewals"]] == ["B", "A"]
    assert [one.account_id for one in wide.near_renewals] == ["B", "A", "C"]
