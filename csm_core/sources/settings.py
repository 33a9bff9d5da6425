"""What an entry under ``sources:`` may say, one model per source system, told apart by ``system``.

Three ways in, of which a system offers those that make sense for it: ``path`` (a folder of files), ``tables`` (tables
that another tool lands in a warehouse) and ``api``. Secrets are never settings: an ``api`` names the environment
variable that holds its key.
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
    SeveralWaysIn,
    SourceSettings,
    VendorSettings,
    require_entities,
)
from csm_core.system.config_model import Section

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

    base_url: BaseUrl = "https://{subdomain}.zendesk.com"
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

    ``without_organization`` says whether requesters who belong to no organisation are customers to be matched,
    ``sentiment`` whether what nobody rated gets a sentiment by the words of its text.
    """

    system: Literal["zendesk"]
    api: ZendeskApi | None = None
    account_key: str = Field(default="external_id", pattern=r"^[A-Za-z0-9_]+$")
    escalation: ZendeskEscalation = ZendeskEscalation()
    excluded_tags: tuple[str, ...] = ("closed_by_merge", "spam")
    without_organization: Literal["match", "ignore"] = "match"
    sentiment: Literal["ratings", "lexicon"] = "ratings"


class SegmentTables(LandingPlace, frozen=True):
    """The tables of Segment's own warehouse schema, whoever lands them."""

    by: Literal["segment"] = "segment"


class SegmentRule(Section, frozen=True):
    """What an event says of a feature. ``event`` is its name; ``*`` stands for any text.

    The feature is what the event's ``property`` holds, by way of ``values`` where there are any, else ``feature``.
    ``quantity`` is the property with how many events one stands for.
    """

    event: str = Field(min_length=1)
    feature: str | None = Field(default=None, min_length=1)
    property: str | None = Field(default=None, pattern=PROPERTY)
    values: dict[str, str] = Field(default_factory=dict[str, str])
    quantity: str | None = Field(default=None, pattern=PROPERTY)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.feature is None and self.property is None and self.quantity is None:
            message = "give `feature`, `property` or `quantity`: the rule says nothing of the event"
            raise ValueError(message)
        if self.values and self.property is None:
            message = "`values` are those of a property: give `property`"
            raise ValueError(message)
        return self


class SegmentSettings(SeveralWaysIn, frozen=True):
    """Events in Segment's shape. ``account_key``: the trait of a group with the account's id, or ``group_id``.

    ``features`` are looked through in order, the first that names an event decides. ``without_group`` says whether
    users who belong to no group are customers to be matched, ``pages`` whether page views are usage. An event that is
    dated more than ``clock_skew_seconds`` after it was received happened when it was received.
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


class HubSpotAccounts(Section, frozen=True):
    """Which property of a company becomes which column of ``accounts``; none: the column stays empty."""

    account_name: str = Field(default="name", pattern=HUBSPOT_PROPERTY)
    tenant_id: str | None = Field(default=None, pattern=HUBSPOT_PROPERTY)
    segment: str | None = Field(default=None, pattern=HUBSPOT_PROPERTY)
    plan: str | None = Field(default=None, pattern=HUBSPOT_PROPERTY)
    csm_owner: str | None = Field(default="hubspot_owner_id", pattern=HUBSPOT_PROPERTY)
    created_at: str | None = Field(default=None, pattern=HUBSPOT_PROPERTY)
    churned_at: str | None = Field(default=None, pattern=HUBSPOT_PROPERTY)

    @property
    def properties(self) -> tuple[str, ...]:
        """The names of the properties that are asked for."""
        return tuple(name for name in self.model_dump().values() if name)


class HubSpotSettings(VendorSettings, frozen=True):
    """HubSpot. ``account_key`` is the property of a company that holds the account's id.

    Companies, and contacts of no company, are customers in these lifecycle stages, or without one, or once they are
    matched with an account; an empty list: all are. ``roles`` says what the values of a contact's ``role_property``
    mean. ``internal`` are the engagements that are no contact with the customer. With ``accounts`` companies become
    accounts as well.
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
    def _asked_for(cls, value: object) -> object:
        """``true`` asks for accounts with the usual properties."""
        if isinstance(value, bool):
            return {} if value else None
        return value


class DelightedApi(ApiSettings, frozen=True):
    """Delighted's API."""

    base_url: BaseUrl = "https://api.delighted.com"
    key_variable: str = Field(default="DELIGHTED_API_KEY", pattern=VARIABLE)


class DelightedColumns(Section, frozen=True):
    """How the columns of an export are called, where they are called otherwise than the fields of the API."""

    id: str = "id"
    person: str = "person"
    email: str = "email"
    score: str = "score"
    survey_type: str = "survey_type"
    created_at: str = "created_at"
    updated_at: str = "updated_at"


class DelightedSettings(VendorSettings, frozen=True):
    """Delighted: NPS answers. ``account_key`` is the property of a person that holds the account's id.

    ``without_account`` applies to an answer that names no account and whose respondent is not in the account map: it is
    rejected as unmatched (``match``) or ignored (``ignore``).
    """

    system: Literal["delighted"]
    api: DelightedApi | None = None
    account_key: str = "account_id"
    without_account: Literal["match", "ignore"] = "match"
    columns: DelightedColumns = DelightedColumns()


class PostgresQuery(Section, frozen=True):
    """A query whose rows are records of one entity, with the columns of the staged contract.

    Read whole each time, the rows take the place of the earlier ones; no row at all where there were some is an error,
    unless it ``may_be_empty``. With ``incremental_by``, a column of the result, only rows are read that are not older
    than the newest one before, less ``lookback``: seconds of a time, else in the column's own unit.
    """

    sql: str = Field(pattern=r"\S")
    incremental_by: str | None = Field(default=None, min_length=1)
    lookback: int = Field(default=3600, ge=0)
    may_be_empty: bool = False


class PostgresSettings(SourceSettings, frozen=True):
    """A PostgreSQL database, whose address with user and password is in the environment; ``queries`` by entity."""

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
    | FilesSettings
    | RavenStackSettings,
    Field(discriminator="system"),
]
"""Every system's settings; a new system adds its model here."""
