"""What is refused: quarantine with the raw text, the unparseable lines, and whether it is too much of a load."""

from __future__ import annotations

from csm_core.contract import BOOKKEEPING, RECORD, SOURCE
from csm_core.gate.scope import Counts, Scope, among
from csm_core.sql_models import literal, quoted
from csm_core.warehouse import columns_of, table_exists


class Refused:
    """The refused records of a scope; what it finds goes into ``counts`` (all in scope) and ``new`` (pending loads)."""

    def __init__(self, scope: Scope, counts: Counts, new: Counts) -> None:
        self._scope = scope
        self._connection = scope.connection
        self._entity = scope.entity
        self._sources = scope.sources
        self._counts = counts
        self._new = new

    def write(self, refused: str | None) -> None:
        """Replace the quarantine of what is in scope by the refused records and the unparseable lines."""
        connection, entity = self._connection, self._entity
        table = entity.quarantine_table
        if self._scope.anew:
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
        if refused:
            written += self._insert_refused(refused)
        written += self._scope.one(
            f"insert into {table} select load_id, system, source_file, source_line, null, reason, detail, null, "
            f"raw_text, loaded_at from raw.unparseable_rows where {self._unparseable_in_scope()} "
            "order by load_id, source_file, source_line"
        )
        self._counts.rejected = written
        scope = "true" if self._scope.anew else self._in_scope_of_quarantine()
        self._counts.by_reason = dict(
            connection.execute(f"select reason, count(*) from {table} where {scope} group by reason").fetchall()
        )

    def too_much(self, max_rejected_percent: float) -> str | None:
        """Compare each system's new records with what may be refused of them."""
        for source in self._sources:
            if not source.pending:
                continue
            new = among("load_id", source.pending)
            read = self._scope.one(f"select count(*) from ({source.sql}) where {among('_load_id', source.pending)}")
            read += self._scope.one(
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

    def unparseable(self) -> int:
        """How many lines in scope are no record."""
        return self._scope.one(f"select count(*) from raw.unparseable_rows where {self._unparseable_in_scope()}")

    def _insert_refused(self, refused: str) -> int:
        connection, entity = self._connection, self._entity
        # Systems differ in the types of their columns and so in what can be wrong: each has its own list.
        listed = ", ".join(
            f"({literal(source.system)}, {number}, {literal(name)}, {literal(str(reason))})"
            for source in self._sources
            for number, (name, reason) in enumerate(source.judged.problems, start=1)
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
        return self._scope.one(
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
        if self._scope.anew:
            return own
        return f"{own} and {among('load_id', self._scope.pending)}"

    def _in_scope_of_quarantine(self) -> str:
        pending = self._scope.pending
        return (
            f"{among('load_id', pending)} or (load_id, source_file, source_line) in "
            "(select (load_id, source_file, source_line) from temp.gate_retries)"
        )
