"""Full refresh: stages all events in one pass, if all keys are unique."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from csm_core.contract import ACCOUNT_COLUMN, GATE_COLUMNS, IGNORED
from csm_core.staging.casts import passthrough_cast
from csm_core.staging.changed_days import record_changed_days
from csm_core.staging.ignored_versions import record_ignored
from csm_core.staging.plan import Counts, Limits, Scope, StagingInput, StagingResult
from csm_core.staging.quarantine_writer import QuarantineWriter
from csm_core.warehouse.catalog import has_rows

_BLOCK_ROWS = 122_880
_EXCLUDED = "temp.gate_excluded"


class _Selects(NamedTuple):
    accepted: str
    validated: str


class FullRefresh:
    """Stages all records of a scope, reading each record once."""

    def __init__(self, scope: Scope, quarantine: QuarantineWriter, counts: Counts) -> None:
        self._scope = scope
        self._quarantine = quarantine
        self._counts = counts
        self._connection = scope.connection
        self._entity = scope.entity
        self._sources = scope.sources

    def run(self, limits: Limits) -> StagingResult | None:
        """Stage all records. Returns None, without any change, if a key is not unique."""
        connection, entity = self._connection, self._entity
        fresh = f"{entity.table}_fresh"
        connection.execute(f"create or replace table {fresh} ({entity.definition})")
        selects = [self._select(source) for source in self._sources]
        if selects:
            order = "" if self._is_in_order() else "order by occurred_at"
            accepted = " union all ".join(one.accepted for one in selects)
            connection.execute(f"insert into {fresh} by name {accepted} {order}")
        loaded = self._scope.one(f"select count(*) from {fresh}")
        rows = sum(self._scope.one(f"select count(*) from ({source.sql})") for source in self._sources)
        all_loaded = rows == loaded
        if not all_loaded:
            self._collect_excluded(selects)
        if not self._keys_are_unique(fresh) or (not all_loaded and self._excluded_key_is_loaded(fresh)):
            connection.execute(f"drop table {fresh}")
            return None
        self._counts.loaded = loaded
        self._quarantine.write(
            None if all_loaded else f"select * exclude ({IGNORED}, _version) from {_EXCLUDED} where {IGNORED} is null"
        )
        if not all_loaded:
            self._counts.count_ignored(
                connection.execute(
                    f"select {IGNORED}, count(*) from {_EXCLUDED} where {IGNORED} is not null group by all"
                ).fetchall()
            )
        self._counts.superseded = self._quarantine.superseded_by_steps()
        self._counts.read = rows + self._quarantine.beside_models() + self._counts.superseded
        rejection = self._quarantine.limit_message(limits)
        if rejection:
            connection.execute(f"drop table {fresh}")
            return StagingResult(rejection)
        record_ignored(
            self._scope,
            "" if all_loaded else f"select _key, _version, _load_id from {_EXCLUDED} where {IGNORED} is not null",
        )
        days = record_changed_days(self._scope, entity.table, fresh)
        connection.execute(f"drop table {entity.table}")
        schema, _, name = entity.table.partition(".")
        connection.execute(f"alter table {schema}.{name}_fresh rename to {name}")
        return StagingResult(days=days)

    def _select(self, source: StagingInput) -> _Selects:
        """Return the SELECTs of a source: accepted records, and validated records with all rejected ones."""
        names = ", ".join((*self._entity.column_names, *GATE_COLUMNS))
        is_valid = f"where _problem is null and {IGNORED} is null"
        plain = passthrough_cast(self._entity, source.types)
        if plain is None:
            validated = source.validated.sql
            return _Selects(f"select {names} from ({validated}) {is_valid}", validated)
        is_known = f"{ACCOUNT_COLUMN} in (select {ACCOUNT_COLUMN} from staging.stg_accounts)"
        narrowed = f"select * from ({source.sql}) where {plain.needs_validation} or coalesce(not {is_known}, true)"
        needs_validation = f"temp.{needs_validation_table(self._sources.index(source))}"
        self._connection.execute(
            f"create or replace temp table {needs_validation.removeprefix('temp.')} as "
            f"{self._scope.validate(narrowed, source).sql}"
        )
        accepted = f"select {plain.values}, _loaded_at, _load_id from ({source.sql})"
        # Without such records, no filter is necessary.
        if has_rows(self._connection, needs_validation):
            accepted = (
                f"select {names} from ({accepted} where {is_known} and not coalesce({plain.needs_validation}, false)) "
                f"union all select {names} from {needs_validation} {is_valid}"
            )
        return _Selects(accepted, f"from {needs_validation}")

    def _collect_excluded(self, selects: Sequence[_Selects]) -> None:
        """Collect the rejected and ignored records in a temporary table."""
        excluded = " union all ".join(
            "select _system, _load_id, _source_file, _source_line, _problem, _value, "
            f"{self._entity.key} as _key, _loaded_at, _version, {IGNORED} from ({one.validated}) "
            f"where _problem is not null or {IGNORED} is not null"
            for one in selects
        )
        self._connection.execute(f"create or replace temp table {_EXCLUDED.removeprefix('temp.')} as {excluded}")

    def _excluded_key_is_loaded(self, table: str) -> bool:
        """Whether an excluded record has the key of a loaded record, so that versions must be compared."""
        return has_rows(self._connection, f"{_EXCLUDED} where _key in (select {self._entity.key} from {table})")

    def _keys_are_unique(self, table: str) -> bool:
        # Sorting hashes takes less time and memory than grouping. A hash collision is possible and only causes a merge
        # by key.
        return not has_rows(
            self._connection,
            "(select hashed, lag(hashed) over (order by hashed) as before "
            f"from (select hash({self._entity.key}) as hashed from {table})) where hashed = before",
        )

    def _is_in_order(self) -> bool:
        """Whether the events are nearly sorted by time, so that block statistics work without sorting."""
        if len(self._sources) != 1 or self._sources[0].types.get("occurred_at") != "TIMESTAMP":
            return False
        source = self._sources[0]
        spans, blocks, days = self._scope.row(
            "select coalesce(sum(date_diff('day', first_at, last_at)), 0), count(*), "
            "coalesce(date_diff('day', min(first_at), max(last_at)), 0) from ("
            f"select min(occurred_at) as first_at, max(occurred_at) as last_at from ("
            f"select occurred_at, row_number() over () // {_BLOCK_ROWS} as block from ({source.sql})) group by block)"
        )
        return spans <= 2 * days + blocks


def needs_validation_table(number: int) -> str:
    """Return the name of the temporary table of a source's records that need validation."""
    return f"gate_needs_validation_{number}"
