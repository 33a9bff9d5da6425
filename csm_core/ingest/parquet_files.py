"""Parquet files in DuckDB: their columns, how each is stored, and which of several files is damaged."""

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
    """One column of a Parquet file: nested values become JSON text, everything else keeps its type."""

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
        """Name and type as one text."""
        return f"{self.name}\0{self.kind}"


def described(connection: duckdb.DuckDBPyConnection, path: str) -> tuple[list[ParquetColumn], int]:
    """The columns of a file and how many rows it has.

    Raises SourceError for a file that is not Parquet, and for two columns that are the same in the warehouse.
    """
    name = [glob_escaped(path)]
    try:
        columns = connection.execute(f"describe select * from read_parquet(?, {OPTIONS})", name).fetchall()
        counted = connection.execute("select sum(num_rows) from parquet_file_metadata(?)", name).fetchone()
        fields = connection.execute("select name, num_children from parquet_schema(?)", name).fetchall()
    except duckdb.Error as error:
        message = f"{path}: not a readable Parquet file: {first_line(error)}"
        raise SourceError(message) from None
    # DuckDB renames a column whose name differs from another only in case: the schema has the original names.
    require_distinct(path, _top_level([(str(field), children) for field, children in fields]))
    return [ParquetColumn(str(column), str(kind)) for column, kind, *_ in columns], int(counted[0]) if counted else 0


def row_number(columns: Iterable[str]) -> tuple[str, str]:
    """The number of a row in its file, counted from 1, as an expression, and the option of the reader that it needs.

    DuckDB adds a column ``file_row_number`` and raises an error for a file that has a column of that name. Such a file
    must be read alone: its rows are counted as they are read, in the order of the file.
    """
    if FILE_ROW_NUMBER in {name.lower() for name in columns}:
        return "row_number() over ()", ""
    return f"{FILE_ROW_NUMBER} + 1", f", {FILE_ROW_NUMBER} = true"


def unused_name(name: str, columns: Iterable[str]) -> str:
    """``name``, with as many underscores after it as no column of the file has."""
    taken = {column.lower() for column in columns}
    while name in taken:
        name += "_"
    return name


def _top_level(fields: Sequence[tuple[str, int | None]]) -> list[str]:
    """The names of the columns in a schema that lists every field before its children, the root first."""
    found: list[str] = []
    inside = 0
    for name, children in fields[1:]:
        if inside:
            inside -= 1
        else:
            found.append(name)
        inside += children or 0
    return found


def damage(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[SourceFile],
    columns: Sequence[ParquetColumn],
    error: duckdb.Error,
) -> str:
    """The message about the file that cannot be read. Each is read alone, since DuckDB does not name it."""
    values = ", ".join(sql_quoted(column.name) for column in columns)
    # The transaction of the load has ended with the error.
    with connection.cursor() as cursor:
        for file in files:
            try:
                cursor.execute(f"select max(hash({values})) from read_parquet(?, {OPTIONS})", [glob_escaped(file.name)])
            except duckdb.Error as own:
                return f"{file.path}: a damaged Parquet file: {first_line(own)}. Transfer or write it again."
    return f"{files[0].path}, or one of {len(files)} such files: reading failed: {first_line(error)}"
