"""The versions of the API that the sandbox serves, and what differs between them.

2026-03-11 replaces ``archived`` by ``in_trash`` in requests and answers, and ``after`` by ``position`` when blocks are
appended. Earlier versions accept the new names as well. See
https://developers.notion.com/guides/get-started/upgrade-guide-2026-03-11.
"""

from __future__ import annotations

import re
from typing import Any

from csm_core.notion_sandbox.errors import invalid_parameter

OLDEST, NEWEST = "2025-09-03", "2026-03-11"
VERSIONS = (OLDEST, NEWEST)
_APPEND = re.compile(r"blocks/[^/]+/children\Z")


def check_keys(version: str, path: str, body: Any) -> None:
    """Raise a 400 for a key that this version no longer has; ``path`` is without ``/v1/``."""
    if version == OLDEST or not isinstance(body, dict):
        return
    for key in ("archived", *(("after",) if _APPEND.match(path) else ())):
        if key in body:
            raise invalid_parameter(f"body.{key}", "not present", body[key])


def shown_in(version: str, answer: dict[str, Any]) -> dict[str, Any]:
    """An answer as this version shows it."""
    if version == OLDEST:
        return answer
    shown = {key: value for key, value in answer.items() if key != "archived"}
    if answer.get("object") == "list":
        shown["results"] = [shown_in(version, one) for one in answer["results"]]
    return shown
