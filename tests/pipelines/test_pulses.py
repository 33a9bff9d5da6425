"""Pulses of whole runs: the marts have them, the scores do not depend on them, and a forgotten account has none."""

from datetime import UTC, date, datetime, timedelta

import duckdb
import pytest

from csm_core.warehouse.database import Warehouse
from pipelines.run import run_days
from tests.conftest import Company, tables
from tests.in_process import csm
from tests.recent_company import make_recent_company

PULSE = "select as_of_date, pulse, pulse_age_days, pulse_note from marts.csm_pulses_daily where account_id = '{}'"
SCORED = ("marts.csm_health_scores", "marts.csm_health_signals")


def yesterday(before: int = 0) -> date:
    return datetime.now(UTC).date() - timedelta(days=1 + before)


def command(company: Company, *arguments: str) -> str:
    done = csm(*arguments, folder=company.folder, environment={"CSM_CONFIG": str(company.config_file)})
    assert done.status == 0, done.stderr
    return done.stdout


def known(company: Company) -> list[tuple]:
    return company.query("select * exclude (scored_at) from marts.csm_health_scores order by account_id, as_of_date")


@pytest.mark.slow
def test_runs_have_the_pulses_of_their_days_and_the_same_scores_as_without(tmp_path, monkeypatch):
    companies = []
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
        companies.append(make_recent_company(tmp_path / name))
    one = companies[0]
    for company in companies:
        monkeypatch.setenv("DAGSTER_HOME", str(company.folder / "dagster_home"))
        assert run_days(company.config, (yesterday(4), yesterday(1)), publish=False).succeeded
    before = known(one)

    # For a day that is scored already, and for one that is not.
    command(one, "pulse", "set", "a1", "1", "--note", "nobody answers", "--on", str(yesterday(2)))
    command(one, "pulse", "set", "Bolt", "5", "--on", str(yesterday()))
    assert one.query("select count(*) from marts.csm_pulses_daily") == [(0,)]
    for company in companies:
        monkeypatch.setenv("DAGSTER_HOME", str(company.folder / "dagster_home"))
        outcome = run_days(company.config, (yesterday(), yesterday()), publish=False)
        assert outcome.succeeded
        late = [(late.entity, late.day, late.records) for late in outcome.late_records]
        assert late == ([("pulses", yesterday(2), 1)] if company is one else [])
    rows = [(yesterday(2 - age), 1, age, "nobody answers") for age in range(3)]
    assert one.query(PULSE.format("a1") + " order by 1") == rows
    assert one.query(PULSE.format("a2")) == [(yesterday(), 5, 0, None)]
    current = one.query("select account_id, rag, pulse, pulse_age_days, disagrees from marts.csm_health_current")
    disagreeing = one.query(
        "select distinct account_id from marts.csm_disagreements where as_of_date = "
        "(select max(as_of_date) from marts.csm_disagreements) order by 1"
    )
    assert {(account, pulse, age) for account, _, pulse, age, _ in current} == {("a1", 1, 2), ("a2", 5, 0)}
    against = {(account,) for account, rag, pulse, *_ in current if (rag, pulse) in (("GREEN", 1), ("RED", 5))}
    assert set(disagreeing) == against == {(account,) for account, *_, disagrees in current if disagrees}

    # Bit for bit: of the days before, also since when they are known; of all days, as in a company without pulses.
    assert [row for row in known(one) if row in before] == before
    found, wanted = (tables(company.config.warehouse, history=True) for company in companies)
    assert [found[name] for name in SCORED] == [wanted[name] for name in SCORED]
    assert found["marts.csm_health_superseded"] == wanted["marts.csm_health_superseded"] == []

    with duckdb.connect(str(Warehouse.from_config(one.config).published_path), read_only=True) as copy:
        assert copy.execute("select account_id, pulse, author is null from sync.pulses order by all").fetchall() == [
            ("a1", 1, False),
            ("a2", 5, False),
        ]
        assert copy.execute("select count(*) from marts.csm_pulses_daily").fetchall() == [(4,)]

    command(one, "forget", "a1", "--yes")
    for table in ("sync.pulses", "intermediate.int_account_pulses", "marts.csm_pulses_daily"):
        assert {account for (account,) in one.query(f"select account_id from {table}")} == {"a2"}
