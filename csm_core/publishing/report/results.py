"""Runs the query of a figure, and draws its chart unless an earlier report has the same."""

from __future__ import annotations

import duckdb

from csm_core.analysts.drawing import inline_svg
from csm_core.publishing.report.figures import Chart, Figure, Result, Rows
from csm_core.publishing.report.kept_charts import NONE, KeptCharts, digest_of
from csm_core.publishing.report.shown_text import displayable
from csm_core.warehouse.rows import fetch_dicts


def run_figure(
    connection: duckdb.DuckDBPyConnection, figure: Figure, kept: KeptCharts = NONE, currency: str | None = None
) -> Result:
    """Run the query of a figure and draw its chart, or take it from ``kept``.

    ``currency`` is the reporting currency, on which charts depend besides the rows.
    """
    described = connection.execute(f"describe {figure.sql}").fetchall()
    columns = tuple(name for name, *_ in described if name not in figure.undisplayed)
    rows = fetch_dicts(connection, figure.sql)
    return Result(figure, columns, rows, _chart(figure, rows, kept, currency))


def _chart(figure: Figure, rows: Rows, kept: KeptCharts, currency: str | None) -> Chart | None:
    if figure.draw is None or not rows:
        return None
    drawn_from = digest_of(figure.key, figure.title, currency, rows)
    if drawn_from in kept.charts:
        return Chart(kept.charts[drawn_from], drawn_from)
    drawing = figure.draw(rows)
    if drawing is None:
        return None
    return Chart(
        inline_svg(drawing.svg, f"chart-{figure.key}", figure.title, displayable(drawing.description)), drawn_from
    )
