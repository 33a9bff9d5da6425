"""The errors of csm-health. A message states what is wrong, where, and what to do, and contains no secret.

The command line exits with ``exit_status``: 2 for input or configuration that the user can fix, 1 for a failed run.
"""

from __future__ import annotations

from csm_core.redaction import without_secrets


class CSMError(Exception):
    """The base class of all errors, with a message for users that contains no secret."""

    exit_status = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(without_secrets(message))


class InputError(CSMError):
    """Invalid input: a file, a column, an argument."""

    exit_status = 2


class ConfigError(InputError):
    """An invalid configuration; names file, key, value and the allowed values."""


class SignalError(InputError):
    """Signals outside the scorer's contract; names the account and the field."""


class SourceError(InputError):
    """A source that does not follow its contract; names the file and the actual content."""


class SourceUnavailableError(CSMError):
    """A source that is unreachable or returned an unexpected response. The message never contains its key."""


class WarehouseError(CSMError):
    """A warehouse file that cannot be opened, or a model that cannot be run."""


class WarehouseInputError(InputError):
    """A warehouse path that is not a DuckDB file, or is a file of another version."""


class RunError(CSMError):
    """A run that failed."""


class PublishError(CSMError):
    """A digest, or records of HubSpot or Salesforce, that could not be sent. The message never contains a secret."""


class NotionError(CSMError):
    """Notion rejected a request or is unreachable. The message never contains the token."""
