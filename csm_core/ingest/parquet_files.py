"""Reads Parquet files with DuckDB: their columns, the stored types, and errors for damaged files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import duckdb

from csm_core.errors import SourceError
from csm_core.ingest.column_names import require_distinct
from csm_core.ingest.source_files import SourceFile, first_line, glob_escaped
from csm_core.warehouse.models import quoted as sql_quoted

OPTIONS = "hive_partitioning = false, binary_as_string = true"
FILE_ROW_NUMBER = "file_row_number"
_NESTED = ("STRUCT", "MAP", "UNION", "VARIANT", "JSON", "GEOMETRY")


class ParquetColumn:
    """A column of a Parquet file: nested values become JSON text, other values keep their type."""

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        nested = kind.endswith("]") or kind.startswith(_NESTED)
        as_text = nested or kind.startswith("ENUM") or kind in {"NULL", '"NULL"'}
        self.raw_type = "VARCHAR" if as_text else kind
        value = sql_quoted(name)
        self.expression = f"cast(to_json({value}) as varchar)" if nested else value

    @property
    def signature(self) -> str:
        """Name and type as one string."""
        return f"{self.name}\0{self.kind}"


def described(connection: duckdb.DuckDBPyConnection, path: str) -> tuple[list[ParquetColumn], int]:
    """Return the columns of a file and its number of rows.

    Raises SourceError for a file that is not Parquet, and for two columns that are the same column in the warehouse.
    """
    name = [glob_escaped(path)]
    try:
        columns = connection.execute(f"describe select * from read_parquet(?, {OPTIONS})", name).fetchall()
        counted = connection.execute("select sum(num_rows) from parquet_file_metadata(?)", name).fetchone()
        fields = connection.execute("select name, num_children from parquet_schema(?)", name).fetchall()
    except duckdb.Error as error:
        message = f"{path}: not a readable Parquet file: {first_line(error)}"
        raise SourceError(message) from None
    # DuckDB renames columns that differ only in case: the schema has the original names.
    require_distinct(path, _top_level([(str(field), children) for field, children in fields]))
    return [ParquetColumn(str(column), str(kind)) for column, kind, *_ in columns], int(counted[0]) if counted else 0


def row_number(columns: Iterable[str]) -> tuple[str, str]:
    """Return the expression for the number of a row in its file, from 1, and the reader option that it needs.

    DuckDB adds a column ``file_row_number``, and raises an error for a file with a column of that name. Such a file
    must be read separately: its rows are counted in the order of the file.
    """
    if FILE_ROW_NUMBER in {name.lower() for name in columns}:
        return "row_number() over ()", ""
    return f"{FILE_ROW_NUMBER} + 1", f", {FILE_ROW_NUMBER} = true"


def unused_name(name: str, columns: Iterable[str]) -> str:
    """Return ``name`` with underscores appended until no column of the file has this name."""
    taken = {column.lower() for column in columns}
    while name in taken:
        name += "_"
    return name


def _top_level(fields: Sequence[tuple[str, int | None]]) -> list[str]:
    """Return the names of the columns in a schema that lists every field before its children, the root first."""
    names: list[str] = []
    inside = 0
    for name, children in fields[1:]:
        if inside:
            inside -= 1
        else:
            names.append(name)
        inside += children or 0
    return names


def damage(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[SourceFile],
    columns: Sequence[ParquetColumn],
    error: duckdb.Error,
) -> str:
    """Return the message about the unreadable file. Each file is read separately, since DuckDB does not name it."""
    values = ", ".join(sql_quoted(column.name) for column in columns)
    # The transaction of the load has ended with the error.
    with connection.cursor() as cursor:
        for file in files:
            try:
                cursor.execute(f"select max(hash({values})) from read_parquet(?, {OPTIONS})", [glob_escaped(file.name)])
            except duckdb.Error as own:
                return f"{file.path}: the Parquet file is damaged: {first_line(own)}. Transfer or export it again."
    return (
        f"{files[0].path}, or another of {len(files)} files with the same columns, cannot be read: {first_line(error)}"
    )
