"""The command ``csm report``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from csm_core.commands.options import DAY_FORMATS, ConfigOption, read_config
from csm_core.errors import InputError

app = typer.Typer()


@app.command(
    epilog="Examples:  csm report    csm report --owner ann@example.com --out ann.html    "
    "csm report A0026 --as-of 2026-09-30 --pdf",
    short_help="Write a report on the portfolio or on one account.",
)
def report(
    account: Annotated[
        str | None, typer.Argument(help="An account, by id or name; default: the portfolio.", show_default=False)
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="The day; default: the newest complete day."),
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Only the accounts of this owner.")] = None,
    segment: Annotated[str | None, typer.Option(help="Only the accounts of this segment.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file; default: csm-report-DAY.html in the current folder.")
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also print it as PDF; needs Chromium.")] = False,
    config: ConfigOption = None,
) -> None:
    """Write a report on the portfolio or on one account as one HTML file, without scripts and requests.

    It reads the published copy, so it never waits for a run. Every figure states its query, which csm sql runs.
    """
    from csm_core.analysts.queries import open_published
    from csm_core.publishing.report.figures import Scope
    from csm_core.publishing.report.pdf import print_as_pdf, require_chromium
    from csm_core.publishing.report.reports import account_report, portfolio_report, report_day, write_report
    from csm_core.warehouse.database import Warehouse

    if account is not None and (owner or segment):
        message = "--owner and --segment are for the portfolio; leave them out, or leave out ACCOUNT"
        raise InputError(message)
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        message = f"--out must end in .html, not {out.name!r}"
        raise InputError(message)
    if out is not None and not out.absolute().parent.is_dir():
        message = f"--out {out}: the folder {out.parent} does not exist"
        raise InputError(message)
    if pdf:
        require_chromium()
    effective = read_config(config)
    with open_published(Warehouse.from_config(effective)) as connection:
        day = report_day(connection, as_of.date() if as_of else None)
        if account is None:
            limits = effective.checks.silence_limits
            html = portfolio_report(connection, Scope(day, owner=owner, segment=segment, silence_limits=limits))
        else:
            html = account_report(connection, account, day)
    path = write_report(html, out or Path(f"csm-report-{day}.html"))
    typer.echo(f"{path}   {len(html.encode()) / 1000:,.0f} kB, as of {day}")
    if pdf:
        typer.echo(str(print_as_pdf(path, path.with_suffix(".pdf"))))
