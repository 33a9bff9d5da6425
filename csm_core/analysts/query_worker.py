"""The process that runs one query of ``query_process``: reads the query from standard input, writes the rows as JSON.

DuckDB checks between batches of rows whether a query was interrupted, and counts only some of the memory that functions
use, so the caller ends this process when the time is over, and the system limits its memory.
"""

from __future__ import annotations

import json
import math
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb

from csm_core.analysts.restricted import Limits, NotAllowedError, interrupted_after, open_restricted, require_select

TOO_LARGE, TOO_SLOW, REFUSED, REJECTED = "too_large", "too_slow", "refused", "rejected"
_ADDRESS_SPACE = 2_500_000_000
_THREADS = 2
_BATCH = 200


def main() -> None:
    """Answer the query on standard input: ``columns`` and ``rows``, or ``problem`` and ``message``."""
    asked: dict[str, Any] = json.load(sys.stdin)
    # If the caller is killed, the limit of processor time ends this process.
    processor_seconds = math.ceil(asked["seconds"] * _THREADS) + 2
    for limit, value in (
        (resource.RLIMIT_AS, _ADDRESS_SPACE),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CPU, processor_seconds),
    ):
        # Some systems do not have these limits.
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (value, value))
    sys.stdout.write(json.dumps(answer(asked)))


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """The rows of the query ``asked["query"]``, within the limits, or why there are none."""
    limits = Limits(memory_limit="512MB", threads=_THREADS, spill=False)
    try:
        with (
            open_restricted(Path(asked["copy"]), limits) as connection,
            interrupted_after(connection, asked["seconds"]),
        ):
            require_select(connection, asked["query"])
            return _rows(connection.execute(asked["query"]), asked["max_rows"], asked["max_characters"])
    except NotAllowedError as error:
        return {"problem": REFUSED, "message": str(error)}
    except duckdb.InterruptException:
        return {"problem": TOO_SLOW}
    except (duckdb.OutOfMemoryException, MemoryError):
        return {"problem": TOO_LARGE}
    except (duckdb.Error, RuntimeError) as error:
        return {"problem": REJECTED, "message": str(error)[:2000]}


def _rows(result: duckdb.DuckDBPyConnection, max_rows: int, max_characters: int) -> dict[str, Any]:
    columns = [(str(name), str(kind)) for name, kind, *_ in result.description or ()]
    rows: list[list[Any]] = []
    characters = 0
    while batch := result.fetchmany(_BATCH):
        for row in batch:
            values = [_value(value) for value in row]
            rows.append(values)
            characters += len(json.dumps(values))
            if len(rows) > max_rows or characters > max_characters:
                return {"problem": TOO_LARGE}
    return {"columns": columns, "rows": rows}


def _value(value: Any) -> Any:
    """A value as JSON has it, the same as in ``csm sql --json``; numbers that JSON does not have are text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, list | dict):
        return json.loads(json.dumps(value, default=str))
    return str(value)


if __name__ == "__main__":
    main()
