"""Reads the columns of a file from its first lines, without loading it, and checks the required columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

import duckdb

from csm_core.errors import SourceError
from csm_core.ingest.parquet_files import described
from csm_core.ingest.raw_tables import RawTable
from csm_core.ingest.read_settings import DEFAULT_READING, Reading
from csm_core.ingest.source_files import CSV, PARQUET, describe_file, require_columns
from csm_core.ingest.text_loader import SETTING, require_reading
from csm_core.ingest.text_reader import Row, read_header, read_lines

_RECORDS = 1000


def columns_of(path: Path, reading: Reading = DEFAULT_READING, *, adjustable: bool = False) -> tuple[list[str], bool]:
    """Return the columns of a file, and whether the list is complete: of JSON lines only the first records are read.

    Raises SourceError for a file that cannot be read or does not match the format in its name.
    """
    file = describe_file(path)
    if file.form == CSV:
        return read_header(path, reading.delimiter, setting=SETTING if adjustable else "").names, True
    if file.form == PARQUET:
        with duckdb.connect() as connection:
            columns, _ = described(connection, str(path))
        return [column.name for column in columns], True
    return _json_keys(path)


def require_files(files: Sequence[tuple[RawTable, Path]], readings: Mapping[str, Reading] | None = None) -> None:
    """Raise SourceError for the first file that lacks a required column; ``readings`` are by table name."""
    for table, path in files:
        reading = (readings or {}).get(table.name, DEFAULT_READING)
        names, all_known = columns_of(path, reading, adjustable=table.adjustable)
        if not all_known or (not names and describe_file(path).form not in (CSV, PARQUET)):
            continue
        if table.records and not table.snapshot and describe_file(path).form not in (CSV, PARQUET):
            require_columns(str(path), table.required, names, exactly=True)
        else:
            require_reading(str(path), table, reading, names)


def _json_keys(path: Path) -> tuple[list[str], bool]:
    if path.stat().st_size == 0:
        message = f"{path}: the file is empty. Remove it, or export it again."
        raise SourceError(message)
    keys: dict[str, None] = {}
    first = list(islice(read_lines(path), _RECORDS + 1))
    broken = 0
    for one in first[:_RECORDS]:
        record: Any = None
        if isinstance(one, Row):
            try:
                record = json.loads(one.values[0] or "")
            except ValueError:
                record = None
        if isinstance(record, dict):
            keys |= dict.fromkeys(cast("dict[str, Any]", record))
        else:
            broken += 1
    text = (first[0].values[0] or "") if first and isinstance(first[0], Row) else ""
    if broken and not keys and text.lstrip("\ufeff \t").startswith("["):
        message = f"{path}: a JSON array; expected JSON lines, one object on each line"
        raise SourceError(message)
    return sorted(keys), len(first) <= _RECORDS and not broken
