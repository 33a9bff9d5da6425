"""Prepares vendors' records for staging models: the latest version of each key, of records whose fields parse.

``build_records`` fills ``staging.<system>_records`` from the raw tables, according to the kinds of records of the
source (``csm_core.ingest.record_kinds``). Staging models read that table, so that every time, number, flag and level
that they read parses. A record with a value that does not parse is in ``run.rejected_records`` with field, reason and
text; the gate writes it to the quarantine of the raw table's entity.

The latest version of a record has the latest version time, then the latest load. A record that only states a deletion
does not replace the last complete record, but marks it as deleted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from operator import itemgetter

import duckdb

from csm_core.contract import LATEST_LOAD_FIRST, RECORD, SOURCE, Reason
from csm_core.errors import WarehouseError
from csm_core.ingest.raw_tables import RawTable
from csm_core.ingest.record_kinds import LANDED_VERSIONS, Field, FieldKind, RecordKind, Reference, flags, times
from csm_core.staging.erased_accounts import erased_customers, is_erased_customer_sql
from csm_core.staging.record_counts import RecordCounts
from csm_core.warehouse.catalog import has_rows, table_exists, transaction
from csm_core.warehouse.models import literal, quoted
from csm_core.warehouse.text_macros import MACROS, create_macros

REJECTED_RECORDS, RECORD_COUNTS, RECORD_BUILDS = "run.rejected_records", "run.record_counts", "run.record_builds"
_PLACE = "_source_file, _source_line, _loaded_at, _load_id"
_KEPT_OF_VALUE = 1000
# Blank text counts as null. Quotes inside text are escaped with a backslash, so the pattern matches only complete
# values.
_WITHOUT_BLANKS = (
    "case when contains(raw_text, '\"\"') or contains(raw_text, '\" ') "
    "then regexp_replace(raw_text, ':\\s*\"\\s*\"', ':null', 'g') else raw_text end"
)
# A record that only states a deletion has few keys besides its id.
_KEYS_OF_A_STUB = 3


def records_table(system: str) -> str:
    """Return the table of a system's records that staging models read."""
    return f"staging.{system}_records"


def build_records(
    connection: duckdb.DuckDBPyConnection, system: str, kinds: Sequence[RecordKind], tables: Sequence[RawTable]
) -> list[RecordCounts]:
    """Fill ``staging.<system>_records``; returns the outcomes of the records of each raw table.

    Columns: ``kind``, ``record_id`` (null for kinds without a key), ``record`` (JSON text), ``is_deleted``,
    ``version_at`` (UTC), ``_source`` and bookkeeping. Does nothing without new loads.

    Raises WarehouseError if the SQL fails.
    """
    create_macros(connection)
    entities = {table.name: table for table in tables}
    erased = erased_customers(connection, system)
    state = "/".join((_state(connection, system, kinds, entities), *erased))
    stored = connection.execute(f"select state from {RECORD_BUILDS} where system = ?", [system]).fetchone()
    if stored is None or stored[0] != state:
        try:
            with transaction(connection):
                _build(connection, system, kinds, entities, erased)
                connection.execute(f"delete from {RECORD_BUILDS} where system = ?", [system])
                connection.execute(f"insert into {RECORD_BUILDS} values (?, ?)", [system, state])
        except duckdb.Error as error:
            message = f"reading the records of {system} failed: {str(error).splitlines()[0]}"
            raise WarehouseError(message) from error
    return [
        RecordCounts(*row)
        for row in connection.execute(
            f"select raw_table, records, current, superseded, rejected, ignored from {RECORD_COUNTS} where system = ? "
            "order by raw_table",
            [system],
        ).fetchall()
    ]


def kinds_version(kinds: Sequence[RecordKind]) -> str:
    """Return a short hash of the declared kinds."""
    return hashlib.sha256(repr((kinds, MACROS)).encode()).hexdigest()[:12] if kinds else ""


def _state(
    connection: duckdb.DuckDBPyConnection, system: str, kinds: Sequence[RecordKind], tables: dict[str, RawTable]
) -> str:
    names = [tables[name].table for kind in kinds for name in kind.tables]
    row = connection.execute(
        "select coalesce(string_agg(concat_ws('/', raw_table, path, load_id, status), ',' order by load_id, path), '') "
        "from raw.loads where list_contains(?, raw_table)",
        [names],
    ).fetchone()
    loads = hashlib.sha256(str(row[0] if row else "").encode()).hexdigest()[:16]
    return f"{kinds_version(kinds)}/{loads}" if table_exists(connection, records_table(system)) else ""


def _build(
    connection: duckdb.DuckDBPyConnection,
    system: str,
    kinds: Sequence[RecordKind],
    tables: dict[str, RawTable],
    erased: Sequence[str],
) -> None:
    # Planning the SELECT of a kind takes longer than reading a day's records, and most companies lack some kinds.
    given = [kind for kind in kinds if any(has_rows(connection, tables[name].table) for name in kind.tables)]
    connection.execute(f"create or replace temp table read_records as {_select(given or kinds[:1], tables, erased)}")
    entities = ", ".join(
        f"({literal(tables[name].table)}, {literal(tables[name].entity)})" for kind in kinds for name in kind.tables
    )
    connection.execute(
        "create or replace temp table record_entities as "
        f"select distinct raw_table, entity from (values {entities}) as named(raw_table, entity)"
    )
    connection.execute(
        f"""
        create or replace table {records_table(system)} as
        select kind, record_id, record, is_deleted, version_at, {SOURCE}, {_PLACE}
        from read_records where outcome = 'current'
        order by kind, {SOURCE}, record_id, _load_id, _source_file, _source_line
        """
    )
    connection.execute(f"delete from {REJECTED_RECORDS} where system = ?", [system])
    connection.execute(
        f"""
        insert into {REJECTED_RECORDS}
        select ?, entity, raw_table, _load_id, _source_file, _source_line, problem.field, problem.reason,
            left(problem.value, {_KEPT_OF_VALUE}), record_id, raw_text, _loaded_at
        from read_records inner join record_entities using (raw_table)
        where outcome = 'rejected'
        order by raw_table, _load_id, _source_file, _source_line
        """,
        [system],
    )
    connection.execute(f"delete from {RECORD_COUNTS} where system = ?", [system])
    connection.execute(
        f"""
        insert into {RECORD_COUNTS} (system, entity, raw_table, records, current, superseded, rejected, ignored)
        select ?, entity, raw_table, count(outcome) + ignored, count(*) filter (where outcome = 'current'),
            count(*) filter (where outcome = 'superseded'), count(*) filter (where outcome = 'rejected'), ignored
        from record_entities
        inner join ({_ignored(kinds, tables)}) as of_no_kind using (raw_table)
        left join read_records using (raw_table)
        group by entity, raw_table, ignored
        order by raw_table
        """,
        [system],
    )
    connection.execute("drop table temp.read_records")
    connection.execute("drop table temp.record_entities")


def _ignored(kinds: Sequence[RecordKind], tables: dict[str, RawTable]) -> str:
    """Return a SELECT of each raw table with the number of its records of no kind."""
    conditions: dict[str, list[str]] = {}
    for kind in kinds:
        for name in kind.tables:
            conditions.setdefault(name, []).append(f"({kind.where})")
    return " union all ".join(
        f"select {literal(tables[name].table)} as raw_table, count(*) as ignored from {tables[name].table} "
        f"where not coalesce({' or '.join(found)}, false)"
        for name, found in conditions.items()
    )


def _select(kinds: Sequence[RecordKind], tables: dict[str, RawTable], erased: Sequence[str]) -> str:
    """Return a SELECT of every record with its outcome, and for a rejected record the first invalid field."""
    return " union all ".join(_select_kind(kind, tables, erased) for kind in kinds)


def _select_kind(kind: RecordKind, tables: dict[str, RawTable], erased: Sequence[str]) -> str:
    raw = " union all ".join(_select_table(tables[name], kind) for name in kind.tables)
    raw = (
        f"select raw_table, raw_text, {_WITHOUT_BLANKS} as {RECORD}, {SOURCE}, {_PLACE} "
        f"from ({raw}) as rows(raw_table, raw_text, {SOURCE}, {_PLACE})"
    )
    versions = {f"version_{number}": path for number, path in enumerate((*kind.versions, *LANDED_VERSIONS))}
    fields = tuple(dict.fromkeys((*kind.fields, *times(*versions.values()), *flags(*kind.deletions))))
    referring = (reference.path for reference in kind.references)
    customers = kind.customers if erased else ()
    more = (*kind.key, *(path for group in kind.required for path in group), *referring, *map(itemgetter(0), customers))
    read = _FieldReader(fields, (*more, "deleted"))
    identity = f"identifier_text(coalesce({', '.join(map(read.of, kind.key))}))" if kind.key else "null::varchar"
    is_marked = f"coalesce({', '.join([*(f'flag({read.of(path)})' for path in kind.deletions), 'false'])})"
    missing = [
        *([("record_id is null", " or ".join(kind.key))] if kind.key else []),
        *(
            (f"not is_given(coalesce({', '.join(map(read.of, group))}, null))", " or ".join(group))
            for group in kind.required
        ),
    ]
    system = next(iter(tables.values())).system
    problems = [
        f"case when {is_erased_customer_sql(system, f'{literal(prefix)} || reference_id({read.of(path)})', erased)} "
        f"then {_problem(literal(path), Reason.ERASED, 'null::varchar')} end"
        for path, prefix in customers
    ]
    problems += [
        f"case when {condition} then {_problem(literal(name), Reason.MISSING_REQUIRED, 'null::varchar')} end"
        for condition, name in missing
    ]
    problems += [
        f"case when {condition} then {_problem(literal(field.name), field.kind.reason, value)} end"
        for field in fields
        for condition, value in (read.invalid(field),)
    ]
    problems += [
        f"case when {_is_unknown(reference, read.of(reference.path), tables)} "
        f"then {_problem(literal(reference.path), reference.reason, read.of(reference.path))} end"
        for reference in kind.references
    ]
    stated = ", ".join(f"{read.time_of(path)} as {name}" for name, path in versions.items())
    latest = ", ".join([*(f"{name} desc nulls last" for name in versions), LATEST_LOAD_FIRST])
    only_deleted = (
        f"coalesce(flag({read.of('deleted')}), false) and len(json_keys(record)) <= {_KEYS_OF_A_STUB}"
        if kind.key
        else "false"
    )
    key = f"{SOURCE}, record_id"
    outcome = (
        "case when problem is not null then 'rejected' when place > 1 then 'superseded' else 'current' end"
        if kind.key
        else "case when problem is not null then 'rejected' else 'current' end"
    )
    # Only valid records are compared by version: a rejected record does not replace an earlier one. Records without a
    # key have no versions: each has its own deletion flag.
    place, is_deleted = "1", "is_marked"
    if kind.key:
        place = f"row_number() over (partition by {key}, problem is null order by is_stub, {latest})"
        is_deleted = f"first_value(is_marked) over (partition by {key}, problem is null order by {latest})"
    return (
        f"select {literal(kind.name)} as kind, raw_table, record_id, record, raw_text, problem, {outcome} as outcome, "
        f"is_deleted, coalesce({', '.join(versions)}) as version_at, {SOURCE}, {_PLACE} from ("
        f"select *, {place} as place, {is_deleted} as is_deleted from ("
        f"select * exclude ({read.names}), coalesce({', '.join(problems)}) as problem, {stated}, "
        f"{only_deleted} as is_stub, {is_marked} as is_marked from ("
        f"select *, {identity} as record_id from ({read.over(raw)}))))"
    )


# The macros of field kinds. A macro is applied to the list of all texts of a kind, since planning each use of a macro
# takes longer than reading a day's records.
_MACRO_OF = {
    FieldKind.TIME: "vendor_time",
    FieldKind.WHOLE: "whole_number",
    FieldKind.NUMBER: "plain_number",
    FieldKind.FLAG: "flag",
}


class _FieldReader:
    """Builds expressions for the texts and parsed values of a record's fields; each part of a record is read once.

    ``top`` has the texts of top-level paths, ``inside_<n>`` the texts of paths in a JSON value of the record, and
    ``list_<n>`` the texts of every element of a list. ``read_<macro>`` has the parsed values of a macro, ``bad_<n>``
    the first invalid text of a field with several elements.
    """

    def __init__(self, fields: Sequence[Field], more: Sequence[str]) -> None:
        plain = [field for field in fields if not field.when]
        holders = [field.inside for field in fields if field.inside]
        own = [field.path for field in plain if not field.inside and "[*]" not in field.path]
        self._top = list(dict.fromkeys([*own, *more, *holders]))
        self._inside: dict[str, list[str]] = {}
        self._lists: dict[tuple[str, str], list[str]] = {}
        self._read: dict[str, list[str]] = {}
        self._bad: list[Field] = [field for field in fields if field.when or "[*]" in field.path]
        for field in plain:
            if "[*]" in field.path:
                prefix, _, path = field.path.partition("[*]")
                self._lists.setdefault((field.inside, prefix), []).append(path.removeprefix("."))
            elif field.inside:
                self._inside.setdefault(field.inside, []).append(field.path)
        for field in plain:
            if field.kind in _MACRO_OF and "[*]" not in field.path:
                self._read.setdefault(_MACRO_OF[field.kind], []).append(self._text(field))

    @property
    def names(self) -> str:
        """The columns that ``over`` adds."""
        inside = [f"inside_{number}" for number in range(len(self._inside))]
        read = [f"read_{macro}" for macro in self._read]
        lists = [f"list_{number}" for number in range(len(self._lists))]
        return ", ".join(["top", *inside, *lists, *read, *(f"bad_{number}" for number in range(len(self._bad)))])

    def over(self, records: str) -> str:
        """Return a SELECT of the records with texts and values."""
        added = [
            f"json_extract_string({self._holder(inside)}, {_json_paths(paths)}) as inside_{number}"
            for number, (inside, paths) in enumerate(self._inside.items())
        ]
        added += [
            f"list_transform(json_extract({self._holder(inside)}, {literal(_json_path(f'{prefix}[*]'))}), "
            f"lambda e: json_extract_string(e, {_json_paths(paths)})) as list_{number}"
            for number, ((inside, prefix), paths) in enumerate(self._lists.items())
        ]
        values = [
            f"list_transform([{', '.join(texts)}], lambda x: {macro}(x)) as read_{macro}"
            for macro, texts in self._read.items()
        ]
        values += [f"{self._first_invalid(field)} as bad_{number}" for number, field in enumerate(self._bad)]
        top = f"select *, json_extract_string(record, {_json_paths(self._top)}) as top from ({records})"
        texts = f"select {', '.join(['*', *added])} from ({top})"
        return f"select {', '.join(['*', *values])} from ({texts})"

    def of(self, path: str) -> str:
        """Return the expression for the text of a top-level path."""
        return f"top[{self._top.index(path) + 1}]"

    def time_of(self, path: str) -> str:
        """Return the expression for the time at a top-level path."""
        return self._value(FieldKind.TIME, self.of(path))

    def invalid(self, field: Field) -> tuple[str, str]:
        """Return a condition that is true if a text of the field is invalid, and the first invalid text."""
        if field in self._bad:
            name = f"bad_{self._bad.index(field)}"
            return f"{name} is not null", name
        text = self._text(field)
        if field.kind in _MACRO_OF:
            return f"is_given({text}) and {self._value(field.kind, text)} is null", text
        return _is_invalid(field, text), text

    def _value(self, kind: FieldKind, text: str) -> str:
        macro = _MACRO_OF[kind]
        return f"read_{macro}[{self._read[macro].index(text) + 1}]"

    def _text(self, field: Field) -> str:
        if not field.inside:
            return self.of(field.path)
        number = list(self._inside).index(field.inside)
        return f"inside_{number}[{self._inside[field.inside].index(field.path) + 1}]"

    def _first_invalid(self, field: Field) -> str:
        """Return the first invalid text of a field with several elements; null without one."""
        if field.when:
            conditions = " and ".join(
                f"e ->> '$.{other}' in ({', '.join(map(literal, values))})" for other, *values in field.when
            )
            path = field.path.removeprefix("[*].")
            holder = self._holder(field.inside)
            elements = f"try_cast({holder} as json[])" if path != field.path else f"[try_cast({holder} as json)]"
            chosen = f"list_filter({elements}, lambda e: {conditions})"
            found = f"list_transform({chosen}, lambda e: e ->> '$.{path}')"
            return f"list_filter({found}, lambda x: {_is_invalid(field, 'x')})[1]"
        prefix, _, path = field.path.partition("[*]")
        number = list(self._lists).index((field.inside, prefix))
        place = self._lists[field.inside, prefix].index(path.removeprefix(".")) + 1
        bad = f"list_filter(list_{number}, lambda e: {_is_invalid(field, f'e[{place}]')})"
        return f"{bad}[1][{place}]"

    def _holder(self, inside: str) -> str:
        if not inside:
            return "record"
        text = f"top[{self._top.index(inside) + 1}]"
        return f"case when json_valid({text}) then {text} end"


def _select_table(table: RawTable, kind: RecordKind) -> str:
    # In a table with the columns of its file, each row becomes a record of those columns.
    record = f"{RECORD}, {SOURCE}" if table.records else f"cast(to_json(rows) as varchar), {literal(table.system)}"
    return (
        f"select {literal(table.table)} as raw_table, {record}, {_PLACE} from {table.table} as rows where {kind.where}"
    )


def _is_unknown(reference: Reference, text: str, tables: dict[str, RawTable]) -> str:
    """Return a condition: the identifier is not blank and no record of the other table has it."""
    column = f"identifier_text(cast({quoted(reference.column)} as varchar))"
    having = f" and is_given(cast({quoted(reference.having)} as varchar))" if reference.having else ""
    known = f"select {column} from {tables[reference.table].table} where {column} is not null{having}"
    return f"is_given({text}) and identifier_text({text}) not in ({known})"


def _problem(field: str, reason: Reason, value: str) -> str:
    return f"{{'field': {field}, 'reason': {literal(str(reason))}, 'value': {value}}}"


def _json_path(path: str) -> str:
    return "$" if not path else f"${path}" if path.startswith("[") else f"$.{path}"


def _json_paths(paths: Sequence[str]) -> str:
    return f"[{', '.join(literal(_json_path(path)) for path in paths)}]"


def _is_invalid(field: Field, text: str) -> str:
    """Return a condition: the text is not blank and does not parse."""
    parses = field.kind.value.format(text)
    if field.kind is FieldKind.LEVEL:
        exact = ", ".join(literal(one) for one in field.levels if not one.endswith("*"))
        begins = [f"starts_with(lower(trim({text})), {literal(one[:-1])})" for one in field.levels if one.endswith("*")]
        parses = " or ".join([*([f"lower(identifier_text({text})) in ({exact})"] if exact else []), *begins])
    return f"is_given({text}) and not coalesce({parses}, false)"
