"""Text files as bytes: decompressed, digested, and their lines counted."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, cast

from csm_core.errors import SourceError

CHUNK = 1024 * 1024
"""How many bytes are read at once."""

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
            yield cast("BinaryIO", io.BufferedReader(_Stream(stream), CHUNK))
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
        while chunk := stream.read(CHUNK):
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
