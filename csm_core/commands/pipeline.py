"""The commands of the pipeline: ``csm run``, ``csm demo`` and ``csm open``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from csm_core.commands.notion import print_plan
from csm_core.commands.options import (
    DAY_FORMATS,
    ConfigOption,
    JsonOption,
    comma_separated,
    read_config,
    selected_days,
)
from csm_core.errors import InputError

if TYPE_CHECKING:
    from csm_core.config import Config
    from csm_core.operations.run_outcome import RunOutcome

Runner = Callable[..., "RunOutcome"]
Opener = Callable[..., None]

NOT_AS_CSM = "csm_core alone cannot run the pipeline: start it with the command `csm`"

app = typer.Typer()
_runner: Runner | None = None
_opener: Opener | None = None


def set_runner(runner: Runner | None, opener: Opener | None) -> None:
    """Set the functions that run the pipeline and open its UI; without them, the commands of this module fail."""
    global _runner, _opener
    _runner, _opener = runner, opener


@app.command(
    epilog="Examples:  csm run    csm run --as-of 2026-09-30 --no-publish    csm run --from 2026-07-01 --to 2026-09-30",
    short_help="Materialise a day or a range of days.",
)
def run(
    as_of: Annotated[
        datetime | None, typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="The day; default: yesterday.")
    ] = None,
    from_: Annotated[
        datetime | None, typer.Option("--from", formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="First day of a range.")
    ] = None,
    to: Annotated[
        datetime | None, typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="Last day of a range.")
    ] = None,
    config: ConfigOption = None,
    select: Annotated[str, typer.Option(help="Only these assets, separated by commas.")] = "",
    dry_run: Annotated[bool, typer.Option(help="Score, and show the publishing plan without publishing.")] = False,
    no_publish: Annotated[bool, typer.Option("--no-publish", help="Score without publishing.")] = False,
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="CHECK", help="Accept this failed portfolio check for this run. Recorded."),
    ] = None,
    as_json: JsonOption = False,
    brief: Annotated[bool, typer.Option("--brief", help="Print progress and summary in one line each.")] = False,
) -> None:
    """Materialise a day or a range of days with Dagster, and print progress and a summary."""
    effective = read_config(config)
    days = selected_days(effective, as_of, from_, to)
    published = not (no_publish or dry_run)
    status = execute(
        effective,
        days,
        select=comma_separated(select),
        publish=published,
        accept=accept or (),
        as_json=as_json,
        brief=brief,
    )
    if dry_run and status == 0:
        print_plan(effective, as_json=False)
    raise typer.Exit(status)


@app.command(
    epilog="Examples:  csm demo    csm demo --folder /tmp/csm-demo",
    short_help="Score and publish the two bundled companies.",
)
def demo(
    folder: Annotated[
        Path | None, typer.Option(help="Folder of the demo; default: data/demo. An earlier demo there is replaced.")
    ] = None,
) -> None:
    """Score 90 days of a made-up company and one day of a public data set, publish both, and print the next commands.

    Takes about half a minute. No Notion account is needed: publishing uses the Notion sandbox on this machine.
    """
    from csm_core.operations.demo import run_demo

    if _runner is None:
        raise InputError(NOT_AS_CSM)
    run_demo(execute, folder)


@app.command(
    "open",
    epilog="Examples:  csm open    csm open --config data/csm.yaml --browser    csm open --port 3001 --pages-port 8757",
    short_help="Serve the Dagster UI and the sandbox's pages.",
)
def open_(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="Configuration file; default: $CSM_CONFIG, the demo's first company, or ./csm.yaml."
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the Dagster UI; default: 3000, or a free port.")
    ] = None,
    pages_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the Notion pages; default: 8756, or a free port.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser", help="Open both in a browser.")] = False,
) -> None:
    """Serve the Dagster UI and the pages of the Notion sandbox on this machine until Ctrl-C, and print both addresses.

    Enabled schedules and sensors run in the meantime. Without --config, it opens the demo if there is one.
    """
    import os

    from csm_core.config import CONFIG_VARIABLE, configuration_file
    from csm_core.operations.demo import demo_file

    if _opener is None:
        raise InputError(NOT_AS_CSM)
    chosen = config or (None if os.environ.get(CONFIG_VARIABLE) else demo_file())
    effective = read_config(chosen)
    _opener(effective, configuration_file(chosen), port=port, pages_port=pages_port, browser=browser)


def execute(
    config: Config,
    days: tuple[date, date],
    *,
    select: Sequence[str] = (),
    publish: bool = True,
    accept: Sequence[str] = (),
    as_json: bool = False,
    brief: bool = False,
) -> int:
    """Run days and print progress and summary, in one line if ``brief``; returns the exit status."""
    import getpass

    from csm_core import logging as csm_logging
    from csm_core.operations.progress import Progress
    from csm_core.operations.run_report import run_report
    from csm_core.operations.run_report_text import brief_line, report_lines
    from csm_core.warehouse.database import Warehouse

    if _runner is None:
        raise InputError(NOT_AS_CSM)
    as_lines = config.log_format == "json"
    csm_logging.configure(config.log_format, level="INFO" if as_lines else "WARNING")
    started = time.monotonic()
    with Progress(quiet=as_json or as_lines, brief=brief) as progress:
        outcome = _runner(
            config,
            days,
            select=select,
            publish=publish,
            progress=progress,
            accepted=frozenset(accept),
            accepted_by=getpass.getuser(),
        )
    seconds = time.monotonic() - started
    report = run_report(outcome, Warehouse.from_config(config), days, seconds, qbr_min_days=config.reviews.qbr_min_days)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2, default=str))
    elif brief and outcome.exit_status == 0:
        typer.echo(brief_line(report))
    else:
        typer.echo("\n".join(report_lines(report)))
    return outcome.exit_status
