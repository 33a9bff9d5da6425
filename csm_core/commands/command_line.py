"""Checks the arguments of all commands of ``csm``, and converts errors to a message with an exit status."""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from csm_core.errors import CSMError, InputError
from csm_core.system.paths import checked_path, checked_text, shown

# Errors of the operating system that a wrong path causes. Other errors, such as a full disk, are not input errors.
_PATH_ERRORS = frozenset(
    (
        *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM),
        *(errno.EEXIST, errno.EINVAL, errno.ENOTEMPTY, errno.EXDEV),
    )
)
_ADVICE = {
    errno.ENOSPC: "Free space on that disk, and run the same command again.",
    errno.EDQUOT: "Free space or raise the quota, and run the same command again.",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f), and run the same command again.",
    errno.EROFS: "The file system is read-only: choose another folder.",
    errno.EMFILE: "Raise the limit on open files (ulimit -n), and run the same command again.",
    errno.EACCES: "Check the owner and the mode of the file and of its folders.",
    errno.EPERM: "Check the owner and the mode of the file and of its folders.",
}


def checked_commands(app: typer.Typer) -> Callable[[], Any]:
    """The command line with checks of paths and texts before each command."""
    group: Any = typer.main.get_command(app)
    _check(group)
    return group


def explained(error: Exception) -> tuple[str, int] | None:
    """The message and the exit status of an error; None if the error is a bug."""
    if isinstance(error, CSMError):
        return str(error), error.exit_status
    if isinstance(error, OSError) and error.errno is not None:
        reason = error.strerror or str(error)
        named = [str(name) for name in (error.filename, error.filename2) if name is not None]
        advice = _ADVICE.get(error.errno, "")
        message = " ".join(part for part in (f"{': '.join([*named[:1], reason])}.", advice) if part)
        return message, 2 if error.errno in _PATH_ERRORS else 1
    return _explained_by_library(error)


def _explained_by_library(error: Exception) -> tuple[str, int] | None:
    import duckdb

    if isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException | duckdb.FatalException):
        return f"the database failed: {str(error).splitlines()[0]}", 1
    return None


def _check(command: Any) -> None:
    for inner in getattr(command, "commands", {}).values():
        _check(inner)
    callback = command.callback
    if callback is None or hasattr(command, "commands"):
        return
    names = {str(parameter.name): _shown_name(parameter) for parameter in command.params}

    @functools.wraps(callback)
    def checked(**values: Any) -> Any:
        return callback(**{name: _checked(names.get(name, name), value) for name, value in values.items()})

    command.callback = checked


def _checked(name: str, value: Any) -> Any:
    try:
        if isinstance(value, Path):
            checked_path(value)
            return value.expanduser()
        if isinstance(value, str):
            return checked_text(value)
        if isinstance(value, list | tuple):
            items: Any = value
            return [_checked(name, item) for item in items]
    except ValueError as error:
        message = f"{name}: {error} (found {shown(str(value))})"
        raise InputError(message) from None
    return value


def _shown_name(parameter: Any) -> str:
    options = [option for option in parameter.opts if option.startswith("--")]
    return options[0] if options else str(parameter.name).upper()
