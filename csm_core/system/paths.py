"""Validates paths and text in the configuration, in arguments and in variables."""

from __future__ import annotations

import errno
import os
import reprlib
import stat
from pathlib import Path

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 4095
SHOWN_CHARACTERS = 80
# Limited at every level: a value with YAML aliases can have more parts than fit in memory.
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 4 * SHOWN_CHARACTERS


def checked_path(value: Path | str, base: Path | None = None) -> Path:
    """Return the absolute path of ``value``, with ``~`` expanded, relative to ``base`` (by default the current folder).

    The file may be missing. Raises ValueError, with the reason, for text that cannot be a path on this system:
    a NUL character, bytes that are not UTF-8, an unknown user after ``~``, a name of more than 255 bytes, a path of
    more than 4,095 bytes, a parent that is a file, or a loop of symbolic links.
    """
    checked_text(str(value))
    try:
        path = Path(os.path.abspath((base or Path.cwd()) / Path(value).expanduser()))  # noqa: PTH100  # lexical
    except RuntimeError:
        message = f"the home folder of {Path(value).parts[0]} cannot be determined: there is no such user"
        raise ValueError(message) from None
    name = next((part for part in path.parts if len(part.encode()) > MAX_NAME_BYTES), None)
    if name is not None:
        message = f"a name in the path has {len(name.encode()):,} bytes; at most {MAX_NAME_BYTES} are allowed"
        raise ValueError(message)
    if len(str(path).encode()) > MAX_PATH_BYTES:
        message = f"the path has {len(str(path).encode()):,} bytes; at most {MAX_PATH_BYTES:,} are allowed"
        raise ValueError(message)
    _require_folders(path)
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        message = f"the path cannot be resolved: {getattr(error, 'strerror', None) or 'a loop of symbolic links'}"
        raise ValueError(message) from None


def checked_text(value: str) -> str:
    """Return ``value``. Raises ValueError for text with a NUL character or text that is not valid Unicode."""
    if "\0" in value:
        message = "the text contains a NUL character"
        raise ValueError(message)
    try:
        value.encode()
    except UnicodeEncodeError:
        message = "the text is not valid UTF-8"
        raise ValueError(message) from None
    return value


def shown(value: object) -> str:
    """Return the representation of a value for a message, truncated to 80 characters."""
    text = _REPR.repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


def _require_folders(path: Path) -> None:
    """Raise ValueError for a parent that exists and is not a folder. Missing parents are allowed."""
    for parent in path.parents:
        try:
            mode = parent.stat().st_mode
        except OSError as error:
            if error.errno == errno.ELOOP:
                message = f"{parent} is a loop of symbolic links"
                raise ValueError(message) from None
            continue  # missing, or below a file: the next parent decides
        if not stat.S_ISDIR(mode):
            message = f"{parent} is not a folder"
            raise ValueError(message)
        return
