"""The short way: all events in one pass, as none of their keys occurs twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from csm_core.contract import ACCOUNT_COLUMN, GATE_COLUMNS, IGNORED
from csm_core.staging.casts import as_they_are, judge
from csm_core.staging.changed_days import note_changed_days
from csm_core.staging.ignored_versions import note_ignored
from csm_core.staging.plan import Counts, Limits, Outcome, Scope, Source
from csm_core.staging.quarantine_writer import Refused
from csm_core.warehouse.database import has_rows

_BLOCK_ROWS = 122_880
_LEFT_OUT = "temp.gate_left_out"


class _Taken(NamedTuple):
    accepted: str
    judged: str


class AtOnce:
    """Stages every record of a scope, reading each once."""

    def __init__(self, scope: Scope, refused: Refused, counts: Counts) -> None:
        self._scope = scope
        self._refused = refused
        self._counts = counts
        self._connection = scope.connection
        self._entity = scope.entity
        self._sources = scope.sources

    def run(self, limits: Limits) -> Outcome | None:
        """Stage everything; None, and nothing done, when a key occurs twice."""
        connection, entity = self._connection, self._entity
        fresh = f"{entity.table}_fresh"
        connection.execute(f"create or replace table {fresh} ({entity.definition})")
        taken = [self._take_all(source) for source in self._sources]
        if taken:
            order = "" if self._is_in_order() else "order by occurred_at"
            selects = " union all ".join(one.accepted for one in taken)
            connection.execute(f"insert into {fresh} by name {selects} {order}")
        loaded = self._scope.one(f"select count(*) from {fresh}")
        rows = sum(self._scope.one(f"select count(*) from ({source.sql})") for source in self._sources)
        all_taken = rows == loaded
        if not all_taken:
            self._collect_left_out(taken)
        if not self._keys_are_unique(fresh) or (not all_taken and self._left_out_is_loaded(fresh)):
            connection.execute(f"drop table {fresh}")
            return None
        self._counts.loaded = loaded
        self._refused.write(
            None if all_taken else f"select * exclude ({IGNORED}, _version) from {_LEFT_OUT} where {IGNORED} is null"
        )
        if not all_taken:
            self._counts.count_ignored(
                connection.execute(
                    f"select {IGNORED}, count(*) from {_LEFT_OUT} where {IGNORED} is not null group by all"
                ).fetchall()
            )
        self._counts.superseded = self._refused.superseded_by_steps()
        self._counts.read = rows + self._refused.beside_models() + self._counts.superseded
        refusal = self._refused.too_much(limits)
        if refusal:
            connection.execute(f"drop table {fresh}")
            return Outcome(refusal)
        note_ignored(
            self._scope,
            "" if all_taken else f"select _key, _version, _load_id from {_LEFT_OUT} where {IGNORED} is not null",
        )
        days = note_changed_days(self._scope, entity.table, fresh)
        connection.execute(f"drop table {entity.table}")
        schema, _, name = entity.table.partition(".")
        connection.execute(f"alter table {schema}.{name}_fresh rename to {name}")
        return Outcome(days=days)

    def _take_all(self, source: Source) -> _Taken:
        """The acceptable records of a source, and all judged records, which include the others."""
        names = ", ".join((*self._entity.column_names, *GATE_COLUMNS))
        acceptable = f"where _problem is null and {IGNORED} is null"
        plain = as_they_are(self._entity, source.types)
        if plain is None:
            judged = source.judged.sql
            return _Taken(f"select {names} from ({judged}) {acceptable}", judged)
        known = f"{ACCOUNT_COLUMN} in (select {ACCOUNT_COLUMN} from staging.stg_accounts)"
        narrowed = f"select * from ({source.sql}) where {plain.suspect} or coalesce(not {known}, true)"
        suspects = f"temp.{suspects_table(self._sources.index(source))}"
        self._connection.execute(
            f"create or replace temp table {suspects.removeprefix('temp.')} as "
            f"{judge(self._entity, narrowed, source.types, source.system).sql}"
        )
        accepted = f"select {plain.values}, _loaded_at, _load_id from ({source.sql})"
        # Where all is well, nothing has to be filtered row by row.
        if has_rows(self._connection, suspects):
            accepted = (
                f"select {names} from ({accepted} where {known} and not coalesce({plain.suspect}, false)) "
                f"union all select {names} from {suspects} {acceptable}"
            )
        return _Taken(accepted, f"from {suspects}")

    def _collect_left_out(self, taken: Sequence[_Taken]) -> None:
        """The records that are rejected or ignored, in one temporary table."""
        selects = " union all ".join(
            "select _system, _load_id, _source_file, _source_line, _problem, _value, "
            f"{self._entity.key} as _key, _loaded_at, _version, {IGNORED} from ({one.judged}) "
            f"where _problem is not null or {IGNORED} is not null"
            for one in taken
        )
        self._connection.execute(f"create or replace temp table {_LEFT_OUT.removeprefix('temp.')} as {selects}")

    def _left_out_is_loaded(self, table: str) -> bool:
        """Whether a rejected or ignored record has the key of a loaded one, so that versions must be compared."""
        return has_rows(self._connection, f"{_LEFT_OUT} where _key in (select {self._entity.key} from {table})")

    def _keys_are_unique(self, table: str) -> bool:
        # Sorted numbers take less time and memory than a table of as many groups. Equal hashes of different keys are
        # possible, and only cost a second, exact look.
        return not has_rows(
            self._connection,
            "(select hashed, lag(hashed) over (order by hashed) as before "
            f"from (select hash({self._entity.key}) as hashed from {table})) where hashed = before",
        )

    def _is_in_order(self) -> bool:
        """Whether the events come so nearly in the order of time that their blocks can be told apart by it as it is."""
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


def suspects_table(number: int) -> str:
    """The scratch table of a source's records that are not beyond doubt, judged."""
    return f"gate_suspects_{number}"
