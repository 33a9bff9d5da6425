"""Scores a file of signals without a pipeline. Invalid rows are reported with their line; other rows are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from csm_core.analysts.queries import as_box
from csm_core.errors import InputError
from csm_core.ingest.parquet_files import OPTIONS, row_number
from csm_core.ingest.raw_tables import RawTable
from csm_core.ingest.read_settings import delimiter_of
from csm_core.ingest.source_files import CSV, JSON_LINES, PARQUET, compression_of, describe_file, form_of, glob_escaped
from csm_core.ingest.text_loader import TextLoader, json_pointer
from csm_core.rubric import FIELDS, Field
from csm_core.scoring.input_columns import ACCOUNT, input_columns, key_columns, unused_note
from csm_core.scoring.sql import invalid_rows_sql
from csm_core.vectorized_scorer import VectorizedCSMHealthScorer
from csm_core.warehouse.models import literal, quoted
from csm_core.warehouse.spreadsheet_text import escaped_sql
from csm_core.warehouse.text_macros import create_macros

SHOWN = ("account_id", "score", "rag", "churn_risk_level", "churn_triggered_by", "should_alert")
_FIELDS = {field.name: field for field in FIELDS}
_COPY_FORMATS = {CSV: "format csv, header", JSON_LINES: "format json", PARQUET: "format parquet"}
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_INTEGER = r"^[+-]?[0-9]+(\.0*)?$"
_INTEGER_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
# Columns are checked after reading, because the spelling of their names may differ.
_SIGNALS = RawTable("file", "signals", "signals", required=(), null_values=())
_NO_FORMAT = "the name does not state a known format; name it .csv, .tsv, .jsonl or .parquet (text also .gz or .zst)"


@dataclass(frozen=True)
class BadRow:
    """A row that was not scored: its line (for Parquet, its number), the reason, and the original value."""

    line: int
    account_id: str
    field: str
    reason: str
    value: str | None = None


@dataclass(frozen=True)
class ScoreFileReport:
    """The number of scored rows, the invalid rows, and the table that is printed without an output file.

    ``scores`` are the rows of that table, if requested. ``note`` lists columns that are not inputs; it is empty if all
    columns are used.
    """

    scored: int
    bad: Sequence[BadRow]
    table: str
    scores: Sequence[Mapping[str, Any]] | None = None
    note: str = ""

    @property
    def exit_status(self) -> int:
        """2 if any row is invalid."""
        return InputError.exit_status if self.bad else 0

    def as_dict(self) -> dict[str, Any]:
        """The report for ``--json``."""
        listed = {} if self.scores is None else {"scores": list(self.scores)}
        noted = {"note": self.note} if self.note else {}
        return {"scored": self.scored, "bad": [asdict(row) for row in self.bad], **noted, **listed}


@dataclass(frozen=True)
class _Column:
    """A column of the file: an expression over the table ``file_rows``, and its type."""

    expression: str
    kind: str = "VARCHAR"


def score_file(
    path: Path, *, out: Path | None = None, scorer: VectorizedCSMHealthScorer | None = None, listed: bool = False
) -> ScoreFileReport:
    """Score a CSV, JSON lines (both may be compressed) or Parquet file of the inputs; write the scores to ``out``.

    ``account_id`` and the required inputs must be present. ``tenant_id`` and ``as_of_date`` are optional: they
    distinguish rows of one account, and are written to the output. CSV output escapes text that a spreadsheet would
    run. The name of the output file determines its format; the file is written atomically. ``listed`` returns the
    scores in the report. Raises InputError for a missing or unreadable file, a missing required column, and an output
    that cannot be written.
    """
    form = _form(path)
    if not path.is_file():
        message = f"{path}: no such file"
        raise InputError(message)
    out_form = _form_to_write(out, path) if out else ""
    with duckdb.connect() as connection:
        try:
            columns, bad = _read(connection, path, form)
            inputs = {name: columns[column] for name, column in input_columns(list(columns), f"{path}:").items()}
            keys = key_columns(list(columns))
            _validate(connection, inputs, {key: columns[column] for key, column in keys.items()})
            bad += _bad_rows(connection)
            connection.execute(
                f"create table scored as {(scorer or VectorizedCSMHealthScorer()).sql('good', keys=('line', *keys))}"
            )
        except duckdb.Error as error:
            message = f"{path}: cannot be read as {form}: {_first_line(error)}"
            raise InputError(message) from None
        if out:
            _write(connection, list(keys), out, out_form)
        ((scored,),) = connection.execute("select count(*) from scored").fetchall()
        shown = connection.sql(f"select {', '.join(_unique([*keys, *SHOWN]))} from scored order by line")
        scores = [dict(zip(shown.columns, row, strict=True)) for row in shown.fetchall()] if listed else None
        bad = sorted(bad, key=lambda row: row.line)
        return ScoreFileReport(scored, bad, as_box(shown), scores, unused_note(list(columns)))


def _form(path: Path) -> str:
    form = form_of(path)
    if form is None:
        message = f"{path}: {_NO_FORMAT}"
        raise InputError(message)
    return form


def _form_to_write(out: Path, source: Path) -> str:
    form = form_of(out)
    if form is None:
        message = f"{out}: {_NO_FORMAT}"
        raise InputError(message)
    if out.exists() and out.samefile(source):
        message = f"{out}: the output must not be the input file"
        raise InputError(message)
    if not out.parent.is_dir():
        message = f"{out}: cannot be written: the folder {out.parent} does not exist"
        raise InputError(message)
    return form


# -- reading ----------------------------------------------------------------------------------------------------------


def _read(connection: duckdb.DuckDBPyConnection, path: Path, form: str) -> tuple[dict[str, _Column], list[BadRow]]:
    """Create the table ``file_rows``; returns its columns by their names in the file, and the unreadable lines."""
    if form == PARQUET:
        return _read_parquet(connection, glob_escaped(str(path))), []
    file = describe_file(path)
    text = TextLoader(connection, _SIGNALS, "signals")
    file.form = form
    text.read([file])
    if form == CSV:
        columns = {name: _Column(f"c{position}") for position, name in enumerate(file.columns)}
    else:
        columns = {key: _Column(f"json_extract_string(c0, {literal(json_pointer(key))})") for key in file.columns}
    (table,) = text.tables.values()
    connection.execute(f"create temp view file_rows as select * rename (_source_line as _line) from {table}")
    return columns, [BadRow(bad.line, "", "", bad.detail or str(bad.reason), bad.text) for bad in file.rejected]


def _read_parquet(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, _Column]:
    reader = f"read_parquet({literal(name)}, {OPTIONS}"
    described = connection.execute(f"describe select * from {reader})").fetchall()
    line, numbered = row_number([column for column, *_ in described])
    # A column of the file with the name of the line number is not a signal.
    described = [(column, kind) for column, kind, *_ in described if column.lower() != "_line"]
    columns = ", ".join(quoted(column) for column, _ in described)
    connection.execute(f"create view file_rows as select {line} as _line, {columns} from {reader}{numbered})")
    return {column: _Column(quoted(column), kind) for column, kind in described}


# -- validating ----------------------------------------------------------------------------------------------------


def _validate(
    connection: duckdb.DuckDBPyConnection, inputs: Mapping[str, _Column], keys: Mapping[str, _Column]
) -> None:
    """Split ``file_rows`` into the tables ``good`` and ``rejected`` (line, account, field, value)."""
    create_macros(connection)
    # An identifier that is a floating-point number is read as an integer, as in all sources.
    shown = ", ".join(
        f"{'identifier_text' * (key == ACCOUNT)}(cast({column.expression} as varchar)) as {key}"
        for key, column in keys.items()
    )
    parsed = ", ".join(f"{_parsed(field, inputs.get(field.name))} as {field.name}" for field in FIELDS)
    texts = ", ".join(f"{_text(column)} as {name}_text" for name, column in inputs.items())
    connection.execute(f"create table parsed as select _line as line, {shown}, {parsed}, {texts} from file_rows")
    unreadable = " ".join(f"when {name}_text is not null and {name} is null then {literal(name)}" for name in inputs)
    values = " ".join(f"when {literal(name)} then {name}_text" for name in inputs)
    connection.execute(
        f"create table rejected as select line, {ACCOUNT}, field, case field {values} end as value, true as unreadable "
        f"from (select *, case when {ACCOUNT} is null or trim({ACCOUNT}) = '' then {literal(ACCOUNT)} {unreadable} end "
        "as field from parsed) where field is not null"
    )
    readable = "(select * from parsed where line not in (select line from rejected))"
    outside = invalid_rows_sql(readable, ("line", ACCOUNT))
    connection.execute(
        f"insert into rejected select outside.line, outside.{ACCOUNT}, field, case field {values} end, false "
        f"from ({outside}) as outside inner join parsed on outside.line = parsed.line"
    )
    connection.execute(
        f"insert into rejected select line, {ACCOUNT}, {literal(ACCOUNT)}, {ACCOUNT}, false from {readable} "
        f"qualify row_number() over (partition by {', '.join(keys)} order by line) > 1"
    )
    names = ", ".join(["line", *keys, *_FIELDS])
    connection.execute(f"create table good as select {names} from {readable} order by line")


def _bad_rows(connection: duckdb.DuckDBPyConnection) -> list[BadRow]:
    rows = connection.execute(
        f"select line, {ACCOUNT}, field, value, unreadable from rejected order by line"
    ).fetchall()
    return [
        BadRow(line, account or "", field, _reason(field, value, unreadable), value)
        for line, account, field, value, unreadable in rows
    ]


def _reason(name: str, value: str | None, unreadable: bool) -> str:
    if value is None:
        return "is missing"
    field = _FIELDS.get(name)
    if field is None:
        return f"appears more than once: {value}"
    if field.levels:
        return f"is not one of {', '.join(field.levels)}: {value}"
    if unreadable:
        return f"{'is not an integer' if field.kind == 'integer' else 'is not a number'}: {value}"
    return f"is not from {field.minimum:g} to {field.maximum:g}: {value}"


def _text(column: _Column) -> str:
    """The value as text; blank text is null."""
    return f"nullif(trim(cast({column.expression} as varchar)), '')"


def _parsed(field: Field, column: _Column | None) -> str:
    """The value in the type of the contract: the default if it is missing, null if it cannot be read."""
    default = "null" if field.default is None else literal(field.default)
    kind = {"level": "varchar", "rate": "double", "integer": "bigint"}[field.kind]
    if column is None:
        return f"cast({default} as {kind})"
    text = _text(column)
    if field.kind == "level":
        parsed = text
    elif field.kind == "rate":
        if column.kind in ("DOUBLE", "FLOAT"):
            number, readable = f"cast({column.expression} as double)", "true"
        else:
            number, readable = f"try_cast({text} as double)", f"regexp_matches({text}, {literal(_NUMBER)})"
        parsed = f"case when {readable} and isfinite({number}) then {number} end"
    elif column.kind in _INTEGER_TYPES:
        parsed = f"cast({column.expression} as bigint)"
    else:
        # Integers may be written as floating-point numbers: 5.0.
        whole = f"split_part({text}, '.', 1)"
        parsed = f"case when regexp_matches({text}, {literal(_INTEGER)}) then try_cast({whole} as bigint) end"
    return parsed if field.default is None else f"case when {text} is null then {default} else {parsed} end"


# -- writing ----------------------------------------------------------------------------------------------------------


def _write(connection: duckdb.DuckDBPyConnection, keys: Sequence[str], out: Path, form: str) -> None:
    fresh = out.with_name(f".{out.name}.new")
    safe = f" replace ({', '.join(f'{escaped_sql(key)} as {key}' for key in keys)})" if form == CSV else ""
    packed = "" if form == PARQUET else f", compression {compression_of(out)}"
    separated = f", delim {literal(delimiter_of(out))}" if form == CSV else ""
    try:
        connection.execute(
            f"copy (select * exclude (line){safe} from scored order by line) to {literal(str(fresh))} "
            f"({_COPY_FORMATS[form]}{separated}{packed})"
        )
        fresh.replace(out)
    except (OSError, duckdb.Error) as error:
        message = f"{out}: cannot be written: {_first_line(error)}"
        raise InputError(message) from None
    finally:
        fresh.unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _unique(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))
