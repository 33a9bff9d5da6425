"""What the blocking checks hold back is not published, and says why; a person may let one pass, once."""

import json
import shutil
from datetime import UTC, date, datetime, timedelta

import duckdb
import pytest

from tests.conftest import Company
from tests.in_process import csm


def listed(one, sql: str) -> list[tuple]:
    """What `csm sql` answers."""
    return [tuple(row.values()) for row in json.loads(one.csm("sql", sql, "--format", "json").stdout)]


def publications(one) -> list[tuple]:
    return one.query("from sync.notion_runs")


@pytest.mark.slow
def test_a_newcomer_sees_no_held_day_publishes_the_last_good_day_and_accepts_the_held_one_later(company):
    one = company("acme")
    held = one.csm("run")
    assert held.returncode == 1
    yesterday = str(datetime.now(UTC).date() - timedelta(days=1))
    assert "HELD       usage events stopped: the latest usage event is dated 2026-09-30" in held.stdout
    assert f"Published  nothing: {yesterday} is held by usage_delivered" in held.stdout
    assert "Traceback" not in held.stdout + held.stderr
    assert publications(one) == []
    ((day, status, failed),) = listed(one, "select as_of_date, status, failed_checks from csm_days")
    assert (day, status) == (yesterday, "held")
    accept = [argument for name in failed.split(",") for argument in ("--accept", name)]
    assert f"csm notion apply --as-of {yesterday} {' '.join(accept)}" in held.stdout
    assert listed(one, "select count(*) from csm_health_current") == [(0,)]
    for command in (("explain", "A0026"), ("notion", "plan"), ("notion", "apply")):
        refused = one.csm(*command)
        assert refused.returncode == 2
        assert f"no day is complete yet: {yesterday} is held by usage_delivered" in refused.stderr

    published = one.csm("run", "--as-of", "2026-09-30", "--json")
    assert published.returncode == 0, published.stdout + published.stderr
    said = json.loads(published.stdout)["publication"]
    assert (said["day"], said["where"]) == ("2026-09-30", "the Notion sandbox (NOTION_TOKEN is not set)")
    assert said["more"][0].startswith(f"{yesterday} is held by usage_delivered")
    assert json.loads(one.csm("explain", "A0026", "--json").stdout)["as_of_date"] == "2026-09-30"
    assert listed(one, "select distinct as_of_date from csm_health_scores") == [("2026-09-30",)]
    assert listed(one, "select max(as_of_date) from csm_health_current") == [("2026-09-30",)]

    accepted = one.csm("notion", "apply", *accept)
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    assert f"Published  {yesterday}" in accepted.stdout
    assert [day for (day,) in one.query("select distinct as_of_date from sync.notion_runs order by 1")] == [
        date(2026, 9, 30),
        date.fromisoformat(yesterday),
    ]
    found = one.query("select check_name, as_of_date, accepted_by from run.accepted_checks order by 1")
    assert [name for name, *_ in found] == sorted(failed.split(","))
    assert all(str(day) == yesterday and by for _, day, by in found)
    assert listed(one, "select max(as_of_date) from csm_health_current") == [(yesterday,)]
    assert json.loads(one.csm("explain", "A0026", "--json").stdout)["as_of_date"] == yesterday


def test_a_swing_of_the_portfolio_holds_publishing(acme, tmp_path):
    folder = shutil.copytree(acme.folder, tmp_path / "company")
    one = Company(folder, folder / "csm.yaml")
    with duckdb.connect(str(one.config.warehouse)) as connection:
        connection.execute(
            "update marts.csm_health_scores set score = 95, rag = 'GREEN' where as_of_date = '2026-09-29'"
        )
    held = csm("run", "--as-of", "2026-09-30", folder=one.folder, environment=one.environment)
    assert held.returncode == 1
    assert "mean score 95.0 on 2026-09-29" in held.stdout
    assert "--accept portfolio_swing" in held.stdout
    assert publications(one) == []


@pytest.mark.slow
def test_a_day_scored_under_another_configuration_is_said_to_be(company):
    one = company("acme")
    assert "Note" not in one.csm("run", "--as-of", "2026-09-30", "--no-publish").stdout
    settings = one.config_file.read_text()
    one.config_file.write_text(settings.replace("green_threshold: 75", "green_threshold: 80"))
    again = one.csm("run", "--as-of", "2026-09-30", "--no-publish")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 day scored with another configuration" in again.stdout
    assert one.query("select count(distinct config_hash) from marts.csm_health_scores") == [(1,)]


@pytest.mark.slow
def test_records_that_came_regularly_and_stopped_hold_publishing_with_the_last_days_that_had_some(company):
    one = company("acme", checks={"freshness": {"tickets": 1}})
    held = one.csm("run", "--as-of", "2026-10-02")
    assert held.returncode == 1
    assert "latest record of tickets: 2026-09-30, 2 days before 2026-10-02 (limit 1 day)" in held.stdout
    assert held.stdout.count("; day 2026-09-") == 9
    assert "--accept tickets_delivered" in held.stdout
    assert publications(one) == []
    unknown = one.csm("run", "--as-of", "2026-10-02", "--accept", "tickets")
    assert unknown.returncode == 2
    assert "unknown check tickets; expected one of population_scored" in unknown.stderr
    accepted = one.csm("run", "--as-of", "2026-10-02", "--no-publish", "--accept", "tickets_delivered")
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    ((check, by, at),) = one.query("select check_name, accepted_by, accepted_at from run.accepted_checks")
    assert check == "tickets_delivered"
    assert by
    assert at
    # Once: the next run is held again.
    assert one.csm("run", "--as-of", "2026-10-02", "--no-publish").returncode == 1
