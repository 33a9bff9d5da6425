"""Describes raw tables: the requirements for their files, and the result of a load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from csm_core.ingest.read_settings import NULL_VALUES
from csm_core.warehouse.models import literal


class Log(Protocol):
    """The interface of the loader's logger: a structlog logger, or any object with these methods."""

    def debug(self, event: str, **fields: object) -> object:
        """Log an event for debugging."""
        ...

    def info(self, event: str, **fields: object) -> object:
        """Log an event for information."""
        ...

    def warning(self, event: str, **fields: object) -> object:
        """Log an event that needs attention."""
        ...


Opened = tuple[tuple[str, tuple[str, ...]], ...]
"""Columns extracted from a record, each with its JSON paths; the first non-empty value fills the column."""


@dataclass(frozen=True)
class JsonText:
    """A path of a record with an object, which files may write as JSON text.

    ``where`` restricts the rows by the extracted columns. A path that ``may_be_text`` is parsed only if the text begins
    with a brace.
    """

    path: str
    where: str = ""
    may_be_text: bool = False


@dataclass(frozen=True)
class RawTable:
    """A raw table and the requirements for its files.

    ``required`` columns must be in every file with records; ``optional`` columns are added as nulls, so that the
    staging model can read them even if no file has them. In a ``snapshot`` table a file is the complete state, not a
    batch of records: a changed file replaces its earlier version completely.

    A table of ``records`` stores each record as JSON text in ``record``, with the name of its source in ``_source``:
    for records of vendors, which have many and changing keys. ``opened`` are extracted columns, so that queries on
    many records do not parse the JSON repeatedly.

    ``json_texts`` are objects of the records that may be JSON text; see ``csm_core.ingest.embedded_json``.

    ``null_values`` are texts that mean null in text files when they are not quoted. Files of an ``adjustable``
    table are read with the settings of their source.
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
    """Return SELECT items that extract text columns from a record, an expression of JSON text."""
    paths = [path for _, candidates in opened for path in candidates]
    # The same expression for all columns: DuckDB parses the record once.
    extracted = f"json_extract_string({record}, [{', '.join(literal(path) for path in paths)}])"
    columns: list[str] = []
    for name, candidates in opened:
        values = ", ".join(f"nullif({extracted}[{paths.index(path) + 1}], '')" for path in candidates)
        columns.append(f"coalesce({values}) as {name}")
    return columns


@dataclass(frozen=True)
class LoadResult:
    """The result of a load for one raw table; ``read`` = ``loaded`` + ``unparseable``. No new file: no ``load_id``."""

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
