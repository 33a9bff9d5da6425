"""Which Notion is published to: a real workspace where there is a token, the sandbox on loopback where there is none.

Not here: requests, retries and budgets of publishing. See https://developers.notion.com/reference/authentication.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from notion_client import AsyncClient
from pydantic import SecretStr

from csm_core.addresses import checked_address
from csm_core.errors import ConfigError
from csm_core.notion.databases import DATABASES
from csm_core.notion.sandbox import DEFAULT_VIEW_ADDRESS, SANDBOX_TOKEN, SandboxServer
from csm_core.notion.setup import databases_there, init_workspace
from csm_core.paths import shown
from csm_core.secrets import secret

TOKEN_SETTING = "NOTION_TOKEN"  # noqa: S105 - the name of the setting, not its value
BASE_URL_SETTING = "NOTION_BASE_URL"
RATE_SETTING = "NOTION_REQUESTS_PER_MINUTE"

DEFAULT_BASE_URL = "https://api.notion.com"
NOTION_SITE = "https://www.notion.so"
DEFAULT_REQUESTS_PER_MINUTE = 180
# The sandbox is ours alone, so that its budget only has to be out of the way.
SANDBOX_REQUESTS_PER_MINUTE = 1_000_000
NOTION_VERSION = "2025-09-03"
TIMEOUT_MS = 60_000
# What may be part of a request's path; whether it is an id that exists, Notion says.
_ID = re.compile(r"[0-9A-Za-z-]{1,64}\Z")


@dataclass(frozen=True)
class NotionSettings:
    """Where to publish and with what budget.

    ``database_ids`` and ``data_source_ids`` are by the name of their setting (see ``csm_core.notion.databases``); a
    database without an id is not there. The token never shows in a representation.
    """

    token: SecretStr
    base_url: str = DEFAULT_BASE_URL
    database_ids: Mapping[str, str] = field(default_factory=dict[str, str])
    data_source_ids: Mapping[str, str] = field(default_factory=dict[str, str])
    requests_per_minute: int = DEFAULT_REQUESTS_PER_MINUTE
    is_sandbox: bool = False

    @classmethod
    def of(cls, env: Mapping[str, str]) -> NotionSettings:
        """The settings that an environment holds; without a token, those of the sandbox.

        Raises ConfigError for a budget that is no whole number from 1 up, or an address that is none.
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
        )

    def address_of(self, identifier: str | None) -> str:
        """Where people see a page or a database; empty where there is none, or for a service that is not Notion's."""
        if not identifier or not (self.is_sandbox or self.base_url == DEFAULT_BASE_URL):
            return ""
        site = DEFAULT_VIEW_ADDRESS if self.is_sandbox else NOTION_SITE
        return f"{site}/{identifier.replace('-', '')}"


def new_client(settings: NotionSettings) -> AsyncClient:
    """A client for these settings: pinned API version, its own retries off, its log silent.

    Its log would hold the titles of pages in failed bodies; publishing logs what matters itself.
    """
    logger = logging.getLogger("csm_core.notion.client_library")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return AsyncClient(
        auth=settings.token.get_secret_value(),
        base_url=settings.base_url,
        notion_version=NOTION_VERSION,
        timeout_ms=TIMEOUT_MS,
        retry=False,
        logger=logger,
    )


@asynccontextmanager
async def open_workspace(
    env: Mapping[str, str], sandbox_path: Path, *, prepare: bool = True
) -> AsyncGenerator[tuple[AsyncClient, NotionSettings]]:
    """A client and the settings to publish with, closed on exit.

    With a token: the workspace that the environment names. Without: the sandbox over the file ``sandbox_path``, in this
    process and on a free port of loopback. There, ids of the environment choose databases that the sandbox has, and are
    passed over otherwise, being those of a real workspace. The others are those under its first page; what is missing
    there is made unless ``prepare`` is false.
    """
    settings = NotionSettings.of(env)
    if not settings.is_sandbox:
        client = new_client(settings)
        try:
            yield client, settings
        finally:
            await client.aclose()
        return
    with SandboxServer(sandbox_path) as server:
        known = {name: found for name, found in settings.database_ids.items() if server.has_database(found)}
        settings = replace(
            settings, token=SecretStr(server.token), base_url=server.url, database_ids=known, data_source_ids={}
        )
        client = new_client(settings)
        try:
            look = init_workspace if prepare else databases_there
            found = await look(client, server.root_page_id, known)
            yield client, replace(settings, database_ids=found)
        finally:
            await client.aclose()


def _require_ids(env: Mapping[str, str]) -> None:
    for name in (setting for spec in DATABASES for setting in (spec.setting, spec.data_source_setting)):
        found = env.get(name, "").strip()
        if found:
            require_id(name, found)


def require_id(name: str, value: str) -> None:
    """Raise ConfigError for a ``value`` of the setting or option ``name`` that cannot be an id of Notion."""
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
