"""The commands of ``csm pulse``."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from csm_core.commands.options import DAY_FORMATS, ConfigOption, JsonOption, existing_warehouse
from csm_core.errors import InputError
from csm_core.system.paths import shown

if TYPE_CHECKING:
    from datetime import date

    import duckdb

pulse_app = typer.Typer(no_args_is_help=True, help="Set, clear and list pulses: the judgements of account owners.")

_AccountArgument = Annotated[
    str, typer.Argument(help="Account id, tenant/account, or the account's name or a part of it.")
]
_AuthorOption = Annotated[str | None, typer.Option(help="Who judges; default: the user of this computer. Recorded.")]
_OnOption = Annotated[
    datetime | None,
    typer.Option("--on", formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="The day; default: today (UTC)."),
]


@pulse_app.command(
    "set",
    epilog='Examples:  csm pulse set A0026 2 --note "the sponsor left"    csm pulse set A0026 4 --until 2026-12-31',
    short_help="Set the pulse of an account, 1 to 5.",
)
def set_(
    account: _AccountArgument,
    pulse: Annotated[str, typer.Argument(help="1 (very poor) to 5 (very good).")],
    note: Annotated[str, typer.Option(help="Why, for colleagues.")] = "",
    until: Annotated[
        datetime | None,
        typer.Option(formats=DAY_FORMATS, metavar="YYYY-MM-DD", help="The last day; default: 30 days after the first."),
    ] = None,
    on: _OnOption = None,
    author: _AuthorOption = None,
    config: ConfigOption = None,
) -> None:
    """Set the pulse of an account, or set it again to extend it. It never changes the score.

    It ends after its last day, when it is set again or cleared, or when the account gets another owner.
    """
    from csm_core.publishing.pulses import PulseChange, checked_change, pulse_of, record
    from csm_core.warehouse.catalog import transaction

    number = pulse_of(pulse)
    if number is None:
        message = f"PULSE: expected a whole number from 1 to 5, not {shown(pulse)}"
        raise InputError(message)
    now = datetime.now(UTC)
    day = on.date() if on else now.date()
    with existing_warehouse(config).connect() as connection:
        newest, account_id = _account(connection, account)
        change = PulseChange(account_id, day, number, note, until.date() if until else None, author or _user())
        checked = checked_change(change, now.date())
        with transaction(connection):
            record(connection, [checked], now.replace(tzinfo=None))
    typer.echo(
        f"the pulse of {account_id} is {number} from {day} to {checked.until_date}{_from(day, now.date(), newest)}"
    )


@pulse_app.command(
    epilog="Example:  csm pulse clear A0026",
    short_help="End the pulse of an account.",
)
def clear(
    account: _AccountArgument,
    on: _OnOption = None,
    author: _AuthorOption = None,
    config: ConfigOption = None,
) -> None:
    """End the pulse of an account: from this day on, the account has none."""
    from csm_core.publishing.pulses import PulseChange, active_pulse, checked_change, record
    from csm_core.warehouse.catalog import transaction

    now = datetime.now(UTC)
    day = on.date() if on else now.date()
    with existing_warehouse(config).connect() as connection:
        newest, account_id = _account(connection, account)
        change = checked_change(PulseChange(account_id, day, None, author=author or _user()), now.date())
        if active_pulse(connection, account_id, day) is None:
            message = f"{account_id} has no pulse on {day}; `csm pulse list` shows the pulses"
            raise InputError(message)
        with transaction(connection):
            record(connection, [change], now.replace(tzinfo=None))
    typer.echo(f"{account_id} has no pulse from {day}{_from(day, now.date(), newest)}")


@pulse_app.command(
    "list",
    epilog="Examples:  csm pulse list    csm pulse list --owner ann@example.com --all --json",
    short_help="List the pulses of today.",
)
def list_(
    owner: Annotated[str | None, typer.Option(help="Only the accounts of this owner.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also the ended pulses.")] = False,
    on: _OnOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the pulses that count today, the lowest first, with their notes, authors and last days."""
    from csm_core.publishing.pulses import list_pulses

    day = on.date() if on else datetime.now(UTC).date()
    with existing_warehouse(config).connect() as connection:
        pulses = list_pulses(connection, day, owner=owner, every=every)
    typer.echo(json.dumps(pulses, indent=2, default=str) if as_json else "\n".join(_lines(pulses)))


def _account(connection: duckdb.DuckDBPyConnection, account: str) -> tuple[date, str]:
    """The newest complete day, and the id of the account. Raises InputError without a day, or for another account."""
    from csm_core.analysts.explain_account import find_account
    from csm_core.warehouse.day_status import require_newest

    newest = require_newest(connection)
    return newest, find_account(connection, account)[1]


def _user() -> str:
    import getpass

    return getpass.getuser()


def _from(day: date, today: date, newest: date) -> str:
    """From when the marts have the change, or how to have it in the days that are materialised already."""
    if day <= newest:
        return f"; to include it in the marts: csm run --from {day} --to {newest} --no-publish"
    later = (
        "" if newest >= today - timedelta(days=1) else f" (the newest scored day is {newest}; --on sets another day)"
    )
    return f"; the marts have it when {day} is scored{later}"


def _lines(pulses: list[dict[str, Any]]) -> list[str]:
    from csm_core.system.terminal import printable
    from csm_core.system.text_table import counted, text_table

    if not pulses:
        return ["there is no pulse"]
    rows = [("pulse", "account", "owner", "set on", "until", "author", "status", "note")]
    rows += [
        (
            str(one["pulse"]),
            printable(f"{one['account_name'] or ''} ({one['account_id']})".strip(), 60),
            printable(one["csm_owner"] or "", 40),
            str(one["set_on"]),
            str(one["until"]),
            printable(one["author"] or "unknown", 40),
            f"{one['status']} on {one['ended_on']}" if one["ended_on"] else one["status"],
            printable(one["note"] or "", 80),
        )
        for one in pulses
    ]
    return [*text_table(rows), counted(len(pulses), "pulse")]
