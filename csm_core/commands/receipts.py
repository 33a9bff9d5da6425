"""The commands for receipts of published scores: ``csm receipt`` and ``csm verify``."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from csm_core.commands.options import DAY_FORMATS, ConfigOption, JsonOption, existing_warehouse, read_config
from csm_core.errors import InputError

app = typer.Typer()


@app.command(
    epilog="Examples:  csm receipt A0026 > A0026.json    csm receipt --all --as-of 2026-09-30 > 2026-09-30.jsonl",
    short_help="Print the receipt of an account's score.",
)
def receipt(
    account: Annotated[
        str | None, typer.Argument(help="Account id, tenant/account, or the account's name or a part of it.")
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="The day; default: the latest complete day."),
    ] = None,
    known_at: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"],
            metavar="TIME",
            help="The state of the day that was known at this time, UTC; default: the current one.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Print the receipts of all accounts, one per line.")] = False,
    config: ConfigOption = None,
) -> None:
    """Print a receipt as one line of JSON: the inputs, points and score, and the proof that they were published.

    `csm verify` checks it against the warehouse, csm_core/receipts/standalone.py without csm-health.
    """
    from csm_core.analysts.explain_account import find_account
    from csm_core.days.finished_days import model_parameters
    from csm_core.receipts.issue import issue, state_of
    from csm_core.system.terminal import write_data
    from csm_core.warehouse.day_status import require_newest

    if (account is None) != every:
        message = "name one account, or use --all for the receipts of all accounts"
        raise InputError(message)
    warehouse, settings = existing_warehouse(config), read_config(config)
    with warehouse.connect() as connection:
        day = as_of.date() if as_of else require_newest(connection)
        at = known_at.replace(tzinfo=UTC) if known_at else None
        if account is not None:
            tenant, account = find_account(connection, account)
            tenants = [tenant]
        else:
            tenants = [
                name
                for (name,) in connection.execute(
                    "select distinct tenant_id from marts.csm_health_scores where as_of_date = ? order by tenant_id",
                    [day],
                ).fetchall()
            ]
        lines: list[str] = []
        unlisted = 0
        for tenant in tenants or [""]:
            state = state_of(connection, tenant, day, at)
            for one in issue(connection, state, model_parameters(settings), account):
                lines.append(one.line)
                unlisted += not one.lists_records
    write_data("\n".join(lines) + "\n")
    if unlisted:
        which = f"the records of {unlisted} accounts" if every else "the records that the signals read"
        typer.echo(
            f"Note: {which} have changed since {day} was built, so the receipt has only their common hash, not the "
            f"list. `csm run --as-of {day}` builds the day again.",
            err=True,
        )


@app.command(
    epilog="Examples:  csm verify A0026.json    csm verify receipts/*.json --json",
    short_help="Verify receipts against the warehouse.",
)
def verify(
    files: Annotated[list[Path], typer.Argument(help="Files with one receipt per line.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that receipts are unaltered, follow from their inputs, and lead to a recorded root with stored scores.

    The exit status is 1 if a receipt is not right. While a run is writing to the warehouse, the published copy is read.
    """
    from csm_core.analysts.queries import open_history
    from csm_core.commands.options import open_warehouse
    from csm_core.receipts.verification import verify_file
    from csm_core.system.terminal import printable

    with open_history(open_warehouse(config)) as connection:
        outcomes = [one for path in files for one in verify_file(connection, path)]
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in outcomes], indent=2, default=str))
    else:
        for one in outcomes:
            for line in one.text.splitlines():
                typer.echo(printable(line, 1000))
    if any(one.problems for one in outcomes):
        raise typer.Exit(1)
