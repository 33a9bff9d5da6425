"""Structured logs: for people by default, JSON lines with ``log_format: json``; to standard error, never a secret.

Events go through the standard library's logging, so that Dagster's ``managed_python_loggers`` puts them into its event
log as well. structlog is loaded where something is logged: loading the definitions logs nothing.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

_SECRET_WORDS = ("token", "secret", "password", "api_key", "authorization")


def configure(log_format: str = "people", level: str = "INFO") -> None:
    """Set up structlog once per process; ``log_format`` is ``people`` or ``json``."""
    import structlog

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_secrets,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer(sort_keys=True)
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, renderer],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger("csm_core")
    root.setLevel(level)
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        root.addHandler(handler)


def get_logger(name: str) -> Any:
    """The structured logger of that name."""
    import structlog

    return structlog.get_logger(name)


def _without_secrets(_logger: object, _method: str, event: EventDict) -> EventDict:
    for key in event:
        if any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = "(hidden)"
    return event
