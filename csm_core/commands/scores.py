"""The commands for scores: ``csm score``, ``csm sql``, ``csm explain``, ``csm revisions`` and ``csm whatif``."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from csm_core.commands.options import DAY_FORMATS, TIME_FORMATS, ConfigOption, JsonOption, open_warehouse
from csm_core.errors import InputError
from csm_core.rubric import DEFAULT_AMBER_THRESHOLD, DEFAULT_CHURN_WINDOW_DAYS, DEFAULT_GREEN_THRESHOLD

if TYPE_CHECKING:
    from csm_core.warehouse.database import Warehouse

app = typer.Typer()


@app.command(
    epilog="Examples:  csm score signals.csv    csm score signals.parquet --out scored.jsonl --json",
    short_help="Score a file of signals without a warehouse.",
)
def score(
    file: Annotated[Path, typer.Argument(help="CSV, JSON lines or Parquet with account_id and the inputs.")],
    out: Annotated[
        Path | None, typer.Option(help="Write scores and points to this CSV, JSON lines or Parquet.")
    ] = None,
    green: Annotated[float, typer.Option(help="Minimum score of GREEN accounts.")] = DEFAULT_GREEN_THRESHOLD,
    amber: Annotated[float, typer.Option(help="Minimum score of AMBER accounts.")] = DEFAULT_AMBER_THRESHOLD,
    churn_window_days: Annotated[
        int, typer.Option(help="Renewal window in days for the contract-risk trigger.")
    ] = DEFAULT_CHURN_WINDOW_DAYS,
    as_json: JsonOption = False,
) -> None:
    """Score a file of signals without a warehouse. Invalid rows are reported with their line; other rows are scored."""
    from csm_core.analysts.score_file import score_file
    from csm_core.analysts.score_file_text import bad_row_lines
    from csm_core.system.terminal import printable
    from csm_core.system.text_table import counted
    from csm_core.vectorized_scorer import VectorizedCSMHealthScorer

    scorer = VectorizedCSMHealthScorer(
        green_threshold=green, amber_threshold=amber, churn_window_days=churn_window_days
    )
    report = score_file(file, out=out, scorer=scorer, listed=as_json and out is None)
    if report.note:
        typer.echo(f"Note: {file}: {printable(report.note, 400)}", err=True)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2, default=str))
        raise typer.Exit(report.exit_status)
    typer.echo(f"{counted(report.scored, 'row')} scored, written to {out}" if out else report.table)
    for line in bad_row_lines(file, report):
        typer.echo(line, err=True)
    if report.bad:
        raise typer.Exit(2)


@app.command(
    epilog='Examples:  csm sql    csm sql "select rag, count(*) from csm_overview group by rag" --format csv',
    short_help="Query the published copy of the marts.",
)
def sql(
    query: Annotated[
        str | None,
        typer.Argument(
            help="A SELECT on the published marts; schema names are optional. Default on a terminal: a prompt.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    form: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
    as_json: JsonOption = False,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Stop the query after this many seconds; default: 300; 0: never.")
    ] = None,
    unsafe: Annotated[
        bool,
        typer.Option("--unsafe", help="Allow every statement, files, the network and settings, without limits."),
    ] = False,
) -> None:
    """Query the published copy of the marts; it never waits for a run.

    A query is one SELECT. It cannot access files, the network or settings, and has at most 1,000,000 rows. Without a
    query, a prompt reads queries that end with a semicolon; Ctrl-C cancels a query, and exit or Ctrl-D ends the prompt.
    docs/analysts.md has twenty-one queries, docs/marts.md the tables.
    """
    from csm_core.analysts.queries import DEFAULT_TIMEOUT_SECONDS, query_published
    from csm_core.system.terminal import write_data

    limit = DEFAULT_TIMEOUT_SECONDS if timeout is None else timeout
    form, warehouse = "json" if as_json else form, open_warehouse(config)
    if query is None:
        _prompt(warehouse, form, unsafe=unsafe, timeout=limit or None)
        return
    write_data(query_published(warehouse, query, form, unsafe=unsafe, timeout=limit or None))


def _prompt(warehouse: Warehouse, form: str, *, unsafe: bool, timeout: float | None) -> None:
    import sys

    from csm_core.analysts.queries import require_format
    from csm_core.system.terminal import write_data

    require_format(form)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        message = "Missing argument 'QUERY'. Without it, csm sql starts a prompt, which needs a terminal."
        raise InputError(message)

    from prompt_toolkit.input import create_input
    from prompt_toolkit.output import create_output

    from csm_core.analysts.query_prompt import PromptOptions, run_prompt

    # The prompt moves the cursor, so it writes to the terminal itself; results are cleaned.
    terminal = create_input(sys.__stdin__), create_output(sys.__stdout__)
    options = PromptOptions(form, unsafe, timeout)
    run_prompt(warehouse, options, write_data, lambda text: typer.echo(f"csm: {text}", err=True), terminal=terminal)


@app.command(
    epilog="Examples:  csm explain A0026    csm explain A0026 --as-of 2026-09-30 --since 2026-09-29 --json    "
    "csm explain A0026 --as-of 2026-09-30 --known-at 2026-10-01T08:00:00",
    short_help="Explain an account's score and its changes.",
)
def explain(
    account: Annotated[str, typer.Argument(help="Account id, tenant/account, or the account's name or a part of it.")],
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="The day; default: its latest complete day."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="Split the change since this day into parts that add up."
        ),
    ] = None,
    known_at: Annotated[
        datetime | None,
        typer.Option(
            "--known-at",
            formats=TIME_FORMATS,
            metavar="YYYY-MM-DD[THH:MM:SS]",
            help="Explain the score of --as-of as it was known at this time (UTC).",
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the parts of an account's score, its changes, and the moves that reach the next band."""
    from csm_core.analysts.explain_account import explain_account
    from csm_core.analysts.explain_text import report_text
    from csm_core.analysts.queries import open_published
    from csm_core.warehouse.day_status import require_counted

    warehouse, days = open_warehouse(config), [one.date() if one else None for one in (as_of, since)]
    with warehouse.open_read_only() as connection:
        # The copy contains the status of a failed day only after the next run has replaced the copy.
        for day in filter(None, days):
            if connection:
                require_counted(connection, day)
    with open_published(warehouse) as connection:
        report = explain_account(connection, account, days[0], days[1], known_at)
    typer.echo(json.dumps(report.as_dict(), indent=2, default=str) if as_json else report_text(report))


@app.command(
    epilog="Examples:  csm revisions --day 2026-09-30    csm revisions --day 2026-09-30 --account A0026 --json",
    short_help="List how the scores of a day were revised.",
)
def revisions(
    day: Annotated[datetime, typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="A scored day.")],
    account: Annotated[
        str | None, typer.Option(help="Only this account: its id, tenant/account, or its name or a part of it.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the revisions of a day: the values that changed after they were known, the reason, and the late records."""
    from csm_core.analysts.queries import open_history
    from csm_core.analysts.revisions import revisions_of
    from csm_core.analysts.revisions_text import report_text

    with open_history(open_warehouse(config)) as connection:
        report = revisions_of(connection, day.date(), account)
    typer.echo(json.dumps(report.as_dict(), indent=2, default=str) if as_json else report_text(report))


@app.command(
    epilog="Example:  csm whatif --policy stricter.yaml --from 2026-09-01 --to 2026-09-30",
    short_help="Compare other policies with the scored days.",
)
def whatif(
    policy: Annotated[Path, typer.Option(help="A csm.yaml with the `policies` to apply.")],
    from_: Annotated[
        datetime | None, typer.Option("--from", formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="First scored day.")
    ] = None,
    to: Annotated[
        datetime | None,
        typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="Last scored day; default: the latest."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Apply other policies to the scored days, and show the differences. Writes nothing."""
    from csm_core.analysts.queries import open_history
    from csm_core.analysts.whatif import what_if
    from csm_core.analysts.whatif_text import report_text
    from csm_core.config import load_config

    if not policy.is_file():
        raise InputError(f"{policy}: no such file; --policy must be a csm.yaml with `policies`")
    tried = load_config(policy, {}).policies
    with open_history(open_warehouse(config)) as connection:
        report = what_if(connection, tried, from_.date() if from_ else None, to.date() if to else None)
    typer.echo(json.dumps(report.as_dict(), indent=2, default=str) if as_json else report_text(report))
