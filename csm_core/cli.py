"""The command line ``csm``: assembles the commands of ``csm_core.commands`` and converts errors to messages.

The domain does not import Dagster; ``pipelines.main`` passes the function that runs the pipeline.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from csm_core.commands import (
    alerts,
    backtest,
    backups,
    crm,
    forget,
    history,
    mcp,
    notion,
    pipeline,
    pulses,
    receipts,
    records,
    reports,
    scores,
    settings,
)
from csm_core.commands.history import Replayer
from csm_core.commands.pipeline import Opener, Runner
from csm_core.system.file_access import restrict_files

INTERRUPTED = 130
"""The exit status that a shell reports for a process that Ctrl-C ended."""

app = typer.Typer(
    name="csm",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Customer-success health: scores accounts in DuckDB, explains the scores, and publishes them to Notion, "
    "HubSpot and Salesforce.\n\n"
    "Start with `csm demo`; then `csm run --config csm.yaml` for your own records.",
)
for group in (pipeline, scores, reports, backtest, history, receipts, settings, records, backups, forget, mcp):
    app.add_typer(group.app)
app.add_typer(notion.notion_app, name="notion")
app.add_typer(crm.crm_app, name="crm")
app.add_typer(alerts.alerts_app, name="alerts")
app.add_typer(pulses.pulse_app, name="pulse")


def main(runner: Runner | None = None, opener: Opener | None = None, replayer: Replayer | None = None) -> None:
    """Run the command line; known errors end with a message and an exit status instead of a traceback."""
    from csm_core.commands.command_line import checked_commands, explained
    from csm_core.system.terminal import clean_output

    pipeline.set_runner(runner, opener)
    history.set_replayer(replayer)
    with clean_output():
        try:
            restrict_files()
            checked_commands(app)()
        except KeyboardInterrupt:
            _print_stopped()
            sys.exit(INTERRUPTED)
        except SystemExit as ended:
            # Typer handles Ctrl-C itself and ends without a message.
            if ended.code == INTERRUPTED:
                _print_stopped()
            raise
        except Exception as error:
            explanation = explained(error)
            if explanation is None:
                raise
            message, status = explanation
            typer.echo(f"csm: {message}", err=True)
            sys.exit(status)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"csm-health {version('csm-health')}")
        raise typer.Exit


@app.callback()
def _options_of_csm(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """The options of ``csm`` before the command name."""


def _print_stopped() -> None:
    # The terminal may show an incomplete line of progress.
    begin = "\n" if sys.stderr.isatty() else ""
    typer.echo(f"{begin}csm: stopped; run the same command again to continue", err=True)
