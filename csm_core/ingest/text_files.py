"""Reads text files as bytes: decompression, digests and line counts."""

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
"""The number of bytes per read."""

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
    """Adapts a stream of bytes to Python's ``io`` classes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        """Return True; the stream is read-only."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read bytes into the buffer."""
        chunk = self._stream.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)


@contextmanager
def opened(path: Path) -> Generator[BinaryIO]:
    """Open a file and decompress it. Raises SourceError for a file that cannot be opened or is truncated."""
    try:
        with _decompressed(path) as stream:
            yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        message = (
            f"{path}: the gzip file is damaged ({error}). Transfer it again, or remove .gz if it is not compressed."
        )
        raise SourceError(message) from None
    except OSError as error:
        if error.errno is None and path.name.lower().endswith(ZSTD):
            message = (
                f"{path}: the zstd file is damaged ({error}). "
                "Transfer it again, or remove .zst if it is not compressed."
            )
        else:
            message = f"{path}: cannot be read: {error.strerror or error}"
        raise SourceError(message) from None


def fingerprint_of(path: Path) -> str:
    """Return a digest of the stored bytes of a file. Raises SourceError for a file that cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror or error}"
        raise SourceError(message) from None


def line_count(path: Path) -> int:
    """Return the number of lines of the decompressed text; a last line without a line end counts."""
    return scanned(path, ()).lines


@dataclass(frozen=True)
class Scanned:
    """The result of scanning a text file: the number of lines, and which of the texts occur."""

    lines: int
    texts: frozenset[str]


def scanned(path: Path, texts: Collection[str]) -> Scanned:
    """Count the lines of a decompressed file, and find which of ``texts`` occur in it."""
    lines, last = 0, b"\n"
    carriage_returns = 0
    pending = {text: text.encode() for text in texts}
    longest = max(map(len, pending.values()), default=1)
    kept = b""
    with opened(path) as stream:
        while chunk := stream.read(CHUNK):
            lines += chunk.count(b"\n")
            if not lines:
                carriage_returns += chunk.count(b"\r")
            last = chunk[-1:]
            if pending:
                # A text may begin in one chunk and end in the next.
                border = kept + chunk[: longest - 1]
                pending = {text: raw for text, raw in pending.items() if raw not in border and not _holds(chunk, raw)}
                kept = (border if len(chunk) < longest else chunk)[1 - longest :] if longest > 1 else b""
    if not lines and carriage_returns:
        lines = carriage_returns + (last != b"\r")
    else:
        lines += last != b"\n"
    return Scanned(lines, frozenset(texts) - pending.keys())


def _holds(chunk: bytes, text: bytes) -> bool:
    # Searching for single bytes is ten times as fast, and usually one of them does not occur.
    return all(text[place : place + 1] in chunk for place in range(len(text))) and text in chunk
