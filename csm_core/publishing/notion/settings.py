"""The settings of publishing to Notion: token, address, database ids, rate limit and API version.

See https://developers.notion.com/reference/authentication.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from csm_core.errors import ConfigError
from csm_core.publishing.notion.databases import DATABASES
from csm_core.publishing.notion.local_notion import DEFAULT_VIEW_ADDRESS, SANDBOX_TOKEN
from csm_core.system.addresses import checked_address
from csm_core.system.notion_section import DEFAULT_API_VERSION
from csm_core.system.paths import shown
from csm_core.system.secrets import secret

TOKEN_SETTING = "NOTION_TOKEN"  # noqa: S105 - the name of the setting, not its value
BASE_URL_SETTING = "NOTION_BASE_URL"
RATE_SETTING = "NOTION_REQUESTS_PER_MINUTE"

DEFAULT_BASE_URL = "https://api.notion.com"
NOTION_SITE = "https://www.notion.so"
DEFAULT_REQUESTS_PER_MINUTE = 180
# The sandbox has no other clients, so its limit never applies.
SANDBOX_REQUESTS_PER_MINUTE = 1_000_000
# The characters that a request's path may contain. Notion checks whether the id exists.
_ID = re.compile(r"[0-9A-Za-z-]{1,64}\Z")


@dataclass(frozen=True)
class NotionSettings:
    """The address, token, ids, rate limit and API version of publishing.

    ``database_ids`` and ``data_source_ids`` map settings (see ``databases``) to ids; a database without an id is
    missing. The token is hidden in the representation.
    """

    token: SecretStr
    base_url: str = DEFAULT_BASE_URL
    database_ids: Mapping[str, str] = field(default_factory=dict[str, str])
    data_source_ids: Mapping[str, str] = field(default_factory=dict[str, str])
    requests_per_minute: int = DEFAULT_REQUESTS_PER_MINUTE
    is_sandbox: bool = False
    api_version: str = DEFAULT_API_VERSION

    @classmethod
    def of(cls, env: Mapping[str, str], api_version: str = DEFAULT_API_VERSION) -> NotionSettings:
        """Read the settings from an environment; without a token, the settings of the sandbox.

        ``api_version`` is the setting ``notion.api_version``.

        Raises ConfigError for a rate limit that is not a positive integer, or an invalid address or id.
        """
        token = secret(TOKEN_SETTING, "the secret of the Notion integration", env, required=False)
        base_url = env.get(BASE_URL_SETTING, "").strip().rstrip("/") or DEFAULT_BASE_URL
        try:
            checked_address(base_url)
        except ValueError as error:
            message = f"{BASE_URL_SETTING}: {error}. Set it to an address such as {DEFAULT_BASE_URL}."
            raise ConfigError(message) from None
        sandbox = not token
        if not sandbox:
            _require_ids(env)
        return cls(
            token=SecretStr(token or SANDBOX_TOKEN),
            base_url=base_url,
            database_ids=_named(env, (spec.setting for spec in DATABASES)),
            data_source_ids=_named(env, (spec.data_source_setting for spec in DATABASES)),
            requests_per_minute=_requests_per_minute(env, sandbox=sandbox),
            is_sandbox=sandbox,
            api_version=api_version,
        )

    def address_of(self, identifier: str | None) -> str:
        """The browser address of a page or a database; empty if there is none, or if the service is not Notion."""
        if not identifier or not (self.is_sandbox or self.base_url == DEFAULT_BASE_URL):
            return ""
        site = DEFAULT_VIEW_ADDRESS if self.is_sandbox else NOTION_SITE
        return f"{site}/{identifier.replace('-', '')}"


def _require_ids(env: Mapping[str, str]) -> None:
    for name in (setting for spec in DATABASES for setting in (spec.setting, spec.data_source_setting)):
        value = env.get(name, "").strip()
        if value:
            require_id(name, value)


def require_id(name: str, value: str) -> None:
    """Raise ConfigError if the ``value`` of the setting or option ``name`` cannot be a Notion id."""
    if not _ID.match(value):
        message = (
            f"{name} is {shown(value)}, which is not an id. Give the 32 hexadecimal digits in the address of the "
            "database or page, with or without hyphens."
        )
        raise ConfigError(message)


def _named(env: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    return {name: env[name].strip() for name in names if env.get(name, "").strip()}


def _requests_per_minute(env: Mapping[str, str], *, sandbox: bool) -> int:
    text = env.get(RATE_SETTING, "").strip()
    if not text:
        return SANDBOX_REQUESTS_PER_MINUTE if sandbox else DEFAULT_REQUESTS_PER_MINUTE
    if not (text.isascii() and text.isdecimal()) or not 1 <= len(text) <= 9 or int(text) < 1:
        raise ConfigError(f"{RATE_SETTING} is {shown(text)}. Set it to an integer from 1 to 999999999, such as 180.")
    return int(text)
