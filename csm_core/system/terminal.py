"""The one place through which output reaches a terminal: control characters and secrets are removed from it."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import IO, Any

from csm_core.redaction import without_secrets

ERASE_LINE = "\r\033[K"

# Everything that moves the cursor, changes the terminal, or changes the direction of text; and half surrogate pairs.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str) -> str:
    """``text`` for people: each control character becomes a blank, line breaks and tabs stay, secrets are hidden."""
    return _UNSAFE.sub(" ", without_secrets(text))


def printable(text: str, most: int = 48) -> str:
    """A value from a source on one line: each control character and line break a blank, at most ``most`` characters."""
    cleaned = "".join(character if character.isprintable() else " " for character in text)
    return cleaned if len(cleaned) <= most else cleaned[: most - 1] + "…"


class CleanStream:
    """A text stream that cleans what is written to it; everything else is the stream's own."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write ``text``, cleaned."""
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # a caller may try bytes
            message = f"expected text, got {type(text).__name__}"
            raise TypeError(message)
        self._stream.write(_encodable(clean(text), self._stream))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of ``lines``, cleaned."""
        for line in lines:
            self.write(line)

    def write_unchanged(self, text: str) -> None:
        """Write ``text`` with its control characters: data for a program, or a command to the terminal."""
        self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        # Without a buffer, nothing can be written past this stream.
        if name == "buffer":
            raise AttributeError(name)
        return getattr(self._stream, name)


@contextmanager
def clean_output() -> Generator[None]:
    """Clean what is written to standard output and standard error within the block."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = CleanStream(before[0]), CleanStream(before[1])  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def write_data(text: str) -> None:
    """Write data to standard output: unchanged into a file or a pipe, cleaned on a terminal."""
    stream: Any = sys.stdout
    if isinstance(stream, CleanStream) and not stream.isatty():
        stream.write_unchanged(text)
    elif stream.isatty():
        stream.write(clean(text))
    else:
        stream.write(text)
    stream.flush()


def write_rewritten_line(text: str, *, end: str = "") -> None:
    """Write ``text``, cleaned, over the terminal's current line of standard error."""
    write_controls(sys.stderr, ERASE_LINE + clean(text) + end)
    sys.stderr.flush()


def write_controls(stream: Any, text: str) -> None:
    """Write text whose control characters are this program's own, such as colours."""
    (stream.write_unchanged if isinstance(stream, CleanStream) else stream.write)(text)


def _encodable(text: str, stream: IO[str]) -> str:
    """``text`` with what the stream's encoding lacks as escapes, so that writing never fails."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    if encoding.lower().replace("-", "") == "utf8":
        return text
    return text.encode(encoding, "backslashreplace").decode(encoding)
