"""Text files read line by line: the careful way, for files that the fast reader does not vouch for.

The fast reader (DuckDB's) splits clean files at full speed. A file with any irregularity (a broken row, a quoted line
break, mixed line ends, a byte that is not UTF-8) is read here instead, so that every physical line ends up either in a
record or among the refused ones, with its number and text.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import re
import zlib
from collections import deque
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from csm_core.contract import Reason
from csm_core.errors import SourceError
from csm_core.ingest.column_names import require_distinct, shown
from csm_core.ingest.read_settings import delimiter_of
from csm_core.warehouse.text_macros import BLANKS

MAX_RECORD_BYTES = 64 * 1024 * 1024
"""The longest record that is read; a longer one is refused with the start of its text."""

MAX_RECORD_LINES = 20_000
"""The most lines that one quoted value may span before the quote counts as never closed."""

KEPT_OF_TOO_LONG = 64 * 1024

_CHUNK = 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_SEPARATOR_LINE = re.compile(r'"?sep=([^"\r\n])"?(?:\r\n|\n|\r)', re.IGNORECASE)
_OPEN_QUOTE = "unexpected end of data"
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}


@dataclass(frozen=True)
class Refused:
    """A physical line (or record) that does not become a row: its number, why, and its text as far as it is kept."""

    line: int
    reason: Reason
    detail: str
    text: str


@dataclass(frozen=True)
class Row:
    """A record: the number of the line that it starts on, and its values (empty ones are ``None``)."""

    line: int
    values: tuple[str | None, ...]


GZIP, ZSTD = ".gz", ".zst"
ZSTD_HELP = "Install it (pip install pyarrow), or compress the file with gzip"


def zstd_available() -> bool:
    """Whether the library that decompresses zstd is installed."""
    # DuckDB also decompresses zstd, but returns the first rows of a truncated file without an error.
    return find_spec("pyarrow") is not None


@contextmanager
def _decompressed(path: Path) -> Generator[BinaryIO]:
    name = path.name.lower()
    if name.endswith(GZIP):
        with gzip.open(path, "rb") as stream:
            yield cast("BinaryIO", stream)
    elif name.endswith(ZSTD):
        import pyarrow

        with path.open("rb") as packed, pyarrow.CompressedInputStream(packed, "zstd") as stream:
            yield cast("BinaryIO", io.BufferedReader(_Stream(stream), _CHUNK))
    else:
        with path.open("rb") as stream:
            yield stream


class _Stream(io.RawIOBase):
    """A stream of bytes for Python's own readers."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        """The stream is readable only."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a part of the buffer."""
        found = self._stream.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)


@contextmanager
def opened(path: Path) -> Generator[BinaryIO]:
    """The file's bytes, decompressed. Raises SourceError for one that cannot be opened or is cut short."""
    try:
        with _decompressed(path) as stream:
            yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        message = f"{path}: a damaged gzip file ({error}). Transfer it again, or drop .gz if it is not compressed."
        raise SourceError(message) from None
    except OSError as error:
        if error.errno is None and path.name.lower().endswith(ZSTD):
            message = f"{path}: a damaged zstd file ({error}). Transfer it again, or drop .zst if it is not compressed."
        else:
            message = f"{path}: cannot be read: {error.strerror or error}"
        raise SourceError(message) from None


def fingerprint_of(path: Path) -> str:
    """A digest of the file's bytes as they are stored. Raises SourceError for a file that cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror or error}"
        raise SourceError(message) from None


def line_count(path: Path) -> int:
    """How many lines the decompressed text has; one without a line end at the close of the file counts too."""
    return scanned(path, ()).lines


@dataclass(frozen=True)
class Scanned:
    """The result of scanning the bytes of a text file: its number of lines, and which of the given texts occur."""

    lines: int
    texts: frozenset[str]


def scanned(path: Path, texts: Collection[str]) -> Scanned:
    """Count the lines of a file, decompressed, and find which of ``texts`` occur in it."""
    lines, last = 0, b"\n"
    carriage_returns = 0
    wanted = {text: text.encode() for text in texts}
    longest = max(map(len, wanted.values()), default=1)
    kept = b""
    with opened(path) as stream:
        while chunk := stream.read(_CHUNK):
            lines += chunk.count(b"\n")
            if not lines:
                carriage_returns += chunk.count(b"\r")
            last = chunk[-1:]
            if wanted:
                # A text may begin in one chunk and end in the next.
                border = kept + chunk[: longest - 1]
                wanted = {text: raw for text, raw in wanted.items() if raw not in border and not _holds(chunk, raw)}
                kept = (border if len(chunk) < longest else chunk)[1 - longest :] if longest > 1 else b""
    if not lines and carriage_returns:
        lines = carriage_returns + (last != b"\r")
    else:
        lines += last != b"\n"
    return Scanned(lines, frozenset(texts) - wanted.keys())


def _holds(chunk: bytes, text: bytes) -> bool:
    # Searching single bytes is ten times as fast, and usually one of them does not occur.
    return all(text[place : place + 1] in chunk for place in range(len(text))) and text in chunk


@dataclass(frozen=True)
class CsvHeader:
    """The column names of a CSV file, what separates its values, and the number of the line of the names."""

    names: list[str]
    delimiter: str
    line: int


def separator_line(text: str) -> re.Match[str] | None:
    """The first line of a text, with its line end, if it states the separator: ``sep=;``, as Excel reads it."""
    return _SEPARATOR_LINE.match(text)


def read_header(path: Path, delimiter: str | None = None, *, setting: str = "") -> CsvHeader:
    """The column names of a CSV file, stripped of blanks and of a byte-order mark, checked for being usable.

    Without a ``delimiter`` a first line such as ``sep=;`` states it, else the name of the file.

    Raises SourceError for an empty file, another encoding, a blank first line, names that occur twice, and for a file
    with another separator; ``setting`` names the setting for the separator.
    """
    with opened(path) as stream:
        head = stream.read(_CHUNK)
    if not head:
        message = f"{path}: the file is empty; expected at least a line of column names"
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
        message = f"{path}: the line of column names is not UTF-8; save the file as UTF-8"
        raise SourceError(message) from None
    if "\0" in text:
        message = f"{path}: not a CSV file: its first line has bytes of zero in it"
        raise SourceError(message)
    try:
        cells = next(csv.reader([text], delimiter=separator, strict=True), [])
    except csv.Error as error:
        message = f"{path}: the line of column names cannot be read: {error}"
        raise SourceError(message) from None
    names = [cell.strip().removeprefix("\ufeff").strip() for cell in cells]
    if not any(names):
        message = (
            f"{path}: {'the second line' if stated else 'the first line'} is blank; expected the column names there"
        )
        raise SourceError(message)
    if len(names) == 1:
        for other, called in _DELIMITERS.items():
            if other in names[0]:
                value = "tab" if other == "\t" else f'"{other}"'
                message = (
                    f"{path}: one column found, {shown(names[0])}: the file is separated by {called}s. "
                    f"Save it separated by {_DELIMITERS.get(separator, repr(separator))}s"
                    f"{f', or set `delimiter: {value}` {setting}' if setting else ''}."
                )
                raise SourceError(message)
    named = [name or f"column_{position}" for position, name in enumerate(names, start=1)]
    require_distinct(str(path), named)
    return CsvHeader(named, separator, line)


def read_lines(path: Path) -> Iterator[Row | Refused]:
    """The text's lines as rows of one value, without line ends; blank lines are left out."""
    for number, raw in _numbered_lines(path):
        line = _decoded(number, raw)
        if isinstance(line, Refused):
            yield line
        elif line.strip():
            yield Row(number, (line.rstrip("\r\n"),))


def read_rows(
    path: Path, width: int, *, delimiter: str = ",", null_values: Collection[str] = (), header_line: int = 1
) -> Iterator[Row | Refused]:
    """The records of a CSV file after its line of column names, each with ``width`` values, or why it is none.

    An empty value is null, and one of ``null_values`` that is not quoted, with or without blanks around it.

    A quoted value may span lines. When the lines taken together make no record, the first of them alone is refused and
    reading goes on at the next: one stray quote costs one line, not the rest of the file.
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
        if isinstance(text, Refused):
            yield text
            continue
        if not text.strip("\r\n"):
            continue
        outcome = split.parsed(number, text)
        if isinstance(outcome, Refused) and outcome.detail == _OPEN_QUOTE:
            taken, record = _to_closing_quote(text, waiting, lines)
            longer = split.parsed(number, record)
            if isinstance(longer, Row):
                outcome = longer
            else:
                waiting.extendleft(reversed(taken))
                outcome = Refused(number, Reason.UNPARSEABLE_ROW, "a quote is not closed", outcome.text)
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
    waiting: deque[tuple[int, bytes]], lines: Iterator[tuple[int, bytes]], most: int, size: int
) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    taken = 0
    while len(found) < most and taken <= size:
        line = waiting.popleft() if waiting else next(lines, None)
        if line is None:
            break
        found.append(line)
        taken += len(line[1])
        if b'"' in line[1]:
            break
    return found


class _Splitter:
    """Splits records into values."""

    def __init__(self, width: int, delimiter: str, null_values: frozenset[str]) -> None:
        self._width = width
        self._delimiter = delimiter
        self._null_values = null_values

    def parsed(self, number: int, record: str) -> Row | Refused:
        """The row of one record, or the reason why it is rejected."""
        text = record.rstrip("\r\n")
        try:
            rows = list(csv.reader(io.StringIO(record, newline=""), delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            return Refused(number, Reason.UNPARSEABLE_ROW, str(error), text)
        if len(rows) != 1:
            return Refused(number, Reason.UNPARSEABLE_ROW, f"{len(rows)} rows on one line", text)
        values = rows[0]
        if len(values) != self._width:
            return Refused(number, Reason.UNPARSEABLE_ROW, f"{len(values)} values for {self._width} columns", text)
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
        """Which values of a well-formed record are in quotes; the csv module does not return this."""
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


def _decoded(number: int, raw: bytes) -> str | Refused:
    if len(raw) > MAX_RECORD_BYTES:
        kept = raw[:KEPT_OF_TOO_LONG].decode("utf-8", errors="backslashreplace")
        detail = f"longer than {MAX_RECORD_BYTES // 1024 // 1024} MB"
        return Refused(number, Reason.ROW_TOO_LONG, detail, kept)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        text = raw.rstrip(b"\r\n").decode("utf-8", errors="backslashreplace")
        return Refused(number, Reason.INVALID_ENCODING, f"byte {error.start + 1} is not UTF-8", text)


def _numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with opened(path) as stream:
        for number, line in enumerate(_lines(stream), start=1):
            yield number, line.removeprefix(_BOM) if number == 1 else line


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    first = stream.readline(MAX_RECORD_BYTES + 1)
    if b"\r" in first.removesuffix(b"\n").removesuffix(b"\r") and not first.endswith(b"\n"):
        # Carriage returns alone end the lines: files saved for an old Macintosh.
        yield from (part + b"\n" for part in (first + stream.read()).split(b"\r") if part)
        return
    line = first
    while line:
        if len(line) > MAX_RECORD_BYTES:
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = stream.readline(_CHUNK)
        yield line
        line = stream.readline(MAX_RECORD_BYTES + 1)
