"""Writes output to the terminal, without control characters and secrets."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import IO, Any

from csm_core.redaction import without_secrets

ERASE_LINE = "\r\033[K"

# Characters that move the cursor, control the terminal or change the text direction; and lone surrogates.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str) -> str:
    """Return ``text`` for display: control characters become blanks, line breaks and tabs stay, secrets are hidden."""
    return _UNSAFE.sub(" ", without_secrets(text))


def printable(text: str, max_length: int = 48) -> str:
    """Return a source value on one line of at most ``max_length`` characters; control characters become blanks."""
    cleaned = "".join(character if character.isprintable() else " " for character in text)
    return cleaned if len(cleaned) <= max_length else cleaned[: max_length - 1] + "…"


class CleanStream:
    """A text stream that cleans written text. Other attributes are those of the wrapped stream."""

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
        # Without a buffer, no caller can bypass this stream.
        if name == "buffer":
            raise AttributeError(name)
        return getattr(self._stream, name)


@contextmanager
def clean_output() -> Generator[None]:
    """Clean all text written to standard output and standard error inside the block."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = CleanStream(before[0]), CleanStream(before[1])  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def write_data(text: str) -> None:
    """Write data to standard output: unchanged to a file or pipe, cleaned on a terminal."""
    stream: Any = sys.stdout
    if isinstance(stream, CleanStream) and not stream.isatty():
        stream.write_unchanged(text)
    elif stream.isatty():
        stream.write(clean(text))
    else:
        stream.write(text)
    stream.flush()


def write_rewritten_line(text: str, *, end: str = "") -> None:
    """Replace the current line of standard error with ``text``, cleaned."""
    write_controls(sys.stderr, ERASE_LINE + clean(text) + end)
    sys.stderr.flush()


def write_controls(stream: Any, text: str) -> None:
    """Write text with the program's own control characters, such as colours."""
    (stream.write_unchanged if isinstance(stream, CleanStream) else stream.write)(text)


def _encodable(text: str, stream: IO[str]) -> str:
    """Return ``text`` with characters that the stream cannot encode as escapes, so that writing never fails."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    if encoding.lower().replace("-", "") == "utf8":
        return text
    return text.encode(encoding, "backslashreplace").decode(encoding)
