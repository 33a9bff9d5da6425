"""Raw tables: what is asked of the files that fill one, what a load did to it, and the ledger of all loads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import duckdb

from csm_core.ingest.read_settings import NULL_VALUES
from csm_core.warehouse.models import literal


class Log(Protocol):
    """Where the loader says what it does: a structlog logger, or anything with these methods."""

    def debug(self, event: str, **fields: object) -> object:
        """Something that only matters when looking for a fault."""
        ...

    def info(self, event: str, **fields: object) -> object:
        """Something that a person may want to know."""
        ...

    def warning(self, event: str, **fields: object) -> object:
        """Something that a person should look at."""
        ...


Opened = tuple[tuple[str, tuple[str, ...]], ...]
"""Columns beside a record, each with the JSON paths of which the first that is there, and not empty, fills it."""


@dataclass(frozen=True)
class JsonText:
    """A path of a record that holds an object, which files may write as JSON text.

    ``where`` restricts the rows by the opened columns. A path that ``may_be_text`` is read as JSON only if the text
    begins with a brace.
    """

    path: str
    where: str = ""
    may_be_text: bool = False


@dataclass(frozen=True)
class RawTable:
    """A raw table and what is asked of the files that fill it.

    ``required`` columns have to be in every file that has records; ``optional`` ones are added as nulls, so that the
    staging model may name them whether or not a file has them. In a ``snapshot`` table a file is the whole state, not
    a batch of records: a changed file takes the place of its earlier version, row for row.

    A table of ``records`` keeps each record whole instead, as JSON text in ``record``, with the name of its source in
    ``_source``: for vendors' records, whose keys are many and change. ``opened`` are columns that it has beside, for
    records of which there are too many to look into each again and again.

    ``json_texts`` are objects of the records that may be JSON text; see ``csm_core.ingest.embedded_json``.

    ``null_values`` are texts that mean null in text files when they are not quoted. Files of an ``adjustable``
    table are read by the settings of their source.
    """

    system: str
    name: str
    entity: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    snapshot: bool = False
    mostly_distinct: tuple[str, ...] = ()
    records: bool = False
    opened: Opened = ()
    json_texts: tuple[JsonText, ...] = ()
    null_values: tuple[str, ...] = NULL_VALUES
    adjustable: bool = False

    @property
    def table(self) -> str:
        """The schema-qualified table."""
        return f"raw.{self.system}__{self.name}"


def opened_columns(opened: Opened, record: str) -> list[str]:
    """SELECT items that open a record, given as an expression of JSON text, into columns of text."""
    paths = [path for _, candidates in opened for path in candidates]
    # The same expression each time: DuckDB reads the record once for all of them.
    found = f"json_extract_string({record}, [{', '.join(literal(path) for path in paths)}])"
    columns: list[str] = []
    for name, candidates in opened:
        values = ", ".join(f"nullif({found}[{paths.index(path) + 1}], '')" for path in candidates)
        columns.append(f"coalesce({values}) as {name}")
    return columns


@dataclass(frozen=True)
class LoadResult:
    """What a load did to one raw table; ``read`` = ``loaded`` + ``unparseable``. Nothing new: ``load_id`` is None."""

    system: str
    entity: str
    table: str
    load_id: int | None
    files: tuple[str, ...]
    files_unchanged: int
    read: int
    loaded: int
    unparseable: int
    seconds: float


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the ledger and the table of unparseable rows where they are not there yet."""
    connection.execute(
        """
        create table if not exists raw.loads (
            load_id bigint not null, system varchar not null, entity varchar not null, raw_table varchar not null,
            path varchar not null, file_size bigint not null, file_mtime_ns bigint not null,
            fingerprint varchar not null, rows_read bigint not null, loaded bigint not null, rejected bigint not null,
            loaded_at timestamp not null, status varchar not null
        );
        create table if not exists raw.unparseable_rows (
            load_id bigint not null, system varchar not null, entity varchar not null, raw_table varchar not null,
            source_file varchar not null, source_line bigint not null, reason varchar not null, detail varchar,
            raw_text varchar, loaded_at timestamp not null
        );
        create table if not exists run.staged_loads (
            entity varchar not null, system varchar not null, load_id bigint not null, model_hash varchar not null,
            staged_at timestamp not null
        )
        """
    )
