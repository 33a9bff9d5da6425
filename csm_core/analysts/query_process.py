"""Runs one query on the published copy in a process of its own, which ends when the time is over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import csm_core
from csm_core.analysts.query_worker import REFUSED, REJECTED, TOO_LARGE, TOO_SLOW
from csm_core.analysts.restricted import NotAllowedError, require_copy
from csm_core.errors import InputError, RunError

# The process starts, interrupts its query after this share of the time, and is ended after all of it.
_INTERRUPTED_AFTER = 0.75
# No variable with a token or a setting reaches the process.
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "SYSTEMROOT")


@dataclass(frozen=True)
class QueryResult:
    """The columns of a query, as (name, type in DuckDB), and its rows with values as in JSON."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[Any, ...], ...]


class RejectedQueryError(InputError):
    """A query that DuckDB rejected. The message is DuckDB's and may contain values of rows."""


class QueryTooLargeError(InputError):
    """A query whose result, or whose memory, is above a limit."""


def query_in_process(copy: Path, query: str, *, seconds: float, max_rows: int, max_characters: int) -> QueryResult:
    """Run one SELECT on the published copy; a result is complete, never cut off.

    Raises InputError without a copy; QueryTooLargeError for a result above a limit; NotAllowedError for another
    statement, or a function that reads more than the copy; RejectedQueryError for a query that DuckDB rejects; RunError
    for one that takes longer than ``seconds``.
    """
    require_copy(copy)
    asked = {
        "copy": str(copy),
        "query": query,
        "seconds": seconds * _INTERRUPTED_AFTER,
        "max_rows": max_rows,
        "max_characters": max_characters,
    }
    too_slow = f"the query was stopped after {seconds:g} seconds; read fewer rows, or fewer days"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "csm_core.analysts.query_worker"],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env=_environment(),
        )
    except subprocess.TimeoutExpired:
        raise RunError(too_slow) from None
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        # The process was ended by a limit of the system, or by a bug of DuckDB.
        message = f"the query ended without a result (status {done.returncode}); read fewer rows, or fewer columns"
        raise RunError(message) from None
    problem = answer.get("problem")
    if problem == TOO_SLOW:
        raise RunError(too_slow)
    if problem == TOO_LARGE:
        message = (
            f"the result is too large: at most {max_rows:,} rows and {max_characters:,} characters are allowed. "
            "Aggregate, or add conditions, fewer columns, or a LIMIT"
        )
        raise QueryTooLargeError(message)
    if problem == REFUSED:
        raise NotAllowedError(answer["message"])
    if problem == REJECTED:
        raise RejectedQueryError(answer["message"])
    return QueryResult(
        tuple((name, kind) for name, kind in answer["columns"]), tuple(tuple(row) for row in answer["rows"])
    )


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {**kept, "PYTHONPATH": str(Path(csm_core.__file__).resolve().parents[1])}
