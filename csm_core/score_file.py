"""Scores a file of signals without a pipeline: every bad row is reported with its line, the others are scored."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from csm_core.errors import InputError, SourceError
from csm_core.rubric import FIELD_ALIASES, FIELDS, Field
from csm_core.scoring_sql import double, refusal_sql, scoring_sql
from csm_core.sources.loading import CSV, JSON_LINES, PARQUET, form_of
from csm_core.sources.text_files import Refused, line_count, read_header, read_rows
from csm_core.sql_models import literal
from csm_core.vectorized_scorer import VectorizedCSMHealthScorer

ACCOUNT = "account_id"
SHOWN = ("account_id", "score", "rag", "churn_risk_level", "churn_triggered_by", "should_alert")
_OUT = {".csv": "csv, header", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet"}
_INTEGER = r"^\s*[+-]?[0-9]{1,18}\s*$"


@dataclass(frozen=True)
class BadRow:
    """A row that was not scored: its line in the file (a row's number for Parquet), and what is wrong with it."""

    line: int
    account_id: str
    field: str
    reason: str


@dataclass(frozen=True)
class ScoreFileReport:
    """How many rows were scored, which were not, and the table to print where nothing was written."""

    scored: int
    bad: Sequence[BadRow]
    table: str


def score_file(
    path: Path, *, out: Path | None = None, scorer: VectorizedCSMHealthScorer | None = None
) -> ScoreFileReport:
    """Score CSV, JSON lines or Parquet (text also gzipped) of the 13 inputs; write all columns to ``out`` if given.

    Raises InputError for a file that is missing or unreadable, a required column that is missing, and an output whose
    format its name does not tell.
    """
    thresholds = (scorer or VectorizedCSMHealthScorer()).thresholds
    form = form_of(path)
    if not path.is_file():
        message = f"{path}: no such file"
        raise InputError(message)
    if form is None:
        message = f"{path}: cannot tell the format; name it .csv, .jsonl or .parquet (text also .gz)"
        raise InputError(message)
    if out and out.suffix.lower() not in _OUT:
        message = f"{out}: cannot tell the format to write; name it {', '.join(_OUT)}"
        raise InputError(message)
    with duckdb.connect() as connection:
        try:
            bad = _read(connection, path, form)
            bad += _judge(connection)
            connection.execute(
                "create table scored as "
                + scoring_sql(
                    "good",
                    green=double(float(thresholds.green_threshold)),
                    amber=double(float(thresholds.amber_threshold)),
                    churn_window_days=str(thresholds.churn_window_days),
                    keys=("line", ACCOUNT),
                )
            )
            ((scored,),) = connection.execute("select count(*) from scored").fetchall()
            if out:
                _write(connection, out)
            shown = connection.sql(f"select {', '.join(SHOWN)} from scored order by line")
            return ScoreFileReport(int(scored), sorted(bad, key=lambda row: row.line), str(shown))
        except duckdb.Error as error:
            message = f"{path}: {str(error).splitlines()[0]}"
            raise InputError(message) from None


def _read(connection: duckdb.DuckDBPyConnection, path: Path, form: str) -> list[BadRow]:
    """Fill the table ``given`` with the columns as they came and ``line``; the lines that are no rows come back."""
    name = literal(str(path))
    if form == PARQUET:
        connection.execute(f"create table given as select row_number() over () as line, * from read_parquet({name})")
        return []
    if form == JSON_LINES:
        wanted = [ACCOUNT, *(field.name for field in FIELDS), *FIELD_ALIASES]
        columns = ", ".join(f"{column}: 'varchar'" for column in wanted)
        connection.execute(
            f"create table given as select row_number() over () as line, * from read_json({name}, "
            f"format = 'newline_delimited', columns = {{{columns}}}, ignore_errors = true)"
        )
        return []
    assert form == CSV  # noqa: S101 - the third of three formats
    header = read_header(path)
    if len(set(header)) != len(header):
        message = f"{path}: a column stands twice in its header: {', '.join(header)}"
        raise SourceError(message)
    columns = ", ".join(f"{literal(column)}: 'varchar'" for column in header)
    try:
        connection.execute(
            f"create table given as select row_number() over () + 1 as line, * from read_csv({name}, header = true, "
            f"auto_detect = false, delim = ',', quote = '\"', escape = '\"', columns = {{{columns}}}, "
            "strict_mode = true, null_padding = false)"
        )
        counted = connection.execute("select count(*) from given").fetchone()
        if counted and counted[0] == line_count(path) - 1:
            return []
        connection.execute("drop table given")
    except duckdb.Error:
        pass
    return _read_with_care(connection, path, header)


def _read_with_care(connection: duckdb.DuckDBPyConnection, path: Path, header: Sequence[str]) -> list[BadRow]:
    quoted = [f'"{column}"' for column in header]
    connection.execute(f"create table given (line bigint, {', '.join(f'{column} varchar' for column in quoted)})")
    bad: list[BadRow] = []
    rows: list[list[object]] = []
    for record in read_rows(path, len(header)):
        if isinstance(record, Refused):
            bad.append(BadRow(record.line, "", "", record.detail or str(record.reason)))
        else:
            rows.append([record.line, *record.values])
    if rows:
        connection.executemany(f"insert into given values ({', '.join('?' * (len(header) + 1))})", rows)
    return bad


def _judge(connection: duckdb.DuckDBPyConnection) -> list[BadRow]:
    """Split ``given`` into ``good`` and the rows outside the contract."""
    present = {name for name, *_ in connection.execute("describe given").fetchall()}
    _require_columns(present)
    parsed = ", ".join(f"{_parsed(field, present)} as {field.name}" for field in FIELDS)
    unreadable = " ".join(
        f"when {_source(field, present)} is not null and {_parsed(field, present)} is null then {literal(field.name)}"
        for field in FIELDS
        if _source(field, present)
    )
    values = " ".join(
        f"when {literal(field.name)} then cast({_source(field, present)} as varchar)"
        for field in FIELDS
        if _source(field, present)
    )
    connection.execute(
        f"create table parsed as select line, cast({ACCOUNT} as varchar) as {ACCOUNT}, {parsed}, "
        f"case when {ACCOUNT} is null or trim(cast({ACCOUNT} as varchar)) = '' then {literal(ACCOUNT)} "
        f"{unreadable} end as unreadable, case unreadable {values} end as offending from given"
    )
    bad = [
        BadRow(line, account or "", field, f"cannot be read: {value}" if value is not None else "is missing")
        for line, account, field, value in connection.execute(
            f"select line, {ACCOUNT}, unreadable, offending from parsed where unreadable is not null order by line"
        ).fetchall()
    ]
    outside = refusal_sql("(select * from parsed where unreadable is null)", ("line", ACCOUNT))
    bad += [
        BadRow(line, account, field, "is missing" if value is None else f"is outside its range or levels: {value}")
        for line, account, field, value in connection.execute(f"{outside} order by line").fetchall()
    ]
    twice = connection.execute(
        f"select line, {ACCOUNT} from parsed where unreadable is null "
        f"qualify row_number() over (partition by {ACCOUNT} order by line) > 1 order by line"
    ).fetchall()
    known = {row.line for row in bad}
    bad += [BadRow(line, account, ACCOUNT, "stands more than once") for line, account in twice if line not in known]
    connection.execute("create table refused (line bigint)")
    if bad:
        connection.executemany("insert into refused values (?)", [[row.line] for row in bad])
    names = ", ".join(field.name for field in FIELDS)
    connection.execute(
        f"create table good as select line, {ACCOUNT}, {names} from parsed where line not in (select line from refused)"
    )
    return bad


def _require_columns(present: set[str]) -> None:
    wanted = [ACCOUNT, *(field.name for field in FIELDS if field.required)]
    missing = [name for name in wanted if name not in present]
    if missing:
        found = sorted(present - {"line"})
        hints = []
        for name in missing:
            near = difflib.get_close_matches(name, found, n=1)
            hints.append(f"{name} (is it {near[0]!r}?)" if near else name)
        message = f"columns missing: {', '.join(hints)}. Found: {', '.join(found) or 'none'}."
        raise InputError(message)


def _source(field: Field, present: set[str]) -> str:
    """The column that holds a field, a blank text read as null; empty text if there is none."""
    aliases = [alias for alias, name in FIELD_ALIASES.items() if name == field.name]
    column = next((name for name in (field.name, *aliases) if name in present), "")
    return f"nullif(trim(cast({column} as varchar)), '')" if column else ""


def _parsed(field: Field, present: set[str]) -> str:
    source = _source(field, present)
    default = "null" if field.default is None else literal(field.default)
    kind = {"level": "varchar", "rate": "double", "integer": "bigint"}[field.kind]
    if not source:
        return f"cast({default} as {kind})"
    if field.kind == "level":
        parsed = source
    elif field.kind == "rate":
        number = f"try_cast({source} as double)"
        parsed = f"case when isfinite({number}) then {number} end"
    else:
        # Parquet may hold whole numbers as floating point.
        whole = f"regexp_replace({source}, '\\.0+$', '')"
        parsed = f"case when regexp_matches({whole}, {literal(_INTEGER)}) then try_cast({whole} as bigint) end"
    return parsed if field.default is None else f"case when {source} is null then {default} else {parsed} end"


def _write(connection: duckdb.DuckDBPyConnection, out: Path) -> None:
    fresh = out.with_name(f".{out.name}.new")
    try:
        connection.execute(
            f"copy (select * exclude (line) from scored order by line) to {literal(str(fresh))} "
            f"(format {_OUT[out.suffix.lower()]})"
        )
        fresh.replace(out)
    except OSError as error:
        message = f"{out}: cannot be written: {error.strerror}"
        raise InputError(message) from None
    finally:
        fresh.unlink(missing_ok=True)
