"""The section ``publish`` of the configuration: the records of HubSpot and Salesforce that show scores."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from csm_core.system.addresses import checked_address, require_encrypted
from csm_core.system.config_model import ConfigModel

HUBSPOT: Literal["hubspot"] = "hubspot"
SALESFORCE: Literal["salesforce"] = "salesforce"
VENDORS = {HUBSPOT: "HubSpot", SALESFORCE: "Salesforce"}
"""The name of each vendor, by ``to``."""

VARIABLE = r"^[A-Z][A-Z0-9_]{0,99}$"
NAME = r"^[a-z][a-z0-9_]{0,59}$"
# The vendors' rules for internal names. Names are parts of paths and of queries, so nothing else may be in them.
_HUBSPOT_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}\Z")
_HUBSPOT_OBJECT = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"
_SALESFORCE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}\Z")
_SALESFORCE_OBJECT = r"^[A-Za-z][A-Za-z0-9_]{0,79}$"


class Destination(ConfigModel, frozen=True):
    """What all destinations have.

    - ``key``: the unique field of the vendor's records that has our account id. ``fields``: our column in
      ``marts.csm_health_last`` by field of the vendor; other fields are never written.
    - ``nulls``: ``keep`` leaves the field of a null as it is, ``clear`` empties it.
    - ``churned``: what happens to the record of an account that is not scored on the newest day. ``keep`` leaves it as
      it is, ``update`` writes its last values, ``clear`` empties the mapped fields once.
    - ``missing``: ``create`` creates the record of an account that has none, ``skip`` never creates one.
    - ``timeout_seconds``: the longest wait for one response.
    """

    name: str = Field(default="", pattern=rf"^$|{NAME}")
    key: str
    fields: dict[str, str] = Field(min_length=1, max_length=200)
    nulls: Literal["keep", "clear"] = "keep"
    churned: Literal["keep", "update", "clear"] = "keep"
    missing: Literal["create", "skip"] = "create"
    timeout_seconds: float = Field(default=30.0, gt=0, le=600)

    @model_validator(mode="after")
    def _key_is_not_written(self) -> Self:
        same = next((field for field in self.fields if field.lower() == self.key.lower()), None)
        if same is not None:
            message = f"{same} is the key, which has the account id. Remove it from fields"
            raise ValueError(message)
        folded = [field.lower() for field in self.fields]
        twice = next((field for field in self.fields if folded.count(field.lower()) > 1), None)
        if twice is not None:
            message = f"the field {twice} appears twice with different capitals"
            raise ValueError(message)
        return self


def destination_address(value: str) -> str:
    """Return the address of an API without a slash at its end. Raises ValueError for one that would expose a token."""
    return require_encrypted(checked_address(value)).rstrip("/")


def _checked_names(names: Collection[str], pattern: re.Pattern[str], example: str) -> None:
    wrong = next((name for name in names if not pattern.match(name)), None)
    if wrong is not None:
        message = f"{wrong[:100]!r} is not the internal name of a field. Use letters, digits and _, such as {example}"
        raise ValueError(message)


class HubSpotDestination(Destination, frozen=True):
    """Records of an object of HubSpot. ``token_variable`` names the variable with the token of a private app."""

    to: Literal["hubspot"]
    object_name: str = Field(default="companies", alias="object", pattern=_HUBSPOT_OBJECT)
    base_url: str = "https://api.hubapi.com"
    token_variable: str = Field(default="HUBSPOT_WRITE_TOKEN", pattern=VARIABLE)

    @field_validator("base_url")
    @classmethod
    def _safe_address(cls, value: str) -> str:
        return destination_address(value)

    @field_validator("key")
    @classmethod
    def _key_is_a_name(cls, value: str) -> str:
        _checked_names([value], _HUBSPOT_FIELD, "csm_account_id")
        return value

    @field_validator("fields")
    @classmethod
    def _fields_are_names(cls, value: dict[str, str]) -> dict[str, str]:
        _checked_names(value, _HUBSPOT_FIELD, "csm_health_score")
        return value


class SalesforceDestination(Destination, frozen=True):
    """Records of an object of Salesforce.

    The variables have the address of the org (My Domain) unless ``base_url`` is set, and the consumer key and secret of
    an app with the OAuth client-credentials flow.
    """

    to: Literal["salesforce"]
    object_name: str = Field(default="Account", alias="object", pattern=_SALESFORCE_OBJECT)
    base_url: str | None = None
    api_version: str = Field(default="v66.0", pattern=r"^v[1-9][0-9]{1,2}\.0$")
    url_variable: str = Field(default="SALESFORCE_URL", pattern=VARIABLE)
    client_id_variable: str = Field(default="SALESFORCE_CLIENT_ID", pattern=VARIABLE)
    client_secret_variable: str = Field(default="SALESFORCE_CLIENT_SECRET", pattern=VARIABLE)

    @field_validator("base_url")
    @classmethod
    def _safe_address(cls, value: str | None) -> str | None:
        return None if value is None else destination_address(value)

    @field_validator("key")
    @classmethod
    def _key_is_a_name(cls, value: str) -> str:
        _checked_names([value], _SALESFORCE_NAME, "CSM_Account_Id__c")
        return value

    @field_validator("fields")
    @classmethod
    def _fields_are_names(cls, value: dict[str, str]) -> dict[str, str]:
        _checked_names(value, _SALESFORCE_NAME, "CSM_Health_Score__c")
        return value


AnyDestination = Annotated[HubSpotDestination | SalesforceDestination, Field(discriminator="to")]
DESTINATIONS: dict[str, type[HubSpotDestination] | type[SalesforceDestination]] = {
    HUBSPOT: HubSpotDestination,
    SALESFORCE: SalesforceDestination,
}
"""The model of each value of ``to``."""


def destination_name(destination: HubSpotDestination | SalesforceDestination) -> str:
    """The name of a destination in commands and in the ledger: ``name``, or the vendor and the object."""
    if destination.name:
        return destination.name
    return f"{destination.to}_{re.sub(r'[^a-z0-9]+', '_', destination.object_name.lower()).strip('_')}"


def require_distinct(destinations: Sequence[HubSpotDestination | SalesforceDestination]) -> None:
    """Raise ValueError if two destinations have the same name, or write the same field of the same records."""
    seen: set[str] = set()
    owners: dict[tuple[str, ...], str] = {}
    for one in destinations:
        name = destination_name(one)
        if name in seen:
            message = f"two destinations are called {name!r}: set a different `name` for each"
            raise ValueError(message)
        seen.add(name)
        place = one.base_url or (one.url_variable if isinstance(one, SalesforceDestination) else "")
        for field in one.fields:
            written = (one.to, place, one.object_name.lower(), field.lower())
            if written in owners:
                message = f"{owners[written]} and {name} both write {field} of {one.object_name}; map it in one of them"
                raise ValueError(message)
            owners[written] = name
