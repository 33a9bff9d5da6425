"""The base class of every part of the configuration: frozen, and unknown keys are rejected."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ConfigModel(BaseModel, frozen=True):
    """A mapping of ``csm.yaml``."""

    # Built where a configuration is read, once and as a whole, not a class at a time at import.
    model_config = ConfigDict(extra="forbid", populate_by_name=True, defer_build=True)
