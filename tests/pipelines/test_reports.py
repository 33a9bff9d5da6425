"""Reports: one file without scripts and requests; its numbers are those of the queries that it states."""

import json
import re
import shutil
from html.parser import HTMLParser

import duckdb
import pytest

from csm_core.analysts.queries import query_published
from csm_core.display_names import SIGNALS, TRIGGERS
from csm_core.warehouse.database import Warehouse

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Report(HTMLParser):
    """The sections of a report: the heading, the cells of its table and its query; and every tag and attribute."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, dict[str, list]] = {}
        self.open: list[str] = []
        self._section: dict[str, list] = {"rows": [], "query": [], "title": []}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self._section = {"rows": [], "query": [], "title": []}
        if tag == "tr":
            self._section["rows"].append([])
        if tag in ("td", "th"):
            self._section["rows"][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "section":
            self.sections["".join(self._section["title"])] = self._section

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self._section["rows"][-1][-1] += data
        elif "pre" in self.open:
            self._section["query"].append(data)
        elif "h2" in self.open:
            self._section["title"].append(data)


def written(company, *arguments: str) -> str:
    out = company.folder / "report.html"
    said = company.csm("report", *arguments, "--out", str(out))
    assert said.returncode == 0, said.stderr
    assert str(out) in said.stdout
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def portfolio(acme) -> str:
    return written(acme)


@pytest.fixture(scope="module")
def account(acme) -> str:
    return written(acme, "A0026")


def same(cell: str, value) -> bool:
    """Whether a cell shows a value: numbers are rounded, shares are in percent, and signals have display names."""
    if value is None:
        return cell == "–"
    if isinstance(value, bool):
        return cell == ("yes" if value else "no")
    if isinstance(value, str):
        try:
            # Decimals are text in JSON.
            value = float(value) if re.fullmatch(r"-?\d+\.\d+", value) and cell != value else value
        except ValueError:
            return False
    if isinstance(value, str):
        return cell in (value, SIGNALS.get(value), TRIGGERS.get(value)) or cell.split() == value.split()
    shown = float(cell.replace(",", "").rstrip("%"))
    return abs(shown - (value * 100 if cell.endswith("%") else value)) <= 0.0501


def check_numbers(company, html: str) -> int:
    warehouse = Warehouse.from_config(company.config)
    compared = 0
    for title, section in Report(html).sections.items():
        if not section["query"]:
            continue
        rows = json.loads(query_published(warehouse, "".join(section["query"]), "json"))
        shown = section["rows"][1:]
        assert bool(rows) == bool(shown) or title == "Today", title
        for row, cells in zip(rows, shown, strict=False):
            values = list(row.values())[: len(cells)]
            assert [same(cell, value) for cell, value in zip(cells, values, strict=True)] == [True] * len(cells), title
            compared += 1
    return compared


def test_every_number_of_the_portfolio_is_that_of_its_query(acme, portfolio):
    assert check_numbers(acme, portfolio) > 100


def test_every_number_of_an_account_is_that_of_its_query(acme, account):
    assert check_numbers(acme, account) > 15


def test_csm_sql_runs_the_query_of_a_figure(acme, portfolio):
    section = Report(portfolio).sections["Bands today"]
    said = acme.csm("sql", "".join(section["query"]), "--json")
    assert said.returncode == 0, said.stderr
    assert sum(row["accounts"] for row in json.loads(said.stdout)) == 189


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


def test_two_reports_of_the_same_data_are_byte_identical(acme, portfolio):
    assert written(acme) == portfolio


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
    rejected = acme.csm("report", *arguments)
    assert rejected.returncode == 2
    assert said in rejected.stderr
    assert "Traceback" not in rejected.stderr


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
    copy = company("acme")
    folder = Warehouse.from_config(copy.config).published_path
    folder.parent.mkdir(parents=True)
    shutil.copy(Warehouse.from_config(acme.config).published_path, folder)
    with duckdb.connect(str(folder)) as connection:
        connection.execute(
            "update marts.csm_accounts_daily set account_name = $name, csm_owner = $name, segment = $name",
            {"name": hostile},
        )
    for arguments in ([], ["A0026"], ["--owner", hostile], ["--segment", hostile]):
        html = written(copy, *arguments)
        report = Report(html)
        assert report.open == []
        assert {tag for tag, _ in report.tags}.isdisjoint({"img", "script"})
        assert "49" not in html.partition("<main>")[0].partition("</style>")[2]
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e]", html)
        assert "&lt;img src=x" in html
