"""The revisions of a day: how signals and scores changed after they were known, and the records that caused it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import duckdb

from csm_core.analysts.explain_account import find_account
from csm_core.errors import InputError
from csm_core.rubric import FIELDS
from csm_core.scoring.as_known import is_dated
from csm_core.scoring.known_scores import OUTCOME, SCORES, SIGNALS, SUPERSEDED
from csm_core.warehouse.catalog import columns_of, has_rows, table_exists
from csm_core.warehouse.late_record_keys import LATE_RECORD_KEYS
from csm_core.warehouse.rows import fetch_dicts

COMPARED = (*(field.name for field in FIELDS), "missing_signals", *OUTCOME)


@dataclass(frozen=True)
class ValueChange:
    """A column of a revised row with its value before and after."""

    column: str
    before: Any
    after: Any


@dataclass(frozen=True)
class CausingRecord:
    """A late record that a revision included; ``key`` is None for ``records`` usage events of one load."""

    entity: str
    key: str | None
    records: int
    touched_day: date
    load_id: int | None
    loaded_at: datetime | None
    file: str | None


@dataclass(frozen=True)
class Revision:
    """A row that was known from ``known_from`` to ``known_to``, and how the next row differs.

    ``left`` is set if the account has no row of the day from ``known_to`` on.
    """

    tenant_id: str
    account_id: str
    as_of_date: date
    known_from: datetime
    known_to: datetime
    revised_by: str
    left: bool
    changes: tuple[ValueChange, ...]
    load_ids: tuple[int, ...]
    records: tuple[CausingRecord, ...]


@dataclass(frozen=True)
class RevisionsReport:
    """The report of ``csm revisions``; without ``has_records``, the records are unknown (a copy has none)."""

    day: date
    account_id: str | None
    revisions: tuple[Revision, ...]
    has_records: bool

    def as_dict(self) -> dict[str, Any]:
        """The report for ``--json``; times are UTC."""
        return {**asdict(self), "day": self.day.isoformat()}


def revisions_of(connection: duckdb.DuckDBPyConnection, day: date, account: str | None = None) -> RevisionsReport:
    """Return the revisions of a day, of all accounts or of one, in the order of their times.

    Raises InputError for an unknown account, a day that is not scored, and a database without superseded rows.
    """
    if not is_dated(connection):
        message = f"the table {SUPERSEDED} does not exist yet: `csm run` creates it"
        raise InputError(message)
    condition, values = "as_of_date = $day", {"day": day}
    if not any(has_rows(connection, f"{table} where as_of_date = date '{day}'") for table in (SCORES, SUPERSEDED)):
        message = f"{day} is not scored: csm run --as-of {day} scores it"
        raise InputError(message)
    found = find_account(connection, account) if account else None
    if found:
        condition += " and tenant_id = $tenant and account_id = $account"
        values |= {"tenant": found[0], "account": found[1]}
    compared = [name for name in COMPARED if name in columns_of(connection, SUPERSEDED)]
    listed = ", ".join(compared)
    current = ", ".join(f"{'signals' if name in _signals(connection) else 'scores'}.{name}" for name in compared)
    rows = fetch_dicts(
        connection,
        f"select account_id, as_of_date, known_from, known_to, revised_by, load_ids, {listed} from {SUPERSEDED} "
        f"where {condition} order by known_to, tenant_id, account_id",
        values,
    )
    later = {
        (row["account_id"], row["known_from"]): row
        for row in (
            *rows,
            *fetch_dicts(
                connection,
                f"select scores.account_id, scores.known_from, {current} from {SCORES} as scores "
                f"inner join {SIGNALS} as signals on scores.account_id = signals.account_id "
                "and scores.as_of_date = signals.as_of_date where scores.as_of_date = $day",
                {"day": day},
            ),
        )
    }
    has_records = table_exists(connection, LATE_RECORD_KEYS)
    return RevisionsReport(
        day,
        found[1] if found else None,
        tuple(
            _revision(row, later.get((row["account_id"], row["known_to"])), compared, _records(connection, row))
            for row in rows
        ),
        has_records,
    )


def _revision(
    row: Mapping[str, Any], later: Mapping[str, Any] | None, compared: Sequence[str], records: Sequence[CausingRecord]
) -> Revision:
    changes = [ValueChange(name, row[name], later[name]) for name in compared if later and row[name] != later[name]]
    return Revision(
        row["tenant_id"],
        row["account_id"],
        row["as_of_date"],
        row["known_from"],
        row["known_to"],
        row["revised_by"],
        later is None,
        tuple(changes),
        tuple(row["load_ids"] or ()),
        tuple(records),
    )


def _records(connection: duckdb.DuckDBPyConnection, row: Mapping[str, Any]) -> list[CausingRecord]:
    """Return the late records of the account, or of no account, that the build of ``known_to`` included first."""
    if not table_exists(connection, LATE_RECORD_KEYS):
        return []
    found = connection.execute(
        "select late.entity, late.record_key, cast(sum(late.records) as bigint), min(late.touched_day), late.load_id, "
        f"max(loads.loaded_at), max(loads.path) from {LATE_RECORD_KEYS} as late "
        "left join raw.loads as loads on late.load_id = loads.load_id "
        "where coalesce(late.account_id, $account) = $account and late.touched_day <= $day "
        "and late.staged_at <= $known_to and (list_contains(cast($loads as bigint[]), late.load_id) "
        "or late.load_id is null and late.staged_at > $known_from) "
        "group by late.entity, late.record_key, late.load_id order by late.load_id, late.entity, late.record_key",
        {
            "account": row["account_id"],
            "day": row["as_of_date"],
            "known_from": row["known_from"],
            "known_to": row["known_to"],
            "loads": list(row["load_ids"] or ()),
        },
    ).fetchall()
    return [CausingRecord(*one) for one in found]


def _signals(connection: duckdb.DuckDBPyConnection) -> set[str]:
    return set(columns_of(connection, SIGNALS)) - {"tenant_id", "account_id", "as_of_date", "known_from"}
