"""Records the root of each finished day: the leaves of its accounts, computed in the engine, and the top of their tree.

``run.receipt_leaves`` has a row for each receipt that changed, and ``marts.csm_day_roots`` one for each state of a day.
Both only grow. A day that is built again with the same outcome keeps its receipts and its root, including the time and
the version with which they were first computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any

import duckdb

from csm_core.receipts.records import ACCOUNT_DAYS, records_hash_sql
from csm_core.receipts.rubric_document import rubric_hash, rubric_text
from csm_core.receipts.standalone import root_hash, top_of
from csm_core.receipts.statements import (
    code_version,
    known_from_sql,
    leaf_sql,
    parameters_in,
    statement_sql,
)
from csm_core.scoring.known_scores import SCORES, SIGNALS
from csm_core.warehouse.catalog import table_exists, transaction
from csm_core.warehouse.copy_state import mark_changed
from csm_core.warehouse.day_status import COUNTED, STATUS_TABLE
from csm_core.warehouse.materialize import comment
from csm_core.warehouse.models import load_models

ROOTS_TABLE, LEAVES_TABLE, RUBRICS_TABLE = "marts.csm_day_roots", "run.receipt_leaves", "run.receipt_rubrics"
# Limits the memory of a backfill; each part is a transaction.
_DAYS_AT_ONCE = 31

_CREATE_ROOTS = f"""
    create table if not exists {ROOTS_TABLE} (
        root_id bigint, tenant_id varchar, as_of_date date, known_from timestamp, accounts bigint, root varchar,
        previous_root varchar
    )
"""
_KEYS = "tenant_id, account_id, as_of_date"
# The latest state of each receipt of the days.
_LATEST = f"""
    create or replace temp table latest_leaves as
    select {_KEYS}, leaf, records_hash, known_from, code_version, rubric_hash
    from {LEAVES_TABLE}
    where as_of_date in (select as_of_date from root_days)
    qualify row_number() over (partition by {_KEYS} order by root_id desc) = 1
"""
_CHANGED = "latest.leaf is distinct from unhex(fresh.leaf)"


def days_to_record(connection: duckdb.DuckDBPyConnection, run_id: str) -> list[date]:
    """Return the days that a run finished, and earlier days that were finished by a run that was killed right after.

    Days that were scored before there were receipts are left as they are.
    """
    connection.execute(_CREATE_ROOTS)
    rows: list[Any] = connection.execute(
        f"""
        select as_of_date from {STATUS_TABLE}
        where list_contains($counted, status) and (
            run_id = $run_id
            or as_of_date > (select min(as_of_date) from {ROOTS_TABLE})
            and as_of_date < (select max(as_of_date) from {ROOTS_TABLE})
            and as_of_date not in (select as_of_date from {ROOTS_TABLE})
        )
        order by as_of_date
        """,
        {"counted": list(COUNTED), "run_id": run_id},
    ).fetchall()
    return [day for (day,) in rows]


def record_roots(
    connection: duckdb.DuckDBPyConnection, days: Sequence[date], parameters: Mapping[str, Any], at: datetime
) -> int:
    """Record the receipts and roots of complete or accepted days that differ from the recorded ones.

    ``parameters`` are those of the models; ``at`` is when this state is published. Returns the number of new roots.
    """
    ordered = sorted(days)
    parts = [ordered[first : first + _DAYS_AT_ONCE] for first in range(0, len(ordered), _DAYS_AT_ONCE)]
    moment = at.astimezone(UTC).replace(tzinfo=None)
    return sum(_record_part(connection, part, parameters, moment) for part in parts)


def record_erasure(connection: duckdb.DuckDBPyConnection, account_id: str, at: datetime) -> int:
    """Add a root without the account to each day whose newest root includes it; returns their number.

    Call it in the transaction that deletes the account's rows, before they are deleted. The earlier roots stay, so that
    receipts that were printed before can be verified.
    """
    if not table_exists(connection, ROOTS_TABLE):
        return 0
    latest = f"select * from {LEAVES_TABLE} qualify row_number() over (partition by {_KEYS} order by root_id desc) = 1"
    rows: list[Any] = connection.execute(
        f"""
        select as_of_date, tenant_id, list(lower(hex(leaf)) order by account_id)
            filter (where account_id <> $account and leaf is not null)
        from ({latest})
        group by as_of_date, tenant_id
        having bool_or(account_id = $account and leaf is not null)
        order by as_of_date, tenant_id
        """,
        {"account": account_id},
    ).fetchall()
    _insert_roots(connection, [(day, tenant, leaves or []) for day, tenant, leaves in rows], at)
    return len(rows)


def _record_part(
    connection: duckdb.DuckDBPyConnection, days: Sequence[date], parameters: Mapping[str, Any], at: datetime
) -> int:
    with transaction(connection):
        connection.execute(_CREATE_ROOTS)
        comment(connection, load_models("marts")[ROOTS_TABLE.partition(".")[2]])
        connection.execute(
            "create or replace temp table root_days as select unnest(cast(? as date[])) as as_of_date", [list(days)]
        )
        connection.execute(_LATEST)
        _create_proofs(connection, parameters)
        _create_fresh_leaves(connection)
        added = _add_roots(connection, at)
        if added:
            connection.execute(
                f"insert into {RUBRICS_TABLE} select $hash, $text where $hash not in "
                f"(select rubric_hash from {RUBRICS_TABLE})",
                {"hash": rubric_hash(), "text": rubric_text()},
            )
        for table in ("root_days", "latest_leaves", "proofs", "fresh_leaves", "new_roots"):
            connection.execute(f"drop table if exists temp.{table}")
    return added


def _create_proofs(connection: duckdb.DuckDBPyConnection, parameters: Mapping[str, Any]) -> None:
    """The hash of the records of each account, and when and with which version its values were first computed."""
    account_days = f"(select account_id, as_of_date from {ACCOUNT_DAYS} where as_of_date in (from root_days))"
    records = records_hash_sql(account_days)
    values = parameters_in(records, {**parameters})
    connection.execute(f"create or replace temp table record_hashes as {records}", values)
    known_from = known_from_sql(connection)
    connection.execute(
        f"""
        create or replace temp table proofs as
        select scores.tenant_id, scores.account_id, scores.as_of_date, hashes.records_hash,
            coalesce(latest.known_from, scores.{known_from}) as known_from,
            coalesce(latest.code_version, $code_version) as code_version,
            cast($rubric_hash as varchar) as rubric_hash
        from {SCORES} as scores
        left join record_hashes as hashes using (account_id, as_of_date)
        left join latest_leaves as latest using ({_KEYS})
        where scores.as_of_date in (from root_days)
        """,
        {"code_version": code_version(), "rubric_hash": rubric_hash()},
    )
    connection.execute("drop table temp.record_hashes")


def _create_fresh_leaves(connection: duckdb.DuckDBPyConnection) -> None:
    """The leaf of each account: with the recorded time and version if nothing changed, else with the current ones."""
    connection.execute(f"create or replace temp table fresh_leaves as {_leaves_sql()}")
    connection.execute(
        f"""
        update proofs set known_from = scores.{known_from_sql(connection)}, code_version = $code_version
        from {SCORES} as scores, fresh_leaves as fresh, latest_leaves as latest
        where proofs.account_id = scores.account_id and proofs.as_of_date = scores.as_of_date
            and proofs.account_id = fresh.account_id and proofs.as_of_date = fresh.as_of_date
            and proofs.account_id = latest.account_id and proofs.as_of_date = latest.as_of_date
            and proofs.tenant_id = latest.tenant_id and {_CHANGED}
        """,
        {"code_version": code_version()},
    )
    changed = f"({_KEYS}) in (select ({_KEYS}) from fresh_leaves as fresh join latest_leaves as latest "
    changed += f"using ({_KEYS}) where {_CHANGED})"
    connection.execute(f"create or replace temp table revised_leaves as {_leaves_sql(changed)}")
    connection.execute(
        "update fresh_leaves set leaf = revised.leaf from revised_leaves as revised "
        "where fresh_leaves.account_id = revised.account_id and fresh_leaves.as_of_date = revised.as_of_date"
    )
    connection.execute("drop table temp.revised_leaves")


def _leaves_sql(condition: str = "true") -> str:
    return (
        f"select {_KEYS}, {leaf_sql('statement')} as leaf from (select scores.tenant_id, scores.account_id, "
        f"scores.as_of_date, {statement_sql()} as statement from proofs "
        f"inner join {SCORES} as scores using ({_KEYS}) inner join {SIGNALS} as signals using ({_KEYS})) as statements "
        f"where {condition}"
    )


def _add_roots(connection: duckdb.DuckDBPyConnection, at: datetime) -> int:
    """Add a root for each tenant and day with changed receipts, then the changed receipts; returns their number."""
    changed = connection.execute(
        f"""
        select distinct as_of_date, tenant_id
        from fresh_leaves as fresh full join latest_leaves as latest using ({_KEYS})
        where {_CHANGED}
        order by as_of_date, tenant_id
        """
    ).fetchall()
    if not changed:
        return 0
    leaves = {
        key: [leaf for *_, leaf in group]
        for key, group in groupby(
            connection.execute(
                "select as_of_date, tenant_id, leaf from fresh_leaves order by as_of_date, tenant_id, account_id"
            ).fetchall(),
            key=lambda row: (row[0], row[1]),
        )
    }
    first = _insert_roots(connection, [(day, tenant, leaves.get((day, tenant), [])) for day, tenant in changed], at)
    connection.execute(
        f"""
        insert into {LEAVES_TABLE}
        select {_KEYS}, roots.root_id, unhex(fresh.leaf), unhex(proofs.records_hash), proofs.known_from,
            proofs.code_version, proofs.rubric_hash
        from fresh_leaves as fresh
        full join latest_leaves as latest using ({_KEYS})
        left join proofs using ({_KEYS})
        inner join {ROOTS_TABLE} as roots using (tenant_id, as_of_date)
        where roots.root_id >= {first} and {_CHANGED}
        order by as_of_date, tenant_id, account_id
        """
    )
    return len(changed)


def _insert_roots(
    connection: duckdb.DuckDBPyConnection, days: Sequence[tuple[date, str, Sequence[str]]], at: datetime
) -> int:
    """Append a root for each day, tenant and list of leaves; returns the id of the first one."""
    row = connection.execute(f"select coalesce(max(root_id), 0) + 1 from {ROOTS_TABLE}").fetchone()
    first = int(row[0]) if row else 1
    previous: dict[str, str] = dict(
        connection.execute(f"select tenant_id, arg_max(root, root_id) from {ROOTS_TABLE} group by tenant_id").fetchall()
    )
    for number, (day, tenant, leaves) in enumerate(days, first):
        root = root_hash(tenant, day.isoformat(), len(leaves), top_of(leaves) if leaves else "")
        connection.execute(
            f"insert into {ROOTS_TABLE} values (?, ?, ?, ?, ?, ?, ?)",
            [number, tenant, day, at, len(leaves), root, previous.get(tenant)],
        )
        previous[tenant] = root
    if days:
        mark_changed(connection, ROOTS_TABLE, None)
    return first
