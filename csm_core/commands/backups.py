"""The commands about copies of the warehouse: ``csm backup`` and ``csm restore``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from csm_core.commands.options import ConfigOption, open_warehouse

TERMINATED = 143
"""The exit status of a process that SIGTERM ended, as a shell reports it."""

app = typer.Typer()


@app.command(
    epilog="Example:  csm backup /var/backups/csm-health --keep 14", short_help="Copy the warehouse to a new folder."
)
def backup(
    folder: Annotated[Path, typer.Argument(help="Folder of the backups; each is a folder in it.")],
    config: ConfigOption = None,
    keep: Annotated[int | None, typer.Option(min=1, help="Keep only the newest N backups.")] = None,
) -> None:
    """Copy the warehouse, between two steps if a run is in progress, and print where the copy is."""
    from csm_core.operations.backup import back_up

    with _ended_by_sigterm():
        typer.echo(str(back_up(open_warehouse(config), folder, keep=keep)))


@app.command(
    epilog="Example:  csm restore /var/backups/csm-health/csm-backup-20260930T060000Z",
    short_help="Replace the warehouse by a backup.",
)
def restore(
    backup: Annotated[Path, typer.Argument(help="The folder of one backup.")],
    config: ConfigOption = None,
) -> None:
    """Check a backup and put it in the warehouse's place; the previous files are moved aside."""
    from csm_core.operations.restore import restore as restore_backup

    with _ended_by_sigterm():
        day, replaced = restore_backup(open_warehouse(config), backup)
    typer.echo(f"restored; the newest complete day is {day}" if day else "restored; no day is complete in it")
    if replaced:
        typer.echo(f"the previous files were moved to {replaced}: delete them when they are no longer needed")
    if day:
        typer.echo("run the days after it again: csm run --from DATE --to DATE")


@contextmanager
def _ended_by_sigterm() -> Generator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that temporary files are removed."""

    def end(_signal: int, _frame: object) -> None:
        sys.exit(TERMINATED)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
