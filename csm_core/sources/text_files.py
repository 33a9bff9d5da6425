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
import zlib
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from csm_core.contract import Reason
from csm_core.errors import SourceError

MAX_RECORD_BYTES = 64 * 1024 * 1024
"""The longest record that is read; a longer one is refused with the start of its text."""

MAX_RECORD_LINES = 20_000
"""The most lines that one quoted value may span before the quote counts as never closed."""

KEPT_OF_TOO_LONG = 64 * 1024

_CHUNK = 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_OPEN_QUOTE = "unexpected end of data"
_DELIMITERS = {";": "semicolon", "\t": "tab", "|": "vertical bar"}


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


def is_gzip(path: Path) -> bool:
    """Whether the file's name says that it is compressed."""
    return path.name.lower().endswith(".gz")


@contextmanager
def opened(path: Path) -> Generator[BinaryIO]:
    """The file's bytes, decompressed. Raises SourceError for one that cannot be opened or is cut short."""
    try:
        if is_gzip(path):
            with gzip.open(path, "rb") as stream:
                yield cast("BinaryIO", stream)
        else:
            with path.open("rb") as stream:
                yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        message = f"{path}: not a whole gzip file ({error}). Transfer it again, or drop .gz if it is not compressed."
        raise SourceError(message) from None
    except OSError as error:
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
    lines, last = 0, b"\n"
    carriage_returns = 0
    with opened(path) as stream:
        while chunk := stream.read(_CHUNK):
            lines += chunk.count(b"\n")
            if not lines:
                carriage_returns += chunk.count(b"\r")
            last = chunk[-1:]
    if not lines and carriage_returns:
        return carriage_returns + (last != b"\r")
    return lines + (last != b"\n")


def read_header(path: Path) -> list[str]:
    """The column names of a CSV file, stripped of blanks and of a byte-order mark, checked for being usable.

    Raises SourceError for an empty file, another encoding, a blank first line, names that occur twice, and for a file
    that is separated by something other than commas.
    """
    with opened(path) as stream:
        head = stream.read(_CHUNK)
    if not head:
        message = f"{path}: the file is empty; expected at least a line of column names"
        raise SourceError(message)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        message = f"{path}: encoded as UTF-16; save it as UTF-8"
        raise SourceError(message)
    first = head.removeprefix(_BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n", 1)[0]
    try:
        text = first.decode("utf-8")
    except UnicodeDecodeError:
        message = f"{path}: the line of column names is not UTF-8; save the file as UTF-8"
        raise SourceError(message) from None
    if "\0" in text:
        message = f"{path}: not a CSV file: its first line has bytes of zero in it"
        raise SourceError(message)
    try:
        cells = next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        message = f"{path}: the line of column names cannot be read: {error}"
        raise SourceError(message) from None
    names = [cell.strip().removeprefix("\ufeff").strip() for cell in cells]
    if not any(names):
        message = f"{path}: the first line is blank; expected the column names there"
        raise SourceError(message)
    if len(names) == 1:
        for delimiter, called in _DELIMITERS.items():
            if delimiter in names[0]:
                message = (
                    f"{path}: one column found, {_shown(names[0])}: the file is separated by {called}s. "
                    "Save it separated by commas."
                )
                raise SourceError(message)
    seen: dict[str, str] = {}
    for name in filter(None, names):
        if name.casefold() in seen:
            message = f"{path}: the column {_shown(name)} occurs twice in the first line; each name may occur once"
            raise SourceError(message)
        seen[name.casefold()] = name
    return [name or f"column_{position}" for position, name in enumerate(names, start=1)]


def read_lines(path: Path) -> Iterator[Row | Refused]:
    """The text's lines as rows of one value, without line ends; blank lines are left out."""
    for number, raw in _numbered_lines(path):
        line = _decoded(number, raw)
        if isinstance(line, Refused):
            yield line
        elif line.strip():
            yield Row(number, (line.rstrip("\r\n"),))


def read_rows(path: Path, width: int) -> Iterator[Row | Refused]:
    """The records of a CSV file after its first line, each with ``width`` values, or why it is none.

    A quoted value may span lines. When the lines taken together make no record, the first of them alone is refused and
    reading goes on at the next: one stray quote costs one line, not the rest of the file.
    """
    csv.field_size_limit(2 * MAX_RECORD_BYTES)
    lines = _numbered_lines(path)
    next(lines, None)
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
        outcome = _parsed(number, text, width)
        if isinstance(outcome, Refused) and outcome.detail == _OPEN_QUOTE:
            taken, record = _to_closing_quote(text, waiting, lines)
            longer = _parsed(number, record, width)
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


def _parsed(number: int, record: str, width: int) -> Row | Refused:
    text = record.rstrip("\r\n")
    try:
        rows = list(csv.reader(io.StringIO(record, newline=""), strict=True))
    except csv.Error as error:
        return Refused(number, Reason.UNPARSEABLE_ROW, str(error), text)
    if len(rows) != 1:
        return Refused(number, Reason.UNPARSEABLE_ROW, f"{len(rows)} rows on one line", text)
    if len(rows[0]) != width:
        return Refused(number, Reason.UNPARSEABLE_ROW, f"{len(rows[0])} values for {width} columns", text)
    return Row(number, tuple(value or None for value in rows[0]))


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


def _shown(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:117] + "...")
