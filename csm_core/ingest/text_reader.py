"""The strict parser: reads text files line by line, for files that the fast reader cannot parse reliably.

DuckDB's reader parses clean files at full speed. A file with an irregularity (an invalid row, a quoted line break,
mixed line ends, a byte that is not UTF-8) is parsed here instead, so that every physical line is either part of a
record or rejected with its number and text.
"""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from csm_core.contract import Reason
from csm_core.errors import SourceError
from csm_core.ingest.column_names import require_distinct, shown
from csm_core.ingest.read_settings import delimiter_of
from csm_core.ingest.text_files import CHUNK, opened
from csm_core.system.text_table import counted
from csm_core.warehouse.text_macros import BLANKS

MAX_RECORD_BYTES = 64 * 1024 * 1024
"""The maximum size of a record; a longer record is rejected with the start of its text."""

MAX_RECORD_LINES = 20_000
"""The maximum number of lines in a quoted value; beyond it, the quote counts as unclosed."""

KEPT_OF_TOO_LONG = 64 * 1024

_BOM = b"\xef\xbb\xbf"
_SEPARATOR_LINE = re.compile(r'"?sep=([^"\r\n])"?(?:\r\n|\n|\r)', re.IGNORECASE)
_OPEN_QUOTE = "unexpected end of data"
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}


@dataclass(frozen=True)
class RejectedLine:
    """A rejected line (or record): its number, the reason, and its text, which may be truncated."""

    line: int
    reason: Reason
    detail: str
    text: str


@dataclass(frozen=True)
class Row:
    """A record: the number of its first line, and its values (``None`` for empty values)."""

    line: int
    values: tuple[str | None, ...]


@dataclass(frozen=True)
class CsvHeader:
    """The column names of a CSV file, its separator, and the line number of the header."""

    names: list[str]
    delimiter: str
    line: int


def separator_line(text: str) -> re.Match[str] | None:
    """Match the first line of a text, with its line end, if it states the separator, as in Excel: ``sep=;``."""
    return _SEPARATOR_LINE.match(text)


def read_header(path: Path, delimiter: str | None = None, *, setting: str = "") -> CsvHeader:
    """Read and validate the column names of a CSV file, without surrounding blanks and byte-order mark.

    The default of ``delimiter`` is a first line such as ``sep=;``, or depends on the name of the file.

    Raises SourceError for an empty file, another encoding, a blank header, duplicate names, and another separator;
    ``setting`` describes where to set the separator.
    """
    with opened(path) as stream:
        head = stream.read(CHUNK)
    if not head:
        message = f"{path}: the file is empty; expected at least a header line with column names"
        raise SourceError(message)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        message = f"{path}: encoded as UTF-16; save it as UTF-8"
        raise SourceError(message)
    lines = head.removeprefix(_BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n", 2)
    stated = separator_line(lines[0].decode("utf-8", errors="replace") + "\n") if len(lines) > 1 else None
    line = 2 if stated else 1
    first = lines[line - 1]
    separator = delimiter or (stated[1] if stated else delimiter_of(path))
    try:
        text = first.decode("utf-8")
    except UnicodeDecodeError:
        message = f"{path}: the header line is not UTF-8; save the file as UTF-8"
        raise SourceError(message) from None
    if "\0" in text:
        message = f"{path}: not a CSV file: its first line contains zero bytes"
        raise SourceError(message)
    try:
        cells = next(csv.reader([text], delimiter=separator, strict=True), [])
    except csv.Error as error:
        message = f"{path}: the header line cannot be parsed: {error}"
        raise SourceError(message) from None
    names = [cell.strip().removeprefix("\ufeff").strip() for cell in cells]
    if not any(names):
        message = f"{path}: {'the second line' if stated else 'the first line'} is blank; expected the column names"
        raise SourceError(message)
    if len(names) == 1:
        for other, called in _DELIMITERS.items():
            if other in names[0]:
                value = "tab" if other == "\t" else f'"{other}"'
                message = (
                    f"{path}: only one column, {shown(names[0])}: the values are separated by {called}s. "
                    f"Save the file with {_DELIMITERS.get(separator, repr(separator))}s as separators"
                    f"{f', or set `delimiter: {value}` {setting}' if setting else ''}."
                )
                raise SourceError(message)
    named = [name or f"column_{position}" for position, name in enumerate(names, start=1)]
    require_distinct(str(path), named)
    return CsvHeader(named, separator, line)


def read_lines(path: Path) -> Iterator[Row | RejectedLine]:
    """Yield the lines of a text as rows with one value, without line ends and blank lines."""
    for number, raw in _numbered_lines(path):
        line = _decoded(number, raw)
        if isinstance(line, RejectedLine):
            yield line
        elif line.strip():
            yield Row(number, (line.rstrip("\r\n"),))


def read_rows(
    path: Path, width: int, *, delimiter: str = ",", null_values: Collection[str] = (), header_line: int = 1
) -> Iterator[Row | RejectedLine]:
    """Yield the records of a CSV file after its header, each with ``width`` values, and the rejected lines.

    Empty values and unquoted ``null_values``, with or without surrounding blanks, are null.

    A quoted value may span lines. If the joined lines are not a valid record, only the first line is rejected and
    parsing resumes at the next: a stray quote affects one line, not the rest of the file.
    """
    csv.field_size_limit(2 * MAX_RECORD_BYTES)
    split = _Splitter(width, delimiter, frozenset(null_values))
    lines = islice(_numbered_lines(path), header_line, None)
    waiting: deque[tuple[int, bytes]] = deque()
    while True:
        first = waiting.popleft() if waiting else next(lines, None)
        if first is None:
            return
        number, raw = first
        text = _decoded(number, raw)
        if isinstance(text, RejectedLine):
            yield text
            continue
        if not text.strip("\r\n"):
            continue
        outcome = split.parsed(number, text)
        if isinstance(outcome, RejectedLine) and outcome.detail == _OPEN_QUOTE:
            taken, record = _to_closing_quote(text, waiting, lines)
            longer = split.parsed(number, record)
            if isinstance(longer, Row):
                outcome = longer
            else:
                waiting.extendleft(reversed(taken))
                outcome = RejectedLine(number, Reason.UNPARSEABLE_ROW, "a quote is not closed", outcome.text)
        yield outcome


def _to_closing_quote(
    text: str, waiting: deque[tuple[int, bytes]], lines: Iterator[tuple[int, bytes]]
) -> tuple[list[tuple[int, bytes]], str]:
    taken: list[tuple[int, bytes]] = []
    parts = [text]
    size, quotes = len(text), text.count('"')
    while quotes % 2 and len(taken) < MAX_RECORD_LINES and size <= MAX_RECORD_BYTES:
        following = _until_quote(waiting, lines, MAX_RECORD_LINES - len(taken), MAX_RECORD_BYTES - size)
        if not following:
            break
        taken += following
        joined = b"".join(line for _, line in following)
        size += len(joined)
        quotes += joined.count(b'"')
        try:
            parts.append(joined.decode("utf-8"))
        except UnicodeDecodeError:
            break
    return taken, "".join(parts)


def _until_quote(
    waiting: deque[tuple[int, bytes]], lines: Iterator[tuple[int, bytes]], max_lines: int, max_bytes: int
) -> list[tuple[int, bytes]]:
    following: list[tuple[int, bytes]] = []
    size = 0
    while len(following) < max_lines and size <= max_bytes:
        line = waiting.popleft() if waiting else next(lines, None)
        if line is None:
            break
        following.append(line)
        size += len(line[1])
        if b'"' in line[1]:
            break
    return following


class _Splitter:
    """Splits records into values."""

    def __init__(self, width: int, delimiter: str, null_values: frozenset[str]) -> None:
        self._width = width
        self._delimiter = delimiter
        self._null_values = null_values

    def parsed(self, number: int, record: str) -> Row | RejectedLine:
        """Return the row of a record, or the rejected line."""
        text = record.rstrip("\r\n")
        try:
            rows = list(csv.reader(io.StringIO(record, newline=""), delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            return RejectedLine(number, Reason.UNPARSEABLE_ROW, str(error), text)
        if len(rows) != 1:
            return RejectedLine(number, Reason.UNPARSEABLE_ROW, f"{len(rows)} rows on one line", text)
        values = rows[0]
        if len(values) != self._width:
            return RejectedLine(
                number,
                Reason.UNPARSEABLE_ROW,
                f"{counted(len(values), 'value')} for {counted(self._width, 'column')}",
                text,
            )
        nulls = self._null_values
        if nulls:
            means_null = [value in nulls or value.strip(BLANKS) in nulls for value in values]
            if any(means_null):
                quoted = self._quoted(text) if '"' in text else [False] * self._width
                values = [
                    "" if is_null and not is_quoted else value
                    for value, is_null, is_quoted in zip(values, means_null, quoted, strict=True)
                ]
        return Row(number, tuple(value or None for value in values))

    def _quoted(self, record: str) -> list[bool]:
        """Return which values of a valid record are in quotes; the csv module does not report this."""
        found: list[bool] = []
        place = 0
        while len(found) < self._width:
            found.append(record[place : place + 1] == '"')
            if found[-1]:
                place = record.index('"', place + 1)
                while record[place + 1 : place + 2] == '"':
                    place = record.index('"', place + 2)
            end = record.find(self._delimiter, place)
            place = len(record) if end < 0 else end + 1
        return found


def _decoded(number: int, raw: bytes) -> str | RejectedLine:
    if len(raw) > MAX_RECORD_BYTES:
        kept = raw[:KEPT_OF_TOO_LONG].decode("utf-8", errors="backslashreplace")
        detail = f"longer than {MAX_RECORD_BYTES // 1024 // 1024} MB"
        return RejectedLine(number, Reason.ROW_TOO_LONG, detail, kept)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        text = raw.rstrip(b"\r\n").decode("utf-8", errors="backslashreplace")
        return RejectedLine(number, Reason.INVALID_ENCODING, f"byte {error.start + 1} is not UTF-8", text)


def _numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with opened(path) as stream:
        for number, line in enumerate(_lines(stream), start=1):
            yield number, line.removeprefix(_BOM) if number == 1 else line


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    first = stream.readline(MAX_RECORD_BYTES + 1)
    if b"\r" in first.removesuffix(b"\n").removesuffix(b"\r") and not first.endswith(b"\n"):
        # Lines end in carriage returns only, as on a classic Macintosh.
        yield from (part + b"\n" for part in (first + stream.read()).split(b"\r") if part)
        return
    line = first
    while line:
        if len(line) > MAX_RECORD_BYTES:
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = stream.readline(CHUNK)
        yield line
        line = stream.readline(MAX_RECORD_BYTES + 1)
