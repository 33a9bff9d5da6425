"""Opens the Notion to publish to: a real workspace if a token is set, otherwise the sandbox on loopback.

``retry`` and ``rate_limiter`` handle requests. See https://developers.notion.com/reference/authentication.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from notion_client import AsyncClient
from pydantic import SecretStr

from csm_core.publishing.notion.local_notion import new_sandbox
from csm_core.publishing.notion.rate_limiter import RateLimiter
from csm_core.publishing.notion.retry import Caller
from csm_core.publishing.notion.settings import NotionSettings
from csm_core.publishing.notion.setup import databases_there, init_workspace
from csm_core.system.notion_section import DEFAULT_API_VERSION

TIMEOUT_MS = 60_000


def new_client(settings: NotionSettings) -> AsyncClient:
    """A client for these settings, with the API version of the settings and without its own retries and log.

    Its log would contain page titles from failed requests; publishing writes its own log.
    """
    logger = logging.getLogger("csm_core.notion.client_library")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return AsyncClient(
        auth=settings.token.get_secret_value(),
        base_url=settings.base_url,
        notion_version=settings.api_version,
        timeout_ms=TIMEOUT_MS,
        retry=False,
        logger=logger,
    )


@asynccontextmanager
async def open_workspace(
    env: Mapping[str, str],
    sandbox_path: Path,
    *,
    prepare: bool = True,
    switched_off: Collection[str] = (),
    api_version: str = DEFAULT_API_VERSION,
) -> AsyncGenerator[tuple[AsyncClient, NotionSettings]]:
    """A client and the settings to publish with, closed on exit.

    With a token, it is the workspace of the environment; otherwise it is the sandbox with the file ``sandbox_path``, in
    this process on a free port of loopback. In the sandbox, database ids of the environment are used only if the
    sandbox has these databases; other ids belong to a real workspace. The other databases are the ones under the first
    page of the sandbox; missing ones are created unless ``prepare`` is false, without the properties that are
    ``switched_off``.
    """
    settings = NotionSettings.of(env, api_version)
    if not settings.is_sandbox:
        client = new_client(settings)
        try:
            yield client, settings
        finally:
            await client.aclose()
        return
    with new_sandbox(sandbox_path) as server:
        known = {name: value for name, value in settings.database_ids.items() if server.has_database(value)}
        settings = replace(
            settings, token=SecretStr(server.token), base_url=server.url, database_ids=known, data_source_ids={}
        )
        client = new_client(settings)
        try:
            caller = Caller(RateLimiter(settings.requests_per_minute))
            parent = server.root_page_id
            database_ids = (
                await init_workspace(client, parent, known, caller=caller, switched_off=switched_off)
                if prepare
                else await databases_there(client, parent, known, caller=caller)
            )
            yield client, replace(settings, database_ids=database_ids)
        finally:
            await client.aclose()
