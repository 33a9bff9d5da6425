"""The section ``notion`` of the configuration: options of publishing, and the properties that can be switched off."""

from __future__ import annotations

from datetime import date
from typing import Final, Literal

from pydantic import Field, field_validator

from csm_core.system.config_model import ConfigModel

DEFAULT_API_VERSION: Final = "2026-03-11"


class AccountProperties(ConfigModel, frozen=True):
    """The properties of account pages, relations to them, and status of opportunities that can be switched off."""

    owner: bool = True
    segment: bool = True
    plan: bool = True
    mrr: bool = True
    renewal: bool = True
    churn_risk: bool = True
    reason: bool = True
    next_step: bool = True
    last_change: bool = True
    receipt: bool = True
    relations: bool = True
    opportunity_status: bool = True
    pulse: bool = True

    @property
    def switched_off(self) -> frozenset[str]:
        """The names of the settings that are false."""
        return frozenset(name for name, on in self if on is False)


class NotionPublishing(ConfigModel, frozen=True):
    """Options of publishing to Notion. Ids and the token come from the environment.

    ``api_version`` is the version of Notion's API, a header of each request
    (https://developers.notion.com/reference/versioning). ``qbr_internal`` is the place of the internal notes of a
    business review: a toggle at the end of its page, a page of their own, or none. ``qbr_template`` is the name of the
    template that new business reviews start from; None: an empty page. With ``score_chart``, account pages show their
    score over 90 days as an image.
    """

    create_missing_accounts: bool = True
    portfolio_page: bool = True
    account_properties: AccountProperties = AccountProperties()
    qbr_internal: Literal["toggle", "page", "none"] = "toggle"
    score_chart: bool = False
    qbr_template: str | None = Field(default=None, min_length=1)
    api_version: Literal["2025-09-03", "2026-03-11"] = DEFAULT_API_VERSION

    @field_validator("api_version", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        """YAML reads a version as a date."""
        return value.isoformat() if isinstance(value, date) else value
