"""Opens the published copy for one call of a tool, and converts its result or its error to the form of answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from csm_core.analysts.query_process import QueryTooLargeError, RejectedQueryError
from csm_core.analysts.restricted import Limits, NotAllowedError, interrupted_after, open_restricted
from csm_core.errors import CSMError, RunError
from csm_core.publishing.assistant.answers import UNTRUSTED, Answer

MAX_BYTES = 64_000
# A call has this time, of which a query has the second; the rest is for starting and for encoding.
CALL_SECONDS = 5.0
QUERY_SECONDS = 4.0
_LIMITS = Limits(memory_limit="1GB", threads=2, spill=False)

Read = Callable[[duckdb.DuckDBPyConnection], Any]


class ToolError(Exception):
    """A call without an answer.

    :ivar problem: a sentence of this program.
    :ivar details: a message that may contain names or values of rows; None: there is none.
    """

    def __init__(self, problem: str, details: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.details = details

    def as_dict(self) -> dict[str, Any]:
        """For the client."""
        return {"error": self.problem, **({UNTRUSTED: {"message": self.details}} if self.details else {})}


def read(copy: Path, function: Read) -> Any:
    """The result of a function on the restricted copy. Raises ToolError instead of every expected error."""
    if not copy.is_file():
        raise ToolError("there is no published copy yet: `csm run` writes it")
    try:
        with open_restricted(copy, _LIMITS) as connection, interrupted_after(connection, QUERY_SECONDS):
            return function(connection)
    except (NotAllowedError, QueryTooLargeError, RunError) as error:
        raise ToolError(str(error)) from None
    except RejectedQueryError as error:
        problem = f"DuckDB rejected the query; {UNTRUSTED}.message has the reason"
        raise ToolError(problem, str(error)) from None
    except duckdb.InterruptException:
        raise ToolError(too_slow()) from None
    except duckdb.OutOfMemoryException:
        problem = "the answer needs more memory than a call may use: choose fewer days or accounts"
        raise ToolError(problem) from None
    except CSMError as error:
        # The message can name accounts.
        problem = f"the arguments do not match the published copy; {UNTRUSTED}.message has the reason"
        raise ToolError(problem, str(error)) from None
    except (duckdb.Error, OSError):
        problem = "the published copy cannot be read: `csm run` replaces it"
        raise ToolError(problem) from None


def too_slow() -> str:
    """The problem of a call that takes too long."""
    return f"the call was stopped after {CALL_SECONDS:g} seconds: choose fewer days or accounts"


def encoded(answer: Answer | dict[str, Any] | list[Any]) -> tuple[Any, str]:
    """An answer as JSON values and as text."""
    values: Any = answer.as_dict() if isinstance(answer, Answer) else answer
    return values, json.dumps(values, ensure_ascii=False, separators=(",", ":"), default=str)
