"""The commands of ``csm alerts``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from csm_core.commands.options import DAY_FORMATS, ConfigOption, JsonOption, existing_warehouse, read_config

alerts_app = typer.Typer(no_args_is_help=True, help="List and silence alerts, and show and resend the digests.")


@alerts_app.command(
    "list",
    epilog="Examples:  csm alerts list    csm alerts list --owner ann@example.com --json",
    short_help="List the open alerts.",
)
def list_(
    owner: Annotated[str | None, typer.Option(help="Only the accounts of this owner.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also the resolved alerts.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the pending and firing alerts as of the last evaluated day, the severe ones first."""
    from csm_core.publishing.alerts.listing import list_lines, open_alerts

    with existing_warehouse(config).connect() as connection:
        alerts = open_alerts(connection, owner, every=every)
    typer.echo(json.dumps(alerts, indent=2, default=str) if as_json else "\n".join(list_lines(alerts)))


@alerts_app.command(
    epilog='Example:  csm alerts silence A0026 --until 2026-10-31 --reason "renewal is negotiated"',
    short_help="Send no alerts about an account until a day.",
)
def silence(
    account: Annotated[str, typer.Argument(help="Account id, tenant/account, or the account's name or a part of it.")],
    until: Annotated[
        datetime, typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="The last day without messages.")
    ],
    reason: Annotated[str, typer.Option(help="Why. Recorded.")],
    config: ConfigOption = None,
) -> None:
    """Leave the alerts of an account out of digests until a day; an earlier day ends a silence."""
    import getpass

    from csm_core.analysts.explain_account import find_account
    from csm_core.publishing.alerts.silences import silence as silence_account
    from csm_core.warehouse.day_status import require_newest

    with existing_warehouse(config).connect() as connection:
        require_newest(connection)
        _, found = find_account(connection, account)
        now = datetime.now(UTC).replace(tzinfo=None)
        silence_account(connection, found, until.date(), reason, getpass.getuser(), now)
    typer.echo(f"no digest has alerts of {found} up to {until.date()}")


@alerts_app.command(
    epilog="Examples:  csm alerts outbox    csm alerts outbox --day 2026-09-30 --json",
    short_help="Show the digests and their outcomes.",
)
def outbox(
    day: Annotated[
        datetime | None,
        typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="The day; default: the last day with digests."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the digests of a day with their outcome: sent, possibly_sent, failed, or still intended."""
    from csm_core.publishing.alerts import ledger
    from csm_core.publishing.alerts.formats import json_payload, text_lines

    settings = read_config(config).alerts
    with existing_warehouse(config).connect() as connection:
        digests = ledger.load(connection, day=day.date() if day else ledger.newest_day(connection))
    if as_json:
        shown = [
            {
                **json_payload(one, settings.max_lines),
                "status": one.status,
                "attempts": one.attempts,
                "error": one.error,
            }
            for one in digests
        ]
        typer.echo(json.dumps(shown, indent=2, default=str))
        return
    lines: list[str] = []
    for one in digests:
        problem = f": {one.error}" if one.error else ""
        lines += [f"[{one.route}: {one.status}{problem}]", *text_lines(one, settings.max_lines), ""]
    typer.echo("\n".join(lines).rstrip() or "there are no digests")


@alerts_app.command(
    epilog="Examples:  csm alerts resend --dry-run    csm alerts resend --day 2026-09-30 --route slack",
    short_help="Send digests again that may not have arrived.",
)
def resend(
    day: Annotated[
        datetime | None,
        typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="The day; default: the last day with digests."),
    ] = None,
    route: Annotated[str | None, typer.Option(help="Only the digests of this route.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the digests, and send nothing.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send the digests of a day again that are possibly_sent. First check whether the receiver has them.

    Runs never send such a digest again. The outcome is recorded as that of a run.
    """
    from csm_core.publishing.alerts.resend import resend as resend_digests

    settings = read_config(config).alerts
    warehouse = existing_warehouse(config)
    with warehouse.run_lock(), warehouse.connect() as connection:
        done = resend_digests(
            connection,
            settings,
            day=day.date() if day else None,
            route=route,
            dry_run=dry_run,
            clock=lambda: datetime.now(UTC),
        )
    typer.echo(json.dumps(done.as_dicts(), indent=2) if as_json else "\n".join(done.lines()))
    raise typer.Exit(1 if done.unsent else 0)


@alerts_app.command(
    epilog="Example:  csm alerts rehearse --from 2026-07-01 --to 2026-09-30",
    short_help="Show what the rules would have sent on past days.",
)
def rehearse(
    from_: Annotated[
        datetime, typer.Option("--from", formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="First scored day.")
    ],
    to: Annotated[datetime, typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="Last scored day.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate the rules on scored days as if each had been the newest one, per owner and week. Sends nothing."""
    from csm_core.publishing.alerts.rehearsal import rehearse as rehearse_days
    from csm_core.warehouse.day_status import require_newest

    settings = read_config(config).alerts
    with existing_warehouse(config).connect() as connection:
        require_newest(connection)
        report = rehearse_days(connection, settings, from_.date(), to.date())
    typer.echo(json.dumps(report.as_dict(), indent=2) if as_json else "\n".join(report.lines()))
