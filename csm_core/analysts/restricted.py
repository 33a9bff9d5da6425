"""A connection that reads the published copy and nothing else: no file, no network, no setting, one SELECT at a time.

A read-only connection of DuckDB can still read every file of the machine and write new ones. So the copy is attached to
a database in memory without access to files, with locked settings; DuckDB's parser checks each query before it runs.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import duckdb

from csm_core.errors import InputError

# Functions in FROM that only compute or describe tables; others read files, settings or secrets, or change the session.
_TABLE_FUNCTIONS = frozenset(
    (
        *("range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree", "summary"),
        *("duckdb_columns", "duckdb_constraints", "duckdb_functions", "duckdb_keywords", "duckdb_schemas"),
        *("duckdb_tables", "duckdb_types", "duckdb_views"),
    )
)
_CATALOG_VIEWS = frozenset(
    (
        *("columns", "duckdb_columns", "duckdb_constraints", "duckdb_schemas", "duckdb_tables", "duckdb_types"),
        *("duckdb_views", "schemata", "tables", "views"),
    )
)
_REFUSED_FUNCTIONS = frozenset(
    ("current_setting", "getenv", "getvariable", "write_log", "sleep_ms", "nextval", "currval", "json_deserialize_sql")
)


class NotAllowedError(InputError):
    """A query that is not one SELECT on the published copy. The message has no text of the query's rows."""


@dataclass(frozen=True)
class Limits:
    """The limits of a restricted connection.

    :ivar memory_limit: DuckDB's memory limit, such as 512MB; None: DuckDB's default.
    :ivar threads: the number of threads; None: DuckDB's default.
    :ivar spill: whether large results may use temporary files on disk.
    """

    memory_limit: str | None = None
    threads: int | None = None
    spill: bool = True


def require_copy(copy: Path) -> None:
    """Raise InputError if there is no published copy."""
    if not copy.is_file():
        message = f"there is no published copy at {copy}; run `csm run` first"
        raise InputError(message)


@contextmanager
def open_restricted(copy: Path, limits: Limits | None = None) -> Generator[duckdb.DuckDBPyConnection]:
    """Open the published copy without access to files and with locked settings, in UTC, the marts on the search path.

    Raises InputError if there is no copy. Each call has a database of its own: DuckDB shares the database of a file
    within a process, and one that is locked cannot be opened again with these settings.
    """
    require_copy(copy)
    limits = limits or Limits()
    with duckdb.connect(":memory:") as connection:
        name = '"' + copy.stem.replace('"', '""') + '"'
        path = str(copy).replace("'", "''")
        for statement in (
            f"attach '{path}' as {name} (read_only)",
            f"use {name}",
            "set timezone = 'UTC'",
            "set search_path = 'marts,main'",
            "set enable_progress_bar = false",
            *([f"set memory_limit = '{limits.memory_limit}'"] if limits.memory_limit else []),
            *([f"set threads = {limits.threads}"] if limits.threads else []),
            f"set temp_directory = '{path}.tmp'" if limits.spill else "set temp_directory = ''",
            "set allow_community_extensions = false",
            "set autoinstall_known_extensions = false",
            "set autoload_known_extensions = false",
            "set enable_external_access = false",
            "set lock_configuration = true",
        ):
            connection.execute(statement)
        yield connection


def require_select(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Raise NotAllowedError unless the query is one SELECT (or FROM, VALUES, DESCRIBE, SHOW, SUMMARIZE) on the copy.

    Functions that read files, settings or secrets, or change the session, are refused wherever they appear. Raises
    ``duckdb.Error`` for a query that DuckDB cannot parse.
    """
    statements = connection.extract_statements(query)
    if not statements:
        message = "the query is empty"
        raise NotAllowedError(message)
    if len(statements) > 1:
        message = f"expected one SQL statement, found {len(statements)}. Run each statement on its own."
        raise NotAllowedError(message)
    if statements[0].type != duckdb.StatementType.SELECT:
        kind = statements[0].type.name.replace("_", " ")
        # DuckDB evaluates such a PIVOT in several statements.
        hint = ". Name the values of a PIVOT: on COLUMN in (…)" if kind == "MULTI" else ""
        message = f"only a SELECT is allowed, found a statement of the type {kind}{hint}"
        raise NotAllowedError(message)
    row = connection.execute("select json_serialize_sql($query)", {"query": query}).fetchone()
    tree = json.loads(row[0]) if row else {"error": True}
    if tree["error"]:
        message = "only a SELECT is allowed; DuckDB cannot describe the parts of this query"
        raise NotAllowedError(message)
    _require_allowed_parts(connection, tree)


def _require_allowed_parts(connection: duckdb.DuckDBPyConnection, tree: Any) -> None:
    macros = {
        name
        for (name,) in connection.execute(
            "select function_name from duckdb_functions() where not internal and function_type = 'table_macro'"
        ).fetchall()
    }
    internal = connection.execute("select view_name from duckdb_views() where internal").fetchall()
    refused_views = {name for (name,) in internal} - _CATALOG_VIEWS
    for node in _nodes(tree):
        function = str(node.get("function_name", "")).lower()
        if function in _REFUSED_FUNCTIONS:
            message = f"the function {function} is not allowed: it reads or changes more than the published copy"
            raise NotAllowedError(message)
        if node.get("type") == "TABLE_FUNCTION":
            named = str(node["function"].get("function_name", "")).lower()
            if named not in _TABLE_FUNCTIONS and named not in macros:
                message = f"the table function {named} is not allowed: it reads or changes more than the published copy"
                raise NotAllowedError(message)
        if node.get("type") in ("BASE_TABLE", "SHOW_REF"):
            table = str(node.get("table_name", "")).strip('"').lower()
            if table in refused_views:
                message = f"the view {table} is not allowed: it shows more than the published copy"
                raise NotAllowedError(message)


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of a parsed query."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            node = cast("dict[str, Any]", one)
            yield node
            waiting += node.values()
        elif isinstance(one, list):
            waiting += cast("list[Any]", one)


@contextmanager
def interrupted_after(connection: duckdb.DuckDBPyConnection, seconds: float | None) -> Generator[None]:
    """Interrupt the running query after this many seconds; None or 0: never."""
    if not seconds:
        yield
        return
    timer = threading.Timer(seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
