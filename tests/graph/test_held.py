"""What the blocking checks hold back is not published, and says why; a person may let one pass, once."""

import duckdb
import pytest


def sync_tables(one) -> set[str]:
    return {name for (name,) in one.query("select table_name from duckdb_tables() where schema_name = 'sync'")}


def test_a_source_that_stopped_holds_publishing_until_somebody_accepts_it(company):
    one = company("acme")
    held = one.csm("run", "--as-of", "2026-10-10")
    assert held.returncode == 1
    assert "HELD" in held.stdout
    assert "latest usage event is dated 2026-09-30, 10 days before 2026-10-10" in held.stdout
    assert "--accept usage_delivered" in held.stdout
    assert "Traceback" not in held.stdout + held.stderr
    assert sync_tables(one) == set()

    accepted = one.csm("run", "--as-of", "2026-10-10", "--accept", "usage_delivered")
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    assert "notion_pages" in sync_tables(one)
    ((check, by),) = one.query("select check_name, accepted_by from run.accepted_checks")
    assert check == "usage_delivered"
    assert by


def test_a_swing_of_the_portfolio_holds_publishing(company):
    one = company("acme")
    assert one.csm("run", "--as-of", "2026-09-29", "--no-publish").returncode == 0
    with duckdb.connect(str(one.config.warehouse)) as connection:
        connection.execute(
            "update marts.csm_health_scores set score = 95, rag = 'GREEN' where as_of_date = '2026-09-29'"
        )
    held = one.csm("run", "--as-of", "2026-09-30")
    assert held.returncode == 1
    assert "mean score 95.0 on 2026-09-29" in held.stdout
    assert "--accept portfolio_swing" in held.stdout
    assert sync_tables(one) == set()


@pytest.mark.slow
def test_a_day_scored_under_another_configuration_is_said_to_be(company):
    one = company("acme")
    assert "Note" not in one.csm("run", "--as-of", "2026-09-30", "--no-publish").stdout
    settings = one.config_file.read_text()
    one.config_file.write_text(settings.replace("green_threshold: 75", "green_threshold: 80"))
    again = one.csm("run", "--as-of", "2026-09-30", "--no-publish")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 of the days were scored under another configuration" in again.stdout
    assert one.query("select count(distinct config_hash) from marts.csm_health_scores") == [(1,)]


@pytest.mark.slow
def test_records_that_came_regularly_and_stopped_hold_publishing_with_the_last_days_that_had_some(company):
    one = company("acme", checks={"freshness": {"tickets": 1}})
    held = one.csm("run", "--as-of", "2026-10-02")
    assert held.returncode == 1
    assert "the latest of tickets is of 2026-09-30, 2 days before 2026-10-02 (at most 1 days)" in held.stdout
    assert held.stdout.count("; day 2026-09-") == 9
    assert "--accept tickets_delivered" in held.stdout
    assert sync_tables(one) == set()
    unknown = one.csm("run", "--as-of", "2026-10-02", "--accept", "tickets")
    assert unknown.returncode == 2
    assert "no check named tickets that can be accepted; there are: population_scored" in unknown.stderr
    accepted = one.csm("run", "--as-of", "2026-10-02", "--no-publish", "--accept", "tickets_delivered")
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    ((check, by, at),) = one.query("select check_name, accepted_by, accepted_at from run.accepted_checks")
    assert check == "tickets_delivered"
    assert by
    assert at
    # Once: the next run is held again.
    assert one.csm("run", "--as-of", "2026-10-02", "--no-publish").returncode == 1
