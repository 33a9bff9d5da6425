"""Which Notion is published to: a real workspace where there is a token, the sandbox on loopback where there is none.

Not here: requests, retries and budgets of publishing. See https://developers.notion.com/reference/authentication.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from notion_client import AsyncClient
from pydantic import SecretStr

from csm_core.publishing.notion.local_notion import new_sandbox
from csm_core.publishing.notion.settings import NotionSettings
from csm_core.publishing.notion.setup import databases_there, init_workspace

NOTION_VERSION = "2025-09-03"
TIMEOUT_MS = 60_000


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
    with new_sandbox(sandbox_path) as server:
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
