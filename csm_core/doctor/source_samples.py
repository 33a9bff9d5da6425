"""Copies of the first records of a source's files, in a separate folder, for `csm doctor`.

The copies have the names and formats of the files, so that the loader reads them like the files. A small file is copied
completely. If a file does not have the format that the loader expects (other delimiters, missing columns, JSON array),
the copy is rewritten, so that the rest of it is examined as well. The files of a source are never changed.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import duckdb

from csm_core.errors import SourceError
from csm_core.ingest.read_settings import delimiter_of
from csm_core.ingest.source_files import CSV, PARQUET, first_line, form_of, glob_escaped
from csm_core.ingest.text_files import GZIP, ZSTD, opened
from csm_core.ingest.text_reader import separator_line
from csm_core.warehouse.models import literal
from csm_core.warehouse.models import quoted as sql_quoted

SAMPLE_RECORDS = 1000
WHOLE_BYTES = 256 * 1024
"""A file of at most this size is copied completely."""

FILES_OF_ONE = 100
"""The number of files that are examined per entity or table."""

_ALL_RECORDS = 200_000
_ALL_WHOLE_BYTES = 64 * 1024 * 1024
_ALL_COMPRESSED_BYTES = 512 * 1024 * 1024
_SAMPLE_BYTES = 8 * 1024 * 1024
_COMPRESSED_BYTES = 64 * 1024 * 1024
_CHUNK = 1024 * 1024
_DELIMITERS = (";", "\t", "|", ",")


@dataclass
class Sample:
    """The first records of one file. ``whole`` is true if the copy has all records of the file.

    ``added`` are required columns that are missing in the file and null in the copy; ``guessed`` are optional columns
    that the copy has from a column with another name.
    """

    path: Path
    copy: Path
    whole: bool
    added: set[str] = field(default_factory=set[str])
    guessed: set[str] = field(default_factory=set[str])

    @property
    def form(self) -> str:
        """The format of file and copy."""
        return form_of(self.copy) or CSV


@dataclass(frozen=True)
class SampleLimits:
    """Limits for one file: records to read, and sizes up to which it is copied or decompressed completely."""

    records: int = SAMPLE_RECORDS
    whole_bytes: int = WHOLE_BYTES
    compressed_bytes: int = _COMPRESSED_BYTES


_USUAL = SampleLimits()


def take_sample(connection: duckdb.DuckDBPyConnection, path: Path, copy: Path, limits: SampleLimits = _USUAL) -> Sample:
    """Copy the first records of a file. Raises SourceError for a file that cannot be read or is cut short."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        if path.stat().st_size <= limits.whole_bytes:
            shutil.copyfile(path, copy)
            return Sample(path, copy, whole=True)
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror or error}"
        raise SourceError(message) from None
    if form_of(path) == PARQUET:
        return _parquet_sample(connection, path, copy, limits.records)
    head, whole = _first_lines(path, limits, quoted=form_of(path) == CSV)
    write_text(copy, head)
    return Sample(path, copy, whole)


def table_sample(
    connection: duckdb.DuckDBPyConnection, table: str, path: Path, copy: Path, records: int = SAMPLE_RECORDS
) -> Sample:
    """Copy the first records of a table, given as a quoted name, to a Parquet file; ``path`` names it in messages."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    connection.execute(f"copy (select * from {table} limit {records}) to {literal(str(copy))} (format parquet)")
    counted = connection.execute(f"select count(*) from (select 1 from {table} limit {records + 1})").fetchone()
    return Sample(path, copy, whole=counted is not None and int(counted[0]) <= records)


def _parquet_sample(connection: duckdb.DuckDBPyConnection, path: Path, copy: Path, records: int) -> Sample:
    name = glob_escaped(str(path))
    try:
        counted = connection.execute("select sum(num_rows) from parquet_file_metadata(?)", [name]).fetchone()
        connection.execute(
            f"copy (select * from read_parquet({literal(name)}, hive_partitioning = false) limit {records}) "
            f"to {literal(str(copy))} (format parquet)"
        )
    except duckdb.Error as error:
        message = f"{path}: not a readable Parquet file: {first_line(error)}"
        raise SourceError(message) from None
    return Sample(path, copy, whole=counted is not None and int(counted[0] or 0) <= records)


def _first_lines(path: Path, limits: SampleLimits, *, quoted: bool) -> tuple[bytes, bool]:
    """The first lines of a text file, and whether these are all lines. A record with a quoted line break is not cut."""
    head = bytearray()
    ended = False
    lines = limits.records + 1
    with opened(path) as stream:
        while len(head) <= _SAMPLE_BYTES:
            chunk = stream.read(_CHUNK)
            head += chunk
            ended = not chunk
            if ended or head.count(b"\n") > lines:
                break
        if path.name.lower().endswith((GZIP, ZSTD)) and path.stat().st_size <= limits.compressed_bytes:
            # A truncated compressed file is only detected at its end.
            while not ended and stream.read(_CHUNK):
                pass
    end = _end_of_sample(bytes(head), lines, quoted=quoted)
    if ended and end >= len(head):
        return bytes(head), True
    return bytes(head[:end]), False


def _end_of_sample(head: bytes, lines: int, *, quoted: bool) -> int:
    mark = b"\n" if b"\n" in head else b"\r"
    end = closed = position = quotes = 0
    for _ in range(lines):
        following = head.find(mark, position)
        if following < 0:
            return len(head) if len(head) <= _SAMPLE_BYTES or not end else (closed or end)
        quotes += head.count(b'"', position, following)
        end = position = following + 1
        if quotes % 2 == 0:
            closed = end
    return closed if quoted and closed else end


def write_text(copy: Path, text: bytes) -> None:
    """Write a copy, compressed as its name states."""
    name = copy.name.lower()
    if name.endswith(GZIP):
        with gzip.open(copy, "wb", compresslevel=1) as stream:
            stream.write(text)
    elif name.endswith(ZSTD):
        import pyarrow

        with pyarrow.CompressedOutputStream(str(copy), "zstd") as stream:
            stream.write(text)
    else:
        copy.write_bytes(text)


def text_of(sample: Sample) -> str | None:
    """The text of a copy, with bytes that are not UTF-8 as surrogates; None for a file that is not text in UTF-8.

    A file that cannot be read has no text here; the loader reports it.
    """
    try:
        with opened(sample.copy) as stream:
            content = stream.read()
    except SourceError:
        return None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:_CHUNK]:
        return None
    return content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="surrogateescape")


# -- delimiters ---------------------------------------------------------------------------------------------------


def delimiter_of_sample(sample: Sample) -> str:
    """The delimiter in the first line of a CSV file, such as ``sep=;``, else the one for its file name."""
    stated = separator_line(text_of(sample) or "") if sample.form == CSV else None
    return stated[1] if stated else delimiter_of(sample.path)


def _table_of(text: str) -> str:
    """The text of a CSV file without a first line such as ``sep=;``."""
    stated = separator_line(text)
    return text[stated.end() :] if stated else text


def separator_of(sample: Sample, expected: str) -> str | None:
    """The delimiter of a CSV file, if it is not the expected one."""
    text = _table_of(text_of(sample) or "")
    first = text.lstrip("\r\n").split("\n", 1)[0].rstrip("\r")
    if not first or _width(first, expected) > 1:
        return None
    return max((one for one in _DELIMITERS if _width(first, one) > 1), key=lambda one: _width(first, one), default=None)


def _width(line: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=delimiter), []))
    except csv.Error:
        return 0


def separate(sample: Sample, actual: str, expected: str) -> None:
    """Rewrite the copy with the delimiter that the loader expects."""
    _rewrite_csv(sample, actual, expected, lambda row, _: row)


# -- columns ------------------------------------------------------------------------------------------------------


def columns_of_sample(connection: duckdb.DuckDBPyConnection, sample: Sample, delimiter: str) -> list[str]:
    """The names of the columns or keys of a file; empty if they cannot be read or the file has no records."""
    if sample.form == PARQUET:
        described: list[tuple[str, ...]] = []
        with suppress(duckdb.Error):
            described = connection.execute(
                "describe select * from read_parquet(?, hive_partitioning = false)", [glob_escaped(str(sample.copy))]
            ).fetchall()
        return [str(name) for name, *_ in described]
    text = text_of(sample)
    if text is None:
        return []
    if sample.form == CSV:
        with suppress(csv.Error):
            text = _table_of(text)
            return [name.strip() for name in next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])]
        return []
    return list(dict.fromkeys(key for record in _json_records(text) for key in record))


def values_of_sample(
    connection: duckdb.DuckDBPyConnection, sample: Sample, delimiter: str, column: str, limit: int = 200
) -> list[str]:
    """The non-empty values of one column as text."""
    values: list[str] = []
    if sample.form == PARQUET:
        rows = connection.execute(
            f"select cast({sql_quoted(column)} as varchar) from read_parquet(?, hive_partitioning = false) limit ?",
            [glob_escaped(str(sample.copy)), limit],
        ).fetchall()
        values = [str(value) for (value,) in rows if value is not None]
    elif (text := text_of(sample)) is not None and sample.form == CSV:
        with suppress(csv.Error, StopIteration):
            rows = csv.reader(io.StringIO(_table_of(text), newline=""), delimiter=delimiter)
            place = [name.strip() for name in next(rows)].index(column)
            values = [row[place] for row, _ in zip(rows, range(limit), strict=False) if place < len(row)]
    elif text is not None:
        records = (record for record, _ in zip(_json_records(text), range(limit), strict=False))
        values = [str(record[column]) for record in records if record.get(column) is not None]
    return [value for value in values if value.strip()]


def rename_and_add(
    connection: duckdb.DuckDBPyConnection,
    sample: Sample,
    delimiter: str,
    renamed: Mapping[str, str],
    added: Sequence[str],
) -> None:
    """Rewrite the copy with renamed columns and with added columns that are null."""
    if sample.form == CSV:
        width = len(columns_of_sample(connection, sample, delimiter))

        def _changed(row: list[str], number: int) -> list[str]:
            if number == 0:
                return [*(renamed.get(name.strip(), name) for name in row), *added]
            # A row with a wrong number of values is unchanged; the loader rejects it.
            return [*row, *([""] * len(added) if len(row) == width else [])]

        _rewrite_csv(sample, delimiter, delimiter, _changed)
    elif sample.form == PARQUET:
        names = columns_of_sample(connection, sample, delimiter)
        values = [f"{sql_quoted(name)} as {sql_quoted(renamed.get(name, name))}" for name in names]
        values += [f"cast(null as varchar) as {sql_quoted(name)}" for name in added]
        target = sample.copy.with_name(f".{sample.copy.name}.new")
        connection.execute(
            f"copy (select {', '.join(values)} from read_parquet({literal(glob_escaped(str(sample.copy)))}, "
            f"hive_partitioning = false)) to {literal(str(target))} (format parquet)"
        )
        target.replace(sample.copy)
    else:
        lines: list[str] = []
        for line in (text_of(sample) or "").splitlines():
            record = object_of(line)
            if record is None:
                lines.append(line)
                continue
            changed = {renamed.get(key, key): value for key, value in record.items()}
            lines.append(json.dumps({**dict.fromkeys(added), **changed}))
        write_text(sample.copy, "\n".join([*lines, ""]).encode("utf-8", errors="surrogateescape"))


def _rewrite_csv(sample: Sample, actual: str, expected: str, change: Any) -> None:
    text = text_of(sample)
    if text is None:
        return
    table = _table_of(text)
    target = io.StringIO(newline="")
    target.write(text.removesuffix(table))
    written = csv.writer(target, delimiter=expected, lineterminator="\n")
    try:
        for number, row in enumerate(csv.reader(io.StringIO(table, newline=""), delimiter=actual)):
            written.writerow(change(row, number)) if row else target.write("\n")
    except csv.Error:
        return
    write_text(sample.copy, target.getvalue().encode("utf-8", errors="surrogateescape"))


def _json_records(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        record = object_of(line)
        if record is not None:
            yield record


def object_of(line: str) -> dict[str, Any] | None:
    """The JSON object in a line; None if the line is not a JSON object."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for samples, which only this user can read."""
    return tempfile.TemporaryDirectory(prefix="csm-doctor-", ignore_cleanup_errors=True)


@dataclass
class FolderSample:
    """Samples of the files of a folder, the errors of unreadable files, and the number of files left out."""

    samples: list[Sample] = field(default_factory=list[Sample])
    errors: list[SourceError] = field(default_factory=list[SourceError])
    left_out: dict[str, int] = field(default_factory=dict[str, int])


def sampled_folder(
    connection: duckdb.DuckDBPyConnection, folder: Path, files: Sequence[Path], copies: Path
) -> FolderSample:
    """Samples of files below a folder, under the same relative names.

    If an entity or table has many files, some of them are chosen and fewer records of each are read.
    """
    copies.mkdir(parents=True, exist_ok=True)
    result = FolderSample()
    groups: dict[str, list[Path]] = {}
    for path in files:
        groups.setdefault(Path(os.path.relpath(path, folder)).parts[0], []).append(path)
    chosen = [path for group in groups.values() for path in _spread(group)]
    share = max(1, len(chosen))
    limits = SampleLimits(
        records=max(20, min(SAMPLE_RECORDS, _ALL_RECORDS // share)),
        whole_bytes=min(WHOLE_BYTES, _ALL_WHOLE_BYTES // share),
        compressed_bytes=min(_COMPRESSED_BYTES, _ALL_COMPRESSED_BYTES // share),
    )
    for path in chosen:
        try:
            result.samples.append(take_sample(connection, path, copies / os.path.relpath(path, folder), limits))
        except SourceError as error:
            result.errors.append(error)
    for name, group in groups.items():
        if len(group) > FILES_OF_ONE:
            result.left_out[name] = len(group) - FILES_OF_ONE
            for sample in result.samples:
                sample.whole = sample.whole and sample.path not in group
    return result


def _spread(files: Sequence[Path]) -> list[Path]:
    """At most ``FILES_OF_ONE`` of the files, including the first and the last."""
    if len(files) <= FILES_OF_ONE:
        return list(files)
    last = len(files) - 1
    return [files[place * last // (FILES_OF_ONE - 1)] for place in range(FILES_OF_ONE)]
