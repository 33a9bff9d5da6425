"""The differences between the versions of Notion's API that csm-health supports.

See https://developers.notion.com/guides/get-started/upgrade-guide-2026-03-11. ``in_trash`` has the same meaning in both
versions, so only the place of appended blocks differs.
"""

from __future__ import annotations

from typing import Any

from notion_client import AsyncClient

_WITHOUT_POSITION = "2025-09-03"


def place_after(client: AsyncClient, block_id: str) -> dict[str, Any]:
    """The parameters that append blocks after a block, in the version that the client sends."""
    if client.options.notion_version == _WITHOUT_POSITION:
        return {"after": block_id}
    return {"position": {"type": "after_block", "after_block": {"id": block_id}}}
