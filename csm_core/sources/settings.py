"""The settings of an entry under ``sources:``, one model per source system, selected by ``system``.

A system supports one or more of three inputs: ``path`` (a folder of files), ``tables`` (tables that another tool lands
in a warehouse) and ``api``. Secrets are never settings: an ``api`` names the environment variable with its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from csm_core.sources.files_settings import FilesSettings
from csm_core.sources.settings_base import (
    VARIABLE,
    ApiSettings,
    BaseUrl,
    LandingPlace,
    SeveralInputs,
    SourceSettings,
    VendorSettings,
    require_entities,
)
from csm_core.sources.spark_settings import SparkSettings
from csm_core.system.config_model import ConfigModel

PROPERTY = r"^[A-Za-z_][A-Za-z0-9_ -]*(\.[A-Za-z_][A-Za-z0-9_ -]*)*$"


class RavenStackSettings(SourceSettings, frozen=True):
    """The bundled third-party data set."""

    system: Literal["ravenstack"]
    path: Path


class StripeApi(ApiSettings, frozen=True):
    """Stripe's API."""

    base_url: BaseUrl = "https://api.stripe.com"
    key_variable: str = Field(default="STRIPE_API_KEY", pattern=VARIABLE)


class StripeSettings(VendorSettings, frozen=True):
    """Stripe. ``account_key`` is the key of the customer's metadata with the account id.

    Only billing periods of at least ``renewal_months`` months have a renewal date. An account leaves if no subscription
    follows the end of its last one within ``churn_grace_days``; null switches this rule off.
    """

    system: Literal["stripe"]
    api: StripeApi | None = None
    include_test_mode: bool = False
    account_key: str = "account_id"
    renewal_months: int = Field(default=6, ge=1, le=120)
    churn_grace_days: int | None = Field(default=30, ge=0, le=3650)


class ZendeskApi(ApiSettings, frozen=True):
    """Zendesk's API. ``{subdomain}`` in ``base_url`` is replaced by ``subdomain``, or else by its variable.

    ``login`` is the type of the key: an API token, which belongs to an e-mail address, or an OAuth access token.
    """

    base_url: BaseUrl = "https://{subdomain}.zendesk.com"
    key_variable: str = Field(default="ZENDESK_TOKEN", pattern=VARIABLE)
    subdomain: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$")
    subdomain_variable: str = Field(default="ZENDESK_SUBDOMAIN", pattern=VARIABLE)
    email_variable: str = Field(default="ZENDESK_EMAIL", pattern=VARIABLE)
    login: Literal["api_token", "oauth"] = "api_token"


class ZendeskEscalation(ConfigModel, frozen=True):
    """The conditions for an escalation: one of these tags or priorities, or a field (with one of the values)."""

    tags: tuple[str, ...] = ("escalated",)
    priorities: tuple[Literal["low", "normal", "high", "urgent"], ...] = ()
    field: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_]+$")
    field_values: tuple[str, ...] = ()


class ZendeskSettings(VendorSettings, frozen=True):
    """Zendesk Support. ``account_key``: ``external_id``, or the key of an organisation field with the account id.

    ``without_organization`` sets whether requesters without an organisation are matched with accounts or ignored.
    ``sentiment`` sets whether tickets without a rating get a sentiment from their text.
    """

    system: Literal["zendesk"]
    api: ZendeskApi | None = None
    account_key: str = Field(default="external_id", pattern=r"^[A-Za-z0-9_]+$")
    escalation: ZendeskEscalation = ZendeskEscalation()
    excluded_tags: tuple[str, ...] = ("closed_by_merge", "spam")
    without_organization: Literal["match", "ignore"] = "match"
    sentiment: Literal["ratings", "lexicon"] = "ratings"


class SegmentTables(LandingPlace, frozen=True):
    """The tables of Segment's warehouse schema, landed by any tool."""

    by: Literal["segment"] = "segment"


class SegmentRule(ConfigModel, frozen=True):
    """A rule that maps events to a feature. ``event`` is the name of the event; ``*`` matches any text.

    The feature is the value of ``property``, translated by ``values`` if they are set, or else ``feature``.
    ``quantity`` is the property with the number of events that an event counts for.
    """

    event: str = Field(min_length=1)
    feature: str | None = Field(default=None, min_length=1)
    property: str | None = Field(default=None, pattern=PROPERTY)
    values: dict[str, str] = Field(default_factory=dict[str, str])
    quantity: str | None = Field(default=None, pattern=PROPERTY)

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        if self.feature is None and self.property is None and self.quantity is None:
            message = "the rule has no effect; set `feature`, `property` or `quantity`"
            raise ValueError(message)
        if self.values and self.property is None:
            message = "`values` requires `property`; set the property that has the values"
            raise ValueError(message)
        return self


class SegmentSettings(SeveralInputs, frozen=True):
    """Events in Segment's format. ``account_key``: the trait of a group with the account id, or ``group_id``.

    The first rule in ``features`` that matches an event applies. ``without_group`` sets whether users without a group
    are matched with accounts or ignored, ``pages`` whether page views count as usage. An event with a time more than
    ``clock_skew_seconds`` after it was received gets the time at which it was received.
    """

    system: Literal["segment"]
    path: Path | None = None
    tables: SegmentTables | None = None
    account_key: str = Field(default="account_id", pattern=PROPERTY)
    features: tuple[SegmentRule, ...] = ()
    login_events: tuple[str, ...] = (
        *("Login", "Logged In", "Log In", "User Logged In", "User Login"),
        *("Signed In", "Sign In", "User Signed In"),
    )
    without_group: Literal["match", "ignore"] = "match"
    pages: Literal["ignore", "count"] = "ignore"
    clock_skew_seconds: int = Field(default=300, ge=0, le=86_400)


HUBSPOT_PROPERTY = r"^[A-Za-z0-9_-]+$"
BUYING_ROLES = {
    "EXECUTIVE_SPONSOR": "executive_sponsor",
    "CHAMPION": "champion",
    "DECISION_MAKER": "decision_maker",
    "BUDGET_HOLDER": "decision_maker",
}
Engagement = Literal["call", "email", "meeting", "note", "task", "communication"]


class HubSpotApi(ApiSettings, frozen=True):
    """HubSpot's API, with the access token of a private app."""

    base_url: BaseUrl = "https://api.hubapi.com"
    key_variable: str = Field(default="HUBSPOT_TOKEN", pattern=VARIABLE)


class HubSpotAccounts(ConfigModel, frozen=True):
    """The property of a company for each column of ``accounts``; without one, the column is null."""

    account_name: str = Field(default="name", pattern=HUBSPOT_PROPERTY)
    tenant_id: str | None = Field(default=None, pattern=HUBSPOT_PROPERTY)
    segment: str | None = Field(default=None, pattern=HUBSPOT_PROPERTY)
    plan: str | None = Field(default=None, pattern=HUBSPOT_PROPERTY)
    csm_owner: str | None = Field(default="hubspot_owner_id", pattern=HUBSPOT_PROPERTY)
    created_at: str | None = Field(default=None, pattern=HUBSPOT_PROPERTY)
    churned_at: str | None = Field(default=None, pattern=HUBSPOT_PROPERTY)

    @property
    def properties(self) -> tuple[str, ...]:
        """The names of the configured properties."""
        return tuple(name for name in self.model_dump().values() if name)


class HubSpotSettings(VendorSettings, frozen=True):
    """HubSpot. ``account_key`` is the property of a company with the account id.

    Companies, and contacts without a company, are customers if their lifecycle stage is empty or in
    ``customer_stages``, or if they are matched with an account; with an empty list, all are customers. ``roles`` maps
    the values of ``role_property`` to roles. ``internal`` lists engagement types that do not count as contact with the
    customer. With ``accounts``, companies also become accounts.
    """

    system: Literal["hubspot"]
    api: HubSpotApi | None = None
    account_key: str = Field(default="account_id", pattern=HUBSPOT_PROPERTY)
    customer_stages: tuple[str, ...] = ("customer", "evangelist")
    role_property: str = Field(default="hs_buying_role", pattern=HUBSPOT_PROPERTY)
    roles: dict[str, str] = Field(default_factory=lambda: dict(BUYING_ROLES))
    internal: tuple[Engagement, ...] = ("note", "task")
    accounts: HubSpotAccounts | None = None

    @field_validator("accounts", mode="before")
    @classmethod
    def _defaults_for_true(cls, value: object) -> object:
        """Replace ``true`` by the default properties."""
        if isinstance(value, bool):
            return {} if value else None
        return value


class DelightedApi(ApiSettings, frozen=True):
    """Delighted's API."""

    base_url: BaseUrl = "https://api.delighted.com"
    key_variable: str = Field(default="DELIGHTED_API_KEY", pattern=VARIABLE)


class DelightedColumns(ConfigModel, frozen=True):
    """The column names of an export, if they differ from the field names of the API."""

    id: str = "id"
    person: str = "person"
    email: str = "email"
    score: str = "score"
    survey_type: str = "survey_type"
    created_at: str = "created_at"
    updated_at: str = "updated_at"


class DelightedSettings(VendorSettings, frozen=True):
    """Delighted: NPS responses. ``account_key`` is the property of a person with the account id.

    ``without_account`` applies to a response without an account id if the respondent is not in the account map: it is
    rejected as unmatched (``match``) or ignored (``ignore``).
    """

    system: Literal["delighted"]
    api: DelightedApi | None = None
    account_key: str = "account_id"
    without_account: Literal["match", "ignore"] = "match"
    columns: DelightedColumns = DelightedColumns()


class PostgresQuery(ConfigModel, frozen=True):
    """A query that returns the records of one entity, with the columns of the staged contract.

    By default every run reads all rows, which replace the earlier ones; an empty result after a result with rows is an
    error, unless ``may_be_empty`` is set. With ``incremental_by``, a column of the result, a run reads only rows whose
    value is at least the maximum read before, minus ``lookback`` (seconds for times, else the unit of the column).
    """

    sql: str = Field(pattern=r"\S")
    incremental_by: str | None = Field(default=None, min_length=1)
    lookback: int = Field(default=3600, ge=0)
    may_be_empty: bool = False


class PostgresSettings(SourceSettings, frozen=True):
    """A PostgreSQL database; ``dsn_variable`` names the variable with its address. ``queries`` are by entity."""

    system: Literal["postgres"]
    dsn_variable: str = Field(default="CSM_POSTGRES_DSN", pattern=VARIABLE)
    queries: Mapping[str, PostgresQuery] = Field(min_length=1)
    connect_timeout_seconds: int = Field(default=15, ge=2, le=600)
    statement_timeout_seconds: int = Field(default=3600, ge=1, le=86_400)
    attempts: int = Field(default=3, ge=1, le=50)

    @field_validator("queries")
    @classmethod
    def _known_entities(cls, value: Mapping[str, PostgresQuery]) -> Mapping[str, PostgresQuery]:
        require_entities(value)
        return value


AnySource = Annotated[
    SegmentSettings
    | ZendeskSettings
    | StripeSettings
    | HubSpotSettings
    | DelightedSettings
    | PostgresSettings
    | SparkSettings
    | FilesSettings
    | RavenStackSettings,
    Field(discriminator="system"),
]
"""The settings of all systems. To add a system, add its model here."""
