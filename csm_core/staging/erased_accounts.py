"""Keeps the records of erased accounts out: the gate rejects them, and their raw records are deleted.

``run.erasures`` has a hash of the id of each account that ``csm forget`` erased. A rejected record of such an
account stays in the quarantine without its text, until the entity is staged again; the run counts it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import duckdb

from csm_core.contract import Entity, Reason
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.models import literal

ERASURES = "run.erasures"
_PREFIX = "csm-health erased account\n"


def account_hash(account_id: str) -> str:
    """Return the hash of an account id, as in ``run.erasures``."""
    return hashlib.sha256(f"{_PREFIX}{account_id}".encode()).hexdigest()


def erased_hashes(connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """Return the hashes of all erased accounts."""
    if not table_exists(connection, ERASURES):
        return ()
    rows = connection.execute(f"select distinct account_hash from {ERASURES} order by account_hash").fetchall()
    return tuple(one for (one,) in rows)


def is_erased_sql(account_id: str, hashes: Sequence[str]) -> str:
    """Return a SQL condition: the account with this id is one of the erased ones."""
    return f"sha256({literal(_PREFIX)} || {account_id}) in ({', '.join(map(literal, hashes))})"


def delete_erased_records(
    connection: duckdb.DuckDBPyConnection, entity: Entity, raw_tables: Iterable[str], hashes: Sequence[str]
) -> None:
    """Delete the raw records that the gate rejected as erased, and their texts in the quarantine."""
    if not hashes:
        return
    erased = f"{entity.quarantine_table} where reason = '{Reason.ERASED}'"
    for table in sorted(set(raw_tables)):
        if table_exists(connection, table):
            connection.execute(
                f"delete from {table} where (_load_id, _source_file, _source_line) in "
                f"(select (load_id, source_file, source_line) from {erased})"
            )
    connection.execute(
        f"update {entity.quarantine_table} set value = null, record_key = null, raw_text = null "
        f"where reason = '{Reason.ERASED}'"
    )
