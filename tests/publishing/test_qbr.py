"""The text of a business review says what its row says, for rows with everything and rows with nothing."""

from datetime import date
from typing import Any

import pytest

from csm_core.config import Config
from csm_core.publishing.qbr import NEXT_STEPS, compose, load_qbrs
from csm_core.warehouse.database import Warehouse
from tests.publishing.notion.publication import DAY, fill

UNUSED: dict[str, Any] = {
    "feature": "api",
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
}


def test_a_fall_is_said_with_its_numbers_and_path():
    content = compose({**ROW, "down_signal_1": "usage_trend", "down_points_1": -7.0}, [], [])
    assert "fell from 72.0 (GREEN) to 64.5 (AMBER), 7.5 points" in content.health_summary
    assert "Band changes: GREEN → AMBER; scores between 60.0 and 74.0." in content.health_summary
    assert "Largest losses: usage trend (-7.0)." in content.health_summary
    assert content.health_rag == "AMBER"


def test_an_account_that_was_not_scored_is_said_not_to_be():
    nothing = dict.fromkeys(
        ["score_start", "score_end", "rag_start", "rag_end", "rag_path", "health_start_date", "health_end_date"]
    )
    content = compose({**ROW, **nothing}, [], [])
    assert content.health_summary == "The account was not scored between 2026-04-01 and 2026-06-30."
    assert content.health_rag is None


def test_metrics_are_against_the_period_before():
    metrics = compose(ROW, [], []).roi_metrics
    assert metrics == {
        "Active users": "7 (previous period: 0)",
        "Events": "110 (previous period: 100, +10 %)",
        "Features used": "4 (previous period: the same)",
        "Tickets solved": "2 (previous period: 0)",
        "Median hours to solve a ticket": "20.9",
    }


def test_users_are_left_out_where_nobody_says_who_used_it():
    nobody = {**ROW, "active_users": 0, "active_users_previous": 0}
    assert "Active users" not in compose(nobody, [], []).roi_metrics
    assert compose({**nobody, "events": 0}, [], []).roi_metrics["Active users"] == "none"
    left = compose({**nobody, "active_users_previous": 5}, [], []).roi_metrics
    assert left["Active users"] == "0 (previous period: 5, -100 %)"


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


def test_the_scorecard_says_use_and_others():
    entry = {
        "feature": "api",
        "module": "integrations",
        "adopted": True,
        "users_in_window": 1,
        "events_in_window": 12,
        "window_days": 28,
        "portfolio_adoption_rate": 0.555,
    }
    idle = {
        "feature": "chat",
        "module": None,
        "adopted": False,
        "users_in_window": 0,
        "events_in_window": 0,
        "window_days": None,
        "portfolio_adoption_rate": None,
    }
    scorecard = compose(ROW, [entry, idle], []).feature_adoption_scorecard
    assert scorecard["api"] == {"used": "12 times by 1 user in 28 days", "in use at": "56 % of customers"}
    assert scorecard["chat"] == {"not used": "in the adoption window"}


def test_next_steps_come_from_opportunities_and_then_from_weak_signals():
    opportunity = {"recommended_talk_track": "Offer seats.", "evidence": "18 users on 20 seats."}
    content = compose({**ROW, "weak_signal_1": "nps_score"}, [], [opportunity])
    assert content.expansion_next_steps == ("Offer seats. 18 users on 20 seats.", NEXT_STEPS["nps_score"])


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
    assert any("setup of api" in step for step in compose(ROW, [entry], []).expansion_next_steps) is is_named


def test_the_steps_of_integrations_follow_the_opportunities_and_round_down():
    opportunity = {"recommended_talk_track": "Offer seats.", "evidence": "18 users on 20 seats."}
    entries = [
        {**UNUSED, "feature": feature, "portfolio_adoption_rate": rate}
        for feature, rate in (("api", 0.999), ("chat", 0.6), ("crm", 0.6))
    ]
    steps = compose({**ROW, "weak_signal_1": "nps_score"}, entries, [opportunity]).expansion_next_steps
    assert steps == (
        "Offer seats. 18 users on 20 seats.",
        "Offer help with the setup of api: it is in the plan and not used, and 99 % of customers with it in their "
        "plan use it.",
        "Offer help with the setup of chat: it is in the plan and not used, and 60 % of customers with it in their "
        "plan use it.",
        NEXT_STEPS["nps_score"],
    )


def test_a_renewal_is_named_with_its_date():
    near = {
        "trigger": "contract_proximity",
        "period": "Renewal 2026-09-15",
        "days_to_renewal": 76,
        "renewal_date": date(2026, 9, 15),
    }
    assert "renews on 2026-09-15, in 76 days" in compose({**ROW, **near}, [], []).health_summary


def test_every_next_step_is_a_sentence():
    assert all(step.endswith(".") for step in NEXT_STEPS.values())
