"""The command ``csm backtest``: does the score predict churn?"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from csm_core.commands.options import DAY_FORMATS, ConfigOption, JsonOption, open_warehouse

app = typer.Typer()


@app.command(
    epilog="Examples:  csm backtest    csm backtest --from 2026-01-01 --to 2026-06-30 --lead 30 --json    "
    "csm backtest --every week --segment enterprise --html backtest.html    csm backtest --advise",
    short_help="Show how well scores predicted churn.",
)
def backtest(
    from_: Annotated[
        datetime | None,
        typer.Option("--from", formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="First day; default: the first scored."),
    ] = None,
    to: Annotated[
        datetime | None,
        typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="Last day; default: the last scored."),
    ] = None,
    every: Annotated[str, typer.Option(help="month: the last day of each month; week: each Sunday.")] = "month",
    lead: Annotated[
        int, typer.Option(metavar="DAYS", help="Leave out observations of accounts that left within these days.")
    ] = 0,
    horizon: Annotated[
        int, typer.Option(metavar="DAYS", help="An account that left within these days after the lead has churned.")
    ] = 90,
    basis: Annotated[
        str | None,
        typer.Option(help="as_known, reconstructed or all; default: as_known if there are such scores, otherwise all."),
    ] = None,
    segment: Annotated[
        str | None, typer.Option(help="Only accounts in this segment on the date; `unsegmented`: those without one.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only accounts of this tenant.")] = None,
    advise: Annotated[bool, typer.Option("--advise", help="Search for better thresholds. Changes nothing.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the report to this HTML file.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the scores of past days with the accounts that left, and show how well they predicted it.

    Reads the published copy. docs/backtest.md explains the figures.
    """
    from csm_core.analysts.backtest.figures import backtest_figures
    from csm_core.analysts.backtest.options import BacktestOptions
    from csm_core.analysts.backtest.reading import read_backtest
    from csm_core.analysts.backtest.report_html import report_html
    from csm_core.analysts.backtest.report_text import report_text
    from csm_core.analysts.queries import open_published

    options = BacktestOptions(
        first=from_.date() if from_ else None,
        last=to.date() if to else None,
        every=every,
        lead_days=lead,
        horizon_days=horizon,
        basis=basis,
        segment=segment,
        tenant=tenant,
    )
    with open_published(open_warehouse(config)) as connection:
        given = read_backtest(connection, options)
    figures = backtest_figures(given, with_advice=advise)
    if html:
        html.write_text(report_html(figures), encoding="utf-8")
    typer.echo(json.dumps(figures.as_dict(), indent=2) if as_json else report_text(figures))
