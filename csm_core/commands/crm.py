"""The commands of ``csm crm``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from csm_core.commands.options import ConfigOption, JsonOption, read_config

crm_app = typer.Typer(no_args_is_help=True, help="Plan, apply and show publishing to HubSpot and Salesforce.")

DestinationOption = Annotated[
    str | None, typer.Option("--destination", metavar="NAME", help="Only this destination, such as hubspot_companies.")
]
RetryOption = Annotated[bool, typer.Option("--retry", help="Also send the records that the vendor rejected before.")]


@crm_app.command(
    "plan",
    epilog="Examples:  csm crm plan    csm crm plan --destination hubspot_companies --json",
    short_help="Show the records that publishing would write.",
)
def crm_plan(
    destination: DestinationOption = None,
    retry: RetryOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how many records publishing the newest complete day would create, update and skip. Sends nothing."""
    from csm_core.publishing.crm.commands import plan
    from csm_core.publishing.crm.report_text import plan_lines

    plans = plan(read_config(config), destination, retry_rejected=retry)
    typer.echo(json.dumps([one.as_dict() for one in plans], indent=2) if as_json else "\n".join(plan_lines(plans)))


@crm_app.command(
    "apply",
    epilog="Examples:  csm crm apply    csm crm apply --destination salesforce_account --retry",
    short_help="Write the records of HubSpot and Salesforce.",
)
def crm_apply(
    destination: DestinationOption = None,
    retry: RetryOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish the newest complete day to the destinations of the section `publish`.

    Exit status: 1 if a record was rejected or could not be sent, 2 if the settings must be fixed.
    """
    from csm_core.publishing.crm.commands import apply
    from csm_core.publishing.crm.report_text import report_lines

    reports, errors = apply(read_config(config), destination, retry_rejected=retry)
    if reports or as_json:
        listed = [one.as_dict() for one in reports]
        typer.echo(json.dumps(listed, indent=2) if as_json else "\n".join(report_lines(reports)))
    for error in errors[1:]:
        typer.echo(f"csm: {error}", err=True)
    if errors:
        raise errors[0]
    raise typer.Exit(0 if all(one.is_complete for one in reports) else 1)


@crm_app.command(
    "status",
    epilog="Examples:  csm crm status    csm crm status --json",
    short_help="Show the records that were written and rejected.",
)
def crm_status(destination: DestinationOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the records of the ledger by state, the rejected ones with the vendor's message, and the last run."""
    from csm_core.publishing.crm.commands import status
    from csm_core.publishing.crm.report_text import status_lines

    states = status(read_config(config), destination)
    typer.echo(json.dumps(states, indent=2, default=str) if as_json else "\n".join(status_lines(states)))
