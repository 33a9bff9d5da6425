"""Mutated records in the contract's own columns, as files of every format, through the loader and the gate."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from csm_core.contract import BOOKKEEPING, ENTITIES, Column, Entity, Kind
from csm_core.sources.registry import get_system
from csm_core.sources.settings import FilesSettings
from csm_core.staging.gate import stage_entity
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.models import staging_models
from tests.mutations.rules import outcome
from tests.way_in import START, SilentLog

FORMATS = ("csv", "jsonl", "parquet")
ODD = (
    *("", " ", "\u00a0", "x", "NULL", "null", "None", "N/A", "-", "?", "\\N", "'; drop table raw.loads; --", "=1+1"),
    *("0", "1", "-1", "+7", "007", "10.0", "10.5", "1e3", "1,000", "1 000", "$5", "1_000", "٣", "NaN", "inf", "-0.0"),
    *("360001234567.0", "9223372036854775807", "99999999999999999999", "1000000000", "1000000001", "0.005", "1.005"),
    *("2026-06-01", "2026-06-01T23:30:00-0530", "2026-06-01 00:30:00+02:00", "2026-06-30 22:30:00.000 -0700"),
    *("2026-06-01 10:00:00 UTC", "2026-06-01T10:00:00.1234567Z", "2026-6-1", "01/06/2026", "5/1/2024 0:00", "20260601"),
    *("2026-02-30", "0000-01-01", "0001-01-01T00:00:00+14:00", "1899-12-31", "1900-01-01", "9999-12-31T23:59:59-14:00"),
    *(
        "9999-12-31",
        "1780308000",
        "1780308000000",
        "2026-06-01T24:00:00",
        "2026-06-01T10:11:12+99:00",
        "now",
        "infinity",
    ),
    *("POSITIVE", "Negative", "good", "red", "Green", "blue", "usd", "EURO", "eur ", "True", "a\nb", 'a"b', "\x1b[2J"),
)


@dataclass
class Result:
    """What became of the records that were written."""

    written: int
    counted: int
    outcomes: Counter[str]
    differences: list[str]


def mutate(folder: Path, records: int, seed: int) -> Result:
    """Write mutated records of every entity, load and stage them, and compare each with the rules."""
    chance = random.Random(seed)
    result = Result(0, 0, Counter(), [])
    company = folder / "company"
    company.mkdir(parents=True)
    accounts = [{"account_id": f"a{number}", "account_name": f"Account {number}"} for number in range(20)]
    known = {str(account["account_id"]) for account in accounts}
    features = [{"feature": "reports"}]
    written: dict[str, dict[str, dict[str, str | None]]] = {}
    for name, entity in ENTITIES.items():
        fixed = {"accounts": accounts, "features": features}.get(name, [])
        rows: list[dict[str, str | None]] = [dict(row) for row in fixed]
        for number in range(records // len(ENTITIES)):
            row = {column.name: valid(column, number) for column in entity.columns}
            row[entity.key] = f"{name}-{number}"
            column = chance.choice(entity.columns[1:])
            row[column.name] = chance.choice(ODD)
            rows.append(row)
        form = chance.choice(FORMATS)
        write(company, name, entity, rows, form)
        written[name] = {str(row[entity.key]): row for row in rows}
        result.written += len(rows)
    with Warehouse(folder / "csm.duckdb", threads=2).connect() as connection:
        source = FilesSettings(system="files", path=company)
        get_system("files").load(connection, [source], loaded_at=START, folder=folder, log=SilentLog())
        models = staging_models("files")
        for name, entity in ENTITIES.items():
            report = stage_entity(
                connection, name, [("files", models[name].sql)], staged_at=START, max_rejected_percent=100
            )
            became = report.loaded + report.rejected + report.superseded + report.ignored
            result.counted += report.read
            if report.read != became or report.read != len(written[name]):
                result.differences.append(f"{name}: {len(written[name])} written, {report}")
            if name == "accounts":
                known |= {
                    key for (key,) in connection.execute("select account_id from staging.stg_accounts").fetchall()
                }
            compare(connection, entity, written[name], known, result)
    return result


def compare(
    connection: duckdb.DuckDBPyConnection,
    entity: Entity,
    written: dict[str, dict[str, str | None]],
    accounts: set[str],
    result: Result,
) -> None:
    """Every record against the rules: loaded with the value that its text stands for, ignored, or in quarantine."""
    names = ", ".join(entity.column_names)
    loaded = {
        str(row[0]): dict(zip(entity.column_names, row, strict=True))
        for row in connection.execute(f"select {names} from {entity.table}").fetchall()
    }
    rejected = {
        str(key) for (key,) in connection.execute(f"select record_key from {entity.quarantine_table}").fetchall()
    }
    for key, row in written.items():
        expected, values = outcome(entity, row, accounts)
        found = "loaded" if key in loaded else "rejected" if key in rejected else "ignored"
        result.outcomes[found] += 1
        if found != expected or (found == "loaded" and loaded[key] != values):
            result.differences.append(f"{entity.name} {row}: expected {expected} {values}, {found} {loaded.get(key)}")


def valid(column: Column, number: int) -> str | None:
    """A text that the column accepts."""
    if column.name == "account_id":
        return f"a{number % 20}"
    if column.kind is Kind.TIMESTAMP:
        return f"2026-0{1 + number % 6}-1{number % 10}T0{number % 10}:00:00Z"
    if column.kind is Kind.INTEGER:
        return str(1 + number % 10)
    if column.kind is Kind.DECIMAL:
        return f"{number % 1000}.5"
    if column.levels:
        return column.levels[number % len(column.levels)]
    return "EUR" if column.currency else f"{column.name} {number % 7}"


def write(folder: Path, name: str, entity: Entity, rows: list[dict[str, str | None]], form: str) -> None:
    """Write the records as text in one of the formats; in CSV every value is quoted, so that no text means null."""
    names = entity.column_names
    if form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows([names, *([row.get(column) or "" for column in names] for row in rows)])
        (folder / f"{name}.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
    elif form == "jsonl":
        lines = [json.dumps({column: row.get(column) for column in names}) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        with duckdb.connect() as connection:
            connection.execute(f"create table t ({', '.join(f'{column} varchar' for column in names)})")
            values: list[list[Any]] = [[row.get(column) for column in names] for row in rows]
            connection.executemany(f"insert into t values ({', '.join('?' * len(names))})", values)
            connection.execute(f"copy t to '{folder / name}.parquet' (format parquet)")


def bookkeeping(line: int) -> tuple[str, int, datetime, int]:
    """Values of the columns that every raw table ends with."""
    assert list(BOOKKEEPING) == ["_source_file", "_source_line", "_loaded_at", "_load_id"]
    return "mutated.jsonl", line, START.replace(tzinfo=None), 1
