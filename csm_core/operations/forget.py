"""Erases an account: ``csm forget``.

The steps, each of which a second call repeats or completes:

1. The pages in Notion are moved to the trash, if wanted: the ledger that knows them is erased in step 4.
2. The landed files of sources beside the warehouse are rewritten without the account's records, and reports that show
   the account are deleted.
3. The tables that Spark keeps are written to new directories without the account.
4. One transaction records the hash of the id in ``run.erasures``, so that later loads of its records are rejected,
   deletes the rows in all tables, makes the new directories live, and adds a root without the account to each day that
   had it. The directories with the account are deleted.
5. The warehouse is copied to a new file and replaced, because DuckDB keeps deleted data in free blocks of its file.
6. The published copy is built from the new warehouse.

A process that is killed leaves ``is_complete`` false; the same command then continues with the id alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb

from csm_core.analysts.published_copy import publish_copy
from csm_core.config import Config
from csm_core.days.finished_days import model_parameters
from csm_core.errors import InputError
from csm_core.operations.engine_erasure import EngineErasure
from csm_core.operations.erased_rows import (
    ErasedAccount,
    count_rows,
    delete_rows,
    deletions,
    find_erased,
    find_places,
    mentions,
)
from csm_core.operations.rewritten_files import rewrite_landed_files, rewrite_warehouse
from csm_core.publishing.notion.account_trash import LedgerPage, pages_of, trash
from csm_core.publishing.report.reports import reports_with
from csm_core.receipts.day_roots import record_erasure
from csm_core.scoring.macros import create_macros
from csm_core.staging.erased_accounts import ERASURES, account_hash, record_erased_customers
from csm_core.warehouse.catalog import table_exists, transaction
from csm_core.warehouse.database import Warehouse

_ACCOUNT_TABLES = ("staging.stg_accounts", "marts.csm_health_scores")


@dataclass(frozen=True)
class ForgetReport:
    """What an erasure deleted, or would delete: rows by table, landed files and reports, and pages in Notion.

    ``mentions`` are columns whose texts still have the id or the name, such as notes about another account.
    ``continues`` is true if an earlier erasure of this account was interrupted.
    """

    account_id: str
    rows: Mapping[str, int]
    pages: tuple[LedgerPage, ...]
    trashed: int = 0
    files: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    continues: bool = False


def preview(warehouse: Warehouse, config: Config, account: str) -> ForgetReport:
    """Return what ``forget`` would delete. Raises InputError for an unknown account. Changes nothing."""
    with warehouse.connect() as connection:
        account_id, continues = _resolve(connection, account)
        erased = find_erased(connection, account_id)
        find_places(connection, erased)
        rows = count_rows(connection, deletions(connection, erased))
        rows |= EngineErasure(connection, config.engine, account_id).count_rows()
        return ForgetReport(account_id, rows, tuple(pages_of(connection, account_id)), continues=continues)


def forget(
    warehouse: Warehouse,
    config: Config,
    account: str,
    *,
    erased_by: str,
    trash_pages: bool = False,
    now: datetime | None = None,
) -> ForgetReport:
    """Erase an account from the warehouse, the published copy and the landed files of sources.

    Waits for a run in progress. ``account`` is the id, or tenant/id. Raises InputError for an unknown account, and
    ConfigError or InputError if Spark has tables of the warehouse and cannot be reached.
    """
    at = (now or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None)
    with warehouse.run_lock():
        with warehouse.connect() as connection:
            account_id, continues = _resolve(connection, account)
            pages = pages_of(connection, account_id)
        trashed = trash(config, pages) if trash_pages else 0
        with warehouse.connect() as connection:
            erased = find_erased(connection, account_id)
            find_places(connection, erased)
            in_engine = EngineErasure(connection, config.engine, account_id)
            in_engine.write()
            files = rewrite_landed_files(connection, warehouse.path.parent, erased)
            reports = reports_with(warehouse.path, erased.text_pattern)
            for report in reports:
                report.unlink()
            with transaction(connection):
                rows = _delete(connection, erased, at, erased_by, in_engine)
            in_engine.delete_replaced()
            left = mentions(connection, erased)
            rewrite_warehouse(connection, warehouse.path)
        warehouse.published_path.unlink(missing_ok=True)
        publish_copy(warehouse, create_macros, model_parameters(config))
        with warehouse.connect() as connection:
            connection.execute(
                f"update {ERASURES} set is_complete = true where account_hash = ?", [account_hash(account_id)]
            )
    return ForgetReport(
        account_id,
        rows,
        tuple(pages),
        trashed,
        files=tuple(str(path) for path in files),
        reports=tuple(str(path) for path in reports),
        mentions=tuple(left),
        continues=continues,
    )


def _delete(
    connection: duckdb.DuckDBPyConnection,
    erased: ErasedAccount,
    at: datetime,
    erased_by: str,
    in_engine: EngineErasure,
) -> dict[str, int]:
    """Delete the rows and record the erasure, in the caller's transaction; returns the number of rows by table."""
    record_erasure(connection, erased.account_id, at)
    record_erased_customers(connection, erased.account_id, (*erased.external_ids, *erased.member_ids))
    rows = delete_rows(connection, erased, deletions(connection, erased)) | in_engine.make_live()
    connection.execute("delete from run.published_copy")
    digest = account_hash(erased.account_id)
    known = connection.execute(f"select counts from {ERASURES} where account_hash = ?", [digest]).fetchone()
    if known is None or rows:
        before: dict[str, int] = json.loads(known[0]) if known else {}
        counts = {table: before.get(table, 0) + rows.get(table, 0) for table in sorted({*before, *rows})}
        connection.execute(f"delete from {ERASURES} where account_hash = ?", [digest])
        connection.execute(
            f"insert into {ERASURES} values (?, ?, ?, ?, false)", [digest, at, erased_by, json.dumps(counts)]
        )
    return rows


def _resolve(connection: duckdb.DuckDBPyConnection, account: str) -> tuple[str, bool]:
    """Return the id of an account, and whether its erasure was begun. A part of a name is not enough to erase it."""
    for table in _ACCOUNT_TABLES:
        if table_exists(connection, table):
            rows = connection.execute(
                f"select distinct account_id from {table} "
                "where account_id = $account or tenant_id || '/' || account_id = $account",
                {"account": account},
            ).fetchall()
            if rows:
                return str(rows[0][0]), False
    for account_id in (account, account.partition("/")[2]):
        begun = connection.execute(
            f"select is_complete from {ERASURES} where account_hash = ?", [account_hash(account_id)]
        ).fetchone()
        if begun:
            return account_id, not begun[0]
    message = f"there is no account {account!r}; `csm forget` needs the account's id, or tenant/id, not its name"
    raise InputError(message)
