"""Base classes for the settings of source systems: names, inputs, and web APIs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from csm_core.contract import ENTITIES
from csm_core.system.addresses import checked_address
from csm_core.system.config_model import ConfigModel

VARIABLE = r"^[A-Z][A-Z0-9_]*$"


def _address(value: str) -> str:
    # Zendesk's address has a placeholder that is replaced when the API is called.
    checked_address(value.replace("{subdomain}", "subdomain"))
    return value


BaseUrl = Annotated[str, AfterValidator(_address)]


class SourceSettings(ConfigModel, frozen=True):
    """Settings of all systems. ``name`` distinguishes several sources of one system; default: the system."""

    system: str
    name: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]{0,40}$")

    @property
    def label(self) -> str:
        """The name of the source, which its records have in ``_source``."""
        return self.name or self.system


class LandingPlace(ConfigModel, frozen=True):
    """The location of landed tables: a schema of a DuckDB file, or a folder with one file or folder per table."""

    path: Path
    schema_name: str = Field(default="main", alias="schema")


class LandedTables(LandingPlace, frozen=True):
    """Tables landed by another tool."""

    by: Literal["fivetran", "airbyte"]


class SeveralInputs(SourceSettings, frozen=True):
    """A system with several inputs: exactly one of ``path``, ``tables`` and ``api`` must be set."""

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        inputs = [name for name in ("path", "tables", "api") if name in type(self).model_fields]
        present = [name for name in inputs if getattr(self, name) is not None]
        if len(present) != 1:
            message = f"set exactly one of {', '.join(inputs)}; found {' and '.join(present) or 'none'}"
            raise ValueError(message)
        return self


class VendorSettings(SeveralInputs, frozen=True):
    """A system that is read from files of its records, from tables that another tool lands, or from its API."""

    path: Path | None = None
    tables: LandedTables | None = None


class ApiSettings(ConfigModel, frozen=True):
    """Settings of a web API: address, environment variable with the key, timeout and attempts."""

    base_url: BaseUrl
    key_variable: str = Field(pattern=VARIABLE)
    timeout_seconds: float = Field(default=60.0, gt=0, le=600)
    attempts: int = Field(default=8, ge=1, le=50)


def require_entities(names: Iterable[str]) -> None:
    """Raise ValueError, with the names, for names that are not entities of the contract."""
    unknown = sorted(set(names) - set(ENTITIES))
    if unknown:
        message = f"not an entity: {', '.join(unknown)}; expected one of {', '.join(ENTITIES)}"
        raise ValueError(message)
