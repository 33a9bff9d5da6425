"""The gate between vendors' records and the staged contract: cast, refuse, keep the latest of each key, count.

``stage_entity`` runs the staging models of an entity (one per source system), casts their columns, puts refused
records into ``quarantine.<entity>`` with the reason and their raw text, lets the latest record of each key into
``staging.stg_<entity>``, and asserts that every record read is loaded, refused or superseded. All of it is one
transaction; a load with too many refused records changes nothing but its quarantine.

Small entities are staged anew from raw in every run. ``usage_events`` only takes what is new: loads that it has not
taken yet, and records refused for an unknown account that has turned up since. Their days go to
``run.pending_usage_days``, from where the daily rollup takes them. A changed staging model, or a change in another raw
table that the model reads, stages the events anew as well, and only the days that came out different are queued.

Records that touch days which have been materialised are noted as late (``csm_core.late_records``).
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import duckdb

from csm_core.contract import (
    ACCOUNT_COLUMN,
    ACCOUNT_MAP,
    ACCOUNTS,
    BOOKKEEPING,
    ENTITIES,
    FIRST_LOAD,
    RECORD,
    SOURCE,
    USAGE_EVENTS,
    Entity,
    Reason,
)
from csm_core.errors import ConfigError, RunError, SourceError, WarehouseError
from csm_core.late_records import note_changes
from csm_core.sources.loading import prepare as prepare_raw
from csm_core.sql_models import literal, quoted
from csm_core.staging_casts import Judged, as_they_are, judge
from csm_core.warehouse import columns_of, table_exists, transaction

PENDING_DAYS = "run.pending_usage_days"
QUARANTINE_COLUMNS = {
    "load_id": "bigint",
    "system": "varchar",
    "source_file": "varchar",
    "source_line": "bigint",
    "field": "varchar",
    "reason": "varchar",
    "value": "varchar",
    "record_key": "varchar",
    "raw_text": "varchar",
    "rejected_at": "timestamp",
}

_RAW_TABLE = re.compile(r"\braw\s*\.\s*\"?([A-Za-z_][A-Za-z0-9_]*)")
_KEPT = ", ".join(BOOKKEEPING)
_RECENT_FIRST = "_loaded_at desc, _load_id desc, _source_file desc, _source_line desc"
_BLOCK_ROWS = 122_880
_SCRATCH = (
    *("gate_outdated", "gate_rows", "gate_retries", "gate_decided", "gate_fresh", "gate_replaced", "gate_accepted"),
    *("gate_leaving", "gate_refused", "gate_staged"),
)


@dataclass(frozen=True)
class StageReport:
    """What the gate did with an entity: ``read`` = ``loaded`` + ``rejected`` + ``superseded``, asserted.

    For an entity that is staged anew these count all its records; ``new_read`` and ``new_rejected`` count those of
    loads not staged before. ``touched_days`` are the UTC dates whose usage came out different.
    """

    entity: str
    read: int
    loaded: int
    rejected: int
    superseded: int
    by_reason: Mapping[str, int]
    touched_days: tuple[date, ...]
    new_read: int
    new_rejected: int
    staged_anew: bool
    seconds: float


@dataclass(frozen=True)
class Behind:
    """What a system's models read by way of other tables: the raw tables behind them, and a version of all that.

    ``stating`` are those of the tables whose rows say, in ``_first_load_id``, since which load they hold: for an entity
    that is taken load by load, a load changes what was staged before only if it is named there.
    """

    raw_tables: frozenset[str] = frozenset()
    version: str = ""
    stating: frozenset[str] = frozenset()


@dataclass
class _Source:
    """One system's staging model and the loads that it can be fed from."""

    system: str
    sql: str
    fingerprint: str
    raw_tables: tuple[str, ...]
    types: Mapping[str, str]
    loads: tuple[int, ...] = ()
    pending: tuple[int, ...] = ()
    judged: Judged | None = None


@dataclass
class _Counts:
    read: int = 0
    loaded: int = 0
    rejected: int = 0
    superseded: int = 0
    by_reason: dict[str, int] = field(default_factory=dict)


def prepare(connection: duckdb.DuckDBPyConnection, entity: Entity) -> None:
    """Create the staged, quarantine and bookkeeping tables of an entity where they are not there yet."""
    prepare_raw(connection)
    columns = ", ".join(f"{name} {kind}" for name, kind in QUARANTINE_COLUMNS.items())
    connection.execute(f"create table if not exists {entity.table} ({entity.definition})")
    connection.execute(f"create table if not exists {entity.quarantine_table} ({columns})")
    connection.execute(f"create table if not exists {PENDING_DAYS} (usage_date date not null)")
    accounts = ENTITIES[ACCOUNTS]
    connection.execute(f"create table if not exists {accounts.table} ({accounts.definition})")


def stage_entity(
    connection: duckdb.DuckDBPyConnection,
    entity_name: str,
    models: Sequence[tuple[str, str]],
    *,
    staged_at: datetime,
    max_rejected_percent: float = 5.0,
    behind: Mapping[str, Behind] | None = None,
) -> StageReport:
    """Stage one entity from its models, given as (system, SELECT); ``accounts`` has to be staged before the others.

    A model's SELECT gives the contract's columns under their names, in any type (one left out is null), and passes on
    the four bookkeeping columns of the raw table that its records come from. ``staged_at`` is a UTC instant. ``behind``
    says, by system, what a model reads indirectly.

    Raises SourceError with counts by reason when more than ``max_rejected_percent`` of the new records of a system are
    refused (they are in quarantine then, and nothing else has changed), WarehouseError when a model does not run, and
    RunError when records are unaccounted for.
    """
    if entity_name not in ENTITIES:
        message = f"not an entity of the staged contract: {entity_name!r}; there are {', '.join(ENTITIES)}"
        raise ConfigError(message)
    entity = ENTITIES[entity_name]
    started = time.perf_counter()
    try:
        prepare(connection, entity)
        gate = _Gate(connection, entity, models, staged_at.replace(tzinfo=None), behind or {})
        with transaction(connection):
            refusal = gate.run(max_rejected_percent)
        for scratch in (*_SCRATCH, *(_suspects(number) for number in range(len(models)))):
            connection.execute(f"drop table if exists temp.{scratch}")
    except duckdb.Error as error:
        message = f"staging {entity_name} failed: {str(error).splitlines()[0]}"
        raise WarehouseError(message) from error
    if refusal:
        raise SourceError(refusal)
    return gate.report(time.perf_counter() - started)


class _Gate:
    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        entity: Entity,
        models: Sequence[tuple[str, str]],
        staged_at: datetime,
        behind: Mapping[str, Behind],
    ) -> None:
        self._connection = connection
        self._entity = entity
        self._staged_at = staged_at
        self._behind = behind
        self._sources = [self._source(system, sql) for system, sql in models]
        self._counts = _Counts()
        self._new = _Counts()
        self._anew = True
        self._days: tuple[date, ...] = ()

    def run(self, max_rejected_percent: float) -> str | None:
        """Stage; returns the message of a refusal, in which case only the quarantine has been written."""
        self._find_loads()
        self._anew = self._stage_anew()
        if self._anew and self._entity.name == USAGE_EVENTS and not self._outdated():
            refusal = self._run_at_once(max_rejected_percent)
        else:
            refusal = self._run_by_key(max_rejected_percent)
        if refusal is None:
            self._remember_loads()
        return refusal

    def report(self, seconds: float) -> StageReport:
        counts = self._counts
        return StageReport(
            entity=self._entity.name,
            read=counts.read,
            loaded=counts.loaded,
            rejected=counts.rejected,
            superseded=counts.superseded,
            by_reason=dict(sorted(counts.by_reason.items())),
            touched_days=self._days,
            new_read=self._new.read,
            new_rejected=self._new.rejected,
            staged_anew=self._anew,
            seconds=seconds,
        )

    # -- what there is to do -------------------------------------------------------------------------------------

    def _source(self, system: str, sql: str) -> _Source:
        unordered = _without_order(self._connection, sql)
        described = self._connection.execute(f"describe {unordered}").fetchall()
        types = {name: kind for name, kind, *_ in described}
        missing = [name for name in BOOKKEEPING if name not in types]
        if missing:
            message = f"the staging model of {system} for {self._entity.name} does not pass on {', '.join(missing)}"
            raise WarehouseError(message)
        behind = self._behind.get(system, Behind())
        read = {f"raw.{name.lower()}" for name in _RAW_TABLE.findall(unordered)} | behind.raw_tables
        source = _Source(
            system,
            unordered,
            hashlib.sha256((sql + behind.version).encode()).hexdigest()[:16],
            tuple(sorted(read)),
            types,
        )
        source.judged = judge(self._entity, unordered, types, system)
        return source

    def _find_loads(self) -> None:
        for source in self._sources:
            rows = self._connection.execute(
                "select distinct load_id, load_id in (select load_id from run.staged_loads where entity = ? "
                "and system = ? and model_hash = ?) from raw.loads "
                "where status = 'loaded' and list_contains(?, raw_table) order by load_id",
                [self._entity.name, source.system, source.fingerprint, list(source.raw_tables)],
            ).fetchall()
            source.loads = tuple(load_id for load_id, _ in rows)
            source.pending = tuple(load_id for load_id, staged in rows if not staged)

    def _stage_anew(self) -> bool:
        if self._entity.name != USAGE_EVENTS or not _has_rows(self._connection, self._entity.table):
            return True
        for source in self._sources:
            known = self._connection.execute(
                "select count(*), count(*) filter (where model_hash <> ?) from run.staged_loads "
                "where entity = ? and system = ?",
                [source.fingerprint, self._entity.name, source.system],
            ).fetchone()
            if known and known[1]:
                return True
            if source.pending and self._depends_on_others(source):
                return True
        gone = self._connection.execute(
            "select 1 from run.staged_loads where entity = ? and not list_contains(?, system) limit 1",
            [self._entity.name, [source.system for source in self._sources]],
        ).fetchone()
        return gone is not None

    def _depends_on_others(self, source: _Source) -> bool:
        """Whether what is pending changes records beside its own: in a joined table or step, or by replacing a file."""
        found = self._connection.execute(
            "select 1 from raw.loads as pending where list_contains(?, pending.load_id) and pending.status = 'loaded' "
            "and (pending.entity <> ? or exists (select 1 from raw.loads as earlier "
            "where earlier.raw_table = pending.raw_table and earlier.status = 'replaced')) limit 1",
            [list(source.pending), self._entity.name],
        ).fetchone()
        stating = self._behind.get(source.system, Behind()).stating
        return found is not None or any(
            _has_rows(self._connection, f"{table} where {_in(FIRST_LOAD, source.pending)}") for table in sorted(stating)
        )

    def _outdated(self) -> bool:
        """Collect the versions of files that a later load of the same file has taken over from."""
        self._connection.execute(
            "create or replace temp table gate_outdated as select load_id, path, raw_table from raw.loads "
            "where status = 'loaded' and list_contains(?, raw_table) "
            "qualify row_number() over (partition by raw_table, path order by load_id desc) > 1",
            [[table for source in self._sources for table in source.raw_tables]],
        )
        return _has_rows(self._connection, "temp.gate_outdated")

    # -- the short way: everything in one pass -------------------------------------------------------------------

    def _run_at_once(self, max_rejected_percent: float) -> str | None:
        """Stage everything in one pass; falls back to the way by key when a key occurs twice."""
        connection, entity = self._connection, self._entity
        fresh = f"{entity.table}_fresh"
        connection.execute(f"create or replace table {fresh} ({entity.definition})")
        taken = [self._take_all(source) for source in self._sources]
        if taken:
            order = "" if self._is_in_order() else "order by occurred_at"
            selects = " union all ".join(accepted for accepted, _ in taken)
            connection.execute(f"insert into {fresh} by name {selects} {order}")
        loaded = self._one(f"select count(*) from {fresh}")
        if not self._keys_are_unique(fresh):
            connection.execute(f"drop table {fresh}")
            return self._run_by_key(max_rejected_percent)
        rows = sum(self._one(f"select count(*) from ({source.sql})") for source in self._sources)
        self._counts.loaded = loaded
        self._write_quarantine(" union all ".join(refused for _, refused in taken) if rows != loaded else None)
        self._counts.read = rows + self._unparseable()
        refusal = self._refusal(max_rejected_percent)
        if refusal:
            connection.execute(f"drop table {fresh}")
            return refusal
        self._note_changed_days(entity.table, fresh)
        connection.execute(f"drop table {entity.table}")
        schema, _, name = entity.table.partition(".")
        connection.execute(f"alter table {schema}.{name}_fresh rename to {name}")
        self._assert_accounted()
        return None

    def _take_all(self, source: _Source) -> tuple[str, str]:
        """SELECTs of a source's acceptable records and of its refused ones."""
        names = ", ".join((*self._entity.column_names, "_loaded_at"))
        plain = as_they_are(self._entity, source.types)
        if plain is None:
            judged = _judged(source).sql
            return f"select {names} from ({judged}) where _problem is null", self._refused(judged)
        known = f"{ACCOUNT_COLUMN} in (select {ACCOUNT_COLUMN} from staging.stg_accounts)"
        narrowed = f"select * from ({source.sql}) where {plain.suspect} or coalesce(not {known}, true)"
        suspects = f"temp.{_suspects(self._sources.index(source))}"
        self._connection.execute(
            f"create or replace temp table {suspects.removeprefix('temp.')} as "
            f"{judge(self._entity, narrowed, source.types, source.system).sql}"
        )
        accepted = f"select {plain.values}, _loaded_at from ({source.sql})"
        # Where all is well, nothing has to be filtered row by row.
        if _has_rows(self._connection, suspects):
            accepted += (
                f" where {known} and not coalesce({plain.suspect}, false) "
                f"union all select {names} from {suspects} where _problem is null"
            )
        return accepted, self._refused(f"from {suspects}")

    def _refused(self, judged: str) -> str:
        return (
            "select _system, _load_id, _source_file, _source_line, _problem, _value, "
            f"{self._entity.key} as _key, _loaded_at from ({judged}) where _problem is not null"
        )

    def _keys_are_unique(self, table: str) -> bool:
        # Sorted numbers take less time and memory than a table of as many groups. Equal hashes of different keys are
        # possible, and only cost a second, exact look.
        return not _has_rows(
            self._connection,
            "(select hashed, lag(hashed) over (order by hashed) as before "
            f"from (select hash({self._entity.key}) as hashed from {table})) where hashed = before",
        )

    def _is_in_order(self) -> bool:
        """Whether the events come so nearly in the order of time that their blocks can be told apart by it as it is."""
        if len(self._sources) != 1 or self._sources[0].types.get("occurred_at") != "TIMESTAMP":
            return False
        source = self._sources[0]
        spans, blocks, days = self._row(
            "select coalesce(sum(date_diff('day', first_at, last_at)), 0), count(*), "
            "coalesce(date_diff('day', min(first_at), max(last_at)), 0) from ("
            f"select min(occurred_at) as first_at, max(occurred_at) as last_at from ("
            f"select occurred_at, row_number() over () // {_BLOCK_ROWS} as block from ({source.sql})) group by block)"
        )
        return spans <= 2 * days + blocks

    # -- the long way: record by record key ----------------------------------------------------------------------

    def _run_by_key(self, max_rejected_percent: float) -> str | None:
        connection, entity = self._connection, self._entity
        self._outdated()
        self._collect()
        self._decide()
        self._write_quarantine(
            "select _system, _load_id, _source_file, _source_line, _problem, _value, "
            f"{entity.key} as _key, _loaded_at from temp.gate_decided where _outcome = 'rejected'"
        )
        outcomes = dict(
            connection.execute("select _outcome, count(*) from temp.gate_decided group by _outcome").fetchall()
        )
        self._counts.read = sum(count for name, count in outcomes.items() if name != "withdrawn")
        self._counts.read += self._unparseable()
        self._counts.superseded = outcomes.get("superseded", 0)
        refusal = self._refusal(max_rejected_percent)
        if refusal:
            return refusal
        names = ", ".join((*entity.column_names, "_loaded_at"))
        accepted = f"select {names} from temp.gate_decided where _outcome = 'loaded'"
        if self._anew:
            order = "occurred_at" if entity.name == USAGE_EVENTS else entity.key
            connection.execute(f"create or replace temp table gate_fresh as {accepted} order by {order}")
            self._note_changed_days(entity.table, "temp.gate_fresh")
            connection.execute(f"delete from {entity.table}")
            self._counts.loaded = self._changed(f"insert into {entity.table} by name from temp.gate_fresh")
        else:
            self._counts.loaded = self._replace_by_key(accepted)
        self._prune()
        self._assert_accounted()
        return None

    def _collect(self) -> None:
        """The judged records in scope, in one temporary table."""
        connection, entity = self._connection, self._entity
        selects: list[str] = []
        if not self._anew:
            self._collect_retries()
        for source in self._sources:
            judged = _judged(source).sql
            if self._anew:
                selects.append(f"select * from ({judged})")
                continue
            own = f"system = {literal(source.system)}"
            retried = connection.execute(f"select distinct load_id from temp.gate_retries where {own}").fetchall()
            # The plain condition on the load reaches the storage's statistics by way of the model's joins.
            loads = (*source.pending, *(load_id for (load_id,) in retried))
            narrowed = f"select * from ({source.sql}) where {_in('_load_id', loads)}"
            if retried:
                narrowed += (
                    f" and ({_in('_load_id', source.pending)} or (_load_id, _source_file, _source_line) in "
                    f"(select (load_id, source_file, source_line) from temp.gate_retries where {own}))"
                )
            selects.append(judge(entity, narrowed, source.types, source.system).sql)
        nothing = (
            f"select '' as _system, * exclude (_loaded_at), '' as _source_file, 0 as _source_line, _loaded_at, "
            f"0 as _load_id, 0 as _problem, '' as _value from {entity.table} limit 0"
        )
        connection.execute(
            f"create or replace temp table gate_rows as {' union all by name '.join(selects) or nothing}"
        )

    def _collect_retries(self) -> None:
        """Records that were refused for an account which is known, or a customer who is matched, by now."""
        pending = [load_id for source in self._sources for load_id in source.pending]
        matched = (
            f"or (reason = '{Reason.UNMATCHED}' and (system, value) in (select (system, external_id) "
            "from staging.account_map where account_id is not null or is_ignored))"
            if table_exists(self._connection, ACCOUNT_MAP)
            else ""
        )
        self._connection.execute(
            f"create or replace temp table gate_retries as select system, load_id, source_file, source_line "
            f"from {self._entity.quarantine_table} where ((reason = '{Reason.UNKNOWN_ACCOUNT}' "
            f"and value in (select account_id from staging.stg_accounts)) {matched}) and not {_in('load_id', pending)}"
        )

    def _decide(self) -> None:
        """One outcome per record: loaded, rejected, superseded, or withdrawn with the version of its file."""
        key = self._entity.key
        if not self._anew:
            # Looked up once: every key of the whole history is read for it.
            self._connection.execute(
                f"create or replace temp table gate_staged as from {self._entity.table} "
                f"where {key} in (select {key} from temp.gate_rows where _problem is null)"
            )
        newer_staged = (
            ""
            if self._anew
            else "when _problem is null and exists (select 1 from temp.gate_staged as staged "
            f"where staged.{key} = ranked.{key} and staged._loaded_at > ranked._loaded_at) then 'superseded' "
        )
        self._connection.execute(
            f"""
            create or replace temp table gate_decided as
            with recency as (
                select *, row_number() over (partition by {key} order by {_RECENT_FIRST}) as _recency,
                    (_load_id, _source_file) in (select (load_id, path) from temp.gate_outdated) as _outdated
                from temp.gate_rows
            ),
            ranked as (
                select *, case when {key} is not null then
                    min(_recency) filter (where _problem is null) over (partition by {key}) end as _winner
                from recency
            )
            select * exclude (_recency, _outdated, _winner), case
                {newer_staged}
                when _problem is null and _recency = _winner then 'loaded'
                when _outdated then 'withdrawn'
                when _problem is null then 'superseded'
                when _recency > _winner then 'superseded'
                else 'rejected' end as _outcome
            from ranked
            """
        )

    def _replace_by_key(self, accepted: str) -> int:
        """Put the accepted records in the place of those with the same keys; queue the days that differ."""
        connection, entity = self._connection, self._entity
        keys = f"select {entity.key} from temp.gate_decided where _outcome = 'loaded'"
        connection.execute(
            f"create or replace temp table gate_replaced as from temp.gate_staged where {entity.key} in ({keys})"
        )
        connection.execute(f"create or replace temp table gate_accepted as {accepted}")
        self._note_changed_days("temp.gate_replaced", "temp.gate_accepted")
        if _has_rows(connection, "temp.gate_replaced"):
            connection.execute(
                f"delete from {entity.table} where {entity.key} in (select {entity.key} from temp.gate_replaced)"
            )
        order = "order by occurred_at" if entity.name == USAGE_EVENTS else ""
        # What was refused and has now come right is no longer in quarantine.
        connection.execute(
            f"delete from {entity.quarantine_table} where record_key in ({keys}) and not "
            f"{_in('load_id', [load_id for source in self._sources for load_id in source.pending])}"
        )
        return self._changed(f"insert into {entity.table} by name from temp.gate_accepted {order}")

    def _prune(self) -> None:
        """Remove from raw what a newer version of the same file has replaced, and what had been refused of the old."""
        connection = self._connection
        if not _has_rows(connection, "temp.gate_outdated"):
            return
        if not self._anew:
            self._find_replaced_by_new_versions()
        else:
            connection.execute(
                "create or replace temp table gate_leaving as select distinct _load_id, _source_file, _source_line "
                "from temp.gate_decided where _outcome in ('withdrawn', 'superseded') "
                "and (_load_id, _source_file) in (select (load_id, path) from temp.gate_outdated) "
                "and (_load_id, _source_file, _source_line) not in (select (_load_id, _source_file, _source_line) "
                "from temp.gate_decided where _outcome = 'loaded')"
            )
        for (table,) in connection.execute(
            "select distinct raw_table from temp.gate_outdated "
            "where load_id in (select _load_id from temp.gate_leaving)"
        ).fetchall():
            connection.execute(
                f"delete from {table} where _load_id in (select _load_id from temp.gate_leaving) and "
                "(_load_id, _source_file, _source_line) in "
                "(select (_load_id, _source_file, _source_line) from temp.gate_leaving)"
            )

    def _find_replaced_by_new_versions(self) -> None:
        entity = self._entity
        # The plain condition on the load is answered from the storage's statistics, the pairs are not.
        earlier = (
            "_load_id in (select load_id from temp.gate_outdated) "
            "and (_load_id, _source_file) in (select (load_id, path) from temp.gate_outdated)"
        )
        refused = f"select (load_id, source_file, source_line) from {entity.quarantine_table}"
        selects: list[str] = []
        for source in self._sources:
            judged = judge(entity, f"select * from ({source.sql}) where {earlier}", source.types, source.system).sql
            selects.append(
                f"select _load_id, _source_file, _source_line from ({judged}) where {entity.key} in "
                f"(select {entity.key} from temp.gate_decided where _outcome = 'loaded') "
                f"or (_load_id, _source_file, _source_line) in ({refused})"
            )
        self._connection.execute(f"create or replace temp table gate_leaving as {' union all '.join(selects)}")
        self._connection.execute(
            f"delete from {entity.quarantine_table} "
            "where (load_id, source_file) in (select (load_id, path) from temp.gate_outdated)"
        )

    # -- quarantine and counts -----------------------------------------------------------------------------------

    def _write_quarantine(self, refused: str | None) -> None:
        """Replace the quarantine of what is in scope by the refused records and the unparseable lines."""
        connection, entity = self._connection, self._entity
        table = entity.quarantine_table
        if self._anew:
            connection.execute(f"delete from {table}")
        else:
            pending = [load_id for source in self._sources for load_id in source.pending]
            connection.execute(
                f"delete from {table} where {_in('load_id', pending)} "
                "or (load_id, source_file) in (select (load_id, path) from raw.loads where status <> 'loaded') "
                "or (load_id, source_file, source_line) in "
                "(select (load_id, source_file, source_line) from temp.gate_retries)"
            )
        written = 0
        if refused:
            written += self._insert_refused(refused)
        written += self._changed(
            f"insert into {table} select load_id, system, source_file, source_line, null, reason, detail, null, "
            f"raw_text, loaded_at from raw.unparseable_rows where {self._unparseable_in_scope()} "
            "order by load_id, source_file, source_line"
        )
        self._counts.rejected = written
        scope = "true" if self._anew else self._in_scope_of_quarantine()
        self._counts.by_reason = dict(
            connection.execute(f"select reason, count(*) from {table} where {scope} group by reason").fetchall()
        )

    def _insert_refused(self, refused: str) -> int:
        connection, entity = self._connection, self._entity
        # Systems differ in the types of their columns and so in what can be wrong: each has its own list.
        listed = ", ".join(
            f"({literal(source.system)}, {number}, {literal(name)}, {literal(str(reason))})"
            for source in self._sources
            for number, (name, reason) in enumerate(_judged(source).problems, start=1)
        )
        if not listed:
            return 0
        connection.execute(
            f"create or replace temp table gate_refused as select refused.*, problem.field, problem.reason "
            f"from ({refused}) as refused join (values {listed}) as problem(system, number, field, reason) "
            f"on problem.system = refused._system and problem.number = refused._problem"
        )
        texts = " union all ".join(self._raw_texts()) or (
            "select null::bigint as _load_id, null::varchar as _source_file, null::bigint as _source_line, "
            "null::varchar as raw_text limit 0"
        )
        return self._changed(
            f"insert into {entity.quarantine_table} select refused._load_id, refused._system, refused._source_file, "
            f"refused._source_line, refused.field, refused.reason, refused._value, refused._key, found.raw_text, "
            f"refused._loaded_at from temp.gate_refused as refused left join ({texts}) as found "
            f"on (found._load_id, found._source_file, found._source_line) "
            f"= (refused._load_id, refused._source_file, refused._source_line) "
            "order by refused._load_id, refused._source_file, refused._source_line"
        )

    def _raw_texts(self) -> list[str]:
        tables = self._connection.execute(
            "select distinct raw_table from raw.loads where load_id in (select _load_id from temp.gate_refused) "
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
                f"from {table} where _load_id in (select _load_id from temp.gate_refused) and "
                "(_load_id, _source_file, _source_line) in "
                "(select (_load_id, _source_file, _source_line) from temp.gate_refused)"
            )
        return selects

    def _unparseable_in_scope(self) -> str:
        systems = ", ".join(literal(source.system) for source in self._sources) or "''"
        own = f"entity = {literal(self._entity.name)} and system in ({systems})"
        if self._anew:
            return own
        return f"{own} and {_in('load_id', [load_id for source in self._sources for load_id in source.pending])}"

    def _in_scope_of_quarantine(self) -> str:
        pending = [load_id for source in self._sources for load_id in source.pending]
        return (
            f"{_in('load_id', pending)} or (load_id, source_file, source_line) in "
            "(select (load_id, source_file, source_line) from temp.gate_retries)"
        )

    def _unparseable(self) -> int:
        return self._one(f"select count(*) from raw.unparseable_rows where {self._unparseable_in_scope()}")

    def _refusal(self, max_rejected_percent: float) -> str | None:
        """Compare each system's new records with what may be refused of them."""
        for source in self._sources:
            if not source.pending:
                continue
            new = _in("load_id", source.pending)
            read = self._one(f"select count(*) from ({source.sql}) where {_in('_load_id', source.pending)}")
            read += self._one(
                f"select count(*) from raw.unparseable_rows where {new} and entity = {literal(self._entity.name)} "
                f"and system = {literal(source.system)}"
            )
            reasons = self._connection.execute(
                f"select reason, count(*) as records from {self._entity.quarantine_table} "
                f"where {new} and system = ? group by reason order by records desc, reason",
                [source.system],
            ).fetchall()
            rejected = sum(count for _, count in reasons)
            self._new.read += read
            self._new.rejected += rejected
            if rejected * 100 > max_rejected_percent * read:
                counts = ", ".join(f"{reason} {count}" for reason, count in reasons)
                first = self._connection.execute(
                    f"select source_file, source_line from {self._entity.quarantine_table} "
                    f"where {new} and system = ? order by source_file, source_line limit 1",
                    [source.system],
                ).fetchone()
                where = f" The first is line {first[1]} of {first[0]}." if first else ""
                return (
                    f"{self._entity.name} from {source.system}: {rejected} of {read} new records refused "
                    f"({rejected * 100 / read:.1f} %, at most {max_rejected_percent:g} % are let pass): {counts}."
                    f"{where} Nothing of this load is used. "
                    f"See `csm quarantine {self._entity.name}`, correct the files and "
                    "run again, or raise max_rejected_percent in csm.yaml."
                )
        return None

    def _assert_accounted(self) -> None:
        counts = self._counts
        if counts.read != counts.loaded + counts.rejected + counts.superseded:
            message = (
                f"{self._entity.name}: records unaccounted for: read {counts.read}, loaded {counts.loaded}, "
                f"rejected {counts.rejected}, superseded {counts.superseded}. Nothing was staged; please report this."
            )
            raise RunError(message)

    # -- days ----------------------------------------------------------------------------------------------------

    def _note_changed_days(self, before: str, after: str) -> None:
        connection, entity = self._connection, self._entity
        if entity.name != USAGE_EVENTS:
            note_changes(connection, entity, before, after, self._staged_at)
            return
        names = ", ".join(self._entity.column_names)
        summed = (
            "select cast(occurred_at as date) as usage_date, count(*) as events, "
            f"sum(hash({names})) as content from {{}} group by usage_date"
        )
        if _has_rows(self._connection, before):
            changed = (
                f"select coalesce(earlier.usage_date, later.usage_date) as usage_date from ({summed.format(before)}) "
                f"as earlier full join ({summed.format(after)}) as later on earlier.usage_date = later.usage_date "
                "where (earlier.events, earlier.content) is distinct from (later.events, later.content)"
            )
        else:
            changed = f"select distinct cast(occurred_at as date) as usage_date from {after}"
        self._days = tuple(
            day for (day,) in self._connection.execute(f"select usage_date from ({changed}) order by 1").fetchall()
        )
        if self._days:
            self._connection.execute(
                f"insert into {PENDING_DAYS} select usage_date from (select unnest(cast(? as date[])) as usage_date) "
                f"where usage_date not in (select usage_date from {PENDING_DAYS}) order by usage_date",
                [list(self._days)],
            )
            note_changes(connection, entity, before, after, self._staged_at, self._days)

    # -- ledger --------------------------------------------------------------------------------------------------

    def _remember_loads(self) -> None:
        connection = self._connection
        if self._anew:
            connection.execute("delete from run.staged_loads where entity = ?", [self._entity.name])
        for source in self._sources:
            taken = source.loads if self._anew else source.pending
            connection.execute(
                "insert into run.staged_loads select ?, ?, load_id, ?, ? "
                "from (select unnest(cast(? as bigint[])) as load_id)",
                [self._entity.name, source.system, source.fingerprint, self._staged_at, list(taken)],
            )

    # -- small things --------------------------------------------------------------------------------------------

    def _row(self, sql: str) -> tuple[int, ...]:
        row = self._connection.execute(sql).fetchone()
        return tuple(int(value) for value in row) if row else ()

    def _one(self, sql: str) -> int:
        return self._row(sql)[0]

    def _changed(self, sql: str) -> int:
        return self._one(sql)


def _judged(source: _Source) -> Judged:
    if source.judged is None:
        raise AssertionError(source.system)
    return source.judged


def _without_order(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The SELECT without its final ``order by``: the gate brings its own order, and sorting millions twice is dear."""
    row = connection.execute("select json_serialize_sql(?)", [sql.rstrip().rstrip(";")]).fetchone()
    parsed: dict[str, Any] = json.loads(row[0] if row else '{"error": true}')
    if parsed["error"] or len(parsed["statements"]) != 1:
        message = f"a staging model is not one SELECT: {parsed.get('error_message', sql[:80])}"
        raise WarehouseError(message)
    node = parsed["statements"][0]["node"]
    node["modifiers"] = [one for one in node["modifiers"] if one["type"] != "ORDER_MODIFIER"]
    text = connection.execute("select json_deserialize_sql(cast(? as json))", [json.dumps(parsed)]).fetchone()
    return str(text[0]) if text else sql


def _suspects(number: int) -> str:
    """The scratch table of a source's records that are not beyond doubt, judged."""
    return f"gate_suspects_{number}"


def _in(column: str, numbers: Sequence[int]) -> str:
    if not numbers:
        return "false"
    return f"{column} in ({', '.join(str(number) for number in numbers)})"


def _has_rows(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    return connection.execute(f"select 1 from {table} limit 1").fetchone() is not None
