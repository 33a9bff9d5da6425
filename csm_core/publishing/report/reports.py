"""Builds the portfolio report and the report on one account from the published copy, and writes them to a file."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from csm_core.analysts.explain_account import find_account, load_explanation
from csm_core.errors import InputError
from csm_core.publishing.internal_notes import NEXT_STEPS
from csm_core.publishing.report.account_figures import account_figures
from csm_core.publishing.report.figures import Figure, Result, Scope, require_known
from csm_core.publishing.report.kept_charts import NONE, KeptCharts
from csm_core.publishing.report.page import Page, render
from csm_core.publishing.report.portfolio_figures import portfolio_figures
from csm_core.publishing.report.results import run_figure
from csm_core.system.file_access import give_group, make_folder
from csm_core.system.text_table import counted
from csm_core.warehouse.day_status import require_newest, require_scored

_NEXT_STEPS = 3
KEPT = "portfolio-*.html"
"""The names of the reports that a run writes and keeps."""


def portfolio_report(connection: duckdb.DuckDBPyConnection, scope: Scope, kept: KeptCharts = NONE) -> str:
    """The portfolio report of a scope as HTML. Charts that ``kept`` has are not drawn again.

    Raises InputError for a day that is not complete, for an owner or a segment without accounts, and for a copy of an
    earlier version.
    """
    require_scored(connection, scope.day)
    require_known(connection, scope)
    scope = replace(scope, reporting_currency=_reporting_currency(connection, scope.day))
    parts = [f"Owner: {scope.owner}." if scope.owner else "", f"Segment: {scope.segment}." if scope.segment else ""]
    page = Page(
        heading=f"Customer health on {scope.day}",
        sentences=[*filter(None, parts), _provenance(connection, scope.day)],
        results=_run(connection, portfolio_figures(scope), kept, scope.reporting_currency),
    )
    return render(page)


def account_report(connection: duckdb.DuckDBPyConnection, account: str, day: date) -> str:
    """The report on one account, by id or name, as HTML.

    Raises InputError for a day that is not complete, and for an account that does not exist or has no score that day.
    """
    require_scored(connection, day)
    tenant_id, account_id = find_account(connection, account)
    load_explanation(connection, account_id, day, tenant_id)
    name: Any = connection.execute(
        "select account_name from csm_accounts_daily where account_id = ? and as_of_date = ?", [account_id, day]
    ).fetchone()
    results = _run(connection, account_figures(account_id, day))
    points = next(result for result in results if result.figure.key == "points")
    losses = [row["signal"] for row in points.rows if row["weight"] - row["points"] >= 1]
    page = Page(
        heading=(name and name[0]) or account_id,
        sentences=[f"Account {account_id} on {day}.", _known_since(connection, account_id, day)],
        results=results,
        next_steps=[NEXT_STEPS[signal] for signal in losses[:_NEXT_STEPS]],
    )
    return render(page)


def report_day(connection: duckdb.DuckDBPyConnection, as_of: date | None) -> date:
    """The day of a report: the given one, or the newest complete or accepted day. Raises InputError without one."""
    return as_of or require_newest(connection)


def _run(
    connection: duckdb.DuckDBPyConnection, figures: list[Figure], kept: KeptCharts = NONE, currency: str | None = None
) -> list[Result]:
    try:
        return [run_figure(connection, figure, kept, currency) for figure in figures]
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        message = (
            f"the published copy is of an earlier version of csm-health: {str(error).splitlines()[0]}. "
            "`csm run` writes it again."
        )
        raise InputError(message) from None


def _reporting_currency(connection: duckdb.DuckDBPyConnection, day: date) -> str | None:
    row = connection.execute(
        "select min(reporting_currency) from csm_accounts_daily where as_of_date = ?", [day]
    ).fetchone()
    return row[0] if row else None


def _provenance(connection: duckdb.DuckDBPyConnection, day: date) -> str:
    """With which configuration the scores were computed, and how many of them were known in time."""
    row: Any = connection.execute(
        "select min(config_hash), count(*), count(*) filter (where basis = 'as_known') from csm_health_scores "
        "where as_of_date = ?",
        [day],
    ).fetchone()
    config_hash, accounts, in_time = row
    basis = "all known in time" if in_time == accounts else f"{in_time:,} known in time, the others reconstructed"
    return f"{counted(accounts, 'score')}, {basis}. Configuration {config_hash[:12]}."


def _known_since(connection: duckdb.DuckDBPyConnection, account_id: str, day: date) -> str:
    row: Any = connection.execute(
        "select known_from, basis, config_hash from csm_health_scores where account_id = ? and as_of_date = ?",
        [account_id, day],
    ).fetchone()
    known_from, basis, config_hash = row
    reconstructed = ", reconstructed later" if basis == "reconstructed" else ""
    return f"The score is known since {known_from:%Y-%m-%d %H:%M} UTC{reconstructed}. Configuration {config_hash[:12]}."


def write_report(text: str, path: Path) -> Path:
    """Write a report in one rename, so that readers never see a part of it. Returns its path."""
    make_folder(path.parent)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    give_group(fresh)
    fresh.replace(path)
    return path


def report_folder(warehouse: Path) -> Path:
    """The folder of the reports that a run writes, next to the warehouse."""
    return warehouse.parent / "reports"


def reports_with(warehouse: Path, pattern: str) -> list[Path]:
    """The kept reports whose text matches a regular expression, without markup."""
    return [
        path
        for path in sorted(report_folder(warehouse).glob(KEPT))
        if re.search(pattern, html.unescape(re.sub("<[^>]*>", " ", path.read_text(encoding="utf-8"))))
    ]


def remove_oldest(folder: Path, keep: int) -> list[Path]:
    """Delete the reports of a folder except the newest ``keep``: names have the day. Returns the deleted ones.

    Files that a killed run left are deleted as well.
    """
    for path in folder.glob(f".{KEPT}.new"):
        path.unlink(missing_ok=True)
    old = sorted(folder.glob(KEPT))[: -keep or None]
    for path in old:
        path.unlink(missing_ok=True)
    return old
