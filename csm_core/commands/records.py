"""The commands about records: ``csm quarantine`` and ``csm identity``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from csm_core.commands.options import ConfigOption, JsonOption, open_warehouse, read_config
from csm_core.errors import InputError

app = typer.Typer()


@app.command(
    epilog="Examples:  csm quarantine    csm quarantine tickets --out f.csv    csm quarantine repair f.csv",
    short_help="Show, export or repair rejected records.",
)
def quarantine(
    entity: Annotated[
        str | None, typer.Argument(help="Show the rejected records of this entity; `repair`: take FILE back in.")
    ] = None,
    file: Annotated[
        Path | None, typer.Argument(help="With `repair`: an export whose values were corrected, whatever its name.")
    ] = None,
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of records.")] = 20,
    out: Annotated[Path | None, typer.Option(help="Export them to this CSV, JSON lines or Parquet file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show rejected records and the reasons, export them for correction, or take a corrected export back in.

    `csm quarantine repair FILE` exits with status 2 if some of the corrected records are still rejected.
    """
    from csm_core.staging.quarantine_report import quarantine_text

    if entity == "repair":
        _repair(config, file, as_json=as_json)
        return
    if file:
        message = f"unexpected argument {str(file)!r}: only `csm quarantine repair` takes a file"
        raise InputError(message)
    typer.echo(quarantine_text(open_warehouse(config), entity, limit=limit, out=out, as_json=as_json))


def _repair(config: Path | None, file: Path | None, *, as_json: bool) -> None:
    from dataclasses import asdict

    from csm_core.operations.quarantine_repair import repair

    if file is None:
        message = "`csm quarantine repair` needs the corrected export: csm quarantine repair FILE"
        raise InputError(message)
    report = repair(read_config(config), file)
    typer.echo(json.dumps(asdict(report), indent=2, default=str) if as_json else report.text())
    raise typer.Exit(2 if report.still_rejected else 0)


@app.command(
    epilog="Examples:  csm identity    csm identity --json    csm identity --out account_map/new.csv",
    short_help="Show how vendors' customers match accounts.",
)
def identity(
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of unmatched customers per source.")] = 20,
    out: Annotated[
        Path | None, typer.Option(help="Write all unmatched customers to this CSV, JSON lines or Parquet file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show which customers of vendors are matched with an account, which are not, and their closest candidates."""
    from csm_core.accounts.report import identity_text

    typer.echo(identity_text(open_warehouse(config), limit=limit, out=out, as_json=as_json))
