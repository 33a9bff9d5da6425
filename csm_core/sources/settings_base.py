"""What the settings of several source systems share: names, ways in, and how a web API is reached."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from csm_core.contract import ENTITIES
from csm_core.system.addresses import checked_address
from csm_core.system.config_model import Section

VARIABLE = r"^[A-Z][A-Z0-9_]*$"


def _address(value: str) -> str:
    # Zendesk's address has a placeholder that is filled when the API is called.
    checked_address(value.replace("{subdomain}", "subdomain"))
    return value


BaseUrl = Annotated[str, AfterValidator(_address)]


class SourceSettings(Section, frozen=True):
    """What all systems share. ``name`` tells several sources of one system apart and defaults to the system."""

    system: str
    name: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]{0,40}$")

    @property
    def label(self) -> str:
        """The name that the records of this source carry as ``_source``."""
        return self.name or self.system


class LandingPlace(Section, frozen=True):
    """Where tables land: in a DuckDB file (``schema`` names where in it), or in a folder as a file or folder each."""

    path: Path
    schema_name: str = Field(default="main", alias="schema")


class LandedTables(LandingPlace, frozen=True):
    """Tables landed by another tool."""

    by: Literal["fivetran", "airbyte"]


class SeveralWaysIn(SourceSettings, frozen=True):
    """A system with more than one way in: exactly one of those among ``path``, ``tables`` and ``api`` is given."""

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        ways = [name for name in ("path", "tables", "api") if name in type(self).model_fields]
        given = [name for name in ways if getattr(self, name) is not None]
        if len(given) != 1:
            message = f"give exactly one of {', '.join(ways)}; {' and '.join(given) or 'none'} given"
            raise ValueError(message)
        return self


class VendorSettings(SeveralWaysIn, frozen=True):
    """A system read from files of its records, from tables that another tool lands, or by its API."""

    path: Path | None = None
    tables: LandedTables | None = None


class ApiSettings(Section, frozen=True):
    """How a web API is asked: address, the environment variable with the key, patience."""

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
