"""Days keep the plan, segment, owner and population that applied on them, whenever they are computed."""

from __future__ import annotations

import csv
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from csm_core.warehouse.late_changes import LateRecords, TouchedDays, days_touched_by_late_records
from pipelines.run import run_days
from tests.conftest import Company, make_company
from tests.scored import scored_assets

CHECKS = {"max_mean_score_swing": 100, "max_rag_changed_percent": 100}
COLUMNS = ("account_id", "account_name", "segment", "plan", "csm_owner", "created_at", "valid_from")
ATTRIBUTES = (
    "select as_of_date, segment, plan, csm_owner from marts.csm_accounts_daily where account_id = 'a1' order by 1"
)
ADOPTION = (
    "select as_of_date, feature_adoption_rate from marts.csm_health_signals where account_id = 'a1' order by as_of_date"
)
FIRST = ("a1", "Ahlers", "smb", "starter", "Ann", "2025-01-01", "")
OTHER = ("a2", "Bolt", "smb", "starter", "Ann", "2025-01-01", "")


@pytest.fixture
def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Company:
    """Two accounts; the feature reports is in every plan, export only in the plan growth."""
    records = tmp_path / "records"
    records.mkdir()
    (records / "features.csv").write_text("feature,module,plan\nreports,core,\nexport,core,growth\n")
    (records / "usage_events.csv").write_text(
        "event_id,account_id,user_id,event_name,feature,occurred_at\n"
        + "".join(f"e{day},a1,u1,used,reports,{date(2026, 6, 1) + timedelta(day)}\n" for day in range(32))
    )
    made = make_company(tmp_path, records, checks=CHECKS)
    monkeypatch.setenv("DAGSTER_HOME", str(made.folder / "dagster_home"))
    return made


def write_accounts(company: Company, *rows: tuple[str, ...]) -> None:
    with (company.folder.parent / "records" / "accounts.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])


def ran(company: Company, first: str, last: str, at: str) -> None:
    days = (date.fromisoformat(first), date.fromisoformat(last))
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    select = scored_assets(company, "csm_accounts_daily")
    outcome = run_days(company.config, days, publish=False, clock=lambda: moment, select=select)
    assert outcome.succeeded


def stored(company: Company) -> list[list[tuple[Any, ...]]]:
    return [company.query(query) for query in (ATTRIBUTES, ADOPTION)]


@pytest.mark.slow
def test_a_list_with_a_new_plan_changes_the_day_of_its_load_and_later_days(company):
    write_accounts(company, FIRST, OTHER)
    ran(company, "2026-06-30", "2026-06-30", "2026-07-01 07:00")
    write_accounts(company, ("a1", "Ahlers", "mid", "growth", "Ben", "2025-01-01", ""), OTHER)
    # The run of 1 July loads the list on 2 July at 07:00.
    ran(company, "2026-07-01", "2026-07-01", "2026-07-02 07:00")
    ran(company, "2026-07-02", "2026-07-02", "2026-07-03 07:00")
    day_by_day = stored(company)
    assert [(str(day), *values) for day, *values in day_by_day[0]] == [
        ("2026-06-30", "smb", "starter", "Ann"),
        ("2026-07-01", "smb", "starter", "Ann"),
        ("2026-07-02", "mid", "growth", "Ben"),
    ]
    assert [rate for _, rate in day_by_day[1]] == [1.0, 1.0, 0.5]
    ran(company, "2026-06-30", "2026-07-02", "2026-07-10 07:00")
    assert stored(company) == day_by_day


@pytest.mark.slow
def test_only_days_from_the_stated_time_on_lack_a_late_version(company):
    write_accounts(company, FIRST, OTHER)
    ran(company, "2026-06-25", "2026-06-29", "2026-06-30 07:00")
    before = company.query(ATTRIBUTES)
    write_accounts(company, ("a1", "Ahlers", "smb", "growth", "Ann", "2025-01-01", "2026-06-26"), OTHER)
    ran(company, "2026-06-30", "2026-06-30", "2026-07-01 07:00")
    with duckdb.connect(str(company.config.warehouse), read_only=True) as connection:
        lacking = days_touched_by_late_records(connection, date(2026, 6, 30), 3)
    assert lacking == TouchedDays(
        beyond=tuple(date(2026, 6, day) for day in range(26, 30)),
        beyond_records=(LateRecords("account_versions", date(2026, 6, 26), 1),),
    )
    assert company.query(ATTRIBUTES)[:-1] == before
    ran(company, "2026-06-26", "2026-06-29", "2026-07-01 08:00")
    assert [plan for _, _, plan, _ in company.query(ATTRIBUTES)] == ["starter"] + ["growth"] * 5


@pytest.mark.slow
def test_a_late_churn_and_a_return_move_the_days_between_them(company):
    records = company.folder.parent / "records"
    write_accounts(company, FIRST, OTHER)
    ran(company, "2026-06-26", "2026-06-28", "2026-06-29 07:00")
    events = "event_id,account_id,kind,occurred_at,reason\nl1,a1,churned,2026-06-27T09:00:00Z,budget\n"
    (records / "lifecycle_events.csv").write_text(
        events + "l2,a1,returned,2026-06-29T12:00:00Z,\nl3,a1,paused,2026-06-29,\n"
    )
    ran(company, "2026-06-29", "2026-06-29", "2026-06-30 07:00")
    ran(company, "2026-06-30", "2026-06-30", "2026-07-01 07:00")
    scored = company.query("select as_of_date from marts.csm_health_scores where account_id = 'a1' order by 1")
    assert [day.day for (day,) in scored] == [26, 29, 30]
    customer = company.query(
        "select as_of_date, is_customer from marts.csm_accounts_daily where account_id = 'a1' order by 1"
    )
    assert [is_customer for _, is_customer in customer] == [True, False, False, True, True]
    assert company.query(
        "select account_id, started_at::date::varchar, reason from intermediate.int_account_spells"
    ) == [
        ("a1", "2025-01-01", "budget"),
        ("a1", "2026-06-29", None),
        ("a2", "2025-01-01", None),
    ]
    assert company.query("select field, reason from quarantine.lifecycle_events") == [("kind", "invalid_level")]
