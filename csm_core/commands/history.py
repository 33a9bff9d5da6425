"""The command ``csm replay``."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from csm_core.commands.options import DAY_FORMATS, ConfigOption, JsonOption, existing_warehouse, read_config
from csm_core.commands.pipeline import NOT_AS_CSM
from csm_core.errors import InputError

if TYPE_CHECKING:
    from csm_core.config import Config
    from csm_core.days.replay import Replay

Replayer = Callable[["Config", date, datetime], "Replay"]
TIME_FORMATS = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d"]

app = typer.Typer()
_replayer: Replayer | None = None


def set_replayer(replayer: Replayer | None) -> None:
    """Set the function that replays a day; without it, the command of this module fails."""
    global _replayer
    _replayer = replayer


@app.command(
    epilog='Examples:  csm replay --day 2026-09-30    csm replay --day 2026-09-30 --known-at "2026-10-01 18:00" --json',
    short_help="Rebuild a day from the records of a time, and compare.",
)
def replay(
    day: Annotated[datetime, typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="The day to replay.")],
    known_at: Annotated[
        datetime | None,
        typer.Option(
            formats=TIME_FORMATS, metavar="TIME", help="The time of the records and scores, UTC; default: now."
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rebuild signals and scores of a day from the raw records known at a time, and compare them with the scores known.

    Uses the configuration of that time, in a temporary warehouse; changes nothing. The exit status is 0 if all accounts
    are equal, otherwise 1.
    """
    from csm_core import logging as csm_logging

    if _replayer is None:
        raise InputError(NOT_AS_CSM)
    effective = read_config(config)
    existing_warehouse(config)
    csm_logging.configure(effective.log_format, level="WARNING")
    found = _replayer(effective, day.date(), known_at or datetime.now(UTC))
    typer.echo(json.dumps(found.as_dict(), indent=2, default=str) if as_json else found.text())
    raise typer.Exit(found.exit_status)
