"""Runs analysts' queries on the published, read-only copy of the marts."""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from csm_core.analysts.restricted import (
    Limits,
    NotAllowedError,
    interrupted_after,
    open_restricted,
    require_copy,
    require_select,
)
from csm_core.errors import InputError, RunError
from csm_core.system.text_table import counted
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.models import quoted
from csm_core.warehouse.spreadsheet_text import escaped

FORMATS = ("table", "csv", "json")
DEFAULT_TIMEOUT_SECONDS = 300

# What the result of a query without --unsafe has at most.
MAX_ROWS = 1_000_000
MAX_CHARACTERS = 500_000_000

_UNSAFE = "A query can read only the published copy; --unsafe allows files, the network and settings."
_SMALLER = "select fewer rows or columns, or use --unsafe, which has no limit"
_UNKNOWN_TABLE = re.compile(r"Table with name (.+?) does not exist")


def connect_published(copy: Path) -> duckdb.DuckDBPyConnection:
    """Connect to the read-only copy, in UTC, with the marts on its search path. Raises InputError without a copy."""
    require_copy(copy)
    connection = duckdb.connect(str(copy), read_only=True)
    connection.execute("set timezone = 'UTC'")
    connection.execute("set search_path = 'marts,main'")
    return connection


@contextmanager
def open_published(warehouse: Warehouse) -> Generator[duckdb.DuckDBPyConnection]:
    """Open the read-only copy, in UTC, with the marts on its search path. Raises InputError if there is no copy."""
    with connect_published(warehouse.published_path) as connection:
        yield connection


@contextmanager
def open_history(warehouse: Warehouse) -> Generator[duckdb.DuckDBPyConnection]:
    """Open the warehouse read-only; while a run is writing to it, the published copy, which has fewer tables.

    Raises InputError if neither exists.
    """
    with warehouse.open_read_only() as connection:
        if connection is not None:
            connection.execute("set timezone = 'UTC'")
            yield connection
            return
    with open_published(warehouse) as connection:
        yield connection


@contextmanager
def open_for_queries(warehouse: Warehouse, *, unsafe: bool = False) -> Generator[duckdb.DuckDBPyConnection]:
    """Open the copy for the queries of users: restricted to it, or (``unsafe``) with files, network and settings."""
    if unsafe:
        with open_published(warehouse) as connection:
            yield connection
        return
    with open_restricted(warehouse.published_path, Limits(warehouse.memory_limit, warehouse.threads)) as connection:
        yield connection


def require_format(form: str) -> None:
    """Raise InputError for an unknown format."""
    if form not in FORMATS:
        message = f"--format must be one of {', '.join(FORMATS)}, not {form!r}"
        raise InputError(message)


def query_published(
    warehouse: Warehouse,
    query: str,
    form: str = "table",
    *,
    unsafe: bool = False,
    timeout: float | None = DEFAULT_TIMEOUT_SECONDS,
) -> str:
    """The result of a query as text.

    Unless ``unsafe``, the query must be one SELECT and can read only the published copy: no files, no network, no
    settings; and its result is limited to ``MAX_ROWS`` rows and ``MAX_CHARACTERS`` characters.
    Raises InputError for an unknown format, no published copy, several statements, or a rejected query, RunError for
    one that takes longer than ``timeout`` seconds (None: no limit).
    """
    require_format(form)
    with open_for_queries(warehouse, unsafe=unsafe) as connection:
        return run_query(connection, query, form, unsafe=unsafe, timeout=timeout)


def run_query(
    connection: duckdb.DuckDBPyConnection, query: str, form: str, *, unsafe: bool, timeout: float | None
) -> str:
    """The result of a query on a connection of ``open_for_queries``, as text; see ``query_published``."""
    try:
        if unsafe:
            _require_one_statement(connection, query)
        else:
            require_select(connection, query)
        with interrupted_after(connection, timeout):
            relation = connection.sql(query)
            if relation is None:  # pyright: ignore[reportUnnecessaryComparison]  # a statement without an answer
                return "done\n"
            if form == "table":
                return f"{as_box(relation)}\n"
            text = _rows_as(form, relation.columns, _rows_of(relation, None if unsafe else MAX_ROWS))
    except NotAllowedError as error:
        message = f"the query was rejected: {error}\n{_UNSAFE}"
        raise InputError(message) from None
    except duckdb.InterruptException:
        limit = counted(timeout or 0, "second")
        message = f"the query was stopped after {limit}; --timeout SECONDS sets another limit, 0 disables it"
        raise RunError(message) from None
    except duckdb.Error as error:
        message = f"the query was rejected: {_reason(connection, error)}"
        raise InputError(message) from None
    if not unsafe and len(text) > MAX_CHARACTERS:
        message = f"the result has more than {MAX_CHARACTERS:,} characters: {_SMALLER}"
        raise InputError(message)
    return text


def _rows_of(relation: duckdb.DuckDBPyRelation, most: int | None) -> list[tuple[Any, ...]]:
    """All rows. Raises InputError if there are more than ``most``."""
    if most is None:
        return relation.fetchall()
    rows = relation.limit(most + 1).fetchall()
    if len(rows) > most:
        message = f"the result has more than {most:,} rows: {_SMALLER}"
        raise InputError(message)
    return rows


def _require_one_statement(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Raise InputError for several statements: only the result of the last one would be shown."""
    statements = len(connection.extract_statements(query))
    if statements > 1:
        message = f"expected one SQL statement, found {statements}. Run csm sql once for each statement."
        raise InputError(message)


def _reason(connection: duckdb.DuckDBPyConnection, error: duckdb.Error) -> str:
    """The reason why a query was rejected, and what to do."""
    text = str(error)
    if isinstance(error, duckdb.PermissionException) or "configuration has been locked" in text:
        return f"{text}\n{_UNSAFE}"
    unknown = _UNKNOWN_TABLE.search(text)
    if not unknown:
        return text
    marts = [
        name
        for (name,) in connection.execute(
            "select table_name from duckdb_tables() where schema_name = 'marts' order by table_name"
        ).fetchall()
    ]
    near = difflib.get_close_matches(unknown[1].lower(), marts, n=1)
    nearest = f" Did you mean {near[0]}?" if near else ""
    return f"there is no table {unknown[1]}.{nearest}\nThe marts are {', '.join(marts)}."


def as_box(relation: duckdb.DuckDBPyRelation) -> str:
    """The rows as a table for a terminal. ENUM columns become text, because their type makes the heading too wide."""
    kinds = [str(kind) for kind in relation.types]
    if not any(kind.startswith("ENUM") for kind in kinds):
        return str(relation)
    columns = ", ".join(
        f"cast(#{place} as varchar) as {quoted(name)}" if kind.startswith("ENUM") else f"#{place} as {quoted(name)}"
        for place, (name, kind) in enumerate(zip(relation.columns, kinds, strict=True), start=1)
    )
    return str(relation.project(columns))


def _rows_as(form: str, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> str:
    if form == "json":
        return json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=2, default=str) + "\n"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([escaped(name) for name in names])
    writer.writerows([[escaped(value) for value in row] for row in rows])
    return text.getvalue()
