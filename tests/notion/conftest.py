"""Every request that publishing sends in a test is held against Notion's published schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import Any

import httpx
import pytest

from tests.notion.request_schema import endpoint, problems

_CHECKED: pytest.StashKey[Counter[tuple[str, str]]] = pytest.StashKey()


@pytest.fixture(autouse=True)
def schema_of_requests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Generator[list[str]]:
    """What is wrong with the requests that the asynchronous client, which only publishing uses, has sent."""
    checked = request.config.stash.setdefault(_CHECKED, Counter())
    wrong: list[str] = []
    send = httpx.AsyncClient.send

    async def checking(client: httpx.AsyncClient, sent: httpx.Request, **more: Any) -> httpx.Response:
        method, path = sent.method, sent.url.path
        checked[endpoint(method, path)] += 1
        wrong.extend(f"{method} {path}: {one}" for one in problems(method, path, sent.content, dict(sent.url.params)))
        return await send(client, sent, **more)

    monkeypatch.setattr(httpx.AsyncClient, "send", checking)
    yield wrong
    assert wrong == [], "requests that break Notion's published schema"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many requests were held against the schema."""
    checked = config.stash.get(_CHECKED, Counter[tuple[str, str]]())
    if checked:
        terminalreporter.write_line(f"{checked.total():,} requests to Notion, each as its published schema wants it:")
        terminalreporter.write_line(
            "  " + ", ".join(f"{method} {path} {n:,}" for (method, path), n in sorted(checked.items()))
        )
