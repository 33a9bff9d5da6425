"""Keeps the records of erased accounts out: the gate rejects them, and their raw records are deleted.

``run.erasures`` has a hash of the id of each account that ``csm forget`` erased, ``run.erased_customers`` those of its
ids at vendors, so that records that only name the customer are rejected as well. A rejected record of such an account
stays in the quarantine without its text, until the entity is staged again; the run counts it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import duckdb

from csm_core.contract import ACCOUNT_COLUMN, ACCOUNT_MAP, Entity, Reason
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.models import literal

ERASURES, ERASED_CUSTOMERS = "run.erasures", "run.erased_customers"
_PREFIX = "csm-health erased account\n"
_CUSTOMER_PREFIX = "csm-health erased customer\n"


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


def erased_customers(connection: duckdb.DuckDBPyConnection, system: str) -> tuple[str, ...]:
    """Return the hashes of the ids that erased accounts have at a vendor."""
    if not table_exists(connection, ERASED_CUSTOMERS):
        return ()
    rows = connection.execute(
        f"select distinct customer_hash from {ERASED_CUSTOMERS} where system = ? "
        f"and account_hash in (select account_hash from {ERASURES}) order by customer_hash",
        [system],
    ).fetchall()
    return tuple(one for (one,) in rows)


def is_erased_customer_sql(system: str, external_id: str, hashes: Sequence[str]) -> str:
    """Return a SQL condition: the vendor's customer with this id belongs to an erased account."""
    prefix = literal(f"{_CUSTOMER_PREFIX}{system}\n")
    return f"sha256({prefix} || {external_id}) in ({', '.join(map(literal, hashes))})"


def record_erased_customers(
    connection: duckdb.DuckDBPyConnection, account_id: str, customers: Iterable[tuple[str, str]]
) -> None:
    """Record the ids of an erased account at vendors, as (system, id)."""
    digest = account_hash(account_id)
    for system, external_id in sorted(set(customers)):
        text = f"{_CUSTOMER_PREFIX}{system}\n{external_id}"
        connection.execute(
            f"insert into {ERASED_CUSTOMERS} select $system, $customer, $account where not exists "
            f"(select 1 from {ERASED_CUSTOMERS} where (system, customer_hash, account_hash) "
            "= ($system, $customer, $account))",
            {"system": system, "customer": hashlib.sha256(text.encode()).hexdigest(), "account": digest},
        )


def record_matched_customers(connection: duckdb.DuckDBPyConnection) -> None:
    """Record the customers in the account map that are matched with an erased account, such as new ones.

    Their own records are rejected from the next run on.
    """
    hashes = erased_hashes(connection)
    if not hashes:
        return
    rows = connection.execute(
        f"select {ACCOUNT_COLUMN}, system, external_id from {ACCOUNT_MAP} where {is_erased_sql(ACCOUNT_COLUMN, hashes)}"
    ).fetchall()
    for account_id, system, external_id in rows:
        record_erased_customers(connection, account_id, [(system, external_id)])
    connection.execute(
        f"update {ACCOUNT_MAP} set external_name = null, external_domain = null "
        f"where {is_erased_sql(ACCOUNT_COLUMN, hashes)}"
    )


def delete_erased_records(
    connection: duckdb.DuckDBPyConnection, entity: Entity, raw_tables: Iterable[str], hashes: Sequence[str]
) -> None:
    """Delete the raw records that the gate rejected as erased, and their texts in the quarantine."""
    if not hashes:
        return
    erased = f"{entity.quarantine_table} where reason = '{Reason.ERASED}'"
    raw = set(raw_tables)
    # The records of vendors are copies of raw records.
    copies = {f"staging.{table.removeprefix('raw.').partition('__')[0]}_records" for table in raw}
    for table in sorted(raw | copies):
        if table_exists(connection, table):
            connection.execute(
                f"delete from {table} where (_load_id, _source_file, _source_line) in "
                f"(select (load_id, source_file, source_line) from {erased})"
            )
    connection.execute(
        f"update {entity.quarantine_table} set value = null, record_key = null, raw_text = null "
        f"where reason = '{Reason.ERASED}'"
    )
    connection.execute(
        "update run.rejected_records set value = null, record_key = null, raw_text = null "
        f"where reason = '{Reason.ERASED}' and entity = ?",
        [entity.name],
    )
