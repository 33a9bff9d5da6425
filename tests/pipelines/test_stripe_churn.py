"""An account whose subscriptions in Stripe ended leaves once the grace has passed, and returns with the next one."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.replay import replay_day
from pipelines.run import run_days
from tests.conftest import Company, make_company
from tests.sources.test_stripe import write_lines

WIDE = {"max_mean_score_swing": 100, "max_rag_changed_percent": 100, "max_silent_days": 100}
ACCOUNTS = ("stays", "leaves", "stated", "event")


def seconds(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())


def subscription(customer: str, number: int, start: str, end: str | None = None) -> dict[str, Any]:
    ended = {"status": "canceled", "ended_at": seconds(end)} if end else {"status": "active"}
    return {"id": f"sub_{customer}_{number}", "customer": customer, "start_date": seconds(start), **ended}


@pytest.fixture
def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Company:
    """Four accounts with subscriptions; all but the first have none after 10 May 2026, 12:00."""
    records = tmp_path / "records"
    records.mkdir()
    churned = {"stated": "2026-05-20"}
    lines = [f"{one},{one},2025-01-01,{churned.get(one, '')}\n" for one in ACCOUNTS]
    (records / "accounts.csv").write_text("account_id,account_name,created_at,churned_at\n" + "".join(lines))
    (records / "features.csv").write_text("feature,module\nreports,core\n")
    (records / "usage_events.csv").write_text(
        "event_id,account_id,user_id,event_name,feature,occurred_at\n"
        + "".join(f"e{one},{one},u1,login,,2026-05-01\n" for one in ACCOUNTS)
    )
    (records / "lifecycle_events.csv").write_text(
        "event_id,account_id,kind,occurred_at,reason\nl1,event,churned,2026-05-25,moved\n"
    )
    stripe = tmp_path / "stripe"
    write_lines(stripe / "customers.jsonl", *({"id": one, "metadata": {"account_id": one}} for one in ACCOUNTS))
    write_lines(
        stripe / "subscriptions.jsonl",
        subscription("stays", 1, "2026-01-01", "2026-05-10T12:00"),
        subscription("stays", 2, "2026-05-20"),
        *(subscription(one, 1, "2026-01-01", "2026-05-10T12:00") for one in ACCOUNTS[1:]),
    )
    made = make_company(
        tmp_path,
        records,
        checks=WIDE,
        sources=[{"system": "files", "path": str(records)}, {"system": "stripe", "path": str(stripe)}],
    )
    monkeypatch.setenv("DAGSTER_HOME", str(made.folder / "dagster_home"))
    return made


def ran(company: Company, day: str, at: str) -> None:
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    outcome = run_days(company.config, (date.fromisoformat(day),) * 2, publish=False, clock=lambda: moment)
    assert outcome.succeeded, outcome


def scored(company: Company, day: str) -> list[str]:
    rows = company.query(f"select account_id from marts.csm_health_scores where as_of_date = '{day}' order by 1")
    return [one for (one,) in rows]


@pytest.mark.slow
def test_a_churn_is_known_after_the_grace_and_changes_no_scored_day_unasked(company: Company, tmp_path: Path):
    # The grace ends on 9 June at 12:00.
    ran(company, "2026-06-08", "2026-06-09 07:00")
    assert scored(company, "2026-06-08") == ["leaves", "stays"]
    # Nothing new arrives; the load of the next morning observes that no subscription followed.
    ran(company, "2026-06-09", "2026-06-10 07:00")
    assert scored(company, "2026-06-09") == ["stays"]
    assert scored(company, "2026-06-08") == ["leaves", "stays"]
    spells = "select account_id, started_at::date::varchar, ended_at::varchar, reason from staging.account_spells"
    assert company.query(f"{spells} where ended_at is not null order by account_id") == [
        ("event", "2025-01-01", "2026-05-25 00:00:00", "moved"),
        ("leaves", "2025-01-01", "2026-05-10 12:00:00", "all subscriptions ended"),
        ("stated", "2025-01-01", "2026-05-20 00:00:00", None),
    ]
    assert company.query("select event_id from staging.stg_lifecycle_events order by all") == [
        ("l1",),
        ("sub_leaves_1-churned",),
    ]
    # A rebuilt day has the accounts that were customers; what was known before is kept and can be replayed.
    ran(company, "2026-06-08", "2026-06-10 08:00")
    assert scored(company, "2026-06-08") == ["stays"]
    assert company.query("select account_id, revised_by from marts.csm_health_superseded") == [("leaves", "records")]
    for at in ("2026-06-09 08:00", "2026-06-10 09:00"):
        replay = replay_day(company.config, date(2026, 6, 8), datetime.fromisoformat(at))
        assert replay.differences == (), at
    write_lines(tmp_path / "stripe" / "subscriptions_2.jsonl", subscription("leaves", 2, "2026-06-11T09:00"))
    ran(company, "2026-06-11", "2026-06-12 07:00")
    assert scored(company, "2026-06-11") == ["leaves", "stays"]
    assert scored(company, "2026-06-09") == ["stays"]
    assert company.query(f"{spells} where account_id = 'leaves' order by started_at") == [
        ("leaves", "2025-01-01", "2026-05-10 12:00:00", "all subscriptions ended"),
        ("leaves", "2026-06-11", None, None),
    ]
