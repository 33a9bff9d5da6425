"""A newcomer's path in the Dagster UI: a day is held, the last good day is published, the held day is accepted."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pytest

from csm_core.warehouse.database import Warehouse
from tests.conftest import Company, make_company
from tests.ui.page import Page, dagster_dev, free_address
from tests.webhook import Hook, webhook

pytestmark = [pytest.mark.ui, pytest.mark.slow]

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
LAST_GOOD = date(2026, 9, 30)


@pytest.fixture
def company(tmp_path) -> Company:
    return make_company(tmp_path, "acme")


@pytest.fixture
def hook() -> Iterator[Hook]:
    with webhook() as found:
        yield found


@pytest.fixture
def page(browser, company, hook, tmp_path) -> Iterator[Page]:
    address = free_address()
    environment = {"CSM_ALERT_WEBHOOK": hook.url, "CSM_DAGSTER_URL": address}
    with dagster_dev(company, address, tmp_path / "dagster_dev.log", **environment):
        yield Page(browser, address)


def copied(company: Company, sql: str) -> list[tuple[Any, ...]]:
    """What analysts see."""
    with duckdb.connect(str(Warehouse.from_config(company.config).published_path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def day_served(company: Company) -> date | None:
    # An account that has left keeps its last row.
    return copied(company, "select max(as_of_date) from marts.csm_health_current")[0][0]


def days_published(company: Company) -> list[date]:
    if not company.query("select 1 from duckdb_tables() where schema_name = 'sync' and table_name = 'notion_runs'"):
        return []
    return [day for (day,) in company.query("select distinct as_of_date from sync.notion_runs order by 1")]


def wait_for_runs(page: Page, *, failed: int, succeeded: int) -> None:
    page.open("/runs", "Created at")
    page.until(lambda: (page.text().count("Failure\n"), page.text().count("Success\n")) == (failed, succeeded))


def shows_partitions(page: Page, asset: str, *, failed: int, materialised: int) -> None:
    page.open(f"/assets/{asset}?view=partitions", f"Failed ({failed})", f"Materialized ({materialised})")


def test_a_newcomer_sees_the_held_day_publishes_the_last_good_day_and_accepts_the_held_one(page, company, hook):
    page.materialise()
    wait_for_runs(page, failed=1, succeeded=0)
    page.picture("held_runs")
    ((status, failed),) = copied(company, "select status, failed_checks from marts.csm_days")
    assert status == "held"
    checks = failed.split(",")
    assert "usage_delivered" in checks
    assert (day_served(company), days_published(company)) == (None, [])

    # The page of the run says which checks failed, what they found, and what to do here and on the command line.
    run = page.until(lambda: page.driver.find_element("css selector", "a[href^='/runs/']").get_attribute("href"))
    said = page.open(run.removeprefix(page.address), "RUN_FAILURE", f"{YESTERDAY} is held by {', '.join(checks)}.")
    assert "Next: fix the cause, then run" in said
    assert f"with the tag csm/accept and the value `{failed}`" in said
    assert f"csm run --as-of {YESTERDAY} {' '.join(f'--accept {name}' for name in checks)}" in said
    assert f"held by usage_delivered: usage events stopped: the latest usage event is dated {LAST_GOOD}" in said
    page.picture("held_run")
    shows_partitions(page, "csm_days", failed=1, materialised=0)
    page.picture("held_days")
    shows_partitions(page, "csm_health_scores", failed=1, materialised=0)
    said = page.open(f"/assets/csm_health_scores?view=partitions&partition={YESTERDAY}", "failed_checks", "mean_score")
    assert "status\nheld" in said
    page.picture("held_partition")
    page.open("/assets/csm_health_current", "Failed in")

    page.materialise(str(LAST_GOOD))
    wait_for_runs(page, failed=1, succeeded=1)
    assert (day_served(company), days_published(company)) == (LAST_GOOD, [LAST_GOOD])
    shows_partitions(page, "csm_days", failed=1, materialised=1)

    page.materialise(failed=True, tags={"csm/accept": ", ".join(checks), "user": "anna"})
    wait_for_runs(page, failed=1, succeeded=2)
    page.picture("accepted_runs")
    accepted = copied(
        company, "select status, failed_checks, accepted_by from marts.csm_days where status <> 'complete'"
    )
    assert accepted == [("accepted", failed, "anna")]
    assert (day_served(company), days_published(company)) == (YESTERDAY, [LAST_GOOD, YESTERDAY])
    shows_partitions(page, "csm_health_scores", failed=0, materialised=2)
    page.picture("accepted_scores")
    said = page.open(f"/assets/csm_days?view=partitions&partition={YESTERDAY}", "failed_checks", "accepted_by")
    assert "status\naccepted" in said
    page.picture("accepted_day")

    # The alert of the failed run links to its page.
    page.until(lambda: hook.received)
    (alert,) = hook.received
    assert f"*link:* {run}\n" in alert["text"]
    assert f"for {YESTERDAY} failed" in alert["text"]
