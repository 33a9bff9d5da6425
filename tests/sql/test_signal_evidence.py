"""What the events can show at all: random records of two tenants against the definitions in plain Python.

Several days are built at once, and the events come in two loads: the result is that of one load.
"""

from datetime import date, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.golden import oracle
from tests.sql.harness import fresh, queue_usage_days, run_signals, staged

FIRST, LAST = date(2026, 6, 29), date(2026, 7, 1)
DAYS = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
ACCOUNTS = {"A": "north", "B": "north", "C": "south", "D": "south"}
# Around the days, at the edges of the windows before them, and long ago.
MOMENTS = st.builds(
    lambda day, microseconds: datetime.combine(day, datetime.min.time()) + timedelta(microseconds=microseconds),
    st.sampled_from(
        [
            *(FIRST + timedelta(days=number) for number in range(-2, 6)),
            date(2026, 6, 2),
            date(2026, 4, 1),
            date(2024, 2, 29),
        ]
    ),
    st.sampled_from([0, 1, 43_200_000_000, 86_399_999_999]),
)
EVENTS = st.fixed_dictionaries(
    {
        "account_id": st.sampled_from(list(ACCOUNTS)),
        "user_id": st.sampled_from([None, None, "u", "v"]),
        "feature": st.sampled_from([None, None, "f", "g", "not listed"]),
        "event_name": st.sampled_from(["used", "login"]),
        "quantity": st.sampled_from([1, 9, 10, 11, 1_000_000_000]),
        "occurred_at": MOMENTS,
    }
)
FEATURES = st.lists(
    st.fixed_dictionaries(
        {
            "feature": st.sampled_from(["f", "g", "h"]),
            "plan": st.sampled_from([None, "pro"]),
            "released_at": st.none() | MOMENTS,
            "_closed_at": st.none() | MOMENTS,
        }
    ),
    max_size=3,
    unique_by=lambda feature: feature["feature"],
)
SUBSCRIPTIONS = st.lists(
    st.fixed_dictionaries(
        {
            "account_id": st.sampled_from(list(ACCOUNTS)),
            "seats": st.sampled_from([None, 0, 1, 10]),
            "started_at": MOMENTS,
            "ended_at": st.none() | MOMENTS,
            "renews_at": st.none() | MOMENTS,
            "term_months": st.sampled_from([None, 0, 1, 2, 12]),
        }
    ),
    max_size=4,
)


@settings(max_examples=examples(15))
@given(
    early=st.lists(EVENTS, max_size=5),
    late=st.lists(EVENTS, max_size=3),
    features=FEATURES,
    subscriptions=SUBSCRIPTIONS,
    churned=st.none() | MOMENTS,
    min_term_months=st.sampled_from([0, 1, 2, 12]),
)
def test_every_day_of_a_range_is_what_the_definitions_say(
    early: list[dict[str, Any]],
    late: list[dict[str, Any]],
    features: list[dict[str, Any]],
    subscriptions: list[dict[str, Any]],
    churned: datetime | None,
    min_term_months: int,
) -> None:
    params = {"min_term_months": min_term_months}
    with fresh() as connection:
        for account, tenant in ACCOUNTS.items():
            left = churned if account == "B" else None
            row = {"account_id": account, "account_name": account, "tenant_id": tenant, "plan": "pro"}
            staged(connection, "accounts", {**row, "churned_at": left})
        staged(connection, "features", *features)
        for number, row in enumerate(subscriptions):
            staged(connection, "subscriptions", {"subscription_id": f"s{number}", **row})
        for load, events in enumerate((early, late)):
            for number, row in enumerate(events):
                staged(connection, "usage_events", {"event_id": f"e{load}.{number}", **row})
            queue_usage_days(connection)
            found = run_signals(connection, [FIRST, LAST], params)
        records = oracle.Records(connection)
    expected = [
        {
            "tenant_id": account["tenant_id"],
            "account_id": account["account_id"],
            "as_of_date": day,
            **oracle.signals(records, account, day, min_term_months=min_term_months),
            # Set when the day is scored.
            "known_from": None,
        }
        for day in DAYS
        for account in oracle.population(records, day)
    ]
    key = ("tenant_id", "account_id", "as_of_date")
    assert found == sorted(expected, key=lambda row: [row[name] for name in key])
