"""The errors of the domain: what is wrong, where, and what to do; never a secret, never a traceback for users.

The command line turns ``exit_status`` into the process's own: 2 for input or configuration that a person can fix,
1 for a run that failed.
"""

from __future__ import annotations

from csm_core.redaction import without_secrets


class CSMError(Exception):
    """Anything that csm-health rejects or fails at, with a message meant for a person and without secrets."""

    exit_status = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(without_secrets(message))


class InputError(CSMError):
    """Input that has to be fixed: a file, a column, an argument."""

    exit_status = 2


class ConfigError(InputError):
    """A configuration that is wrong; names file, key, value and what is allowed."""


class SignalError(InputError):
    """Signals outside the scorer's contract; names the account and the field."""


class SourceError(InputError):
    """A source that cannot be read as its contract says; names the file and what was found instead."""


class SourceUnavailableError(CSMError):
    """A source that cannot be reached now, or does not answer as it should; never holds its key."""


class WarehouseError(CSMError):
    """A warehouse file that cannot be opened, or a model that cannot be run."""


class WarehouseInputError(InputError):
    """A warehouse path that is no DuckDB file, or one of another version."""


class RunError(CSMError):
    """A run that ended failed."""


class NotionError(CSMError):
    """Notion refused, or could not be reached; never holds the token."""
