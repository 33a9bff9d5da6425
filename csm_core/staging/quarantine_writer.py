"""Writes rejected records and unparseable lines to quarantine, and checks the limit for a load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from csm_core.contract import BOOKKEEPING, RECORD, SOURCE, Entity, Reason
from csm_core.staging.plan import Counts, Limits, Scope, StagingInput, among
from csm_core.staging.vendor_records import RECORD_COUNTS, REJECTED_RECORDS
from csm_core.system.terminal import printable
from csm_core.warehouse.catalog import columns_of, table_exists
from csm_core.warehouse.models import literal, quoted


def rejection_text(
    entity: Entity,
    of: str,
    rejected_of_read: tuple[int, int],
    limits: Limits,
    reasons: Sequence[tuple[str, int]],
    first: tuple[Any, ...] | None,
) -> str:
    """Return the message about a load with too many rejected records.

    ``reasons`` are the counts by reason, largest first; ``first`` is the file, line, field and value of a record.
    """
    rejected, read = rejected_of_read
    where = ""
    if first:
        file, line, field, value = first
        shown = f", {field} {printable(str(value))!r}" if field and value is not None else ""
        where = f" First: {f'line {line} of ' if line else ''}{file}{shown}."
    return (
        f"{of}: {rejected} of {read} new records rejected ({rejected * 100 / read:.1f} %, limit "
        f"{limits.percent:g} %): {', '.join(f'{reason} {count}' for reason, count in reasons)}.{where} "
        f"This load was not staged. See `csm quarantine {entity.name}`, correct the files and run again, "
        "or raise max_rejected_percent in csm.yaml."
    )


class QuarantineWriter:
    """Writes the rejected records of a scope; updates ``counts`` (all in scope) and ``new`` (pending loads)."""

    def __init__(self, scope: Scope, counts: Counts, new: Counts) -> None:
        self._scope = scope
        self._connection = scope.connection
        self._entity = scope.entity
        self._sources = scope.sources
        self._counts = counts
        self._new = new

    def write(self, rejected: str | None) -> None:
        """Replace the quarantine in scope with the rejected records and the unparseable lines."""
        connection, entity = self._connection, self._entity
        table = entity.quarantine_table
        if self._scope.restages_all:
            connection.execute(f"delete from {table}")
        else:
            pending = self._scope.pending
            connection.execute(
                f"delete from {table} where {among('load_id', pending)} "
                "or (load_id, source_file) in (select (load_id, path) from raw.loads where status <> 'loaded') "
                "or (load_id, source_file, source_line) in "
                "(select (load_id, source_file, source_line) from temp.gate_retries)"
            )
        written = 0
        if rejected:
            written += self._insert_rejected(rejected)
        written += self._scope.one(
            f"insert into {table} select load_id, system, source_file, source_line, null, reason, detail, null, "
            f"raw_text, loaded_at from raw.unparseable_rows where {self._pending_of_systems()} "
            "order by load_id, source_file, source_line"
        )
        written += self._scope.one(
            f"insert into {table} select load_id, system, source_file, source_line, field, reason, value, record_key, "
            f"raw_text, loaded_at from {REJECTED_RECORDS} where {self._pending_of_systems()} "
            "order by load_id, source_file, source_line"
        )
        self._counts.rejected = written
        scope = "true" if self._scope.restages_all else self._in_scope_of_quarantine()
        self._counts.by_reason = dict(
            connection.execute(f"select reason, count(*) from {table} where {scope} group by reason").fetchall()
        )

    def limit_message(self, limits: Limits) -> str | None:
        """Return a message if the rejected new records of a system, or of one of its raw tables, exceed the limits."""
        for source in self._sources:
            if not source.pending:
                continue
            new = f"{among('load_id', source.pending)} and system = {literal(source.system)}"
            own = f"{new} and entity = {literal(self._entity.name)}"
            read = self._scope.one(f"select count(*) from ({source.sql}) where {among('_load_id', source.pending)}")
            read += self._scope.one(f"select count(*) from raw.unparseable_rows where {own}")
            read += self._scope.one(f"select count(*) from {REJECTED_RECORDS} where {own}")
            reasons = self._connection.execute(
                f"select reason, count(*) as records from {self._entity.quarantine_table} "
                f"where {new} group by reason order by records desc, reason"
            ).fetchall()
            # A file may have any number of records of erased accounts.
            erased = sum(count for reason, count in reasons if reason == Reason.ERASED)
            rejected = sum(count for _, count in reasons) - erased
            self._new.read += read
            self._new.rejected += rejected
            # Auxiliary records of a model, such as a vendor's customers, count once: as records or as rejected.
            read = max(read, self._raw_records(source)) - erased
            if limits.exceeded(rejected, read):
                return self._message(f"{self._entity.name} from {source.system}", rejected, read, limits, new)
            for table, of_table in self._rejected_by_table(source, own):
                stored = self._scope.one(f"select count(*) from {table} where {among('_load_id', source.pending)}")
                if of_table == stored and limits.exceeded(of_table, stored):
                    scope = f"{new} and source_file in (select path from raw.loads where raw_table = {literal(table)})"
                    return self._message(table, of_table, stored, limits, scope)
        return None

    def _raw_records(self, source: StagingInput) -> int:
        """Return the number of new records in the raw tables of the entity."""
        tables = self._connection.execute(
            "select distinct raw_table from raw.loads where list_contains(?, load_id) and entity = ? and system = ? "
            "and status = 'loaded' order by raw_table",
            [list(source.pending), self._entity.name, source.system],
        ).fetchall()
        return sum(
            self._scope.one(f"select count(*) from {table} where {among('_load_id', source.pending)}")
            for (table,) in tables
            if table_exists(self._connection, table)
        )

    def _rejected_by_table(self, source: StagingInput, own: str) -> list[tuple[str, int]]:
        """Return the number of records of each raw table that were rejected before the models, without erased ones."""
        return self._connection.execute(
            f"select raw_table, count(*) from {REJECTED_RECORDS} where {own} and list_contains(?, raw_table) "
            f"and reason <> '{Reason.ERASED}' "
            "group by raw_table order by raw_table",
            [list(source.raw_tables)],
        ).fetchall()

    def _message(self, of: str, rejected: int, read: int, limits: Limits, scope: str) -> str:
        table = self._entity.quarantine_table
        reasons = self._connection.execute(
            f"select reason, count(*) as records from {table} where {scope} group by reason "
            "order by records desc, reason"
        ).fetchall()
        first = self._connection.execute(
            f"select source_file, source_line, field, value from {table} where {scope} "
            "order by source_file, source_line limit 1"
        ).fetchone()
        return rejection_text(self._entity, of, (rejected, read), limits, reasons, first)

    def beside_models(self) -> int:
        """Return the number of records in scope that no model reads: unparseable, or rejected before the models."""
        lines = self._scope.one(f"select count(*) from raw.unparseable_rows where {self._pending_of_systems()}")
        return lines + self._scope.one(f"select count(*) from {REJECTED_RECORDS} where {self._pending_of_systems()}")

    def superseded_by_steps(self) -> int:
        """Return the number of records that a later version superseded before the models."""
        if not self._scope.restages_all:
            return 0
        return self._scope.one(f"select coalesce(sum(superseded), 0) from {RECORD_COUNTS} where {self._of_systems()}")

    def _insert_rejected(self, rejected: str) -> int:
        connection, entity = self._connection, self._entity
        # The possible problems depend on the column types of a system: each has its own list.
        listed = ", ".join(
            f"({literal(source.system)}, {number}, {literal(name)}, {literal(str(reason))})"
            for source in self._sources
            for number, (name, reason) in enumerate(source.validated.problems, start=1)
        )
        if not listed:
            return 0
        connection.execute(
            f"create or replace temp table gate_rejected as select rejected.*, problem.field, problem.reason "
            f"from ({rejected}) as rejected join (values {listed}) as problem(system, number, field, reason) "
            f"on problem.system = rejected._system and problem.number = rejected._problem"
        )
        texts = " union all ".join(self._raw_texts()) or (
            "select null::bigint as _load_id, null::varchar as _source_file, null::bigint as _source_line, "
            "null::varchar as raw_text limit 0"
        )
        return self._scope.one(
            f"insert into {entity.quarantine_table} select rejected._load_id, rejected._system, rejected._source_file, "
            f"rejected._source_line, rejected.field, rejected.reason, rejected._value, rejected._key, texts.raw_text, "
            f"rejected._loaded_at from temp.gate_rejected as rejected left join ({texts}) as texts "
            f"on (texts._load_id, texts._source_file, texts._source_line) "
            f"= (rejected._load_id, rejected._source_file, rejected._source_line) "
            "order by rejected._load_id, rejected._source_file, rejected._source_line"
        )

    def _raw_texts(self) -> list[str]:
        tables = self._connection.execute(
            "select distinct raw_table from raw.loads where load_id in (select _load_id from temp.gate_rejected) "
            "and status = 'loaded' order by raw_table"
        ).fetchall()
        selects: list[str] = []
        for (table,) in tables:
            if not table_exists(self._connection, table):
                continue
            columns = [name for name in columns_of(self._connection, table) if name not in BOOKKEEPING]
            pairs = ", ".join(f"{literal(name)}, cast({quoted(name)} as varchar)" for name in columns)
            text = RECORD if {RECORD, SOURCE} <= set(columns) else f"cast(json_object({pairs}) as varchar)"
            selects.append(
                f"select _load_id, _source_file, _source_line, {text} as raw_text "
                f"from {table} where _load_id in (select _load_id from temp.gate_rejected) and "
                "(_load_id, _source_file, _source_line) in "
                "(select (_load_id, _source_file, _source_line) from temp.gate_rejected)"
            )
        return selects

    def _of_systems(self) -> str:
        systems = ", ".join(literal(source.system) for source in self._sources) or "''"
        return f"entity = {literal(self._entity.name)} and system in ({systems})"

    def _pending_of_systems(self) -> str:
        own = self._of_systems()
        return own if self._scope.restages_all else f"{own} and {among('load_id', self._scope.pending)}"

    def _in_scope_of_quarantine(self) -> str:
        pending = self._scope.pending
        return (
            f"{among('load_id', pending)} or (load_id, source_file, source_line) in "
            "(select (load_id, source_file, source_line) from temp.gate_retries)"
        )
