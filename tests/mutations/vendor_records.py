"""Mutated records of vendors: text that does not parse in every field that their staging models read."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any

import duckdb

from csm_core.ingest.raw_tables import RawTable, prepare
from csm_core.ingest.record_kinds import LANDED_VERSIONS, Field, FieldKind, RecordKind, Reference
from csm_core.sources.registry import get_system, record_kinds
from csm_core.staging.vendor_records import REJECTED_RECORDS, build_records, records_table
from tests.mutations.contract_records import bookkeeping

JUNK = ("x", "yesterday", "5/1/2024 0:00", "1,000", "?", "\u0663", "12:00", "2026-13-01", "maybe", "NaN", "1e5x", "{")
KNOWN = ("known", " known", "known\t", "\u00a0known ", "\ufeffknown")
UNKNOWN = ("nobody", "KNOWN", "known2", "0", "7.5")
JSON_KINDS = (FieldKind.JSON, FieldKind.OBJECT, FieldKind.LIST)
_VALID: dict[FieldKind, Any] = {
    FieldKind.TIME: "2026-06-30 22:30:00.000 -0700",
    FieldKind.WHOLE: "10.0",
    FieldKind.NUMBER: "5.5",
    FieldKind.FLAG: "false",
    FieldKind.COMPLETE: "false",
    FieldKind.JSON: {},
    FieldKind.OBJECT: {},
    FieldKind.LIST: [{}],
}


def fields_of(kind: RecordKind) -> list[Field]:
    """The fields that have to parse: those that the kind declares, its versions and its marks of deletion."""
    implied = [Field(path, FieldKind.TIME) for path in (*kind.versions, *LANDED_VERSIONS)]
    implied += [Field(path, FieldKind.FLAG) for path in kind.deletions]
    return list(dict.fromkeys([*kind.fields, *implied]))


def valid_record(kind: RecordKind, name: str) -> dict[str, Any]:
    """A record with a value that parses in every field."""
    record: dict[str, Any] = {path: "1" for group in kind.required for path in group[:1]}
    for field in sorted(fields_of(kind), key=lambda field: field.kind not in JSON_KINDS):
        put(record, field, valid_value(field))
    for path in kind.key[:1]:
        record[path] = name
    return record | dict.fromkeys((reference.path for reference in kind.references), KNOWN[0])


def valid_value(field: Field) -> Any:
    """A value that parses in a field."""
    if field.kind is FieldKind.LEVEL:
        return field.levels[0].removesuffix("*")
    value = _VALID[field.kind]
    return deepcopy(value)


def put(record: dict[str, Any], field: Field, value: Any) -> None:
    """Set a field of a record, with the objects and lists that lead to it."""
    names = [*(field.inside.split(".") if field.inside else []), *field.path.split(".")]
    if field.path.startswith("["):
        names = [*names[:-2], f"{field.inside}[*]", names[-1]] if field.inside else names
        names = [name for name in names if name != "[*]" and name != field.inside]
    place: Any = record
    for name in names[:-1]:
        bare = name.removesuffix("[*]").strip('"')
        empty: Any = [{}] if name.endswith("[*]") else {}
        if not place.get(bare) or not isinstance(place[bare], (list if name.endswith("[*]") else dict)):
            place[bare] = empty
        place = place[bare][0] if name.endswith("[*]") else place[bare]
    place[names[-1].strip('"')] = value
    for other, *values in field.when:
        place[other] = values[0]


def mutate(connection: duckdb.DuckDBPyConnection, system: str, records: int, seed: int) -> tuple[int, list[str]]:
    """Mutate records of every kind of a system; how many there were, and what did not come out as it has to."""
    chance = random.Random(seed)
    kinds, tables = record_kinds(system), {table.name: table for table in get_system(system).raw_tables}
    connection.execute("create schema if not exists raw; create schema if not exists run")
    connection.execute("create schema if not exists staging")
    prepare(connection)
    create_tables(connection, list(tables.values()))
    wanted: dict[tuple[str, int], tuple[str, str] | None] = {}
    line = 0
    for name, column in sorted({(one.table, one.column) for kind in kinds for one in kind.references}):
        line += 1
        record = valid_record(next(kind for kind in kinds if name in kind.tables), "known\u00a0") | {
            column: "known\u00a0"
        }
        wanted[tables[name].table, line] = None
        insert(connection, system, tables[name].table, record, line, records=tables[name].records)
    for kind in kinds:
        if kind.where != "true":
            continue
        fields = fields_of(kind)
        if not tables[kind.tables[0]].records:
            # A table with the file's own columns has no others.
            fields = [field for field in fields if field.path in tables[kind.tables[0]].required]
        targets = [*fields, *kind.references]
        for number in range(max(len(targets) * 2, records // len(kinds))):
            line += 1
            record = valid_record(kind, f"r{line}")
            table = tables[chance.choice(kind.tables)].table
            wanted[table, line] = None
            for reference in kind.references:
                record[reference.path] = chance.choice(KNOWN)
            target = targets[number % len(targets)] if number % 5 else None
            if isinstance(target, Reference):
                record[target.path] = chance.choice(UNKNOWN)
                wanted[table, line] = (target.path, record[target.path])
            elif target:
                junk = chance.choice(JUNK)
                junk = "true" if target.kind is FieldKind.COMPLETE else "{" if target.kind in JSON_KINDS else junk
                put(record, target, junk)
                wanted[table, line] = (target.name, junk)
            insert(connection, system, table, record, line, records=tables[table.split("__", 1)[1]].records)
    build_records(connection, system, kinds, list(tables.values()))
    rejected = {
        (table, number): (field, value)
        for table, number, field, value in connection.execute(
            f"select raw_table, source_line, field, value from {REJECTED_RECORDS} where system = ?", [system]
        ).fetchall()
    }
    kept = {number for (number,) in connection.execute(f"select _source_line from {records_table(system)}").fetchall()}
    wrong: list[str] = []
    for (table, number), mutation in wanted.items():
        found = rejected.get((table, number))
        if found != mutation or (number in kept) != (found is None):
            wrong.append(f"{table} {number}: mutated {mutation}, rejected {found}, kept {number in kept}")
    return len(wanted), wrong


def create_tables(connection: duckdb.DuckDBPyConnection, tables: list[RawTable]) -> None:
    """Create the raw tables of a system, empty."""
    for table in tables:
        columns = ", ".join(f"{name} varchar" for name in ("record", "_source", *(name for name, _ in table.opened)))
        if not table.records:
            columns = ", ".join(f"{name} varchar" for name in (*table.required, *table.optional))
        connection.execute(
            f"create or replace table {table.table} ({columns}, _source_file varchar, _source_line bigint, "
            "_loaded_at timestamp, _load_id bigint)"
        )


def insert(
    connection: duckdb.DuckDBPyConnection, system: str, table: str, record: dict[str, Any], line: int, *, records: bool
) -> None:
    """Put one record into a raw table."""
    values = {"record": json.dumps(record), "_source": system} if records else record
    names = [*values, "_source_file", "_source_line", "_loaded_at", "_load_id"]
    present = {name for (name, *_) in connection.execute(f"describe {table}").fetchall()}
    row = dict(zip(names, [*values.values(), *bookkeeping(line)], strict=True))
    row = {name: value for name, value in row.items() if name in present}
    connection.execute(
        f"insert into {table} ({', '.join(row)}) values ({', '.join('?' * len(row))})", list(row.values())
    )
