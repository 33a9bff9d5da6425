"""The command that erases an account: ``csm forget``."""

from __future__ import annotations

import getpass
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from csm_core.commands.options import ConfigOption, JsonOption, existing_warehouse, read_config
from csm_core.errors import InputError

if TYPE_CHECKING:
    from csm_core.operations.forget import ForgetReport

app = typer.Typer()


@app.command(
    epilog="Examples:  csm forget A0026 --dry-run    csm forget A0026 --trash-pages --yes",
    short_help="Erase an account and its records.",
)
def forget(
    account: Annotated[str, typer.Argument(help="Account id, or tenant/account. A name is not enough.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be erased; change nothing.")] = False,
    trash_pages: Annotated[
        bool, typer.Option("--trash-pages", help="Move the account's pages in Notion to the trash.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase an account from the warehouse, the published copy, the ledgers and the landed files of sources.

    Later loads of its records are rejected. Your own source files and existing backups are not changed.
    """
    from csm_core.operations.forget import forget as erase
    from csm_core.operations.forget import preview
    from csm_core.system.terminal import printable

    warehouse, settings = existing_warehouse(config), read_config(config)
    planned = preview(warehouse, settings, account)
    if dry_run:
        _print(planned, as_json=as_json, lines=_lines(planned, "would be deleted", trash_pages=False))
        return
    if not yes:
        if not sys.stdin.isatty():
            message = f"erasing account {planned.account_id!r} cannot be undone; confirm it with --yes"
            raise InputError(message)
        for line in _lines(planned, "will be deleted", trash_pages=trash_pages):
            typer.echo(printable(line, 1000), err=True)
        typer.confirm(f"Erase account {printable(planned.account_id)}? This cannot be undone", abort=True, err=True)
    report = erase(warehouse, settings, account, erased_by=getpass.getuser(), trash_pages=trash_pages)
    _print(report, as_json=as_json, lines=[*_lines(report, "deleted", trash_pages=trash_pages), *_advice(report)])


def _print(report: ForgetReport, *, as_json: bool, lines: list[str]) -> None:
    from csm_core.system.terminal import printable

    if as_json:
        typer.echo(json.dumps(asdict(report), indent=2))
        return
    for line in lines:
        typer.echo(printable(line, 1000))


def _lines(report: ForgetReport, done: str, *, trash_pages: bool) -> list[str]:
    from csm_core.system.text_table import counted

    lines = [f"{table}: {counted(rows, 'row')} {done}" for table, rows in report.rows.items()]
    if report.continues:
        lines.insert(0, "An earlier erasure of this account was interrupted; it continues.")
    lines += [f"{path}: rewritten without the account" for path in report.files]
    lines += [f"{path}: deleted, it shows the account" for path in report.reports]
    fate = "to the trash" if trash_pages else "not changed; --trash-pages moves it to the trash"
    lines += [f"Notion {page.kind} page {page.url or page.page_id}: {fate}" for page in report.pages]
    return lines or ["nothing is stored about the account"]


def _advice(report: ForgetReport) -> list[str]:
    lines = [f"{column} still has the id or the name in other texts" for column in report.mentions]
    return [
        *lines,
        "Remove the account from your source files and systems: its records are rejected with the reason `erased`.",
        "Existing backups still have the account: make a new one with csm backup, and delete the earlier ones.",
    ]
