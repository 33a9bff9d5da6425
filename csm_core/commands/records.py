"""The commands for records: ``csm quarantine`` and ``csm identity``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from csm_core.commands.options import ConfigOption, JsonOption, existing_warehouse, read_config
from csm_core.errors import InputError

app = typer.Typer()


@app.command(
    epilog="Examples:  csm quarantine    csm quarantine tickets --out f.csv    csm quarantine repair f.csv",
    short_help="Show, export or repair rejected records.",
)
def quarantine(
    entity: Annotated[
        str | None, typer.Argument(help="Show the rejected records of this entity; `repair`: load the corrected FILE.")
    ] = None,
    file: Annotated[Path | None, typer.Argument(help="With `repair`: the corrected export.")] = None,
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of records.")] = 20,
    out: Annotated[
        Path | None, typer.Option(help="Export the records to this CSV, JSON lines or Parquet file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show rejected records and the reasons, export them for correction, or load a corrected export.

    `csm quarantine repair FILE` exits with status 2 if some of the corrected records are still rejected.
    """
    from csm_core.staging import quarantine as rejected
    from csm_core.staging.quarantine_report import records_text, summary_text
    from csm_core.system.text_table import counted

    if entity == "repair":
        _repair(config, file, as_json=as_json)
        return
    if file:
        message = f"unexpected argument {str(file)!r}: only `csm quarantine repair` takes a file"
        raise InputError(message)
    warehouse = existing_warehouse(config)
    if out and not entity:
        message = "--out requires an entity: `csm quarantine tickets --out tickets.csv`"
        raise InputError(message)
    with warehouse.connect() as connection:
        if entity and out:
            written = rejected.export(connection, entity, out)
            typer.echo(f"{counted(written, 'record')} of {entity} written to {out}")
            return
        records = rejected.rows(connection, entity, limit) if entity else []
        counts = [] if entity else rejected.summary(connection)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in (records or counts)], indent=2, default=str))
    else:
        typer.echo(records_text(records, entity) if entity else summary_text(counts))


def _repair(config: Path | None, file: Path | None, *, as_json: bool) -> None:
    from csm_core.operations.quarantine_repair import repair
    from csm_core.operations.quarantine_repair_text import repair_text

    if file is None:
        message = "the corrected export is missing: csm quarantine repair FILE"
        raise InputError(message)
    report = repair(read_config(config), file)
    typer.echo(json.dumps(asdict(report), indent=2, default=str) if as_json else repair_text(report))
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
    """Show which vendor customers match an account, which do not, and their closest candidates."""
    from csm_core.accounts import account_suggestions
    from csm_core.accounts.report import exported_text, matches_text

    with existing_warehouse(config).connect() as connection:
        if out:
            typer.echo(exported_text(account_suggestions.export_unmatched(connection, out), out))
            return
        sources = account_suggestions.matches(connection)
        customers = account_suggestions.unmatched(connection, limit)
    if as_json:
        report = {"sources": [asdict(one) for one in sources], "unmatched": [asdict(one) for one in customers]}
        typer.echo(json.dumps(report, indent=2))
    else:
        typer.echo(matches_text(sources, customers))
