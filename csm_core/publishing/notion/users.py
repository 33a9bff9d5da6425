"""Reads the users of a workspace, to show the owner of an account as a person.

See https://developers.notion.com/reference/get-users. Guests are not listed.
"""

from __future__ import annotations

from typing import Any

from notion_client import AsyncClient

from csm_core.errors import NotionError
from csm_core.publishing.notion.page_blocks import PAGE_SIZE
from csm_core.publishing.notion.retry import Caller
from csm_core.system.paging import Paging


async def read_users(client: AsyncClient, caller: Caller) -> dict[str, str]:
    """The ids of the people of the workspace by e-mail address in lower case.

    Raises RequestRejected with status 403 if the integration may not read users.
    """
    ids: dict[str, str] = {}
    more: dict[str, Any] = {"page_size": PAGE_SIZE}
    paging = Paging("the users of Notion's workspace", NotionError)
    while True:
        answer = await caller.repeat(lambda: client.users.list(**more))  # pyright: ignore[reportReturnType]
        for user in answer["results"]:
            email = (user.get("person") or {}).get("email")
            if email:
                ids.setdefault(str(email).casefold(), str(user["id"]))
        if not answer.get("has_more"):
            return ids
        paging.follow(answer.get("next_cursor"), [user["id"] for user in answer["results"]])
        more["start_cursor"] = answer["next_cursor"]
