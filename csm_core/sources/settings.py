"""What an entry under ``sources:`` may say, one model per source system, told apart by ``system``.

Three ways in, of which a system offers those that make sense for it: ``path`` (a folder of files), ``tables`` (tables
that another tool lands in a warehouse) and ``api``. Secrets are never settings: an ``api`` names the environment
variable that holds its key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from csm_core.contract import ENTITIES, FULL_BY_NATURE, MANDATORY_ENTITIES
from csm_core.section import Section
from csm_core.sources.column_names import column_key
from csm_core.sources.files_settings import mappable_columns, require_date_format, require_known, require_texts

URL = r"^https?://[^\s/@]+(/\S*)?$"
VARIABLE = r"^[A-Z][A-Z0-9_]*$"
PROPERTY = r"^[A-Za-z_][A-Za-z0-9_ -]*(\.[A-Za-z_][A-Za-z0-9_ -]*)*$"


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

    base_url: str = Field(pattern=URL)
    key_variable: str = Field(pattern=VARIABLE)
    timeout_seconds: float = Field(default=60.0, gt=0, le=600)
    attempts: int = Field(default=8, ge=1, le=50)


def _require_entities(names: Iterable[str]) -> None:
    unknown = sorted(set(names) - set(ENTITIES))
    if unknown:
        message = f"not an entity: {', '.join(unknown)}; there are {', '.join(ENTITIES)}"
        raise ValueError(message)


class FilesSettings(SourceSettings, frozen=True):
    """The staged contract as files. ``entities`` have to be there: fewer, where other sources bring the rest.

    ``columns`` maps columns of the contract, by entity, to the names that the files have for them. ``dates`` are
    formats of strptime for columns of time, ``decimal`` is the decimal separator of numbers written for people,
    ``delimiter`` what separates values (one character, or ``tab``), ``null_values`` texts that mean null when they are
    not quoted.

    ``full`` are entities whose files hold the full list: a record that is no longer in it is closed. ``accounts`` and
    ``features`` are full lists, unless ``incremental`` names them.
    """

    system: Literal["files"]
    path: Path
    entities: tuple[str, ...] = MANDATORY_ENTITIES
    columns: Mapping[str, Mapping[str, str]] = Field(default_factory=dict[str, Mapping[str, str]])
    dates: tuple[str, ...] = ()
    decimal: Literal[".", ","] | None = None
    delimiter: str | None = None
    null_values: tuple[str, ...] | None = None
    full: tuple[str, ...] = ()
    incremental: tuple[str, ...] = ()

    @property
    def full_entities(self) -> tuple[str, ...]:
        """The entities whose files hold the full list."""
        named = {*FULL_BY_NATURE, *self.full} - set(self.incremental)
        return tuple(name for name in ENTITIES if name in named)

    @field_validator("entities")
    @classmethod
    def _known_entities(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        _require_entities(value)
        return value

    @field_validator("full", "incremental")
    @classmethod
    def _can_be_closed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        _require_entities(value)
        for name in value:
            if not ENTITIES[name].closed_by:
                can = ", ".join(entity.name for entity in ENTITIES.values() if entity.closed_by)
                message = f"{name} have no end: a record of them cannot be closed; full lists are possible for {can}"
                raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        both = sorted(set(self.full) & set(self.incremental))
        if both:
            message = f"{both[0]} is named under `full` and under `incremental`: name it once"
            raise ValueError(message)
        return self

    @field_validator("columns", mode="before")
    @classmethod
    def _names_quoted_in_yaml(cls, value: object) -> object:
        require_texts("columns", value)
        return value

    @field_validator("columns")
    @classmethod
    def _known_columns(cls, value: Mapping[str, Mapping[str, str]]) -> Mapping[str, Mapping[str, str]]:
        for entity, columns in value.items():
            require_known(f"columns: {entity!r} is not an entity", entity, ENTITIES)
            known = mappable_columns(entity)
            for column, name in columns.items():
                require_known(f"columns: {entity}: {column!r} is not a column of {entity}", column, known)
                if not column_key(name):
                    message = f"columns: {entity}: {column}: the name of a column is empty"
                    raise ValueError(message)
        return value

    @field_validator("dates", mode="before")
    @classmethod
    def _several_formats(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("dates")
    @classmethod
    def _whole_dates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for form in value:
            require_date_format(form)
        return value

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        delimiter = "\t" if value == "tab" else value
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n\0\ufeff'):
            message = f"delimiter: {value!r} is not one character, or is a quote or a line end; give one, or `tab`"
            raise ValueError(message)
        return delimiter

    @field_validator("null_values", mode="before")
    @classmethod
    def _quoted_in_yaml(cls, value: object) -> object:
        require_texts("null_values", value)
        return (value,) if isinstance(value, str) else value

    @field_validator("null_values")
    @classmethod
    def _plain_texts(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for text in value or ():
            if not text or any(one in text for one in '"\r\n\0'):
                message = f"null_values: {text!r} is empty, or has a quote or a line end in it; an empty value is null"
                raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.delimiter and self.delimiter == self.decimal:
            message = f"delimiter and decimal are both {self.decimal!r}; values could not be told from digits"
            raise ValueError(message)
        return self


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

    base_url: str = Field(default="https://api.hubapi.com", pattern=URL)
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

    base_url: str = Field(default="https://api.delighted.com", pattern=URL)
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

    ``without_account`` says what becomes of an answer that names no account and whose respondent the account map does
    not match with one: it is rejected as unmatched (``match``) or ignored.
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
        _require_entities(value)
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
