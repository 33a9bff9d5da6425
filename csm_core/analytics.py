"""Queries of analysts on the published, read-only copy of the marts."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import duckdb

from csm_core.errors import InputError
from csm_core.sql_models import quoted
from csm_core.warehouse import Warehouse

FORMATS = ("table", "csv", "json")


@contextmanager
def open_published(warehouse: Warehouse) -> Generator[duckdb.DuckDBPyConnection]:
    """The read-only copy, in UTC, the marts on its path. Raises InputError where nothing is published yet."""
    copy = warehouse.published_path
    if not copy.is_file():
        message = f"nothing is published yet at {copy}: `csm run` publishes the marts there"
        raise InputError(message)
    with duckdb.connect(str(copy), read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute("set search_path = 'marts,main'")
        yield connection


@contextmanager
def open_history(warehouse: Warehouse) -> Generator[duckdb.DuckDBPyConnection]:
    """The warehouse itself, for reading alone; while a run is writing to it, the published copy, which has less.

    Raises InputError where neither is there.
    """
    with warehouse.look() as connection:
        if connection is not None:
            connection.execute("set timezone = 'UTC'")
            yield connection
            return
    with open_published(warehouse) as connection:
        yield connection


def query_published(warehouse: Warehouse, query: str, form: str = "table") -> str:
    """The answer to a query as text. Raises InputError for an unknown format, no published copy, or a refused query."""
    if form not in FORMATS:
        message = f"--format is one of {', '.join(FORMATS)}, not {form!r}"
        raise InputError(message)
    try:
        with open_published(warehouse) as connection:
            relation = connection.sql(query)
            if relation is None:  # pyright: ignore[reportUnnecessaryComparison]  # a statement without an answer
                return "done\n"
            if form == "table":
                return f"{as_box(relation)}\n"
            return _rows_as(form, relation.columns, relation.fetchall())
    except duckdb.Error as error:
        message = f"the query was refused: {error}"
        raise InputError(message) from None


def as_box(relation: duckdb.DuckDBPyRelation) -> str:
    """The rows as a table for a terminal, levels as text: the type of an enumeration would fill the heading."""
    kinds = [str(kind) for kind in relation.types]
    if not any(kind.startswith("ENUM") for kind in kinds):
        return str(relation)
    columns = ", ".join(
        f"cast(#{place} as varchar) as {quoted(name)}" if kind.startswith("ENUM") else f"#{place} as {quoted(name)}"
        for place, (name, kind) in enumerate(zip(relation.columns, kinds, strict=True), start=1)
    )
    return str(relation.project(columns))


def _rows_as(form: str, names: list[str], rows: list[tuple[Any, ...]]) -> str:
    if form == "json":
        return json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=2, default=str) + "\n"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([[_inert(value) for value in row] for row in rows])
    return text.getvalue()


def _inert(value: Any) -> Any:
    # A spreadsheet would run text that begins like a formula; the names come from outside.
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return value
