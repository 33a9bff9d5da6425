"""The edges of the definitions: one microsecond to either side of every window, midnight, leap days, nothing at all."""

from typing import Any

import pytest

from csm_core.sql_models import SQL_ROOT, load_models
from tests.sql.harness import fresh, run_model, staged, table

DAY = "2026-06-30"
INTERMEDIATE = [
    "int_usage_daily",
    "int_usage_daily_accounts",
    "int_account_days",
    *(
        name
        for name in load_models("intermediate", SQL_ROOT)
        if name.startswith("int_account") and name != "int_account_days"
    ),
]


def signals(day: str = DAY, **records: list[dict[str, Any]]) -> dict[str, Any]:
    """The signals of account A on a day, from given staged records; A exists since 2020 unless given."""
    records.setdefault("accounts", [{"account_name": "A", "tenant_id": "default", "created_at": "2020-01-01"}])
    with fresh() as connection:
        for entity, given in records.items():
            for number, row in enumerate(given):
                known = {} if entity == "features" else {"account_id": "A"}
                key = {
                    "accounts": {},
                    "features": {},
                    "usage_events": {"event_id": f"e{number}", "event_name": "used", "quantity": 1},
                    "subscriptions": {"subscription_id": f"s{number}", "started_at": "2020-01-01"},
                    "invoices": {"invoice_id": f"i{number}"},
                    "tickets": {"ticket_id": f"t{number}"},
                    "nps_responses": {"response_id": f"n{number}", "respondent_id": "r"},
                    "interactions": {"interaction_id": f"x{number}", "kind": "call"},
                    "tam_assessments": {"assessment_id": f"m{number}"},
                }[entity]
                staged(connection, entity, {**known, **key, **row})
        table(
            connection,
            "run.pending_usage_days",
            [{"usage_date": str(event["occurred_at"])[:10]} for event in records.get("usage_events", [])],
        )
        for name in INTERMEDIATE:
            run_model(connection, f"intermediate/{name}", [day])
        found = run_model(connection, "marts/csm_health_signals", [day])
    assert len(found) == 1
    return found[0]


def events(*moments: str, **more: Any) -> list[dict[str, Any]]:
    return [{"occurred_at": moment, **more} for moment in moments]


def test_an_account_with_nothing_at_all():
    row = signals()
    assert {name: row[name] for name in ("feature_adoption_rate", "usage_trend", "seats_utilization_rate")} == {
        "feature_adoption_rate": 0.0,
        "usage_trend": "inactive",
        "seats_utilization_rate": 0.5,
    }
    assert (row["support_sentiment"], row["invoice_payment_status"], row["stakeholder_engagement"]) == (
        "neutral",
        "current",
        "low",
    )
    assert row["missing_signals"].count(",") == 9
    assert row["signal_coverage"] == 0.02


# [T - 28 days, T) for T = 2026-07-01 00:00
@pytest.mark.parametrize(
    ("moment", "rate"),
    [
        ("2026-06-03 00:00:00", 1.0),
        ("2026-06-02 23:59:59.999999", 0.0),
        ("2026-06-30 23:59:59.999999", 1.0),
        ("2026-07-01 00:00:00", 0.0),
    ],
)
def test_the_adoption_window(moment, rate):
    row = signals(features=[{"feature": "f"}], usage_events=events(moment, feature="f"))
    assert row["feature_adoption_rate"] == rate


@pytest.mark.parametrize(
    ("feature", "rate"),
    [
        ({"plan": None}, 0.5),
        ({"plan": "pro"}, 0.5),
        ({"plan": "basic"}, 1.0),
        ({"released_at": "2026-06-30 23:59:59.999999"}, 0.5),
        ({"released_at": "2026-07-01 00:00:00"}, 1.0),
    ],
)
def test_which_features_count(feature, rate):
    account = {"account_name": "A", "tenant_id": "default", "plan": "pro", "created_at": "2020-01-01"}
    used = events("2026-06-20", feature="f") + events("2026-06-20", feature="not in the catalogue")
    row = signals(accounts=[account], features=[{"feature": "f"}, {"feature": "g", **feature}], usage_events=used)
    assert row["feature_adoption_rate"] == rate


@pytest.mark.parametrize(
    ("now", "before", "trend"),
    [
        (110, 100, "growing"),
        (109, 100, "stable"),
        (91, 100, "stable"),
        (90, 100, "declining"),
        (0, 100, "inactive"),
        (1, 0, "growing"),
    ],
)
def test_the_trend(now, before, trend):
    used = events("2026-06-03 00:00:00", quantity=now) if now else []
    used += events("2026-06-02 23:59:59.999999", quantity=before) if before else []
    assert signals(usage_events=used)["usage_trend"] == trend


# 10 events of late against 9 before is growing; the one at the edge makes it 10 against 10 where it counts as before.
@pytest.mark.parametrize(
    ("moment", "trend"),
    [("2026-05-06 00:00:00", "stable"), ("2026-05-05 23:59:59.999999", "growing"), ("2026-06-03 00:00:00", "growing")],
)
def test_the_window_before(moment, trend):
    used = events("2026-06-10", quantity=10) + events("2026-05-20", quantity=9) + events(moment)
    assert signals(usage_events=used)["usage_trend"] == trend


@pytest.mark.parametrize(
    ("created", "trend"), [("2026-05-06 00:00:00", "growing"), ("2026-05-06 00:00:00.000001", "stable")]
)
def test_a_young_account_is_stable(created, trend):
    account = {"account_name": "A", "tenant_id": "default", "created_at": created}
    assert signals(accounts=[account], usage_events=events("2026-06-10"))["usage_trend"] == trend


@pytest.mark.parametrize(
    ("moments", "frequency"),
    [
        (["2026-04-02 00:00:00"], 90),
        (["2026-04-01 23:59:59.999999"], 91),
        (["2026-06-30 10:00", "2026-06-30 11:00"], 90),
        (["2026-06-30 23:59:59.999999", "2026-06-29"], 45),
        (["2026-07-01"], None),
    ],
)
def test_login_days(moments, frequency):
    assert signals(usage_events=events(*moments, event_name="login"))["login_frequency_days"] == frequency


@pytest.mark.parametrize(
    ("days_ago", "status"),
    [
        ("2026-06-30", "current"),
        ("2026-06-29 23:59", "overdue_30"),
        ("2026-05-31", "overdue_30"),
        ("2026-05-30", "overdue_60"),
        ("2026-04-02", "overdue_60"),
        ("2026-04-01", "overdue_90_plus"),
    ],
)
def test_invoices_by_days_past_due(days_ago, status):
    invoice = {"amount_due": 10, "issued_at": "2026-01-01", "due_at": days_ago}
    assert signals(invoices=[invoice])["invoice_payment_status"] == status


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"paid_at": "2026-06-30 23:59:59.999999"}, "current"),
        ({"paid_at": "2026-07-01 00:00:00"}, "overdue_30"),
        ({"voided_at": "2026-06-30 23:59:59.999999"}, "current"),
        ({"voided_at": "2026-07-01 00:00:00"}, "overdue_30"),
        ({"amount_due": 0}, "current"),
        ({"amount_due": -5}, "current"),
        ({"issued_at": "2026-07-01 00:00:00"}, "current"),
        ({"due_at": None}, "overdue_60"),
    ],
)
def test_which_invoices_count(change, status):
    invoice = {"amount_due": 10, "issued_at": "2026-05-20", "due_at": "2026-06-10", **change}
    assert signals(invoices=[invoice])["invoice_payment_status"] == status


@pytest.mark.parametrize(
    ("solved", "open_tickets"), [("2026-06-30 23:59:59.999999", 0), ("2026-07-01 00:00:00", 1), (None, 1)]
)
def test_a_ticket_solved_afterwards_is_open(solved, open_tickets):
    row = signals(tickets=[{"opened_at": "2026-06-01", "solved_at": solved}])
    assert row["open_ticket_count"] == open_tickets


@pytest.mark.parametrize(
    ("sentiments", "sentiment"),
    [
        (["positive", "neutral", "neutral", "neutral"], "neutral"),
        (["positive", "neutral", "neutral"], "positive"),
        (["negative", "neutral", "neutral", "neutral"], "neutral"),
        (["negative", "neutral", "neutral"], "negative"),
        (["critical", "negative", "negative", "negative"], "negative"),
        (["critical", "negative", "negative"], "critical"),
    ],
)
def test_sentiment_is_the_mean_at_its_edges(sentiments, sentiment):
    tickets = [{"opened_at": "2026-06-01", "solved_at": "2026-06-02", "sentiment": one} for one in sentiments]
    assert signals(tickets=tickets)["support_sentiment"] == sentiment


@pytest.mark.parametrize(
    ("opened", "solved", "sentiment"),
    [
        ("2026-04-02 00:00:00", "2026-04-03", "critical"),
        ("2026-04-01 23:59:59.999999", "2026-04-03", "neutral"),
        ("2025-01-01", None, "critical"),
        ("2026-07-01 00:00:00", None, "neutral"),
    ],
)
def test_which_tickets_have_a_say(opened, solved, sentiment):
    row = signals(tickets=[{"opened_at": opened, "solved_at": solved, "sentiment": "critical"}])
    assert row["support_sentiment"] == sentiment


@pytest.mark.parametrize(
    ("escalated", "count"),
    [
        ("2026-04-02 00:00:00", 1),
        ("2026-04-01 23:59:59.999999", 0),
        ("2026-06-30 23:59:59.999999", 1),
        ("2026-07-01", 0),
    ],
)
def test_escalations(escalated, count):
    row = signals(tickets=[{"opened_at": "2026-01-01", "solved_at": "2026-01-02", "escalated_at": escalated}])
    assert row["escalation_count_90_days"] == count


@pytest.mark.parametrize(
    ("subscription", "days"),
    [
        ({"renews_at": "2026-07-30 23:00"}, 30),
        ({"renews_at": "2026-06-20"}, -10),
        ({"renews_at": "2026-07-30", "ended_at": "2026-06-30 23:59:59.999999"}, None),
        ({"renews_at": "2026-07-30", "ended_at": "2026-07-01 00:00:00"}, 30),
        ({"renews_at": "2026-07-30", "started_at": "2026-07-01 00:00:00"}, None),
        ({"renews_at": None}, None),
    ],
)
def test_renewals(subscription, days):
    assert signals(subscriptions=[subscription])["days_to_renewal"] == days


@pytest.mark.parametrize(
    ("seats", "users", "rate"),
    [([2, 2], ["a", "b", "a", None], 0.5), ([1], ["a", "b", "c"], 2.0), ([0], ["a"], 0.5), ([None], ["a"], 0.5)],
)
def test_users_per_seat(seats, users, rate):
    used = [{"occurred_at": "2026-06-20", "user_id": user} for user in users]
    row = signals(subscriptions=[{"seats": number} for number in seats], usage_events=used)
    assert row["seats_utilization_rate"] == rate
    assert ("seats_utilization_rate" in row["missing_signals"]) == (seats in ([0], [None]))


@pytest.mark.parametrize(
    ("answers", "nps"),
    [
        ([("a", 8, "2026-06-01"), ("b", 9, "2026-06-01")], 9),
        ([("a", 2, "2026-06-01"), ("a", 10, "2026-06-02")], 10),
        ([("a", 7, "2026-01-02 00:00:00")], 7),
        ([("a", 7, "2026-01-01 23:59:59.999999")], None),
        ([("a", 7, "2026-06-01"), ("a", 0, "2026-07-01 00:00:00")], 7),
        ([("a", 0, "2026-06-01"), ("b", 1, "2026-06-01"), ("c", 0, "2026-06-01")], 0),
    ],
)
def test_nps_is_the_mean_of_the_latest_answers(answers, nps):
    given = [{"respondent_id": who, "score": score, "responded_at": when} for who, score, when in answers]
    assert signals(nps_responses=given)["nps_score"] == nps


@pytest.mark.parametrize(
    ("contacts", "engagement"),
    [
        ([("a", "champion"), ("b", None), ("c", None)], "high"),
        ([("a", "end_user"), ("b", None), ("c", None)], "medium"),
        ([("a", "champion"), ("b", None)], "medium"),
        ([(None, "champion")], "low"),
    ],
)
def test_engagement(contacts, engagement):
    given = [{"contact_id": who, "contact_role": role, "occurred_at": "2026-06-01"} for who, role in contacts]
    assert signals(interactions=given)["stakeholder_engagement"] == engagement


@pytest.mark.parametrize(("kind", "days"), [("call", 20), ("automated", None), ("internal", None)])
def test_which_interactions_count(kind, days):
    given = [{"kind": kind, "occurred_at": "2026-06-10 23:00"}, {"kind": "call", "occurred_at": "2026-07-01"}]
    assert signals(interactions=given)["days_since_last_interaction"] == days


@pytest.mark.parametrize(
    ("assessments", "rag"),
    [
        ([("GREEN", "2026-06-01"), ("RED", "2026-06-01")], "RED"),
        ([("RED", "2026-06-01"), ("GREEN", "2026-06-02")], "GREEN"),
        ([("AMBER", "2026-04-02 00:00:00")], "AMBER"),
        ([("AMBER", "2026-04-01 23:59:59.999999")], None),
        ([("GREEN", "2026-06-01"), ("RED", "2026-07-01")], "GREEN"),
    ],
)
def test_the_latest_assessment(assessments, rag):
    given = [{"rag": colour, "assessed_at": when} for colour, when in assessments]
    assert signals(tam_assessments=given)["tam_health_rag"] == rag


@pytest.mark.parametrize("day", ["2024-02-29", "2024-03-01", "2024-12-31"])
def test_leap_days_and_the_end_of_a_year(day):
    row = signals(day, usage_events=events(f"{day} 23:59:59.999999", event_name="login", user_id="u"))
    assert (row["login_frequency_days"], row["usage_trend"]) == (90, "growing")
