"""The commands of ``csm notion``."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from csm_core.commands.options import DAY_FORMATS, ConfigOption, JsonOption, read_config
from csm_core.errors import InputError

if TYPE_CHECKING:
    from csm_core.config import Config

notion_app = typer.Typer(no_args_is_help=True, help="Set up, check, plan and apply publishing to Notion.")


@notion_app.command(
    "init",
    epilog="Example:  csm notion init --parent 0123456789abcdef0123456789abcdef",
    short_help="Create the databases and views, or add what is missing.",
)
def notion_init(
    parent: Annotated[
        str | None, typer.Option(help="Parent page of the databases; not needed for the sandbox.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create the four databases and their views, or add what is missing, and print the settings."""
    from csm_core.publishing.notion.commands import init

    result = init(read_config(config), parent)
    ids = result.database_ids
    for note in result.notes:
        typer.echo(note, err=True)
    typer.echo(json.dumps(ids, indent=2) if as_json else "\n".join(f"{name}={value}" for name, value in ids.items()))


@notion_app.command(
    "doctor", epilog="Example:  csm notion doctor --json", short_help="Check the databases and their properties."
)
def notion_doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show, for each database, what is missing or has the wrong type."""
    from csm_core.publishing.notion.commands import doctor

    findings = doctor(read_config(config))
    if as_json:
        typer.echo(json.dumps(findings, indent=2))
    else:
        typer.echo(
            "\n".join(f"{one['setting']}: {one['message']}" for one in findings)
            or "no problems found in the four databases"
        )
    raise typer.Exit(1 if any(one["blocking"] for one in findings) else 0)


@notion_app.command(
    "sandbox",
    epilog="Example:  csm notion sandbox --config data/demo/acme/csm.yaml --port 8756",
    short_help="Serve the local Notion sandbox and its pages.",
)
def notion_sandbox(
    config: ConfigOption = None,
    port: Annotated[int | None, typer.Option(help="Port on this machine; 0: any free port.")] = None,
) -> None:
    """Serve the pages and the API of the sandbox until Ctrl-C."""
    from csm_core.publishing.notion.commands import serve_sandbox

    serve_sandbox(read_config(config), port)


@notion_app.command(
    "plan",
    epilog="Examples:  csm notion plan --json    csm notion plan --as-of 2026-09-30",
    short_help="Show the changes that publishing would make.",
)
def notion_plan(
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="The day; default: the newest complete day."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which pages publishing would create, update and skip. Writes nothing."""
    print_plan(read_config(config), as_of, as_json=as_json)


@notion_app.command(
    "apply",
    epilog="Examples:  csm notion apply    csm notion apply --accept portfolio_swing",
    short_help="Publish to Notion, or accept a held day.",
)
def notion_apply(
    as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=DAY_FORMATS,
            metavar="YYYY-MM-DD",
            help="The day; default: the newest complete day (with --accept: the newest held day).",
        ),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="CHECK", help="Accept this failed check of a held day; repeat for each check. Recorded."),
    ] = None,
    config: ConfigOption = None,
    dry_run: Annotated[bool, typer.Option(help="The same as `csm notion plan`.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Publish the newest complete day.

    With --accept, accept a held day first, build its dependent models, and send its alerts.
    """
    effective = read_config(config)
    if dry_run:
        if accept:
            message = "--accept and --dry-run cannot be used together: accepting a day changes the warehouse"
            raise InputError(message)
        print_plan(effective, as_of, as_json=as_json)
        return
    import getpass

    from csm_core.publishing.notion.commands import accept_and_apply, apply
    from csm_core.publishing.notion.report_text import report_lines

    day = as_of.date() if as_of else None
    if accept:
        acceptance = accept_and_apply(effective, accept, getpass.getuser(), day)
        report, alerts = acceptance.published, acceptance.alerts
        first_lines = [f"Accepted   {acceptance.day}: {', '.join(accept)}"]
        last_lines = [f"Digests    {alerts.text()}", *(f"           {one}" for one in alerts.delivery.problems)]
        more = {"accepted": str(acceptance.day), "alerts": alerts.as_dict()}
        unsent = alerts.delivery.failed
    else:
        report = apply(effective, day)
        first_lines, last_lines, more, unsent = [], [], {"accepted": None, "alerts": None}, 0
    if as_json:
        typer.echo(json.dumps({**report.as_dict(), **more}, indent=2))
    else:
        typer.echo("\n".join([*first_lines, f"Published  {report.day}", *report_lines(report), *last_lines]))
    raise typer.Exit(1 if report.failures or unsent else 0)


def print_plan(config: Config, as_of: datetime | None = None, *, as_json: bool) -> None:
    """Print the plan for publishing a day; default: the newest complete day."""
    from csm_core.publishing.notion.commands import plan
    from csm_core.publishing.notion.report_text import plan_lines

    planned = plan(config, as_of.date() if as_of else None)
    typer.echo(json.dumps(planned.as_dict(), indent=2) if as_json else "\n".join(plan_lines(planned)))
