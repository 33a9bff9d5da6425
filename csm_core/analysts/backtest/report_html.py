"""The report of ``csm backtest --html``: one HTML file without scripts and requests, the same for the same figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from csm_core.analysts.backtest.figures import BacktestFigures, MeasureAuc
from csm_core.analysts.backtest.report_sections import auc_names, basis_text, sections

# The scale of the chart: AUC 0 to 1 on this number of units, right of the names.
_LEFT, _WIDTH, _ROW = 290, 400, 26


@dataclass(frozen=True)
class _Bar:
    """One line of the chart: the AUC as a point, its interval as a line, in units of the drawing."""

    name: str
    auc: str
    y: int
    point: str
    low: str
    high: str


def report_html(figures: BacktestFigures) -> str:
    """Return the report as one HTML page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    bars = _bars(figures)
    return environment.get_template("backtest.html").render(
        basis=basis_text(figures.given),
        notes=figures.notes,
        sections=sections(figures),
        bars=bars,
        left=_LEFT,
        middle=_LEFT + _WIDTH // 2,
        right=_LEFT + _WIDTH,
        height=_ROW * (len(bars) + 1),
    )


def _bars(figures: BacktestFigures) -> list[_Bar]:
    drawn = [(name, one, one.auc) for name, one in auc_names(figures) if one.auc is not None]
    return [_bar(name, auc, one, line) for line, (name, one, auc) in enumerate(drawn)]


def _bar(name: str, auc: float, one: MeasureAuc, line: int) -> _Bar:
    low, high = (one.interval.low, one.interval.high) if one.interval else (auc, auc)
    return _Bar(name, f"{auc:.3f}", _ROW * line + _ROW // 2, _x(auc), _x(low), _x(high))


def _x(auc: float) -> str:
    # The linear form of a resample may leave 0 to 1 by a little.
    return f"{_LEFT + _WIDTH * min(max(auc, 0.0), 1.0):.1f}"
