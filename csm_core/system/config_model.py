"""What every part of the configuration is: frozen, and closed to keys that it does not know."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel, frozen=True):
    """A mapping of ``csm.yaml``."""

    # Built where a configuration is read, once and as a whole, not a class at a time at import.
    model_config = ConfigDict(extra="forbid", populate_by_name=True, defer_build=True)
