"""The report as text and as HTML: the basis first, untrusted names as text, and one self-contained page."""

import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser

import numpy as np
import pytest

from csm_core.analysts.backtest.figures import backtest_figures
from csm_core.analysts.backtest.observations import GreenChurn, LeadTime
from csm_core.analysts.backtest.report_html import report_html
from csm_core.analysts.backtest.report_text import report_text
from tests.analysts.backtest.made import portfolio

NAME = "<script>alert('x')</script>\u202e\x1b[2J\" & Söhne"


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def given():
    green = GreenChurn("default", NAME, NAME, date(2026, 3, 31), date(2026, 5, 1), 72.25, None, None, ("usage_trend",))
    made = portfolio(np.random.default_rng(5), 0.75)
    observations = replace(made.observations, points={"usage_trend": np.round(made.observations.score / 10)})
    return replace(made, observations=observations, green_churn=(green,) * 25, basis="reconstructed")


@pytest.fixture(scope="module")
def figures(given):
    return backtest_figures(given, with_advice=True)


def test_the_text_starts_with_the_basis_and_has_every_part(figures):
    text = report_text(figures)
    assert text.startswith("Reconstructed scores, which were not known in time (basis reconstructed).\n")
    titles = ("Observations", "AUC within date", "Lift", "Bands", "Churn risk", "Alerts", "Lead time", "Green churn")
    positions = [text.index(f"\n{title}\n") for title in (*titles, "Calibration", "Advice")]
    assert positions == sorted(positions)
    assert f"score                  {figures.auc.auc:.3f}  " in text
    assert "time to renewal alone      -  -               no pairs with known values" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "… and 5 more; --json lists all" in text


def test_names_are_text_in_the_page(figures):
    elements = Elements(report_html(figures))
    assert "script" not in elements.tags
    shown = [text for text in elements.text if "alert('x')" in text]
    assert shown == ["<script>alert('x')</script>  [2J\" & Söhne"] * 50


def test_the_page_requests_nothing(figures):
    elements = Elements(report_html(figures))
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert ("content", policy) in elements.attributes
    names = {name for name, _ in elements.attributes}
    assert not names & {"src", "srcset", "action"}
    assert not [name for name in names if name.startswith("on")]
    assert not set(elements.tags) & {"script", "link", "img", "image", "iframe", "object", "form"}
    # The chart refers to its own parts.
    identifiers = {value for name, value in elements.attributes if name == "id"}
    assert {value for name, value in elements.attributes if name == "href"} <= {f"#{one}" for one in identifiers}
    assert set(re.findall(r"url\(([^)]*)\)", report_html(figures))) <= {f"#{one}" for one in identifiers}


def test_the_chart_is_described_and_its_numbers_are_in_a_table(figures):
    page = report_html(figures)
    elements = Elements(page)
    assert ("aria-labelledby", "chart-title chart-desc") in elements.attributes
    chart = [text for text in Elements(page[page.index("<svg") : page.index("</svg>")]).text if text.strip()]
    # The score and a signal; no renewal is known.
    assert [text for text in chart if text in ("score", "signal: usage trend", "time to renewal alone")] == [
        "score",
        "signal: usage trend",
    ]
    assert f"{figures.auc.auc:.3f}" in chart
    assert page.count(f'<td class="number">{figures.auc.auc:.3f}</td>') >= 1


def test_equal_figures_give_the_same_bytes(given, figures):
    assert report_html(backtest_figures(given, with_advice=True)) == report_html(figures)


def test_too_few_churned_accounts_have_no_chart_and_no_auc():
    made = replace(
        portfolio(np.random.default_rng(5), 0.75, accounts=20),
        lead_times=(
            LeadTime("default", NAME, date(2026, 5, 1), 31),
            LeadTime("default", "A2", date(2026, 5, 2), None),
        ),
    )
    figures = backtest_figures(made, with_advice=True)
    assert not figures.enough_churned_accounts
    page, text = report_html(figures), report_text(figures)
    assert "AUC within date" not in page
    assert "<svg" not in page
    assert "With fewer than 10 churned accounts there is no AUC and no lift." in text
    assert "\nLift\n" not in text
    listed = text.split("\nAccounts that left\n")[1].splitlines()[1:3]
    assert [line.split("  ")[-1].strip() for line in listed] == ["31", "never alerted"]
    assert "<script" not in page
