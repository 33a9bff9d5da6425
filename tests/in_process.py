"""The command line in this process: quick enough for thousands of calls, with output as a user gets it."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.main import main

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")


@dataclass(frozen=True)
class Done:
    """How a command ended. ``error`` is the exception that was not turned into a message."""

    status: int
    stdout: str
    stderr: str
    error: BaseException | None = None

    @property
    def returncode(self) -> int:
        """The status, by the name that it has for a process."""
        return self.status


class _Text(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]
    errors = "strict"  # type: ignore[assignment]

    def write(self, text: str) -> int:
        text.encode()
        return super().write(text)


def csm(*arguments: str, folder: Path, environment: Mapping[str, str] | None = None) -> Done:
    """Run ``csm`` in ``folder`` with an environment that holds nothing of this project but what is given."""
    stdout, stderr = _Text(), _Text()
    error: BaseException | None = None
    status = 0
    with _surroundings(folder, arguments, environment or {}):
        try:
            with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
                main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        except BaseException as problem:  # noqa: BLE001  # whatever it is, a user would see a traceback
            error, status = problem, 1
            stderr.write("".join(traceback.format_exception(problem)).encode("utf-8", "replace").decode())
    return Done(status, stdout.getvalue(), stderr.getvalue(), error)


@contextlib.contextmanager
def _surroundings(folder: Path, arguments: tuple[str, ...], environment: Mapping[str, str]) -> Generator[None]:
    before: dict[str, Any] = {"environ": dict(os.environ), "argv": sys.argv, "cwd": Path.cwd()}
    try:
        os.environ.clear()
        os.environ.update({name: value for name, value in before["environ"].items() if name in _KEPT} | environment)
        sys.argv = ["csm", *arguments]
        os.chdir(folder)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before["environ"])
        sys.argv = before["argv"]
        os.chdir(before["cwd"])
