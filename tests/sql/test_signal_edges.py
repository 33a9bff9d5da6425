"""The edges of the definitions: one microsecond to either side of every window, midnight, leap days, nothing at all."""

from datetime import date
from typing import Any

import pytest

from tests.sql.harness import fresh, queue_usage_days, run_model, run_signals, staged

DAY = "2026-06-30"


def signals(day: str = DAY, params: dict[str, Any] | None = None, **records: list[dict[str, Any]]) -> dict[str, Any]:
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
        queue_usage_days(connection)
        found = run_signals(connection, [day], params)
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


# Whether an event names a user, and when; the share of 10 seats, and whether the signal has nothing to compute from.
@pytest.mark.parametrize(
    ("used", "rate", "is_missing"),
    [
        ([("2026-06-20", None)], 0.5, True),
        ([("2026-06-20", None), ("2026-06-20", "u")], 0.1, False),
        ([("2026-06-20", None), ("2020-01-01", "u")], 0.0, False),
        ([("2026-06-20", None), ("2026-06-30 23:59:59.999999", "u")], 0.1, False),
        ([("2026-06-20", None), ("2026-07-01 00:00:00", "u")], 0.5, True),
        ([("2020-01-01", None)], 0.5, True),
        ([("2020-01-01", "u")], 0.0, False),
        ([("2026-07-01 00:00:00", None)], 0.0, False),
        ([], 0.0, False),
    ],
)
def test_events_that_name_no_user_say_nothing_of_seats(used, rate, is_missing):
    given = [{"occurred_at": moment, "user_id": user} for moment, user in used]
    row = signals(subscriptions=[{"seats": 10}], usage_events=given)
    assert row["seats_utilization_rate"] == rate
    assert ("seats_utilization_rate" in row["missing_signals"].split(",")) == is_missing


@pytest.mark.parametrize(
    ("used", "is_missing"),
    [
        ([("2026-06-20", None)], True),
        ([("2026-06-20", "another")], False),
        ([("2026-06-20", None), ("2020-01-01", "f")], False),
        ([("2026-06-20", None), ("2026-06-30 23:59:59.999999", "another")], False),
        ([("2026-06-20", None), ("2026-07-01 00:00:00", "f")], True),
        ([], True),
    ],
)
def test_events_that_name_no_feature_say_nothing_of_adoption(used, is_missing):
    given = [{"occurred_at": moment, "feature": feature} for moment, feature in used]
    row = signals(features=[{"feature": "f"}], usage_events=given)
    assert row["feature_adoption_rate"] == 0.0
    assert ("feature_adoption_rate" in row["missing_signals"].split(",")) == is_missing


def test_what_is_missing_lowers_the_coverage_by_its_weight():
    def coverage(**event: Any) -> float:
        used = [{"occurred_at": "2026-06-20", **event}]
        row = signals(features=[{"feature": "f"}], subscriptions=[{"seats": 10}], usage_events=used)
        return round(100 * row["signal_coverage"])

    full = coverage(user_id="u", feature="f")
    assert full - coverage(feature="f") == 5
    assert full - coverage(user_id="u") == 20
    assert full - coverage() == 25


@pytest.mark.parametrize(
    ("terms", "least", "days"),
    [
        ([0, 1, 2, None], 0, 1),
        ([0, 1, 2, None], 1, 2),
        ([0, 1, 2, None], 2, 3),
        ([0, 1, 2, None], 12, 4),
        ([0], 0, 1),
        ([0], 1, None),
        ([1], 1, 1),
        ([1], 2, None),
        ([2], 2, 1),
        ([None], 12, 1),
        ([11, 12], 12, 2),
        ([11], 12, None),
        ([1200], 1200, 1),
    ],
)
def test_terms_that_are_too_short_are_no_renewal(terms, least, days):
    given = [
        {"term_months": term, "renews_at": f"2026-07-0{place}", "seats": 1} for place, term in enumerate(terms, start=1)
    ]
    row = signals(params={"min_term_months": least}, subscriptions=given)
    assert row["days_to_renewal"] == days
    assert ("days_to_renewal" in row["missing_signals"].split(",")) == (days is None)
    # The seats of a monthly subscription are seats.
    assert "seats_utilization_rate" not in row["missing_signals"].split(",")


def test_monthly_terms_are_left_out_unless_the_configuration_says_otherwise():
    assert signals(subscriptions=[{"term_months": 1, "renews_at": "2026-07-20"}])["days_to_renewal"] is None
    assert signals(subscriptions=[{"term_months": 2, "renews_at": "2026-07-20"}])["days_to_renewal"] == 20


@pytest.mark.parametrize(
    ("closed", "rate"),
    [("2026-06-30 23:59:59.999999", 1.0), ("2026-07-01 00:00:00", 0.5), ("2026-06-01", 1.0), (None, 0.5)],
)
def test_a_feature_counts_until_it_is_closed(closed, rate):
    features = [{"feature": "f"}, {"feature": "g", "_closed_at": closed}]
    assert signals(features=features, usage_events=events("2026-06-20", feature="f"))["feature_adoption_rate"] == rate


def test_a_daily_roll_up_of_an_earlier_version_is_completed():
    with fresh() as connection:
        staged(connection, "accounts", {"account_id": "A", "account_name": "A", "tenant_id": "default"})
        staged(connection, "subscriptions", {"subscription_id": "s", "account_id": "A", "seats": 10, "started_at": DAY})
        used = {"account_id": "A", "user_id": "u", "event_name": "used", "feature": "f", "quantity": 1}
        staged(connection, "usage_events", {"event_id": "e", "occurred_at": "2020-01-01", **used})
        queue_usage_days(connection)
        expected = run_signals(connection, [DAY])
        for column in ("names_user", "names_feature"):
            connection.execute(f"alter table intermediate.int_usage_daily_accounts drop column {column}")
        assert run_signals(connection, [DAY]) == expected
        assert run_model(connection, "intermediate/int_usage_daily_accounts") == [
            {
                "account_id": "A",
                "usage_date": date(2020, 1, 1),
                "events": 1,
                "logins": 0,
                "names_user": True,
                "names_feature": True,
            }
        ]
    assert expected[0]["missing_signals"].count("seats_utilization_rate") == 0
