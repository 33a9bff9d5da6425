"""Creates the columns of a raw table with the first load, and extends them when later files have other columns.

Columns are stored under their key (``column_names.stored_name``), since DuckDB ignores case only in ASCII letters.
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from csm_core.contract import BOOKKEEPING, RECORD, SOURCE, storage_of
from csm_core.ingest.column_names import database_key
from csm_core.ingest.raw_tables import RawTable
from csm_core.warehouse.catalog import has_rows, table_exists
from csm_core.warehouse.models import quoted as sql_quoted

_INTEGERS = frozenset(
    ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
)
FLOATS = frozenset(("FLOAT", "DOUBLE"))
MAX_EXACT_INTEGER = 2**53
"""Integers below this bound are exact in floating point."""


class RawColumns:
    """The columns of a raw table in the warehouse."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, target: RawTable) -> None:
        self._connection = connection
        self._target = target

    def ensure_table(self) -> None:
        """Create the table with the columns that its staging model may use, or add missing columns."""
        target = self._target
        if table_exists(self._connection, target.table):
            stored = {} if target.records else self._stored_types()
            for name in (*target.required, *target.optional):
                if not target.records and database_key(name) not in stored:
                    self._connection.execute(f"alter table {target.table} add column {sql_quoted(name)} varchar")
            return
        columns = [
            f"{sql_quoted(name)} varchar{' using compression uncompressed' * (name in target.mostly_distinct)}"
            for name in (*target.required, *target.optional)
        ]
        if target.records:
            columns = [f"{RECORD} varchar using compression zstd", f"{SOURCE} varchar"]
            columns += [f"{name} varchar" for name, _ in target.opened]
        columns += [f"{name} {storage_of(kind)}" for name, kind in BOOKKEEPING.items()]
        self._connection.execute(f"create table {self._target.table} ({', '.join(columns)})")

    def align(self, incoming: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Add or widen columns for incoming columns (stored name and type); returns the type of each stored column.

        A column that has only nulls takes the incoming type; two number types become the wider one; any other
        difference makes the column text.
        """
        table = self._target.table
        stored = self._stored_types()
        empty = not has_rows(self._connection, table)
        for column, kind in incoming:
            if column not in stored:
                self._connection.execute(f"alter table {table} add column {sql_quoted(column)} {kind}")
                stored[column] = kind
            elif stored[column] != kind:
                only_nulls = empty or self._only_nulls(column)
                wider = kind if only_nulls else _wider(stored[column], kind)
                if wider != stored[column]:
                    self._change_type(column, stored[column], wider, only_nulls=only_nulls)
                    stored[column] = wider
        return stored

    def _change_type(self, column: str, kind: str, wider: str, *, only_nulls: bool) -> None:
        table, quoted = self._target.table, sql_quoted(column)
        if only_nulls and column in self._target.mostly_distinct:
            # The compression of the text column does not fit another type, and cannot be removed.
            self._connection.execute(f"alter table {table} drop column {quoted}")
            self._connection.execute(f"alter table {table} add column {quoted} {wider}")
            return
        using = converted(quoted, kind, wider)
        self._connection.execute(f"alter table {table} alter column {quoted} set data type {wider} using {using}")

    def _only_nulls(self, column: str) -> bool:
        found = self._connection.execute(
            f"select 1 from {self._target.table} where {sql_quoted(column)} is not null limit 1"
        ).fetchone()
        return found is None

    def _stored_types(self) -> dict[str, str]:
        described = self._connection.execute(f"describe {self._target.table}").fetchall()
        return {database_key(column): kind for column, kind, *_ in described}


def _wider(stored: str, incoming: str) -> str:
    if stored in _INTEGERS and incoming in _INTEGERS:
        return "HUGEINT" if "HUGEINT" in {stored, incoming} or "UBIGINT" in {stored, incoming} else "BIGINT"
    if {stored, incoming} <= FLOATS:
        return "DOUBLE"
    # Floating point numbers cannot represent every integer: a mix of both becomes text.
    return "VARCHAR"


def converted(expression: str, kind: str, wanted: str) -> str:
    """Return an expression that converts a value from one column type to another."""
    if kind == wanted:
        return expression
    if wanted == "VARCHAR" and kind.startswith("DECIMAL"):
        digits = f"cast(cast({expression} as hugeint) as varchar)"
        return f"case when {expression} = floor({expression}) then {digits} else cast({expression} as varchar) end"
    if wanted == "VARCHAR" and kind in FLOATS:
        # Pandas writes integer columns with nulls as floating point; as text they must be integers again.
        number = f"cast({expression} as double)"
        whole = f"isfinite({number}) and {number} = floor({number}) and abs({number}) < {MAX_EXACT_INTEGER}"
        digits = f"cast(cast({expression} as bigint) as varchar)"
        return f"case when {whole} then {digits} else cast({expression} as varchar) end"
    return f"cast({expression} as {wanted})"


def as_json(expression: str, kind: str) -> str:
    """Return an expression that converts a value to JSON: floats without a fraction become integers.

    NaN and infinities become text, so that the gate rejects them. Text that is a JSON object or list becomes the
    object or list, since a table can only store it as text.
    """
    if kind == "VARCHAR":
        nested = f"{expression}[1] in ('{{', '[') and json_valid({expression})"
        return f"case when {nested} then cast({expression} as json) else to_json({expression}) end"
    if kind not in FLOATS:
        return expression
    number = f"cast({expression} as double)"
    return (
        f"case when not isfinite({expression}) then to_json(cast({expression} as varchar)) "
        f"when {number} = floor({number}) and abs({number}) < {MAX_EXACT_INTEGER} "
        f"then to_json(cast({expression} as bigint)) else to_json({expression}) end"
    )
