"""The base class of every section of the configuration: immutable, without unknown keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ConfigModel(BaseModel, frozen=True):
    """A mapping of ``csm.yaml``."""

    # Validators are built once, when a configuration is read, not for each class at import.
    model_config = ConfigDict(extra="forbid", populate_by_name=True, defer_build=True)
