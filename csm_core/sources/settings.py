"""What an entry under ``sources:`` may say, one model per source system, told apart by ``system``.

Three ways in, of which a system offers those that make sense for it: ``path`` (a folder of files), ``tables`` (tables
that another tool lands in a warehouse) and ``api``. Secrets are never settings: an ``api`` names the environment
variable that holds its key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from csm_core.contract import ENTITIES, MANDATORY_ENTITIES
from csm_core.section import Section

URL = r"^https?://[^\s/@]+(/\S*)?$"
VARIABLE = r"^[A-Z][A-Z0-9_]*$"


class SourceSettings(Section, frozen=True):
    """What all systems share. ``name`` tells several sources of one system apart and defaults to the system."""

    system: str
    name: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]{0,40}$")

    @property
    def label(self) -> str:
        """The name that the records of this source carry as ``_source``."""
        return self.name or self.system


class LandedTables(Section, frozen=True):
    """Tables landed by another tool: in a DuckDB file (``schema`` names where), or as one CSV or Parquet file each."""

    path: Path
    schema_name: str = Field(default="main", alias="schema")
    by: Literal["fivetran", "airbyte"]


class VendorSettings(SourceSettings, frozen=True):
    """A system with more than one way in: exactly one of ``path``, ``tables`` and ``api`` is given."""

    path: Path | None = None
    tables: LandedTables | None = None

    @model_validator(mode="after")
    def _one_way_in(self) -> VendorSettings:
        ways = [name for name in ("path", "tables", "api") if name in type(self).model_fields]
        given = [name for name in ways if getattr(self, name) is not None]
        if len(given) != 1:
            message = f"give exactly one of {', '.join(ways)}; {' and '.join(given) or 'none'} given"
            raise ValueError(message)
        return self


class ApiSettings(Section, frozen=True):
    """How a web API is asked: address, the environment variable with the key, patience."""

    base_url: str = Field(pattern=URL)
    key_variable: str = Field(pattern=VARIABLE)
    timeout_seconds: float = Field(default=60.0, gt=0, le=600)
    attempts: int = Field(default=8, ge=1, le=50)


class FilesSettings(SourceSettings, frozen=True):
    """The staged contract as files. ``entities`` have to be there: fewer, where other sources bring the rest."""

    system: Literal["files"]
    path: Path
    entities: tuple[str, ...] = MANDATORY_ENTITIES

    @field_validator("entities")
    @classmethod
    def _known_entities(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(value) - set(ENTITIES))
        if unknown:
            message = f"not an entity: {', '.join(unknown)}; there are {', '.join(ENTITIES)}"
            raise ValueError(message)
        return value


class RavenStackSettings(SourceSettings, frozen=True):
    """The bundled third-party data set."""

    system: Literal["ravenstack"]
    path: Path


class StripeApi(ApiSettings, frozen=True):
    """Stripe's API."""

    base_url: str = Field(default="https://api.stripe.com", pattern=URL)
    key_variable: str = Field(default="STRIPE_API_KEY", pattern=VARIABLE)


class StripeSettings(VendorSettings, frozen=True):
    """Stripe. ``account_key`` is the key of a customer's metadata that holds the account's id.

    Only billing periods of at least ``renewal_months`` months end with a decision to renew.
    """

    system: Literal["stripe"]
    api: StripeApi | None = None
    include_test_mode: bool = False
    account_key: str = "account_id"
    renewal_months: int = Field(default=6, ge=1, le=120)


class ZendeskApi(ApiSettings, frozen=True):
    """Zendesk's API. ``{subdomain}`` in ``base_url`` is filled from ``subdomain``, else from its variable.

    ``login`` says what the key is: an API token, which belongs to an e-mail address, or an OAuth access token.
    """

    base_url: str = Field(default="https://{subdomain}.zendesk.com", pattern=URL)
    key_variable: str = Field(default="ZENDESK_TOKEN", pattern=VARIABLE)
    subdomain: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$")
    subdomain_variable: str = Field(default="ZENDESK_SUBDOMAIN", pattern=VARIABLE)
    email_variable: str = Field(default="ZENDESK_EMAIL", pattern=VARIABLE)
    login: Literal["api_token", "oauth"] = "api_token"


class ZendeskEscalation(Section, frozen=True):
    """What makes a ticket an escalation: any of these tags or priorities, or a field (with one of the values)."""

    tags: tuple[str, ...] = ("escalated",)
    priorities: tuple[Literal["low", "normal", "high", "urgent"], ...] = ()
    field: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_]+$")
    field_values: tuple[str, ...] = ()


class ZendeskSettings(VendorSettings, frozen=True):
    """Zendesk Support. ``account_key``: ``external_id``, or the key of an organisation field with the account's id.

    ``without_organization`` says whether requesters who belong to no organisation are customers to be matched.
    """

    system: Literal["zendesk"]
    api: ZendeskApi | None = None
    account_key: str = Field(default="external_id", pattern=r"^[A-Za-z0-9_]+$")
    escalation: ZendeskEscalation = ZendeskEscalation()
    excluded_tags: tuple[str, ...] = ("closed_by_merge", "spam")
    without_organization: Literal["match", "ignore"] = "match"


AnySource = Annotated[
    ZendeskSettings | StripeSettings | FilesSettings | RavenStackSettings,
    Field(discriminator="system"),
]
"""Every system's settings; a new system adds its model here."""
