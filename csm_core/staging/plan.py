"""Plans the staging of an entity: its inputs, their staged and pending loads, and full refresh or incremental."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import duckdb

from csm_core.contract import BOOKKEEPING, FIRST_LOAD, USAGE_EVENTS, Entity
from csm_core.errors import WarehouseError
from csm_core.staging.casts import ValidatedSelect, validate
from csm_core.staging.erased_accounts import erased_customers, erased_hashes
from csm_core.warehouse.catalog import has_rows
from csm_core.warehouse.models import version_of

_RAW_TABLE = re.compile(r"\braw\s*\.\s*\"?([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True)
class UpstreamInputs:
    """The indirect inputs of a system's models, through steps and the account map: raw tables and a version of the SQL.

    ``stating`` are steps with a column ``_first_load_id``, the load since which a row is valid: for an entity that is
    staged incrementally, a load changes staged records only if it is in this column.
    """

    raw_tables: frozenset[str] = frozenset()
    version: str = ""
    stating: frozenset[str] = frozenset()


@dataclass
class StagingInput:
    """The staging model of a system, and its loads."""

    system: str
    sql: str
    fingerprint: str
    raw_tables: tuple[str, ...]
    types: Mapping[str, str]
    validated: ValidatedSelect
    loads: tuple[int, ...] = ()
    pending: tuple[int, ...] = ()


@dataclass
class Counts:
    """Counts of records by outcome: rejected records also by reason, ignored ones by setting or rule."""

    read: int = 0
    loaded: int = 0
    rejected: int = 0
    superseded: int = 0
    ignored: int = 0
    closed: int = 0
    by_reason: dict[str, int] = field(default_factory=dict)
    by_rule: dict[str, int] = field(default_factory=dict)

    def count_ignored(self, records_by_rule: Iterable[tuple[str, int]]) -> None:
        """Add counts of ignored records by the name of their setting or rule."""
        for rule, records in records_by_rule:
            self.ignored += records
            self.by_rule[rule] = self.by_rule.get(rule, 0) + records


@dataclass(frozen=True)
class Limits:
    """The limit for rejected records: a load fails above ``percent``, if at least ``records`` or all are rejected."""

    percent: float
    records: int
    closed_percent: float = 100.0

    def exceeded(self, rejected: int, read: int) -> bool:
        """Whether the rejected records exceed the limit; ``records`` does not apply if all records are rejected."""
        return rejected * 100 > self.percent * read and (rejected >= self.records or rejected == read)


@dataclass(frozen=True)
class StagingResult:
    """The result of staging: the message if the load was rejected (only quarantine changed), or the changed days."""

    rejection: str | None = None
    days: tuple[date, ...] = ()


class Scope:
    """The scope of a gate run for an entity.

    ``restages_all`` is true if all records are staged from scratch, false if only pending loads are staged.
    ``derived`` are the systems whose records of the entity are derived (``csm_core.staging.derived_records``).
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        entity: Entity,
        models: Sequence[tuple[str, str]],
        staged_at: datetime,
        upstream: Mapping[str, UpstreamInputs],
        derived: Collection[str] = (),
    ) -> None:
        self.connection = connection
        self.entity = entity
        self.staged_at = staged_at
        self.derived = frozenset(derived)
        self._upstream = upstream
        self.erased = erased_hashes(connection)
        self.sources = [self._source(system, sql) for system, sql in models]
        self._find_loads()
        self.restages_all = self._restages_all()

    def validate(self, sql: str, source: StagingInput) -> ValidatedSelect:
        """Wrap a SELECT with the columns of a source's model, with the same problems as the model."""
        return self._validated(sql, source.types, source.system)

    def _validated(self, sql: str, types: Mapping[str, str], system: str) -> ValidatedSelect:
        customers = erased_customers(self.connection, system) if self.erased else ()
        return validate(self.entity, sql, types, system, erased=self.erased, erased_customers=customers)

    @property
    def pending(self) -> list[int]:
        """The loads of all sources that are not staged."""
        return [load_id for source in self.sources for load_id in source.pending]

    def outdated(self) -> bool:
        """Collect the versions of files that a later load replaced; returns whether there are any."""
        self.connection.execute(
            "create or replace temp table gate_outdated as select load_id, path, raw_table from raw.loads "
            "where status = 'loaded' and list_contains(?, raw_table) "
            "qualify row_number() over (partition by raw_table, path order by load_id desc) > 1",
            [[table for source in self.sources for table in source.raw_tables]],
        )
        return has_rows(self.connection, "temp.gate_outdated")

    def record_staged_loads(self) -> None:
        """Record the loads in scope as staged."""
        connection = self.connection
        if self.restages_all:
            connection.execute("delete from run.staged_loads where entity = ?", [self.entity.name])
        for source in self.sources:
            staged = source.loads if self.restages_all else source.pending
            connection.execute(
                "insert into run.staged_loads select ?, ?, load_id, ?, ? "
                "from (select unnest(cast(? as bigint[])) as load_id)",
                [self.entity.name, source.system, source.fingerprint, self.staged_at, list(staged)],
            )

    def row(self, sql: str) -> tuple[int, ...]:
        """Return the first row of a query of integers."""
        row = self.connection.execute(sql).fetchone()
        return tuple(int(value) for value in row) if row else ()

    def one(self, sql: str) -> int:
        """Return the number that a query returns, or the row count of a change."""
        return self.row(sql)[0]

    def _source(self, system: str, sql: str) -> StagingInput:
        unordered = _without_order(self.connection, sql)
        described = self.connection.execute(f"describe {unordered}").fetchall()
        types = {name: kind for name, kind, *_ in described}
        missing = [name for name in BOOKKEEPING if name not in types]
        if missing:
            message = f"the staging model of {system} for {self.entity.name} lacks the columns {', '.join(missing)}"
            raise WarehouseError(message)
        upstream = self._upstream.get(system, UpstreamInputs())
        read = {f"raw.{name.lower()}" for name in _RAW_TABLE.findall(unordered)} | upstream.raw_tables
        return StagingInput(
            system,
            unordered,
            self._version(system, sql, upstream.version),
            tuple(sorted(read)),
            types,
            self._validated(unordered, types, system),
        )

    def _version(self, system: str, sql: str, more: str) -> str:
        """Return the version of the model; loads staged with another version are pending."""
        version = version_of(sql, more)
        # A warehouse of an earlier version has the hash of the text. If it is unchanged, the staged records are
        # current.
        earlier = hashlib.sha256((sql + more).encode()).hexdigest()[:16]
        self.connection.execute(
            "update run.staged_loads set model_hash = ? where entity = ? and system = ? and model_hash = ?",
            [version, self.entity.name, system, earlier],
        )
        return version

    def _find_loads(self) -> None:
        for source in self.sources:
            rows = self.connection.execute(
                "select distinct load_id, load_id in (select load_id from run.staged_loads where entity = ? "
                "and system = ? and model_hash = ?) from raw.loads "
                "where status = 'loaded' and list_contains(?, raw_table) order by load_id",
                [self.entity.name, source.system, source.fingerprint, list(source.raw_tables)],
            ).fetchall()
            source.loads = tuple(load_id for load_id, _ in rows)
            source.pending = tuple(load_id for load_id, staged in rows if not staged)

    def _restages_all(self) -> bool:
        if self.entity.name != USAGE_EVENTS or not has_rows(self.connection, self.entity.table):
            return True
        for source in self.sources:
            counts = self.connection.execute(
                "select count(*), count(*) filter (where model_hash <> ?) from run.staged_loads "
                "where entity = ? and system = ?",
                [source.fingerprint, self.entity.name, source.system],
            ).fetchone()
            if counts and counts[1]:
                return True
            if source.pending and self._depends_on_others(source):
                return True
        removed = self.connection.execute(
            "select 1 from run.staged_loads where entity = ? and not list_contains(?, system) limit 1",
            [self.entity.name, [source.system for source in self.sources]],
        ).fetchone()
        return removed is not None

    def _depends_on_others(self, source: StagingInput) -> bool:
        """Whether pending loads change other records: in a joined table or step, or by replacing a file."""
        found = self.connection.execute(
            "select 1 from raw.loads as pending where list_contains(?, pending.load_id) and pending.status = 'loaded' "
            "and (pending.entity <> ? or exists (select 1 from raw.loads as earlier "
            "where earlier.raw_table = pending.raw_table and earlier.status = 'replaced')) limit 1",
            [list(source.pending), self.entity.name],
        ).fetchone()
        stating = self._upstream.get(source.system, UpstreamInputs()).stating
        return found is not None or any(
            has_rows(self.connection, f"{table} where {among(FIRST_LOAD, source.pending)}") for table in sorted(stating)
        )


def among(column: str, numbers: Sequence[int]) -> str:
    """Return a SQL condition: the column is one of the numbers."""
    if not numbers:
        return "false"
    return f"{column} in ({', '.join(str(number) for number in numbers)})"


def _without_order(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Return the SELECT without its final ``order by``: the gate sorts the records itself."""
    row = connection.execute("select json_serialize_sql(?)", [sql.rstrip().rstrip(";")]).fetchone()
    parsed: dict[str, Any] = json.loads(row[0] if row else '{"error": true}')
    if parsed["error"] or len(parsed["statements"]) != 1:
        message = f"a staging model is not one SELECT: {parsed.get('error_message', sql[:80])}"
        raise WarehouseError(message)
    node = parsed["statements"][0]["node"]
    node["modifiers"] = [one for one in node["modifiers"] if one["type"] != "ORDER_MODIFIER"]
    text = connection.execute("select json_deserialize_sql(cast(? as json))", [json.dumps(parsed)]).fetchone()
    return str(text[0]) if text else sql
