"""Scores a file of signals without a pipeline: every bad row is reported with its line, the others are scored."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from csm_core.analysts.queries import as_box
from csm_core.errors import InputError
from csm_core.ingest.parquet_files import OPTIONS, row_number
from csm_core.ingest.read_settings import delimiter_of
from csm_core.ingest.source_files import CSV, JSON_LINES, PARQUET, compression_of, form_of
from csm_core.ingest.text_reader import Refused, Row, line_count, read_header, read_lines, read_rows
from csm_core.rubric import FIELDS, Field
from csm_core.scoring.input_columns import ACCOUNT, input_columns, key_columns, unused_note
from csm_core.scoring.sql import refusal_sql
from csm_core.vectorized_scorer import VectorizedCSMHealthScorer
from csm_core.warehouse.export import harmless
from csm_core.warehouse.models import literal, quoted
from csm_core.warehouse.text_macros import create_macros

SHOWN = ("account_id", "score", "rag", "churn_risk_level", "churn_triggered_by", "should_alert")
_FIELDS = {field.name: field for field in FIELDS}
_COPY_FORMATS = {CSV: "format csv, header", JSON_LINES: "format json", PARQUET: "format parquet"}
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_INTEGER = r"^[+-]?[0-9]+(\.0*)?$"
_INTEGER_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_BATCH_ROWS = 20_000
_LONGEST_LINE = 32 * 1024 * 1024
_NO_FORMAT = "the name does not state a known format; name it .csv, .tsv, .jsonl or .parquet (text also .gz or .zst)"


@dataclass(frozen=True)
class BadRow:
    """A row that was not scored: its line (for Parquet its number), what is wrong, and the value as it stood."""

    line: int
    account_id: str
    field: str
    reason: str
    value: str | None = None


@dataclass(frozen=True)
class ScoreFileReport:
    """How many rows were scored, which were not, and the table to print where nothing was written.

    ``scores`` are the rows of that table, if requested, one mapping each. ``note`` lists the columns that are not
    inputs; it is empty if all are used.
    """

    scored: int
    bad: Sequence[BadRow]
    table: str
    scores: Sequence[Mapping[str, Any]] | None = None
    note: str = ""

    @property
    def exit_status(self) -> int:
        """2 if any row was bad."""
        return InputError.exit_status if self.bad else 0

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        listed = {} if self.scores is None else {"scores": list(self.scores)}
        noted = {"note": self.note} if self.note else {}
        return {"scored": self.scored, "bad": [asdict(row) for row in self.bad], **noted, **listed}


@dataclass(frozen=True)
class _Column:
    """Where a column of the file stands: an expression over the table ``given``, and its type there."""

    expression: str
    kind: str = "VARCHAR"


def score_file(
    path: Path, *, out: Path | None = None, scorer: VectorizedCSMHealthScorer | None = None, listed: bool = False
) -> ScoreFileReport:
    """Score CSV, JSON lines or Parquet (text also gzipped) of the 13 inputs; write the scores to ``out``, if given.

    ``account_id`` and the required inputs have to be there; ``tenant_id`` and ``as_of_date`` may, and then tell rows
    of one account apart and are written, too; in CSV, one that a spreadsheet would run as a formula gets an apostrophe
    in front. The output takes its format from its name and stands whole or not at all. ``listed`` gives the scores in
    the report. Raises InputError for a file that is missing or unreadable, a required column that is missing, and an
    output that cannot be written.
    """
    form = _form(path)
    if not path.is_file():
        message = f"{path}: no such file"
        raise InputError(message)
    out_form = _form_to_write(out, path) if out else ""
    with duckdb.connect() as connection:
        try:
            columns, bad = _read(connection, path, form)
            found = {name: columns[column] for name, column in input_columns(list(columns), f"{path}:").items()}
            keys = key_columns(list(columns))
            _judge(connection, found, {key: columns[column] for key, column in keys.items()})
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
        message = f"{out}: is the file that is read; give another to write"
        raise InputError(message)
    if not out.parent.is_dir():
        message = f"{out}: cannot be written: there is no folder {out.parent}"
        raise InputError(message)
    return form


# -- reading ----------------------------------------------------------------------------------------------------------


def _read(connection: duckdb.DuckDBPyConnection, path: Path, form: str) -> tuple[dict[str, _Column], list[BadRow]]:
    """Fill the table ``given``; its columns by the file's names, and the lines that are no rows."""
    # The name is one file's, whatever signs it has in it.
    name = glob.escape(str(path))
    if form == PARQUET:
        return _read_parquet(connection, name), []
    if form == JSON_LINES:
        return _read_json_lines(connection, path, name)
    header = read_header(path)
    delimiter, width, line = header.delimiter, len(header.names), header.line
    bad = _read_text(
        connection,
        f"delim = {literal(delimiter)}, quote = '\"', escape = '\"', header = true, "
        f"skip = {line - 1}, compression = {literal(compression_of(path))}",
        name,
        width=width,
        lines=line_count(path) - line,
        first_line=line + 1,
        carefully=lambda: read_rows(path, width, delimiter=delimiter, header_line=line),
    )
    return {column: _Column(f"c{position}") for position, column in enumerate(header.names)}, bad


def _read_parquet(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, _Column]:
    reader = f"read_parquet({literal(name)}, {OPTIONS}"
    described = connection.execute(f"describe select * from {reader})").fetchall()
    line, numbered = row_number([column for column, *_ in described])
    # A column of the file that is called like the number of the line is not a signal.
    described = [(column, kind) for column, kind, *_ in described if column.lower() != "_line"]
    columns = ", ".join(quoted(column) for column, _ in described)
    connection.execute(f"create view given as select {line} as _line, {columns} from {reader}{numbered})")
    return {column: _Column(quoted(column), kind) for column, kind in described}


def _read_json_lines(
    connection: duckdb.DuckDBPyConnection, path: Path, name: str
) -> tuple[dict[str, _Column], list[BadRow]]:
    bad = _read_text(
        connection,
        f"delim = '\x01', quote = '', escape = '', header = false, compression = {literal(compression_of(path))}",
        name,
        width=1,
        lines=line_count(path),
        first_line=1,
        carefully=lambda: read_lines(path),
    )
    connection.execute("delete from given where trim(c0) = '' or c0 is null")
    broken = "not json_valid(c0) or json_type(if(json_valid(c0), c0, 'null')) <> 'OBJECT'"
    refused = connection.execute(f"select _line, c0 from given where {broken} order by _line").fetchall()
    kept = connection.execute(f"delete from given where {broken}; select count(*) from given").fetchone()
    if refused and kept == (0,) and str(refused[0][1]).lstrip("\ufeff \t").startswith("["):
        message = f"{path}: a JSON array; expected JSON lines, one object on each line"
        raise InputError(message)
    bad += [BadRow(line, "", "", "not a JSON object", text) for line, text in refused]
    keys = connection.execute("select distinct unnest(json_keys(c0)) as name from given order by name").fetchall()
    return {key: _Column(f"(c0 ->> {literal(f'$.{quoted(key)}')})") for (key,) in keys if '"' not in key}, bad


def _read_text(
    connection: duckdb.DuckDBPyConnection,
    form: str,
    name: str,
    *,
    width: int,
    lines: int,
    first_line: int,
    carefully: Any,
) -> list[BadRow]:
    """Fill ``given`` with text columns c0, c1, … and each row's line, at full speed or, if need be, with care.

    The fast reader is believed only when it found exactly one row per physical line: a quote that is never closed, for
    one, makes it swallow rows without a word.
    """
    names = [f"c{position}" for position in range(width)]
    typed = ", ".join(f"{column}: 'varchar'" for column in names)
    try:
        connection.execute(
            f"create or replace table given as select row_number() over () + {first_line - 1} as _line, * from "
            f"read_csv({literal(name)}, auto_detect = false, {form}, columns = {{{typed}}}, strict_mode = true, "
            f"null_padding = false, max_line_size = {_LONGEST_LINE}, encoding = 'utf-8')"
        )
        counted = connection.execute("select count(*) from given").fetchone()
        if counted and counted[0] == lines:
            return []
    except (duckdb.InvalidInputException, duckdb.IOException, duckdb.ConversionException):
        pass  # read again below, line by line, so that each broken line is told
    connection.execute(
        f"create or replace table given (_line bigint, {', '.join(f'{column} varchar' for column in names)})"
    )
    bad: list[BadRow] = []
    for batch in _batches(carefully(), bad):
        arrays: dict[str, Any] = {"_line": np.array([row.line for row in batch], dtype=np.int64)}
        for position, column in enumerate(names):
            arrays[column] = np.array([row.values[position] for row in batch], dtype=object)
        connection.register("batch", arrays)
        connection.execute(
            f"insert into given select _line, {', '.join(f'cast({c} as varchar)' for c in names)} from batch"
        )
        connection.unregister("batch")
    return bad


def _batches(records: Iterable[Row | Refused], bad: list[BadRow]) -> Iterator[list[Row]]:
    rows = _rows(records, bad)
    while batch := list(islice(rows, _BATCH_ROWS)):
        yield batch


def _rows(records: Iterable[Row | Refused], bad: list[BadRow]) -> Iterator[Row]:
    for record in records:
        if isinstance(record, Refused):
            bad.append(BadRow(record.line, "", "", record.detail or str(record.reason), record.text))
        else:
            yield record


# -- judging ----------------------------------------------------------------------------------------------------------


def _judge(connection: duckdb.DuckDBPyConnection, inputs: Mapping[str, _Column], keys: Mapping[str, _Column]) -> None:
    """Split ``given`` into the tables ``good`` and ``refused`` (line, account, field, value)."""
    create_macros(connection)
    # An identifier that came as a floating point number is the integer, as everywhere.
    shown = ", ".join(
        f"{'identifier_text' * (key == ACCOUNT)}(cast({column.expression} as varchar)) as {key}"
        for key, column in keys.items()
    )
    parsed = ", ".join(f"{_parsed(field, inputs.get(field.name))} as {field.name}" for field in FIELDS)
    texts = ", ".join(f"{_text(column)} as {name}_text" for name, column in inputs.items())
    connection.execute(f"create table parsed as select _line as line, {shown}, {parsed}, {texts} from given")
    unreadable = " ".join(f"when {name}_text is not null and {name} is null then {literal(name)}" for name in inputs)
    values = " ".join(f"when {literal(name)} then {name}_text" for name in inputs)
    connection.execute(
        f"create table refused as select line, {ACCOUNT}, field, case field {values} end as value, true as unreadable "
        f"from (select *, case when {ACCOUNT} is null or trim({ACCOUNT}) = '' then {literal(ACCOUNT)} {unreadable} end "
        "as field from parsed) where field is not null"
    )
    readable = "(select * from parsed where line not in (select line from refused))"
    outside = refusal_sql(readable, ("line", ACCOUNT))
    connection.execute(
        f"insert into refused select outside.line, outside.{ACCOUNT}, field, case field {values} end, false "
        f"from ({outside}) as outside inner join parsed on outside.line = parsed.line"
    )
    connection.execute(
        f"insert into refused select line, {ACCOUNT}, {literal(ACCOUNT)}, {ACCOUNT}, false from {readable} "
        f"qualify row_number() over (partition by {', '.join(keys)} order by line) > 1"
    )
    names = ", ".join(["line", *keys, *_FIELDS])
    connection.execute(f"create table good as select {names} from {readable} order by line")


def _bad_rows(connection: duckdb.DuckDBPyConnection) -> list[BadRow]:
    found = connection.execute(
        f"select line, {ACCOUNT}, field, value, unreadable from refused order by line"
    ).fetchall()
    return [
        BadRow(line, account or "", field, _reason(field, value, unreadable), value)
        for line, account, field, value, unreadable in found
    ]


def _reason(name: str, value: str | None, unreadable: bool) -> str:
    if value is None:
        return "is missing"
    field = _FIELDS.get(name)
    if field is None:
        return f"stands more than once: {value}"
    if field.levels:
        return f"is not one of {', '.join(field.levels)}: {value}"
    if unreadable:
        return f"is no {'whole ' * (field.kind == 'integer')}number: {value}"
    return f"is not from {field.least:g} to {field.most:g}: {value}"


def _text(column: _Column) -> str:
    """The value as text, blank text read as null."""
    return f"nullif(trim(cast({column.expression} as varchar)), '')"


def _parsed(field: Field, column: _Column | None) -> str:
    """The value in the contract's type: the default where there is none, null where it cannot be read."""
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
        # Whole numbers that have been floating point on their way: 5.0.
        whole = f"split_part({text}, '.', 1)"
        parsed = f"case when regexp_matches({text}, {literal(_INTEGER)}) then try_cast({whole} as bigint) end"
    return parsed if field.default is None else f"case when {text} is null then {default} else {parsed} end"


# -- writing ----------------------------------------------------------------------------------------------------------


def _write(connection: duckdb.DuckDBPyConnection, keys: Sequence[str], out: Path, form: str) -> None:
    fresh = out.with_name(f".{out.name}.new")
    # A spreadsheet opens CSV, and would run an id that begins like a formula.
    safe = f" replace ({', '.join(f'{harmless(key)} as {key}' for key in keys)})" if form == CSV else ""
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
