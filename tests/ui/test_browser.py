"""The Dagster UI as its users meet it: started from workspace.yaml, and driven in Debian's Chromium."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.conftest import Company
from tests.recent_company import make_recent_company
from tests.ui.page import Page, dagster_dev, free_address

pytestmark = [pytest.mark.ui, pytest.mark.slow]

DAY = str(datetime.now(UTC).date() - timedelta(days=1))


@pytest.fixture(scope="module")
def company(tmp_path_factory) -> Company:
    return make_recent_company(tmp_path_factory.mktemp("ui"))


@pytest.fixture(scope="module")
def page(browser, company, tmp_path_factory) -> Iterator[Page]:
    address = free_address()
    with dagster_dev(company, address, tmp_path_factory.mktemp("log") / "dagster_dev.log"):
        yield Page(browser, address)


@pytest.fixture(scope="module")
def materialised(page) -> Page:
    """A partition of every asset, materialised by clicks."""
    page.open("/asset-groups", "raw", "staging", "intermediate", "marts", "publish", "Materialize all")
    page.picture("groups")
    page.materialise(DAY)
    page.open("/runs", f"partition: {DAY}")
    page.until(lambda: any(word in page.text() for word in ("Success\n", "Failure\n")))
    page.picture("runs")
    return page


def test_a_partition_is_materialised_from_the_asset_graph(materialised, company):
    runs = materialised.text()
    assert "Success\n" in runs
    assert "Failure\n" not in runs
    scored = company.query("select as_of_date::varchar, count(*) from marts.csm_health_scores group by all")
    assert scored == [(DAY, 2)]


def test_an_asset_says_what_it_is(materialised):
    said = materialised.open("/assets/csm_health_scores", "churn_risk_level", "varchar", "customer-success-data")
    assert "The health score of each account and day" in said
    assert "low, medium, high or critical." in said
    assert "enum" in said
    assert "From csm_health_signals.usage_trend." in said
    assert "DuckDB" in said
    assert "marts.csm_health_scores" in said
    assert "daily_health" in said
    materialised.picture("scores")
    said = materialised.open("/assets/stg_tickets", "raw_files__tickets", "opened_at")
    materialised.picture("staged")


def test_a_materialisation_shows_rows_a_preview_and_plots(materialised):
    said = materialised.open("/assets/csm_health_scores?view=events", "mean_score", "mrr_at_risk", "rag_over_time")
    assert "dagster/row_count\n2\n" in said.replace(" ", "\n")
    images = materialised.until(
        lambda: materialised.driver.find_elements("css selector", "img[src^='data:image/png;base64,']")
    )
    assert [image.get_property("naturalWidth") for image in images] == [480, 480]
    materialised.picture("plots")
    materialised.click("[Show Markdown]")
    materialised.until(lambda: materialised.driver.find_element("xpath", "//td[normalize-space(.)='a1']"))
    materialised.picture("preview")


def test_lineage_leads_to_what_an_asset_reads_and_feeds(materialised):
    said = materialised.open("/assets/csm_health_scores?view=lineage", "csm_health_signals", "int_account_days")
    assert "csm_health_last" in said
    materialised.picture("lineage")


def test_checks_stand_with_what_they_mean(materialised):
    materialised.open("/assets/csm_health_scores?view=checks", "portfolio_swing", "Succeeded")
    materialised.click("portfolio_swing")
    assert "portfolio_swing" in materialised.shows("This is a blocking asset check.")
    materialised.picture("checks")


def test_schedules_and_sensors_are_there_with_their_times(materialised):
    said = materialised.open("/automation", "daily_health_schedule", "run_failure_sensor")
    assert "07:00 AM UTC" in said
    assert "only in January, April, July, and October" in said
    materialised.picture("automation")
