"""Alerts of whole runs: digests after the published copy, none without publishing, one message for a held day."""

import json
from datetime import UTC, date, datetime, timedelta

import duckdb
import pytest
import yaml

from csm_core.publishing.alerts.account_days import ACCOUNT_DAYS, create_account_days
from csm_core.warehouse.alert_conditions import ADDED_COLUMNS, CURRENT_COLUMNS
from csm_core.warehouse.day_status import hold_day
from pipelines.run import run_days
from tests.conftest import Company
from tests.in_process import csm
from tests.pipelines.report_page import Report, check_numbers
from tests.recent_company import make_recent_company

ALERTS = {"built_in_rules": False, "rules": [{"name": "everyone", "when": "is_customer", "severity": "high"}]}


def yesterday(before: int = 0) -> date:
    return datetime.now(UTC).date() - timedelta(days=1 + before)


@pytest.fixture
def company(tmp_path, monkeypatch) -> Company:
    one = make_recent_company(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(one.folder / "dagster_home"))
    change(one, alerts=ALERTS)
    return one


def change(company: Company, **settings) -> None:
    stated = yaml.safe_load(company.config_file.read_text()) | settings
    company.config_file.write_text(yaml.safe_dump(stated))


def command(company: Company, *arguments: str):
    return csm(*arguments, folder=company.folder, environment={"CSM_CONFIG": str(company.config_file)})


@pytest.mark.slow
def test_a_run_sends_digests_once_and_without_publishing_none(company):
    quiet = run_days(company.config, (yesterday(2), yesterday(2)), publish=False)
    assert quiet.succeeded
    assert quiet.alerts == ()
    assert company.query("from sync.alert_days") == company.query("from sync.alert_digests") == []

    change(company, reports={"keep": 1})
    first = run_days(company.config, (yesterday(1), yesterday(1)))
    assert first.succeeded, first
    # The report is written after the alerts, from the copy that has them.
    html = (company.config.warehouse.parent / "reports" / f"portfolio-{yesterday(1)}.html").read_text()
    assert [row[3] for row in Report(html).sections["Open alerts"]["rows"]] == ["Rule", "everyone", "everyone"]
    assert check_numbers(company, html) > 10
    (report,) = first.alerts
    assert report.text() == "2 accounts in 1 digest (`csm alerts outbox`)"
    again = run_days(company.config, (yesterday(1), yesterday(1)))
    assert [(one.evaluated_days, one.delivery.sent) for one in again.alerts] == [(0, 0)]
    assert company.query("select as_of_date from sync.alert_days") == [(yesterday(1),)]

    listed = command(company, "alerts", "list")
    assert "everyone" in listed.stdout
    assert "Ahlers (a1)" in listed.stdout
    shown = command(company, "alerts", "outbox").stdout
    assert shown.startswith(f"[outbox: sent]\ncsm-health: 2 alerts for accounts without an owner on {yesterday(1)}")
    (digest,) = json.loads(command(company, "alerts", "outbox", "--json").stdout)
    assert {line["account_name"] for line in digest["accounts"]} == {"Ahlers", "Bolt"}
    done = command(company, "alerts", "silence", "Bolt", "--until", "2099-01-01", "--reason", "a trial")
    assert done.stdout == "no digest has alerts of a2 up to 2099-01-01\n"
    assert "silenced until 2099-01-01" in command(company, "alerts", "list").stdout
    unknown = command(company, "alerts", "silence", "nobody", "--until", "2099-01-01", "--reason", "x")
    assert unknown.status == 2


@pytest.mark.slow
def test_a_held_day_is_one_message_to_the_data_team(company):
    assert run_days(company.config, (yesterday(1), yesterday(1)), publish=False).succeeded
    with duckdb.connect(str(company.config.warehouse)) as connection:
        connection.execute(
            "update marts.csm_health_scores set score = 95, rag = 'GREEN' where as_of_date = ?", [yesterday(1)]
        )
    change(company, checks={"max_mean_score_swing": 1, "max_rag_changed_percent": 100})
    not_told = run_days(company.config, (yesterday(), yesterday()), publish=False)
    assert not_told.held
    assert not_told.alerts == ()
    for _ in range(2):
        held = run_days(company.config, (yesterday(), yesterday()))
        assert held.held
    digests = company.query("select kind, route, failed_checks, status from sync.alert_digests order by intended_at")
    assert digests == [("data_problem", "data_team", "portfolio_swing", "sent")]
    assert "is held by portfolio_swing" in command(company, "alerts", "outbox").stdout
    assert company.query("from sync.alert_days") == []

    # Accepting the day sends its alerts, once, and shows them to analysts.
    arguments = ("notion", "apply", "--as-of", str(yesterday()), "--accept", "portfolio_swing")
    accepted = command(company, *arguments, "--json")
    assert (accepted.status, accepted.stderr) == (0, "")
    alerts = json.loads(accepted.stdout)["alerts"]
    assert (alerts["day"], alerts["digests_sent"], alerts["accounts"]) == (str(yesterday()), 1, 2)
    assert company.query("select as_of_date from sync.alert_days order by 1") == [(yesterday(),)]
    sent = company.query("select kind, as_of_date, status, attempts from sync.alert_digests order by kind")
    assert sent == [("accounts", yesterday(), "sent", 0), ("data_problem", yesterday(), "sent", 0)]
    shown = command(company, "sql", "select rule, account_id, state from sync.alert_states order by 2", "--json")
    assert [tuple(row.values()) for row in json.loads(shown.stdout)] == [
        ("everyone", "a1", "firing"),
        ("everyone", "a2", "firing"),
    ]
    again = run_days(
        company.config, (yesterday(), yesterday()), accepted=frozenset({"portfolio_swing"}), accepted_by="anna"
    )
    assert [(one.evaluated_days, one.delivery.sent) for one in again.alerts] == [(0, 0)]

    # The alerts of an accepted day do not wait for Notion.
    with duckdb.connect(str(company.config.warehouse)) as connection:
        hold_day(connection, yesterday(), {"portfolio_swing": "it moved"})
        connection.execute("delete from sync.alert_days")
    unpublished = csm(
        *arguments, folder=company.folder, environment={**company.environment, "NOTION_TOKEN": "secret-x"}
    )
    assert unpublished.status != 0
    assert "NOTION_" in unpublished.stderr
    assert company.query("select as_of_date from sync.alert_days") == [(yesterday(),)]


@pytest.mark.slow
def test_the_columns_of_conditions_are_those_of_the_current_health_of_the_day(company):
    assert run_days(company.config, (yesterday(9), yesterday()), publish=False).succeeded
    with duckdb.connect(str(company.config.warehouse)) as connection:
        described = connection.execute(
            "select column_name, lower(data_type) from duckdb_columns() where table_name = 'csm_health_current'"
        ).fetchall()
        names = ", ".join(CURRENT_COLUMNS)
        assert [name for name, _ in described] == list(CURRENT_COLUMNS)
        assert [kind.replace(" ", "") for _, kind in described] == [
            kind.lower().replace(" ", "") for kind in CURRENT_COLUMNS.values()
        ]
        create_account_days(connection, yesterday(), yesterday())
        current = connection.execute(f"select {names} from marts.csm_health_current order by account_id").fetchall()
        assert len(current) == 2
        assert connection.execute(f"select {names} from {ACCOUNT_DAYS} order by account_id").fetchall() == current
        added = connection.execute(
            f"select {', '.join(ADDED_COLUMNS)} from {ACCOUNT_DAYS} order by account_id"
        ).fetchall()
        # Ahlers is used daily, Bolt never; neither has interactions.
        assert [row[1:] for row in added] == [(0, 0), (None, 0)]
