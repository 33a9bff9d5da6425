"""Builds the SELECT items that convert the rows of a file to rows of its raw table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from csm_core.contract import RECORD, SOURCE
from csm_core.ingest.column_names import column_key, stored_name
from csm_core.ingest.raw_columns import RawColumns, converted
from csm_core.ingest.raw_tables import RawTable, opened_columns
from csm_core.ingest.read_settings import DEFAULT_READING, Reading
from csm_core.ingest.read_settings_sql import reading_sql
from csm_core.ingest.text_loader import json_pointer
from csm_core.warehouse.models import literal
from csm_core.warehouse.models import quoted as sql_quoted


class RowValues:
    """The values of a raw table. ``sources`` maps the files of a table of records to their sources."""

    def __init__(self, target: RawTable, columns: RawColumns, sources: Mapping[str, str]) -> None:
        self._target = target
        self._columns = columns
        self._sources = sources

    def values(
        self, reading: Reading, expressions: Mapping[str, tuple[str, str]], json_types: Mapping[str, str] | None = None
    ) -> list[str]:
        """Return SELECT items for the columns of a file, which are expressions and types by their names in the file.

        ``json_types`` are expressions of the JSON type: a JSON number is already a plain number.
        """
        target = self._target
        placed = reading.placed("", list(expressions), (*target.required, *target.optional))
        stored = self._columns.align([(column, expressions[names[0]][1]) for column, names in placed.items()])
        values: list[str] = []
        for column, names in placed.items():
            _, kind = expressions[names[0]]
            value = _first_of([expressions[name][0] for name in names])
            read = reading_sql(reading, column, value, kind)
            if json_types and read != value:
                text = f"{_first_of([json_types[name] for name in names])} = 'VARCHAR'"
                read = f"case when {text} then {read} else {value} end"
            values.append(f"{converted(read, kind, stored[column])} as {sql_quoted(column)}")
        return values

    def as_record(self, columns: Sequence[tuple[str, str]], file: str) -> list[str]:
        """Return the columns as one JSON object, or the column with the complete record, if there is one.

        A column is included under its key and, if different, under its original name: settings and the records of some
        APIs use it, such as Segment's ``messageId``.
        """
        whole = next((value for name, value in columns if column_key(name) == RECORD), None)
        keyed = dict(columns) | {stored_name(name): value for name, value in columns}
        pairs = ", ".join(f"{literal(name)}, {value}" for name, value in keyed.items())
        return self.record(f"cast({whole or f'json_object({pairs})'} as varchar)", file)

    def record(self, record: str, file: str) -> list[str]:
        """Return the columns of a table of records, without bookkeeping."""
        return [f"{record} as {RECORD}", self._source_of(file), *opened_columns(self._target.opened, record)]

    def _source_of(self, file: str) -> str:
        """Return the expression for the source of a file."""
        files: dict[str, list[str]] = {}
        for name, source in self._sources.items():
            files.setdefault(source, []).append(literal(name))
        if len(files) == 1:
            return f"{literal(next(iter(files)))} as {SOURCE}"
        cases = " ".join(f"when {file} in ({', '.join(names)}) then {literal(one)}" for one, names in files.items())
        return f"case {cases} end as {SOURCE}"


def keyed(record: str, keys: Sequence[str]) -> str:
    """Return an expression that adds the column keys to a JSON object; values do not change."""
    placed = DEFAULT_READING.placed("", keys)
    if all(names == [column] for column, names in placed.items()):
        return record
    pairs: list[str] = []
    for column, names in placed.items():
        values = [f"json_extract({record}, {literal(json_pointer(name))})" for name in names]
        pairs.append(f"{literal(column)}, {_first_of(values)}")
        pairs += [f"{literal(name)}, {value}" for name, value in zip(names, values, strict=True) if name not in placed]
    return f"cast(json_object({', '.join(pairs)}) as varchar)"


def _first_of(expressions: Sequence[str]) -> str:
    return f"coalesce({', '.join(expressions)})" if len(expressions) > 1 else expressions[0]
