"""The text of a business review says what its row says, for rows with everything and rows with nothing."""

from datetime import date
from typing import Any

import pytest

from csm_core.config import Config, RoiMetric
from csm_core.publishing.customer_review import GOALS, JOINT_STEPS
from csm_core.publishing.internal_notes import NEXT_STEPS
from csm_core.publishing.notion.renderers import render_qbr_blocks
from csm_core.publishing.qbr import compose, load_qbrs
from csm_core.schemas import QBRContent
from csm_core.warehouse.database import Warehouse
from tests.publishing.notion.publication import DAY, fill

UNUSED: dict[str, Any] = {
    "feature": "api",
    "display_name": None,
    "module": "integrations",
    "adopted": False,
    "users_in_window": 0,
    "events_in_window": 0,
    "window_days": 28,
    "portfolio_adoption_rate": 0.5,
}
ROW: dict[str, Any] = {
    "account_id": "A1",
    "account_name": "One",
    "period": "Q2 2026",
    "trigger": "quarterly",
    "as_of_date": date(2026, 7, 1),
    "period_start": date(2026, 4, 1),
    "period_end": date(2026, 6, 30),
    "renewal_date": None,
    "days_to_renewal": None,
    "seats": None,
    "mrr": None,
    "currency": None,
    "health_start_date": date(2026, 4, 1),
    "health_end_date": date(2026, 6, 30),
    "score_start": 72.0,
    "score_end": 64.5,
    "rag_start": "GREEN",
    "rag_end": "AMBER",
    "rag_path": "GREEN → AMBER",
    "lowest_score": 60.0,
    "highest_score": 74.0,
    **{
        f"{direction}_{what}_{place}": None
        for direction in ("up", "down")
        for what in ("signal", "points")
        for place in (1, 2)
    },
    **{f"weak_signal_{place}": None for place in (1, 2, 3)},
    "active_users": 7,
    "active_users_previous": 0,
    "events": 110,
    "events_previous": 100,
    "adopted_features": 4,
    "adopted_features_previous": 4,
    "tickets_solved": 2,
    "tickets_solved_previous": 0,
    "median_hours_to_solve": 20.95,
    "median_hours_to_solve_previous": None,
    "open_tickets": 0,
    "oldest_open_days": None,
    "unpaid_invoices": 0,
    "days_past_due": None,
    "plan": None,
    "churn_risk_level": None,
    "churn_triggered_by": None,
}


def notes(content: QBRContent) -> dict[str, str]:
    return {note.topic: note.text for note in content.internal_notes}


def customer_text(content: QBRContent) -> str:
    """The blocks of the customer's part as one text."""
    return str(render_qbr_blocks(content.model_copy(update={"internal_notes": ()})))


def test_a_fall_is_said_with_its_numbers_and_path():
    content = compose({**ROW, "down_signal_1": "usage_trend", "down_points_1": -7.0}, [], [])
    health = notes(content)["Health"]
    assert "fell from 72.0 (GREEN) to 64.5 (AMBER), 7.5 points" in health
    assert "Band changes: GREEN → AMBER; scores between 60.0 and 74.0." in health
    assert "Largest losses: usage trend (-7.0)." in health
    assert content.health_rag == "AMBER"


def test_an_account_that_was_not_scored_is_said_not_to_be():
    nothing = dict.fromkeys(
        ["score_start", "score_end", "rag_start", "rag_end", "rag_path", "health_start_date", "health_end_date"]
    )
    content = compose({**ROW, **nothing}, [], [])
    assert notes(content)["Health"] == "The account was not scored between 2026-04-01 and 2026-06-30."
    assert content.health_rag is None


def test_metrics_are_against_the_period_before():
    content = compose(ROW, [], [])
    assert content.roi_metrics == {
        "Active users": "7 (previous period: 0)",
        "Actions": "110 (previous period: 100)",
        "Features used": "4 (previous period: the same)",
        "Tickets solved": "2 (previous period: 0)",
        "Median hours to solve a ticket": "20.9",
    }
    assert [tuple(row.model_dump().values()) for row in content.usage_comparison] == [
        ("Active users", "7", "0", "+7"),
        ("Actions", "110", "100", "+10 (+10 %)"),
        ("Features used", "4", "4", "no change"),
        ("Tickets solved", "2", "0", "+2"),
        ("Median hours to solve a ticket", "20.9", "–", "–"),
    ]


def test_figures_that_are_zero_in_both_periods_are_left_out():
    nobody = {**ROW, "active_users": 0, "active_users_previous": 0, "tickets_solved": 0}
    assert list(compose(nobody, [], []).roi_metrics) == ["Actions", "Features used", "Median hours to solve a ticket"]
    left = compose({**nobody, "active_users_previous": 5}, [], []).roi_metrics
    assert left["Active users"] == "0 (previous period: 5)"


def test_a_period_without_a_period_before_is_not_compared():
    new = {**ROW, **{name: 0 for name in ROW if name.endswith("_previous")}}
    content = compose({**new, "median_hours_to_solve_previous": None}, [], [])
    assert "There are no records of the period before to compare with." in content.health_summary
    assert {(row.previous_period, row.change) for row in content.usage_comparison} == {("–", "–")}
    assert content.roi_metrics["Actions"] == "110"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {},
            "From 1 April to 30 June 2026, 7 people in your team used the product for 110 actions in 4 features. "
            "That is 10 % more than in the period before. We solved 2 support tickets, half of them within 20.9 hours.",
        ),
        (
            {"active_users": 1, "events": 1, "adopted_features": 1, "tickets_solved": 1, "median_hours_to_solve": 60.0},
            "From 1 April to 30 June 2026, 1 person in your team used the product for 1 action in 1 feature. "
            "That is 99 % less than in the period before. We solved 1 support ticket, after 2.5 days.",
        ),
        (
            {"active_users": 0, "adopted_features": 0, "events": 100, "tickets_solved": 0},
            "From 1 April to 30 June 2026, your team used the product for 100 actions. That is as much as in the "
            "period before.",
        ),
        (
            {"events": 0, "tickets_solved": 0},
            "From 1 April to 30 June 2026, no use of the product is on record.",
        ),
    ],
)
def test_the_summary_for_the_customer_tells_the_results(changes, expected):
    assert compose({**ROW, **changes}, [], []).health_summary == expected


@pytest.mark.parametrize(
    ("tickets", "expected"),
    [
        ((0, None), "none"),
        ((1, 0), "1, open since today"),
        ((1, 1), "1, open for 1 day"),
        ((3, 12), "3, the oldest open for 12 days"),
    ],
)
def test_open_tickets_have_a_count_and_an_age(tickets, expected):
    row = {**ROW, "open_tickets": tickets[0], "oldest_open_days": tickets[1]}
    assert compose(row, [], []).overview["Open support tickets"] == expected


def test_a_review_without_the_count_of_open_tickets_does_not_name_them():
    assert "Open support tickets" not in compose({**ROW, "open_tickets": None}, [], []).overview


def test_the_customer_sees_no_score_no_band_and_no_other_customer():
    row = {
        **ROW,
        "churn_risk_level": "high",
        "churn_triggered_by": "both",
        "weak_signal_1": "invoice_payment_status",
        "unpaid_invoices": 2,
        "days_past_due": 34,
    }
    opportunity = {"recommended_talk_track": "Offer seats.", "evidence": "18 users on 20 seats."}
    content = compose(row, [{**UNUSED, "portfolio_adoption_rate": 0.745}], [opportunity])
    text = customer_text(content)
    for internal in (
        "AMBER",
        "GREEN",
        "64.5",
        "score",
        "risk",
        "invoice",
        "overdue",
        "Offer seats",
        "74 %",
        "customers",
    ):
        assert internal not in text
    assert notes(content) == {
        "Health": notes(content)["Health"],
        "Churn risk": "high: contract renewal near and usage declining",
        "Invoices": "2 open invoices, the oldest 34 days overdue.",
        "Weak signal, invoice payments": NEXT_STEPS["invoice_payment_status"],
        "Not used here, used by other customers with it in their plan": "api (74 %)",
        "Opportunity": "Offer seats. 18 users on 20 seats.",
    }


def test_a_signal_without_data_is_no_step_for_the_customer():
    content = compose({**ROW, "weak_signal_1": "nps_score", "weak_signal_2": "usage_trend"}, [], [], {"nps_score"})
    assert content.expansion_next_steps == (JOINT_STEPS["usage_trend"],)
    assert notes(content)["Weak signal, NPS"] == "no data; check the source of this signal."


def test_what_is_used_most_stands_first_then_what_others_use_most(tmp_path):
    with Warehouse.from_config(Config(warehouse=tmp_path / "w.duckdb")).connect() as marts:
        fill(marts, 1, reviews=1, features=5)
        marts.execute(
            "update marts.csm_feature_adoption set adopted = false, events_in_window = 0, portfolio_adoption_rate = "
            "case feature when 'feature 0003' then 0.9 when 'feature 0002' then 0.4 end where feature >= 'feature 0002'"
        )
        marts.execute("update marts.csm_feature_adoption set adopted = true where feature = 'feature 0000'")
        (review,) = load_qbrs(marts, DAY)
    order = [feature[-1] for feature in review.content.feature_adoption_scorecard]
    assert order == ["1", "0", "3", "2", "4"]


def test_the_scorecard_names_what_is_used_and_offers_the_rest():
    entry = {
        **UNUSED,
        "feature": "api",
        "display_name": "REST API",
        "adopted": True,
        "users_in_window": 1,
        "events_in_window": 12,
    }
    idle = {**UNUSED, "feature": "chat", "module": None, "window_days": None, "portfolio_adoption_rate": None}
    twin = {**UNUSED, "feature": "api_2", "display_name": "REST API"}
    scorecard = compose(ROW, [entry, idle, twin], []).feature_adoption_scorecard
    assert scorecard == {
        "REST API": {"used": "12 times by 1 person in the last 28 days"},
        "chat": {"available": "in your plan, not used recently"},
        "REST API (api_2)": {"available": "in your plan, not used in the last 28 days"},
    }


def test_next_steps_together_come_from_weak_signals():
    content = compose({**ROW, "weak_signal_1": "nps_score"}, [], [])
    assert content.expansion_next_steps == (JOINT_STEPS["nps_score"],)
    assert compose(ROW, [], []).expansion_next_steps == (GOALS,)


@pytest.mark.parametrize(
    ("module", "adopted", "rate", "is_named"),
    [
        ("integrations", False, 0.5, True),
        ("integrations", False, 0.499, False),
        ("integrations", False, None, False),
        ("integrations", True, 0.9, False),
        ("reports", False, 0.9, False),
        (None, False, 0.9, False),
    ],
)
def test_a_common_integration_of_the_plan_that_is_not_used_is_a_next_step(module, adopted, rate, is_named):
    entry = {**UNUSED, "module": module, "adopted": adopted, "portfolio_adoption_rate": rate}
    assert (
        any("when api should be set up" in step for step in compose(ROW, [entry], []).expansion_next_steps) is is_named
    )


def test_the_setup_of_two_integrations_comes_first_and_shares_are_rounded_down():
    entries = [
        {**UNUSED, "feature": feature, "display_name": name, "portfolio_adoption_rate": rate}
        for feature, name, rate in (("api", "REST API", 0.999), ("chat", None, 0.6), ("crm", None, 0.6))
    ]
    content = compose({**ROW, "weak_signal_1": "nps_score"}, entries, [])
    assert content.expansion_next_steps == (
        "You tell us when REST API should be set up; it is part of your plan, and we help.",
        "You tell us when chat should be set up; it is part of your plan, and we help.",
        JOINT_STEPS["nps_score"],
    )
    others = notes(content)["Not used here, used by other customers with it in their plan"]
    assert others == "REST API (99 %), chat (60 %), crm (60 %)"


def test_a_renewal_is_named_with_its_date():
    near = {
        "trigger": "contract_proximity",
        "period": "Renewal 2026-09-15",
        "days_to_renewal": 76,
        "renewal_date": date(2026, 9, 15),
    }
    content = compose({**ROW, **near}, [], [])
    assert "renews on 2026-09-15, in 76 days" in notes(content)["Health"]
    assert content.health_summary.endswith("Your contract renews on 15 September 2026.")
    assert content.overview["Renewal"] == "15 September 2026"


@pytest.mark.parametrize(("days", "note"), [(0, "today"), (1, "in 1 day"), (14, "in 14 days"), (15, None), (-1, None)])
def test_a_quarterly_review_notes_a_near_renewal(days, note):
    content = compose({**ROW, "renewal_date": date(2026, 7, 1), "days_to_renewal": days}, [], [])
    assert notes(content).get("Renewal") == (f"2026-07-01, {note}. Call now." if note else None)


def test_every_next_step_is_a_sentence():
    assert all(step.endswith(".") for step in (*NEXT_STEPS.values(), *JOINT_STEPS.values(), GOALS))


def test_configured_metrics_come_from_the_usage_of_their_features(tmp_path):
    roi = {
        "hours_saved": RoiMetric(feature="exports", minutes_per_event=6),
        "paper_saved": RoiMetric(feature="exports", value_per_event=0.25, unit="EUR"),
        "calls_avoided": RoiMetric(feature="unknown", value_per_event=1),
    }
    with Warehouse.from_config(Config(warehouse=tmp_path / "w.duckdb")).connect() as marts:
        fill(marts, 1, reviews=1)
        marts.execute(
            "create table intermediate.int_review_features as select 'default' as tenant_id, 'A0' as account_id, "
            "?::date as as_of_date, 'Q2 2026' as period, 'quarterly' as trigger, 'exports' as feature, "
            "1250::bigint as events, 1000::bigint as events_previous",
            [DAY],
        )
        (review,) = load_qbrs(marts, DAY, roi=roi)
    rows = {row.metric: row for row in review.content.usage_comparison}
    assert (rows["Hours saved"].this_period, rows["Hours saved"].previous_period) == ("125.0", "100.0")
    assert rows["Hours saved"].change == "+25.0 (+25 %)"
    assert (rows["Paper saved"].this_period, rows["Paper saved"].change) == ("312.50 EUR", "+62.50 (+25 %)")
    assert review.content.roi_metrics["Hours saved"] == "125.0 (previous period: 100.0)"
    assert "Calls avoided" not in review.content.roi_metrics
