"""`csm quarantine repair FILE`: loads a corrected export of rejected records.

The changed records first pass the gate in a temporary database, with the accounts of the warehouse. Accepted records
are written to ``sources/repaired`` beside the warehouse and loaded like a file of the source, so the next run stages
them; their rejected versions are removed from the quarantine. FILE may have any name, folder and supported format,
because ``rejected_file`` and ``rejected_line`` identify each record.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import duckdb

from csm_core.config import Config
from csm_core.contract import ACCOUNTS, ENTITIES, EXPORT_COLUMNS
from csm_core.errors import InputError
from csm_core.ingest.loader import load_tables
from csm_core.ingest.read_settings import DEFAULT_READING, Reading
from csm_core.logging import get_logger
from csm_core.operations.backup_content import SOURCES
from csm_core.sources.files import SYSTEM, contract_tables, reading_of
from csm_core.sources.settings import FilesSettings
from csm_core.staging import quarantine
from csm_core.staging.gate import prepare, stage_entity
from csm_core.system.file_access import make_folder
from csm_core.system.text_table import counted
from csm_core.warehouse.catalog import table_exists, transaction
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.export import EXPORT_FORMATS
from csm_core.warehouse.models import literal, staging_models
from csm_core.warehouse.spreadsheet_text import unescaped

REPAIRED = "repaired"

_Place = tuple[str, int]
_Values = Mapping[str, str | None]


@dataclass(frozen=True)
class StillRejected:
    """A corrected record that the gate rejects, with its file and line in the original source."""

    source_file: str
    source_line: int
    field: str | None
    reason: str
    value: str | None


@dataclass(frozen=True)
class Repair:
    """The result of a repair. ``gone`` counts records that are no longer in the quarantine."""

    entity: str
    accepted: int
    still_rejected: tuple[StillRejected, ...]
    unchanged: int
    gone: int


def repair(config: Config, file: Path, *, now: datetime | None = None) -> Repair:
    """Load the corrected records of an export.

    Raises InputError for a file that is not an export of rejected records, and for records of sources other than
    `files`, which must be corrected in the source.
    """
    warehouse = Warehouse.from_config(config)
    if not warehouse.path.is_file():
        message = f"there is no warehouse at {warehouse.path}: `csm run` creates it"
        raise InputError(message)
    exported = _read_export(file)
    with warehouse.run_lock(), warehouse.connect() as connection:
        entity = _entity_of(connection, file, exported)
        rejected = _rejected(connection, entity)
        changed = {
            place: values
            for place, values in exported.items()
            if place in rejected and values != rejected[place].values
        }
        _require_files(file, {rejected[place].system for place in exported if place in rejected})
        readings = {place: _reading(config, entity, place[0]) for place in changed}
        problems = _problems(connection, entity, changed, readings)
        accepted = {place: values for place, values in changed.items() if place not in problems}
        _load(connection, warehouse, entity, accepted, readings, now or datetime.now(UTC))
        _forget(connection, entity, [rejected[place] for place in accepted])
    gone = len(exported.keys() - rejected.keys())
    return Repair(entity, len(accepted), tuple(problems.values()), len(exported) - gone - len(changed), gone)


# -- the file


def _read_export(file: Path) -> dict[_Place, _Values]:
    form = EXPORT_FORMATS.get(file.suffix.lower())
    if form is None:
        message = f"{file}: the name does not state a known format; use one of {', '.join(EXPORT_FORMATS)}"
        raise InputError(message)
    if not file.is_file():
        message = f"{file}: no such file; pass the corrected export of `csm quarantine ENTITY --out FILE`"
        raise InputError(message)
    try:
        names, rows = {"csv": _csv_rows, "json": _json_rows, "parquet": _parquet_rows}[form](file)
    except (OSError, UnicodeError, ValueError, csv.Error, duckdb.Error) as error:
        message = f"{file}: cannot be read as {form}: {str(error).splitlines()[0]}"
        raise InputError(message) from None
    lacking = [name for name in EXPORT_COLUMNS if name not in names]
    if lacking:
        message = (
            f"{file} is not an export of rejected records: it lacks the columns {', '.join(lacking)}. "
            "`csm quarantine ENTITY --out FILE` writes an export; correct its values and keep its rejected_… columns."
        )
        raise InputError(message)
    records: dict[_Place, _Values] = {}
    for number, row in enumerate(rows, start=1):
        line = row.get("rejected_line") or ""
        if not row.get("rejected_file") or not line.isdecimal():
            message = (
                f"{file}, record {number}: rejected_file {row.get('rejected_file')!r} and rejected_line {line!r} do "
                "not identify a record; export again and do not change these columns"
            )
            raise InputError(message)
        place = (str(row["rejected_file"]), int(line))
        if place in records:
            message = f"{file}, record {number}: a second record for line {line} of {place[0]}; keep one of them"
            raise InputError(message)
        records[place] = _values(row)
    return records


def _values(row: Mapping[str, str | None]) -> _Values:
    """The values of a record, without nulls and without the columns that the export adds."""
    own = {name: value for name, value in row.items() if not name.lower().startswith("rejected_")}
    return {name: value for name, value in own.items() if value not in (None, "")}


def _csv_rows(file: Path) -> tuple[list[str], list[dict[str, str | None]]]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        text = opened.read()
    header = text.split("\n", 1)[0]
    # A spreadsheet may use the list separator of its locale.
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names = next(reader, [])
    rows: list[dict[str, str | None]] = []
    for cells in reader:
        if not any(cells):
            continue
        if len(cells) != len(names):
            message = f"line {reader.line_num} has {counted(len(cells), 'value')}, expected {len(names)}"
            raise ValueError(message)
        rows.append(dict(zip(names, map(unescaped, cells), strict=True)))
    return names, rows


def _json_rows(file: Path) -> tuple[list[str], list[dict[str, str | None]]]:
    rows: list[dict[str, str | None]] = []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if line.strip():
            read: Any = json.loads(line)
            if not isinstance(read, dict):
                message = f"line {number} is not an object"
                raise ValueError(message)
            row = cast("dict[str, Any]", read)
            rows.append({name: _text(value) for name, value in row.items()})
    return list(dict.fromkeys(name for row in rows for name in row)), rows


def _parquet_rows(file: Path) -> tuple[list[str], list[dict[str, str | None]]]:
    with duckdb.connect() as connection:
        read = connection.execute("from read_parquet(?)", [str(file)])
        names = [name for name, *_ in read.description or ()]
        return names, [dict(zip(names, map(_text, row), strict=True)) for row in read.fetchall()]


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, default=str) if isinstance(value, (bool, int, float, dict, list)) else str(value)


# -- the quarantine


@dataclass(frozen=True)
class _Rejected:
    place: _Place
    system: str
    has_key: bool
    values: _Values


def _entity_of(connection: duckdb.DuckDBPyConnection, file: Path, exported: Mapping[_Place, _Values]) -> str:
    files = sorted({place[0] for place in exported})
    entities = [
        entity.name
        for entity in ENTITIES.values()
        if table_exists(connection, entity.quarantine_table)
        and connection.execute(
            f"select 1 from {entity.quarantine_table} where list_contains(?, source_file) limit 1", [files]
        ).fetchone()
    ]
    if len(entities) == 1:
        return entities[0]
    if entities:
        message = f"{file} has records of several entities: {', '.join(entities)}. Repair the export of each alone."
    else:
        message = (
            f"{file}: none of its records is in the quarantine of this warehouse. They were repaired already, or the "
            "file was exported from another warehouse; `csm quarantine` lists the rejected records"
        )
    raise InputError(message)


def _rejected(connection: duckdb.DuckDBPyConnection, entity: str) -> dict[_Place, _Rejected]:
    """The rejected records of an entity by file and line, in the format of the export; the last load of each."""
    table = ENTITIES[entity].quarantine_table
    columns = quarantine.export_columns(connection, table)
    listed = ", ".join(f"cast({value} as varchar)" for _, value in columns)
    names = [name for name, _ in columns]
    rejected: dict[_Place, _Rejected] = {}
    for path, line, system, has_key, *values in connection.execute(
        f"select source_file, source_line, system, record_key is not null, {listed} from {table} order by load_id"
    ).fetchall():
        rejected[path, line] = _Rejected((path, line), system, has_key, _values(dict(zip(names, values, strict=True))))
    return rejected


def _require_files(file: Path, systems: set[str]) -> None:
    others = sorted(systems - {SYSTEM})
    if others:
        message = (
            f"{file} has records of {', '.join(others)}, which cannot be repaired from an export: correct them in "
            f"{' and '.join(others)}, or in the exported files that the source reads, and run `csm run`; for records "
            "of customers that match no account see `csm identity`"
        )
        raise InputError(message)


def _reading(config: Config, entity: str, source_file: str) -> Reading:
    """The read settings of a record: date and number formats of its source, column names of the contract."""
    for source in config.sources:
        if isinstance(source, FilesSettings) and Path(source_file).is_relative_to(source.path):
            return replace(reading_of(source, entity), columns={}, delimiter=None, null_values=None)
    return DEFAULT_READING


def _problems(
    connection: duckdb.DuckDBPyConnection,
    entity: str,
    changed: Mapping[_Place, _Values],
    readings: Mapping[_Place, Reading],
) -> dict[_Place, StillRejected]:
    """The changed records that the gate rejects, validated in a temporary database."""
    if not changed:
        return {}
    problems: dict[_Place, StillRejected] = {}
    with tempfile.TemporaryDirectory(prefix="csm-repair-") as temporary:
        folder = Path(temporary)
        with Warehouse(folder / "probe.duckdb").connect() as probe:
            prepare(probe, ENTITIES[entity])
        if entity != ACCOUNTS and table_exists(connection, ENTITIES[ACCOUNTS].table):
            connection.execute(f"attach {literal(str(folder / 'probe.duckdb'))} as probe")
            try:
                accounts = ENTITIES[ACCOUNTS].table
                connection.execute(f"insert into probe.{accounts} by name from {accounts}")
            finally:
                connection.execute("detach probe")
        places, files = _written(folder, entity, changed, readings)
        with Warehouse(folder / "probe.duckdb").connect() as probe:
            now = datetime.now(UTC)
            _load_files(probe, entity, files, now)
            sql = staging_models(SYSTEM)[entity].sql
            stage_entity(probe, entity, [(SYSTEM, sql)], staged_at=now, max_rejected_percent=100.0)
            for path, line, field, reason, value in probe.execute(
                f"select source_file, source_line, field, reason, value from {ENTITIES[entity].quarantine_table} "
                "order by source_file, source_line"
            ).fetchall():
                place = places[path, line]
                problems[place] = StillRejected(*place, field, reason, value)
    return problems


def _written(
    folder: Path, entity: str, records: Mapping[_Place, _Values], readings: Mapping[_Place, Reading]
) -> tuple[dict[_Place, _Place], dict[Path, Reading]]:
    """Write records to JSON lines, one file for each kind of read settings; returns their new places, and the files."""
    by_reading: dict[str, list[_Place]] = {}
    for place in records:
        by_reading.setdefault(readings[place].digest, []).append(place)
    places: dict[_Place, _Place] = {}
    files: dict[Path, Reading] = {}
    columns = ENTITIES[entity].columns
    for listed in by_reading.values():
        # All columns of the contract are present, as in a file of the source.
        lines = [
            json.dumps({**dict.fromkeys(column.name for column in columns), **records[place]}, ensure_ascii=False)
            for place in listed
        ]
        text = "\n".join(lines) + "\n"
        path = folder / f"{entity}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.jsonl"
        path.with_name(f".{path.name}.new").write_text(text, encoding="utf-8")
        path.with_name(f".{path.name}.new").replace(path)
        places |= {(str(path), number): place for number, place in enumerate(listed, start=1)}
        files[path] = readings[listed[0]]
    return places, files


def _load(
    connection: duckdb.DuckDBPyConnection,
    warehouse: Warehouse,
    entity: str,
    accepted: Mapping[_Place, _Values],
    readings: Mapping[_Place, Reading],
    now: datetime,
) -> None:
    if not accepted:
        return
    folder = warehouse.path.parent / SOURCES / REPAIRED / SYSTEM
    make_folder(folder)
    _load_files(connection, entity, _written(folder, entity, accepted, readings)[1], now)


def _load_files(
    connection: duckdb.DuckDBPyConnection, entity: str, files: Mapping[Path, Reading], now: datetime
) -> None:
    table = next(table for table in contract_tables(SYSTEM, adjustable=True) if table.entity == entity)
    read_by = {(table.name, path): reading for path, reading in files.items()}
    load_tables(connection, [(table, list(files))], loaded_at=now, log=get_logger(__name__), readings=read_by)


def _forget(connection: duckdb.DuckDBPyConnection, entity: str, repaired: Sequence[_Rejected]) -> None:
    """Remove the rejected versions of repaired records from the quarantine.

    A later version with the same key also replaces the record in raw. A record without a key is deleted from raw,
    because nothing else relates the two versions.
    """
    raw_table = f"raw.{SYSTEM}__{entity}"
    with transaction(connection):
        for one in repaired:
            place = list(one.place)
            table = ENTITIES[entity].quarantine_table
            connection.execute(f"delete from {table} where source_file = ? and source_line = ?", place)
            if not one.has_key:
                connection.execute(
                    f"delete from raw.unparseable_rows where raw_table = {literal(raw_table)} "
                    "and source_file = ? and source_line = ?",
                    place,
                )
                connection.execute(f"delete from {raw_table} where _source_file = ? and _source_line = ?", place)
