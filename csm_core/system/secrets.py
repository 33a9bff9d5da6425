"""Reads secrets and other variables from the environment, and checks them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from csm_core.errors import ConfigError
from csm_core.redaction import hide_variable


def secret(name: str, description: str, environment: Mapping[str, str] | None = None, *, required: bool = True) -> str:
    """Return the secret in the environment variable ``name`` and hide it in all output. Validates like ``variable``."""
    hide_variable(name)
    return variable(name, description, environment, required=required)


def variable(
    name: str, description: str, environment: Mapping[str, str] | None = None, *, required: bool = True
) -> str:
    """Return the value of the environment variable ``name`` without surrounding blanks; empty if it is not set.

    Raises ConfigError for a ``required`` variable that is not set, and for a value with a line break, a control
    character, or a character outside ASCII. The message describes the variable by ``description`` and never contains
    the value.
    """
    value = (os.environ if environment is None else environment).get(name, "").strip()
    if not value:
        if not required:
            return ""
        message = f"{name} is not set. Set it to {description}."
        raise ConfigError(message)
    if not value.isascii() or not value.isprintable():
        kind = "a line break" if "\n" in value or "\r" in value else "a control character or a character outside ASCII"
        message = f"{name} contains {kind}. Set it to {description}, on one line. The value is not shown."
        raise ConfigError(message)
    return value
