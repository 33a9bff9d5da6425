"""Structured logs on standard error: text by default, JSON lines with ``log_format: json``, without secrets.

Events pass through the standard library's logging, so that Dagster's ``managed_python_loggers`` also adds them to its
event log: as a short line, since Dagster has its own time, level, run and step. The record keeps all fields for
handlers that write them. structlog is imported with the first event: loading the definitions logs nothing.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structlog.typing import EventDict

from csm_core.redaction import SECRET_WORDS, without_secrets, without_secrets_inside
from csm_core.system.terminal import clean, write_controls

# The attribute of a log record with all fields of the event.
_STRUCTURED = "csm_event"
_LOGGER = "csm_core"
# The fields that a short line omits.
_FRAME = frozenset({"event", "level", "logger", "timestamp", "run_id", "partition", "exception"})

_shown_elsewhere: ContextVar[bool] = ContextVar("shown_elsewhere", default=False)


def configure(log_format: str = "console", level: str = "INFO") -> None:
    """Say how the lines of this process are written; ``log_format`` is ``console`` or ``json``.

    Standard error shows events of ``level`` and above; other handlers receive events of INFO and above.
    """
    logger = logging.getLogger(_LOGGER)
    logger.setLevel(logging.INFO)
    for earlier in [one for one in logger.handlers if isinstance(one, StandardError)]:
        logger.removeHandler(earlier)
    handler = StandardError(log_format, level)
    handler.addFilter(lambda _record: not _shown_elsewhere.get())
    logger.addHandler(handler)


@cache
def _prepare_structlog() -> None:
    import structlog

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _without_secrets,
            _as_record,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> Any:
    """Return the structured logger of a name."""
    import structlog

    _prepare_structlog()
    return structlog.get_logger(name)


@contextmanager
def run_logging(run_id: str, partition: str, *, shown_elsewhere: bool = False) -> Generator[None]:
    """Add the run and its days to every event that is logged in the block.

    ``shown_elsewhere`` suppresses these lines on standard error, where another handler already shows them.
    """
    import structlog

    _prepare_structlog()
    token = _shown_elsewhere.set(shown_elsewhere)
    try:
        with structlog.contextvars.bound_contextvars(run_id=run_id, partition=partition):
            yield
    finally:
        _shown_elsewhere.reset(token)


def _described(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a record; for a record from other libraries, the message and the standard fields."""
    structured: Mapping[str, Any] | None = getattr(record, _STRUCTURED, None)
    if structured is not None:
        return dict(structured)
    import structlog

    fields: dict[str, Any] = {
        **structlog.contextvars.get_contextvars(),
        "event": without_secrets(record.getMessage()),
        "level": record.levelname.lower(),
        "logger": record.name,
        "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
    }
    if record.exc_info:
        fields["exception"] = without_secrets(logging.Formatter().formatException(record.exc_info))
    return fields


class StandardError(logging.Handler):
    """Writes each record as a line to the current standard error, which a test or a service may have replaced."""

    def __init__(self, log_format: str, level: str) -> None:
        super().__init__(level)
        self._json = log_format == "json"

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        try:
            fields = without_secrets_inside(_described(record))
            if self._json:
                line = json.dumps(fields, sort_keys=True, ensure_ascii=True, default=str)
            else:
                import structlog

                colours = sys.stderr.isatty()
                cleaned = {name: clean(value) if isinstance(value, str) else value for name, value in fields.items()}
                line = str(structlog.dev.ConsoleRenderer(colors=colours)(None, "", cleaned))
            # The values are clean; the remaining control characters are colours of the renderer.
            write_controls(sys.stderr, line + "\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001  # like the standard library: a log line never fails a run
            self.handleError(record)


def _without_secrets(_logger: object, _method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if any(word in key.upper() for word in SECRET_WORDS):
            event[key] = "(hidden)"
        else:
            event[key] = without_secrets_inside(value)
    return event


def _as_record(_logger: object, _method: str, event: EventDict) -> tuple[tuple[str], dict[str, Any]]:
    facts = [f"{name}={_shown(value)}" for name, value in event.items() if name not in _FRAME]
    lines = [" ".join([str(event["event"]), *facts])]
    if "exception" in event:
        lines.append(str(event["exception"]))
    return ("\n".join(lines),), {"extra": {_STRUCTURED: dict(event)}}


def _shown(value: Any) -> str:
    text = str(value)
    return text if text.isprintable() and " " not in text else repr(text)
