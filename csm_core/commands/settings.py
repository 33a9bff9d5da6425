"""The commands for the configuration: ``csm config`` and ``csm doctor``."""

from __future__ import annotations

import json

import typer

from csm_core.commands.options import ConfigOption, JsonOption, read_config

app = typer.Typer()


@app.command(
    "config", epilog="Example:  csm config --config csm.yaml --json", short_help="Print the effective configuration."
)
def show_config(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print the effective configuration: the file, CSM_… variables and defaults."""
    effective = read_config(config).model_dump(mode="json", by_alias=True)
    if as_json:
        typer.echo(json.dumps(effective, indent=2))
        return
    import yaml

    typer.echo(yaml.safe_dump(effective, sort_keys=False, allow_unicode=True), nl=False)


@app.command("doctor", epilog="Example:  csm doctor --json", short_help="Check all sources and list their problems.")
def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check all sources with their first records, and HubSpot and Salesforce as destinations, and list all problems.

    Writes nothing. Exit status: 2 if a problem must be fixed, 1 if a source or destination cannot be reached. For
    Notion, use `csm notion doctor`.
    """
    from dataclasses import asdict

    from csm_core.doctor.examination import examine, exit_status
    from csm_core.doctor.report import report

    findings = examine(read_config(config))
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in findings], indent=2, default=str))
    else:
        typer.echo(report(findings))
    raise typer.Exit(exit_status(findings))
