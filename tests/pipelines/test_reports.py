"""Reports: one file without scripts and requests; its numbers are those of the queries that it states."""

import json
import re
import shutil
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest

from csm_core.analysts.published_copy import publish_copy
from csm_core.analysts.queries import open_published
from csm_core.days.finished_days import model_parameters
from csm_core.publishing.alerts.publish import alert_day
from csm_core.publishing.report.figures import Scope
from csm_core.publishing.report.kept_charts import KeptCharts
from csm_core.publishing.report.reports import portfolio_report
from csm_core.scoring.macros import create_macros
from csm_core.warehouse.database import Warehouse
from tests.conftest import Company
from tests.in_process import Done, csm
from tests.pipelines.report_page import Report, check_numbers


def command(company: Company, *arguments: str) -> Done:
    return csm(*arguments, folder=company.folder, environment=company.environment)


def written(company, *arguments: str) -> str:
    out = company.folder / "report.html"
    said = command(company, "report", *arguments, "--out", str(out))
    assert said.status == 0, said.stderr
    assert str(out) in said.stdout
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def alerted(acme, tmp_path_factory) -> Company:
    """The company with the alerts of its last two days, as a run that publishes leaves it."""
    folder = tmp_path_factory.mktemp("alerted") / "company"
    shutil.copytree(acme.folder, folder)
    one = Company(folder, folder / "csm.yaml")
    warehouse, days = Warehouse.from_config(one.config), (date(2026, 9, 29), date(2026, 9, 30))
    with warehouse.connect() as connection:
        alert_day(connection, one.config.alerts, *days, clock=lambda: datetime(2026, 10, 1, tzinfo=UTC))
    publish_copy(warehouse, create_macros, model_parameters(one.config))
    return one


@pytest.fixture(scope="module")
def portfolio(alerted) -> str:
    return written(alerted)


def copied(company: Callable[..., Company], of: Company) -> tuple[Company, Path]:
    """A company with the published copy of another one, and the path of the copy."""
    one = company("acme")
    path = Warehouse.from_config(one.config).published_path
    path.parent.mkdir(parents=True)
    shutil.copy(Warehouse.from_config(of.config).published_path, path)
    return one, path


def rows_of(company, html: str, title: str) -> list[dict]:
    """All rows that the query of a section returns, by `csm sql`."""
    done = command(company, "sql", "".join(Report(html).sections[title]["query"]), "--json")
    assert done.status == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def account(acme) -> str:
    return written(acme, "A0026")


def test_every_number_of_the_portfolio_is_that_of_its_query(alerted, portfolio):
    assert check_numbers(alerted, portfolio) > 150


def test_the_open_alerts_are_those_of_the_day(alerted, portfolio):
    listed = json.loads(command(alerted, "alerts", "list", "--json").stdout)
    shown = rows_of(alerted, portfolio, "Open alerts")
    columns = ("rule", "account_id", "severity", "state", "since")
    assert {tuple(row[name] for name in columns) for row in shown} == {
        tuple(row[name] for name in columns) for row in listed
    }
    assert len(Report(portfolio).sections["Open alerts"]["rows"]) == 1 + min(30, len(shown))
    before = rows_of(alerted, written(alerted, "--as-of", "2026-09-29"), "Open alerts")
    red = [{row["account_id"]: row["state"] for row in rows if row["rule"] == "turned_red"} for rows in (before, shown)]
    still_red = red[0].keys() & red[1].keys()
    assert still_red
    assert [{states[account] for account in still_red} for states in red] == [{"pending"}, {"firing"}]


def test_rejected_records_are_those_in_quarantine(alerted, portfolio):
    counts = json.loads(command(alerted, "quarantine", "--json").stdout)
    shown = rows_of(alerted, portfolio, "Rejected records")
    columns = ("entity", "system", "field", "reason", "records")
    assert shown
    assert {tuple(row[name] for name in columns) for row in shown} == {
        tuple(row[name] for name in columns) for row in counts
    }


def test_tickets_and_invoices_have_the_state_of_the_day(alerted):
    (account, ticket, solved) = alerted.query(
        "select account_id, ticket_id, cast(solved_at as date) from staging.stg_tickets where opened_at < '2026-09-01' "
        "and solved_at between '2026-09-04' and '2026-09-28' order by ticket_id limit 1"
    )[0]
    states = {}
    for day in ("2026-09-02", "2026-09-30"):
        shown = rows_of(alerted, written(alerted, account, "--as-of", day), "Tickets")
        states[day] = [(row["state"], row["solved_on"]) for row in shown if row["ticket_id"] == ticket]
    assert states == {"2026-09-02": [("open", None)], "2026-09-30": [("solved", str(solved))]}
    unpaid = alerted.query(
        "select signals.account_id, facts.days_past_due from marts.csm_health_signals as signals "
        "inner join intermediate.int_account_invoices as facts using (account_id, as_of_date) "
        "where as_of_date = '2026-09-30' and days_past_due > 0 order by account_id limit 3"
    )
    assert unpaid
    for account, days in unpaid:
        shown = rows_of(alerted, written(alerted, account), "Invoices")
        assert max(row["days_overdue"] for row in shown if row["state"] == "overdue") == days


def test_every_number_of_an_account_is_that_of_its_query(acme, account):
    assert check_numbers(acme, account) > 15


def test_csm_sql_runs_the_query_of_a_figure(alerted, portfolio):
    assert sum(row["accounts"] for row in rows_of(alerted, portfolio, "Bands today")) == 189


def test_the_page_has_no_script_request_or_handler(portfolio, account):
    for html in (portfolio, account):
        report = Report(html)
        assert report.open == []
        names = {tag for tag, _ in report.tags}
        assert names.isdisjoint({"script", "link", "iframe", "object", "embed", "form", "img", "base"})
        attributes = [item for _, some in report.tags for item in some.items()]
        assert not [name for name, _ in attributes if name.startswith("on")]
        assert not [value for name, value in attributes if name in ("src", "href") and not str(value).startswith("#")]
        assert "url(" not in re.sub(r"url\(#[^)]+\)", "", html)
        policy = next(some["content"] for tag, some in report.tags if some.get("http-equiv"))
        assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
        identifiers = [value for name, value in attributes if name == "id"]
        assert len(identifiers) == len(set(identifiers))


def test_two_reports_of_the_same_data_are_byte_identical(alerted, portfolio):
    out = alerted.folder / "second.html"
    done = alerted.csm("report", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert out.read_text(encoding="utf-8") == portfolio


def test_charts_have_a_title_and_a_description(portfolio):
    svgs = [some for tag, some in Report(portfolio).tags if tag == "svg"]
    assert svgs
    for one in svgs:
        for identifier in one["aria-labelledby"].split():
            assert f'id="{identifier}"' in portfolio


def test_an_owner_has_only_the_accounts_of_the_owner(acme):
    html = written(acme, "--owner", "Chiara Conti")
    report = Report(html)
    owners = acme.query(
        "select count(*) from marts.csm_health_scores inner join marts.csm_accounts_daily "
        "using (account_id, as_of_date) where as_of_date = date '2026-09-30' and csm_owner = 'Chiara Conti'"
    )
    bands = report.sections["Bands today"]["rows"]
    assert sum(int(row[2]) for row in bands[1:]) == owners[0][0]
    assert "Owner: Chiara Conti." in html
    assert check_numbers(acme, html) > 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--owner", "nobody's"], "the owners are"),
        (["--segment", "x"], "the segments are"),
        (["A0026", "--owner", "Chiara Conti"], "--owner and --segment are for the portfolio"),
        (["A9999"], "A9999"),
        (["--as-of", "2026-09-15"], "2026-09-15 is not scored"),
        (["A0026", "--as-of", "2026-09-15"], "2026-09-15 is not scored"),
        (["--out", "report.txt"], "must end in .html"),
        (["--out", "missing/report.html"], "the folder missing does not exist"),
    ],
)
def test_bad_input_is_rejected_with_what_to_do(acme, arguments, said):
    rejected = command(acme, "report", *arguments)
    assert rejected.status == 2
    assert said in rejected.stderr
    assert rejected.error is None


def test_a_report_replaces_the_oldest_of_those_that_are_kept(acme, tmp_path):
    one = Company(shutil.copytree(acme.folder, tmp_path / "company"), tmp_path / "company" / "csm.yaml")
    settings = one.config_file.read_text(encoding="utf-8")
    one.config_file.write_text(settings.replace("keep: 0", "keep: 2"), encoding="utf-8")
    folder = one.folder / "data" / "reports"
    folder.mkdir()
    for day in ("2026-09-28", "2026-09-29"):
        (folder / f"portfolio-{day}.html").write_text("<!doctype html>", encoding="utf-8")
    done = command(one, "run", "--as-of", "2026-09-30", "--no-publish", "--select", "csm_report")
    assert done.status == 0, done.stdout + done.stderr
    reports = sorted(folder.iterdir())
    assert [path.name for path in reports] == ["portfolio-2026-09-29.html", "portfolio-2026-09-30.html"]
    assert reports[-1].read_text(encoding="utf-8") == written(one)


def test_only_charts_of_other_numbers_are_drawn_again(alerted, portfolio, tmp_path):
    def chart_ids(html: str) -> list[str]:
        return re.findall(r'<figure data-drawn-from="[0-9a-f]{64}"><svg[^>]* id="([^"]*)"', html)

    earlier = tmp_path / "earlier.html"
    earlier.write_text(portfolio.replace("<svg ", '<svg id="kept" '), encoding="utf-8")
    kept = KeptCharts.of_report(earlier)
    with open_published(Warehouse.from_config(alerted.config)) as copy:
        same_day, before = (portfolio_report(copy, Scope(date(2026, 9, day)), kept) for day in (30, 29))
    drawn = len(re.findall("<figure ", portfolio))
    assert drawn >= 3
    assert chart_ids(same_day) == ["kept"] * drawn
    assert same_day.replace('<svg id="kept" ', "<svg ") == portfolio
    assert chart_ids(before) == []


@pytest.mark.slow
def test_a_run_writes_the_report_of_its_newest_day_and_deletes_older_ones(company):
    one = company("acme", reports={"keep": 2})
    left_by_a_kill = one.folder / "data" / "reports" / ".portfolio-2026-09-27.html.new"
    left_by_a_kill.parent.mkdir(parents=True)
    left_by_a_kill.write_text("<!doctype", encoding="utf-8")
    for day in ("2026-09-28", "2026-09-29", "2026-09-30"):
        result = one.csm("run", "--as-of", day, "--no-publish")
        assert result.returncode == 0, result.stdout + result.stderr
    reports = sorted((one.folder / "data" / "reports").iterdir())
    assert [path.name for path in reports] == ["portfolio-2026-09-29.html", "portfolio-2026-09-30.html"]
    assert reports[-1].read_text(encoding="utf-8") == written(one)


def test_pdf_without_chromium_says_what_is_missing(acme):
    rejected = acme.csm("report", "--pdf", environment={"PATH": ""})
    assert rejected.returncode == 2
    assert "needs Chromium" in rejected.stderr


@pytest.mark.ui
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium")
def test_pdf_is_printed(acme):
    out = acme.folder / "printed.html"
    said = acme.csm("report", "--pdf", "--out", str(out))
    assert said.returncode == 0, said.stderr
    assert out.with_suffix(".pdf").read_bytes()[:5] == b"%PDF-"


def test_hostile_names_are_text_and_the_report_stays_valid(company, acme):
    """Names that break HTML, SVG, SQL and the direction of text, for accounts, owners and segments."""
    hostile = "'); drop table x;-- <img src=x onerror=alert(1)> \u202e \x07 $\\frac{1}{2}$ \"&quot; {{ 7*7 }}"
    copy, path = copied(company, acme)
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "update marts.csm_accounts_daily set account_name = $name, csm_owner = $name, segment = $name",
            {"name": hostile},
        )
        for table, key in (("csm_tickets", "ticket_id"), ("csm_invoices", "invoice_id")):
            connection.execute(f"update marts.{table} set {key} = $name || {key}", {"name": hostile})
        connection.execute("update marts.csm_tickets set priority = $name", {"name": hostile + "x" * 10_000})
    for arguments in ([], ["A0026"], ["--owner", hostile], ["--segment", hostile]):
        html = written(copy, *arguments)
        report = Report(html)
        assert report.open == []
        assert {tag for tag, _ in report.tags}.isdisjoint({"img", "script"})
        assert "49" not in html.partition("<main>")[0].partition("</style>")[2]
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e]", html)
        assert "&lt;img src=x" in html
        assert len(html.encode()) < 1_000_000
    html = written(copy, "A0026")
    assert len(html.encode()) < 150_000
    for title in ("Tickets", "Invoices"):
        shown = Report(html).sections[title]["rows"][1:]
        assert shown
        assert all("<img src=x onerror=alert(1)> \ufffd \ufffd $" in row[0] for row in shown), title


@pytest.mark.slow
def test_two_thousand_accounts_take_less_than_five_seconds_and_a_megabyte(company, alerted):
    copy, path = copied(company, alerted)
    with duckdb.connect(str(path)) as connection:
        tables = connection.execute(
            "select schema_name || '.' || table_name, list(column_name) from duckdb_columns() "
            "where schema_name in ('marts', 'sync') group by all having list_contains(list(column_name), 'account_id')"
        ).fetchall()
        views = {name for (name,) in connection.execute("select 'marts.' || view_name from duckdb_views()").fetchall()}
        for table, columns in tables:
            if table in views:
                continue
            event = ", event_id + copies * 1000000 as event_id" if "event_id" in columns else ""
            connection.execute(
                f"insert into {table} select rows.* replace (account_id || '-' || copies as account_id{event}) "
                f"from {table} as rows cross join range(1, 12) as numbers(copies)"
            )
    html = [written(copy)]
    started = time.perf_counter()
    html.append(written(copy))
    seconds = time.perf_counter() - started
    assert sum(row["accounts"] for row in rows_of(copy, html[0], "Bands today")) == 12 * 189
    assert html[0] == html[1]
    assert len(html[0].encode()) < 1_000_000
    assert seconds < 5


def test_a_copy_of_an_earlier_version_says_what_to_do(company, acme):
    copy, path = copied(company, acme)
    with duckdb.connect(str(path)) as connection:
        connection.execute("drop table marts.csm_record_days; drop table marts.csm_tickets")
    for arguments in ([], ["A0026"]):
        rejected = command(copy, "report", *arguments)
        assert rejected.status == 2
        assert "the published copy is of an earlier version of csm-health" in rejected.stderr
        assert "`csm run` writes it again" in rejected.stderr
