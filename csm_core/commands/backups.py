"""The commands for backups of the warehouse: ``csm backup`` and ``csm restore``."""

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
"""The exit status that a shell reports for a process that SIGTERM ended."""

app = typer.Typer()


@app.command(
    epilog="Example:  csm backup /var/backups/csm-health --keep 14", short_help="Copy the warehouse to a new folder."
)
def backup(
    folder: Annotated[Path, typer.Argument(help="Folder for backups; each backup is a subfolder.")],
    config: ConfigOption = None,
    keep: Annotated[int | None, typer.Option(min=1, help="Keep only the newest N backups.")] = None,
) -> None:
    """Copy the warehouse, between two steps if a run is in progress, and print the folder of the backup."""
    from csm_core.operations.backup import back_up

    with _ended_by_sigterm():
        typer.echo(str(back_up(open_warehouse(config), folder, keep=keep)))


@app.command(
    epilog="Example:  csm restore /var/backups/csm-health/csm-backup-20260930T060000Z",
    short_help="Replace the warehouse with a backup.",
)
def restore(
    backup: Annotated[Path, typer.Argument(help="The folder of one backup.")],
    config: ConfigOption = None,
) -> None:
    """Check a backup and replace the warehouse with it. The previous files are kept in another folder."""
    from csm_core.operations.restore import restore as restore_backup

    with _ended_by_sigterm():
        day, replaced = restore_backup(open_warehouse(config), backup)
    typer.echo(f"restored; the newest complete day is {day}" if day else "restored; the backup has no complete day")
    if replaced:
        typer.echo(f"the previous files were moved to {replaced}; delete them when they are no longer needed")
    if day:
        typer.echo("run the later days again: csm run --from DATE --to DATE")


@contextmanager
def _ended_by_sigterm() -> Generator[None]:
    """Handle SIGTERM like Ctrl-C in the block, so that temporary files are removed."""

    def end(_signal: int, _frame: object) -> None:
        sys.exit(TERMINATED)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
