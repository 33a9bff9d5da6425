"""Spells from Stripe's subscriptions against their definition in plain Python, for each moment on its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.accounts import account_map
from csm_core.config import Config
from csm_core.sources.registry import get_system
from csm_core.sources.settings import StripeSettings
from csm_core.sources.source_settings import record_source_load, write_source_settings
from csm_core.staging.gate import stage_entity
from csm_core.warehouse.models import staging_models
from tests.examples import examples
from tests.sql.harness import add_spells, fresh, staged
from tests.sql.test_staging_cases import build_steps, given_identity

START = datetime(2026, 1, 1, tzinfo=UTC)
LAST = 60
TIMES = st.integers(0, LAST)
# A start, an end (none: it goes on), and a status; days after START.
SUBSCRIPTIONS = st.lists(
    st.tuples(TIMES, st.none() | TIMES, st.sampled_from(["canceled", "canceled", "active", "incomplete_expired"])),
    max_size=5,
)
HISTORIES = st.lists(st.tuples(st.none() | TIMES, SUBSCRIPTIONS), min_size=15, max_size=25)
Subscription = tuple[int, int | None, str]


def is_away(created: int | None, subscriptions: list[Subscription], grace: int | None, loaded: int, at: int) -> bool:
    """Whether all subscriptions of an account had ended at a time, and none followed one of the ends in time."""
    counted = [(start, end) for start, end, status in subscriptions if status != "incomplete_expired"]
    counted = [(start, end) for start, end in counted if end is None or start < end]
    for _, ended in counted:
        if grace is None or ended is None or ended > at or ended + grace >= loaded or ended <= (created or -1):
            continue
        others = [(start, end) for start, end in counted if start <= ended + grace]
        if any(end is None or end > ended for _, end in others):
            continue
        if not any(ended < start <= at for start, _ in counted):
            return True
    return False


@settings(max_examples=examples(6), deadline=None)
@given(histories=HISTORIES, grace=st.none() | st.integers(0, 12), loaded=st.integers(LAST // 2, LAST + 15))
def test_an_account_is_away_from_the_last_end_until_the_next_start(histories, grace, loaded):
    found = spells(histories, grace, loaded)
    for number, (created, subscriptions) in enumerate(histories):
        for at in range(LAST + 1):
            is_customer = any(
                (start is None or start <= at) and (end is None or at < end) for start, end in found[f"a{number}"]
            )
            expected = (created is None or created <= at) and not is_away(created, subscriptions, grace, loaded, at)
            assert is_customer == expected, (number, at)


def spells(
    histories: list[tuple[int | None, list[Subscription]]], grace: int | None, loaded: int
) -> dict[str, list[tuple[int | None, int | None]]]:
    """Stage the accounts with their subscriptions in Stripe; returns their spells in days after START."""
    settings = StripeSettings.model_validate({"system": "stripe", "path": "in", "churn_grace_days": grace})
    customers: list[dict[str, Any]] = []
    subscriptions: list[dict[str, Any]] = []
    with fresh() as connection:
        for number, (created, stated) in enumerate(histories):
            account = {"account_id": f"a{number}", "account_name": "a", "tenant_id": "t"}
            staged(connection, "accounts", {**account, "created_at": None if created is None else _day(created)})
            customers.append({"id": f"c{number}", "metadata": {"account_id": f"a{number}"}})
            subscriptions += [
                {
                    "id": f"s{number}-{place}",
                    "customer": f"c{number}",
                    "status": status,
                    "start_date": _seconds(start),
                    "ended_at": None if end is None else _seconds(end),
                }
                for place, (start, end, status) in enumerate(stated)
            ]
        records = {"customers": customers, "subscriptions": subscriptions}
        for table in get_system("stripe").raw_tables:
            connection.execute(
                f"create table {table.table} (record varchar, _source varchar, _source_file varchar, "
                "_source_line bigint, _loaded_at timestamp, _load_id bigint)"
            )
            for line, record in enumerate(records.get(table.name, []), start=1):
                connection.execute(
                    f"insert into {table.table} values (?, 'stripe', 'f', ?, ?, 1)",
                    [json.dumps(record), line, _day(LAST)],
                )
        write_source_settings(connection, "stripe", [settings])
        record_source_load(connection, "stripe", START + timedelta(days=loaded))
        build_steps(connection, "stripe")
        given_identity(connection, {})
        account_map.build(connection, Config(sources=(settings,)), ["stripe"])
        model = staging_models("stripe")["lifecycle_events"]
        stage_entity(connection, "lifecycle_events", [("stripe", model.sql)], staged_at=START)
        add_spells(connection)
        rows = connection.execute("select account_id, started_at, ended_at from staging.account_spells").fetchall()
    found: dict[str, list[tuple[int | None, int | None]]] = {f"a{number}": [] for number in range(len(histories))}
    for account_id, started_at, ended_at in rows:
        found[account_id].append((_days(started_at), _days(ended_at)))
    return found


def _day(number: int) -> datetime:
    return (START + timedelta(days=number)).replace(tzinfo=None)


def _seconds(number: int) -> int:
    return int((START + timedelta(days=number)).timestamp())


def _days(moment: datetime | None) -> int | None:
    return None if moment is None else (moment.replace(tzinfo=UTC) - START).days
