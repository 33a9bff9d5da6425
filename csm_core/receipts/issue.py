"""Issues receipts: the statement, records and path of an account, for the current or an earlier state of a day."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import duckdb

from csm_core.errors import InputError
from csm_core.receipts.day_roots import LEAVES_TABLE, ROOTS_TABLE, RUBRICS_TABLE
from csm_core.receipts.records import read_records_sql
from csm_core.receipts.standalone import FORMAT, canonical, checksums_of, next_level, root_hash, sha256, top_of
from csm_core.receipts.statements import leaf_sql, parameters_in, statement_sql
from csm_core.scoring.known_scores import KEYS, SCORES, SIGNALS, SUPERSEDED
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.day_status import require_scored
from csm_core.warehouse.models import literal

_KEYS = ", ".join(KEYS)


@dataclass(frozen=True)
class DayRoot:
    """A published state of a day of a tenant."""

    root_id: int
    tenant_id: str
    day: date
    known_from: datetime
    accounts: int
    root: str


@dataclass(frozen=True)
class Receipt:
    """A receipt as one line of canonical JSON. ``lists_records`` is false if the records have changed since."""

    account_id: str
    line: str
    lists_records: bool


def state_of(
    connection: duckdb.DuckDBPyConnection, tenant_id: str, day: date, known_at: datetime | None = None
) -> DayRoot:
    """Return the newest published state of a day of a tenant, or the newest one at ``known_at``.

    Raises InputError for a day without a root, or before the first one.
    """
    require_scored(connection, day)
    states = states_of(connection, tenant_id, day)
    if not states:
        message = (
            f"{day} has no receipts: a version of csm-health without receipts scored it. "
            f"Rebuild the day: csm run --as-of {day}"
        )
        raise InputError(message)
    if known_at is None:
        return states[-1]
    moment = known_at.astimezone(UTC).replace(tzinfo=None)
    known = [state for state in states if state.known_from <= moment]
    if not known:
        message = (
            f"nothing was published about {day} at {moment.isoformat(' ', 'seconds')} UTC: its first state is from "
            f"{states[0].known_from.isoformat(' ', 'seconds')} UTC. Choose that time or a later one"
        )
        raise InputError(message)
    return known[-1]


def states_of(connection: duckdb.DuckDBPyConnection, tenant_id: str, day: date) -> list[DayRoot]:
    """Return all published states of a day of a tenant, in order."""
    if not table_exists(connection, ROOTS_TABLE):
        return []
    rows = connection.execute(
        f"select root_id, tenant_id, as_of_date, known_from, accounts, root from {ROOTS_TABLE} "
        "where tenant_id = ? and as_of_date = ? order by root_id",
        [tenant_id, day],
    ).fetchall()
    return [DayRoot(*row) for row in rows]


def receipt_hashes(connection: duckdb.DuckDBPyConnection, day: date) -> dict[str, tuple[str, str]]:
    """Return the receipt hash and the root of each account in the newest state of a day; empty without receipts."""
    if not (table_exists(connection, ROOTS_TABLE) and table_exists(connection, LEAVES_TABLE)):
        return {}
    rows = connection.execute(
        f"select leaves.account_id, lower(hex(leaves.leaf)), roots.root from (select * from {LEAVES_TABLE} "
        "where as_of_date = $day qualify row_number() over (partition by tenant_id, account_id order by root_id desc) "
        "= 1) as leaves inner join (select tenant_id, arg_max(root, root_id) as root "
        f"from {ROOTS_TABLE} where as_of_date = $day group by tenant_id) as roots using (tenant_id) "
        "where leaves.leaf is not null",
        {"day": day},
    ).fetchall()
    return {account: (leaf, root) for account, leaf, root in rows}


def issue(
    connection: duckdb.DuckDBPyConnection, state: DayRoot, parameters: Mapping[str, Any], account_id: str | None = None
) -> Iterator[Receipt]:
    """Yield the receipt of an account in a state of a day, or of all its accounts, in the order of account_id.

    ``parameters`` are those of the models. Raises InputError if the account is not in the state, if the values of an
    earlier state are not stored, or if an account of the state was erased.
    """
    leaves = _leaves_at(connection, state)
    positions = {account: at for at, (account, _) in enumerate(leaves)}
    if account_id is not None and account_id not in positions:
        message = f"account {account_id!r} is not among the {state.accounts} accounts of {state.day} in this state"
        raise InputError(message)
    if root_of(state, [leaf for _, leaf in leaves]) != state.root:
        message = (
            f"the state of {state.day} that was known from {state.known_from} UTC cannot be proven any more: an "
            "account in it was erased. Leave out --known-at for the receipt of the current state"
        )
        raise InputError(message)
    levels = tree_of([leaf for _, leaf in leaves])
    rubrics = dict(connection.execute(f"select rubric_hash, rubric from {RUBRICS_TABLE}").fetchall())
    records = _records(connection, state, parameters, account_id)
    for account, statement in _statements(connection, state, account_id):
        if statement is None:
            message = (
                f"the values of account {account!r} on {state.day} have changed since {state.known_from} UTC, and the "
                "earlier ones are not stored. Leave out --known-at for the receipt of the current values"
            )
            raise InputError(message)
        stated = json.loads(statement)
        entries: list[dict[str, str]] | None = records.get(account, [])
        if sha256(canonical(entries)) != stated["records_hash"]:
            entries = None
        index = positions[account]
        receipt: dict[str, Any] = {
            "format": FORMAT,
            "proof": {
                "accounts": len(leaves),
                "index": index,
                "path": path_of(levels, index),
                "root": state.root,
            },
            "records": entries,
            "rubric": json.loads(rubrics[stated["rubric_hash"]]),
            "statement": stated,
        }
        yield Receipt(account, canonical({**receipt, "checksums": checksums_of(receipt)}), entries is not None)


def _leaves_at(connection: duckdb.DuckDBPyConnection, state: DayRoot) -> list[tuple[str, str]]:
    """Return the accounts and leaves of a state, in the order of the tree."""
    return connection.execute(
        f"select account_id, lower(hex(leaf)) from ({_leaf_rows_sql()}) where leaf is not null order by account_id",
        _bound(state),
    ).fetchall()


def _leaf_rows_sql() -> str:
    return (
        f"select * from {LEAVES_TABLE} where tenant_id = $tenant and as_of_date = $day and root_id <= $root_id "
        "qualify row_number() over (partition by account_id order by root_id desc) = 1"
    )


def _bound(state: DayRoot) -> dict[str, Any]:
    return {"tenant": state.tenant_id, "day": state.day, "root_id": state.root_id}


def _statements(
    connection: duckdb.DuckDBPyConnection, state: DayRoot, account_id: str | None
) -> list[tuple[str, str | None]]:
    """Return the statement of each account; None if the stored values do not lead to the leaf of the state."""
    only = f"and account_id = {literal(account_id)}" if account_id is not None else ""
    proofs = (
        f"(select {_KEYS}, lower(hex(leaf)) as leaf, lower(hex(records_hash)) as records_hash, known_from, "
        f"code_version, rubric_hash from ({_leaf_rows_sql()}) where leaf is not null {only})"
    )
    # Each stored row of an account and day, current or superseded, may be the one that the leaf was computed from.
    stored = [f"inner join {SCORES} as scores using ({_KEYS}) inner join {SIGNALS} as signals using ({_KEYS})"]
    if table_exists(connection, SUPERSEDED):
        stored.append(
            f"inner join {SUPERSEDED} as scores using ({_KEYS}) inner join {SUPERSEDED} as signals "
            f"on {' and '.join(f'signals.{name} = scores.{name}' for name in (*KEYS, 'known_from', 'known_to'))}"
        )
    candidates = " union all ".join(
        f"select proofs.account_id, proofs.leaf, {statement_sql()} as statement from proofs {joined}"
        for joined in stored
    )
    return connection.execute(
        f"with proofs as {proofs}, candidates as ({candidates}) select proofs.account_id, "
        f"max(candidates.statement) filter (where {leaf_sql('candidates.statement')} = proofs.leaf) "
        "from proofs left join candidates on proofs.account_id = candidates.account_id "
        "group by proofs.account_id order by proofs.account_id",
        _bound(state),
    ).fetchall()


def _records(
    connection: duckdb.DuckDBPyConnection, state: DayRoot, parameters: Mapping[str, Any], account_id: str | None
) -> dict[str, list[dict[str, str]]]:
    """Return the records of each account as the signals of the day read them now."""
    only = f"and account_id = {literal(account_id)}" if account_id is not None else ""
    days = (
        f"(select account_id, as_of_date from {SCORES} where tenant_id = {literal(state.tenant_id)} "
        f"and as_of_date = {literal(state.day)} {only})"
    )
    sql = f"select account_id, entity, key, hash from ({read_records_sql(days)}) as records order by all"
    records: dict[str, list[dict[str, str]]] = {}
    for account, entity, key, digest in connection.execute(sql, parameters_in(sql, {**parameters})).fetchall():
        records.setdefault(account, []).append({"entity": entity, "hash": digest, "key": key})
    return records


def root_of(state: DayRoot, leaves: Sequence[str]) -> str:
    """Return the root of a state's tenant and day from these leaves."""
    return root_hash(state.tenant_id, state.day.isoformat(), len(leaves), top_of(leaves) if leaves else "")


def tree_of(leaves: Sequence[str]) -> list[Sequence[str]]:
    """Return the levels of a tree, from the leaves to the top."""
    levels: list[Sequence[str]] = [leaves]
    while len(levels[-1]) > 1:
        levels.append(next_level(levels[-1]))
    return levels


def path_of(levels: Sequence[Sequence[str]], index: int) -> list[str]:
    """Return the neighbours of a leaf's nodes, from the leaf to the top; a node without one has no entry."""
    path: list[str] = []
    for level in levels[:-1]:
        if index ^ 1 < len(level):
            path.append(level[index ^ 1])
        index //= 2
    return path
