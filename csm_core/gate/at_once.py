"""The short way: all events in one pass, as none of their keys occurs twice."""

from __future__ import annotations

from csm_core.contract import ACCOUNT_COLUMN
from csm_core.gate.changed_days import note_changed_days
from csm_core.gate.refused import Refused
from csm_core.gate.scope import Counts, Outcome, Scope, Source
from csm_core.staging_casts import as_they_are, judge
from csm_core.warehouse import has_rows

_BLOCK_ROWS = 122_880


class AtOnce:
    """Stages every record of a scope, reading each once."""

    def __init__(self, scope: Scope, refused: Refused, counts: Counts) -> None:
        self._scope = scope
        self._refused = refused
        self._counts = counts
        self._connection = scope.connection
        self._entity = scope.entity
        self._sources = scope.sources

    def run(self, max_rejected_percent: float) -> Outcome | None:
        """Stage everything; None, and nothing done, when a key occurs twice."""
        connection, entity = self._connection, self._entity
        fresh = f"{entity.table}_fresh"
        connection.execute(f"create or replace table {fresh} ({entity.definition})")
        taken = [self._take_all(source) for source in self._sources]
        if taken:
            order = "" if self._is_in_order() else "order by occurred_at"
            selects = " union all ".join(accepted for accepted, _ in taken)
            connection.execute(f"insert into {fresh} by name {selects} {order}")
        loaded = self._scope.one(f"select count(*) from {fresh}")
        if not self._keys_are_unique(fresh):
            connection.execute(f"drop table {fresh}")
            return None
        rows = sum(self._scope.one(f"select count(*) from ({source.sql})") for source in self._sources)
        self._counts.loaded = loaded
        self._refused.write(" union all ".join(refused for _, refused in taken) if rows != loaded else None)
        self._counts.read = rows + self._refused.unparseable()
        refusal = self._refused.too_much(max_rejected_percent)
        if refusal:
            connection.execute(f"drop table {fresh}")
            return Outcome(refusal)
        days = note_changed_days(self._scope, entity.table, fresh)
        connection.execute(f"drop table {entity.table}")
        schema, _, name = entity.table.partition(".")
        connection.execute(f"alter table {schema}.{name}_fresh rename to {name}")
        return Outcome(days=days)

    def _take_all(self, source: Source) -> tuple[str, str]:
        """SELECTs of a source's acceptable records and of its refused ones."""
        names = ", ".join((*self._entity.column_names, "_loaded_at"))
        plain = as_they_are(self._entity, source.types)
        if plain is None:
            judged = source.judged.sql
            return f"select {names} from ({judged}) where _problem is null", self._refused_of(judged)
        known = f"{ACCOUNT_COLUMN} in (select {ACCOUNT_COLUMN} from staging.stg_accounts)"
        narrowed = f"select * from ({source.sql}) where {plain.suspect} or coalesce(not {known}, true)"
        suspects = f"temp.{suspects_table(self._sources.index(source))}"
        self._connection.execute(
            f"create or replace temp table {suspects.removeprefix('temp.')} as "
            f"{judge(self._entity, narrowed, source.types, source.system).sql}"
        )
        accepted = f"select {plain.values}, _loaded_at from ({source.sql})"
        # Where all is well, nothing has to be filtered row by row.
        if has_rows(self._connection, suspects):
            accepted += (
                f" where {known} and not coalesce({plain.suspect}, false) "
                f"union all select {names} from {suspects} where _problem is null"
            )
        return accepted, self._refused_of(f"from {suspects}")

    def _refused_of(self, judged: str) -> str:
        return (
            "select _system, _load_id, _source_file, _source_line, _problem, _value, "
            f"{self._entity.key} as _key, _loaded_at from ({judged}) where _problem is not null"
        )

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
    return f"gatesuspects_table_{number}"
