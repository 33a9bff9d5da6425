"""Every request that publishing sends in a test is held against Notion's published schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import Any

import httpx
import pytest

from tests.notion_sandbox.request_schema import endpoint, problems


@pytest.fixture(scope="session")
def requests_checked(shown_at_the_end: list[str]) -> Generator[Counter[tuple[str, str]]]:
    """How many requests of each kind were held against the schema; said after all tests."""
    checked: Counter[tuple[str, str]] = Counter()
    yield checked
    kinds = ", ".join(f"{method} {path} {n:,}" for (method, path), n in sorted(checked.items()))
    shown_at_the_end.append(
        f"{checked.total():,} requests to Notion, each as its published schema wants it:\n  {kinds}"
    )


@pytest.fixture(autouse=True)
def schema_of_requests(
    requests_checked: Counter[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> Generator[list[str]]:
    """What is wrong with the requests that the asynchronous client, which only publishing uses, has sent."""
    wrong: list[str] = []
    send = httpx.AsyncClient.send

    async def checking(client: httpx.AsyncClient, sent: httpx.Request, **more: Any) -> httpx.Response:
        method, path = sent.method, sent.url.path
        requests_checked[endpoint(method, path)] += 1
        version = sent.headers.get("notion-version", "")
        content = await sent.aread()
        wrong.extend(
            f"{method} {path}: {one}" for one in problems(method, path, content, dict(sent.url.params), version)
        )
        return await send(client, sent, **more)

    monkeypatch.setattr(httpx.AsyncClient, "send", checking)
    yield wrong
    assert wrong == [], "requests that break Notion's published schema"
