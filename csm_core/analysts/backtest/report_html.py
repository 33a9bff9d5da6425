"""The report of ``csm backtest --html``: one HTML file without scripts and requests, the same for the same figures."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from csm_core.analysts import drawing
from csm_core.analysts.backtest.figures import BacktestFigures
from csm_core.analysts.backtest.report_sections import auc_names, basis_text, sections

_TITLE = "AUC within date with 95 % intervals"
_DESCRIPTION = (
    "A point and an interval for each measure on a scale from 0 to 1; the dashed line is chance, 0.5. "
    "The table below has the numbers."
)


def report_html(figures: BacktestFigures) -> str:
    """Return the report as one HTML page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("backtest.html").render(
        basis=basis_text(figures.given), notes=figures.notes, sections=sections(figures), chart=_chart(figures)
    )


def _chart(figures: BacktestFigures) -> Markup | None:
    drawn = [(name, one.auc, one.interval) for name, one in auc_names(figures) if one.auc is not None]
    if not drawn:
        return None
    svg = drawing.intervals(
        [name for name, *_ in drawn],
        [auc for _, auc, _ in drawn],
        # The linear form of a resample may leave 0 to 1 by a little.
        [(max(interval.low, 0), min(interval.high, 1)) if interval else (auc, auc) for _, auc, interval in drawn],
        limits=(0, 1),
    )
    # The SVG comes from the drawing library, which escapes the text that it draws.
    return Markup(drawing.inline_svg(svg, "chart", _TITLE, _DESCRIPTION))  # noqa: S704
