"""Faults of the sandbox: what each answers, whether it wrote, and when it strikes; the request budget; the controls."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from notion_client import Client

from csm_core.notion_sandbox.faults import KINDS, Fault
from csm_core.notion_sandbox.limits import SimulatedRateLimit
from csm_core.notion_sandbox.server import SandboxServer

LIVING = "parent_page is not null and in_trash = 0"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Generator[SandboxServer]:
    with SandboxServer(tmp_path_factory.mktemp("sandbox") / "notion.sqlite") as server:
        yield server


@pytest.fixture
def server(running: SandboxServer) -> Generator[SandboxServer]:
    """The server with nothing left of the test before."""
    yield running
    running.faults.clear()
    running.requests.clear()
    running.service.before_request = running.service.after_request = None
    for row in running.store.pages.where(LIVING, (), "seq", 1_000):
        running.user_actions.trash(row["id"])


@pytest.fixture
def http(server: SandboxServer) -> Generator[httpx.Client]:
    headers = {"authorization": f"Bearer {server.token}", "notion-version": "2025-09-03"}
    with httpx.Client(base_url=server.url, headers=headers) as client:
        yield client


def create(server: SandboxServer, http: httpx.Client, name: str = "made") -> httpx.Response:
    body = {"parent": {"page_id": server.root_page_id}, "properties": {"title": [{"text": {"content": name}}]}}
    return http.post("/v1/pages", json=body)


def made(server: SandboxServer) -> list[str]:
    """Titles of the pages that are there and not in the trash."""
    return [row["title"] for row in server.store.pages.where(LIVING, (), "seq", 1_000)]


ANSWERS: list[tuple[str, int, str, bool]] = [
    ("rate_limited", 429, "rate_limited", False),
    ("blocked", 429, "rate_limited", False),
    ("overloaded", 529, "service_overload", False),
    ("conflict", 409, "conflict_error", False),
    ("internal_error", 500, "internal_server_error", False),
    ("unavailable", 503, "service_unavailable", False),
    ("unavailable_written", 503, "service_unavailable", True),
    ("unavailable_committed", 503, "service_unavailable", True),
    ("gateway_timeout", 504, "gateway_timeout", True),
    ("status", 400, "validation_error", False),
]


@pytest.mark.parametrize(("kind", "status", "code", "written"), ANSWERS, ids=[case[0] for case in ANSWERS])
def test_errors_and_whether_they_wrote(
    server: SandboxServer, http: httpx.Client, kind: str, status: int, code: str, written: bool
) -> None:
    server.faults.add(Fault(kind))
    answer = create(server, http)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert made(server) == (["made"] if written else [])
    assert create(server, http, "again").status_code == 200


def test_every_kind_of_fault_is_tried_here() -> None:
    tried = {case[0] for case in ANSWERS} | {"bad_gateway", "reset_before", "reset_after", "truncated", "delay"}
    assert tried == set(KINDS)


def test_a_bad_gateway_answers_with_html(server: SandboxServer, http: httpx.Client) -> None:
    server.faults.add(Fault("bad_gateway"))
    answer = create(server, http)
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html")
    assert "<html>" in answer.text
    assert made(server) == []


@pytest.mark.parametrize(
    ("kind", "problem", "written"),
    [
        ("reset_before", httpx.ReadError, False),
        ("reset_after", httpx.ReadError, True),
        ("truncated", httpx.RemoteProtocolError, True),
    ],
)
def test_connections_that_break(
    server: SandboxServer, http: httpx.Client, kind: str, problem: type[Exception], written: bool
) -> None:
    server.faults.add(Fault(kind))
    with pytest.raises(problem):
        create(server, http)
    assert made(server) == (["made"] if written else [])
    assert create(server, http, "again").status_code == 200


def test_a_delay_gives_the_right_answer_late(server: SandboxServer, http: httpx.Client) -> None:
    server.faults.add(Fault("delay", seconds=0.2))
    answer = create(server, http)
    assert answer.status_code == 200
    # Timers may go off a moment early.
    assert server.requests[-1].seconds >= 0.19


def test_an_unavailable_service_names_what_it_saved(server: SandboxServer, http: httpx.Client) -> None:
    server.faults.add(Fault("unavailable_committed", times=None))
    data = create(server, http).json()["additional_data"]
    page = server.store.pages.find(data["committed_resource_id"])
    assert page is not None
    block = {"paragraph": {"rich_text": [{"text": {"content": "x"}}]}}
    appended = http.patch(f"/v1/blocks/{page['id']}/children", json={"children": [block, block]}).json()
    assert appended["additional_data"]["committed_resource_id"] == page["id"]
    assert appended["additional_data"]["committed_child_ids"] == [
        row["id"] for row in server.store.blocks.children(page["id"])
    ]
    updated = http.patch(f"/v1/pages/{page['id']}", json={"icon": {"emoji": "🔴"}}).json()
    assert "committed_resource_id" not in updated["additional_data"]


def test_a_refusal_comes_before_a_fault_that_writes(server: SandboxServer, http: httpx.Client) -> None:
    server.faults.add(Fault("gateway_timeout"))
    assert http.post("/v1/pages", json={}).status_code == 400


@pytest.mark.parametrize(
    ("where", "in_header", "in_body"), [("both", True, True), ("header", True, False), ("body", False, True)]
)
def test_how_long_to_wait_is_told(
    server: SandboxServer, http: httpx.Client, where: str, in_header: bool, in_body: bool
) -> None:
    server.faults.add(Fault("rate_limited", retry_after=90, retry_after_in=where))
    answer = http.get("/v1/users/me")
    assert answer.headers.get("retry-after") == ("90" if in_header else None)
    assert answer.json()["additional_data"].get("retry_after") == ("90" if in_body else None)


def test_blocked_is_told_by_its_reason(server: SandboxServer, http: httpx.Client) -> None:
    server.faults.add(Fault("blocked"))
    assert http.get("/v1/users/me").json()["additional_data"]["rate_limit_reason"] == "public_api_request_blocked"


def test_schedules_strike_at_the_named_requests(server: SandboxServer, http: httpx.Client) -> None:
    server.faults.add(Fault("internal_error", method="GET", path="users", nth=2, times=2))
    create(server, http)
    statuses = [http.get("/v1/users/me").status_code for _ in range(5)]
    assert statuses == [200, 500, 500, 200, 200]
    assert [request.fault for request in server.requests if request.fault] == ["internal_error"] * 2


def test_rates_strike_about_as_often_as_they_say(server: SandboxServer, http: httpx.Client) -> None:
    server.faults.add(Fault("conflict", rate=0.3, times=None))
    struck = sum(http.get("/v1/users/me").status_code == 409 for _ in range(200))
    assert 30 <= struck <= 90


@pytest.mark.parametrize(
    "given",
    [{"kind": "flood"}, {"kind": "conflict", "nth": 0}, {"kind": "conflict", "rate": 2}, {"kind": "conflict", "x": 1}],
)
def test_faults_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Fault.of(given)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_strikes_by_schedule_and_by_rate(server: SandboxServer, http: httpx.Client, kind: str) -> None:
    def struck(requests: int) -> list[bool]:
        server.requests.clear()
        for _ in range(requests):
            with suppress(httpx.HTTPError):
                http.get("/v1/users/me")
        return [one.fault == kind for one in server.requests]

    server.faults.add(Fault(kind, "GET", "^/v1/users/me$", nth=2, times=2, retry_after=0))
    assert struck(5) == [False, True, True, False, False]
    server.faults.clear()
    server.faults.add(Fault(kind, times=None, rate=0.5, retry_after=0))
    assert 8 <= sum(struck(40)) <= 32
    server.faults.clear()
    server.faults.add(Fault(kind, times=3, rate=0.5, retry_after=0))
    assert sum(struck(40)) == 3


def test_controls_over_http(server: SandboxServer, http: httpx.Client) -> None:
    assert http.post("/_sandbox/faults", json=[{"kind": "conflict"}, {"kind": "delay"}]).status_code == 200
    assert [fault["kind"] for fault in http.get("/_sandbox/faults").json()["faults"]] == ["conflict", "delay"]
    assert http.get("/v1/users/me").status_code == 409
    assert http.delete("/_sandbox/faults").json() == {"faults": []}
    (request,) = http.get("/_sandbox/requests").json()["requests"]
    assert (request["method"], request["path"], request["status"], request["fault"], request["is_write"]) == (
        "GET",
        "/v1/users/me",
        409,
        "conflict",
        False,
    )
    assert http.post("/_sandbox/faults", json={"kind": "flood"}).status_code == 400
    assert http.get("/_sandbox/nothing").status_code == 404
    assert httpx.get(f"{server.url}/_sandbox/requests").status_code == 401


def test_people_edit_write_and_throw_away(server: SandboxServer, http: httpx.Client) -> None:
    page = create(server, http).json()
    person = server.store.meta("person")

    def act(action: str, **more: Any) -> httpx.Response:
        return http.post("/_sandbox/people", json={"action": action, "id": page["id"], **more})

    edited = act("edit", properties={"title": [{"text": {"content": "mine"}}]}).json()
    assert edited["last_edited_by"]["id"] == person
    act("write", text="a note of my own")
    listed = http.get(f"/v1/blocks/{page['id']}/children").json()["results"]
    assert listed[-1]["paragraph"]["rich_text"][0]["plain_text"] == "a note of my own"
    assert act("trash").json()["in_trash"] is True
    assert act("restore").json()["in_trash"] is False
    assert act("dance").status_code == 400
    assert http.get(f"/v1/pages/{page['id']}").json()["properties"]["title"]["title"][0]["plain_text"] == "mine"


def test_a_database_that_is_not_shared_is_not_there(server: SandboxServer, http: httpx.Client) -> None:
    parent = {"type": "page_id", "page_id": server.root_page_id}
    database = http.post("/v1/databases", json={"parent": parent}).json()
    page = http.post("/v1/pages", json={"parent": {"database_id": database["id"]}, "properties": {}}).json()
    source = database["data_sources"][0]["id"]
    paths = [f"/v1/databases/{database['id']}", f"/v1/data_sources/{source}", f"/v1/pages/{page['id']}"]
    server.user_actions.hide(database["id"])
    assert [http.get(path).status_code for path in paths] == [404, 404, 404]
    assert (
        http.post("/v1/search", json={"filter": {"property": "object", "value": "data_source"}}).json()["results"] == []
    )
    server.user_actions.hide(database["id"], hidden=False)
    assert [http.get(path).status_code for path in paths] == [200, 200, 200]


def test_hooks_see_every_request(server: SandboxServer, http: httpx.Client) -> None:
    seen: list[tuple[str, ...]] = []
    server.service.before_request = lambda method, path: seen.append(("before", method, path))
    server.service.after_request = lambda request: seen.append(("after", str(request.status)))
    http.get("/v1/users/me")
    assert seen == [("before", "GET", "/v1/users/me"), ("after", "200")]


def test_the_budget_holds_over_any_window() -> None:
    now = 0.0
    budget = SimulatedRateLimit(3, 60.0, lambda: now)
    assert [budget.wait() for _ in range(4)] == [0, 0, 0, 60]
    now = 59.5
    assert budget.wait() == 1
    now = 60.0
    assert [budget.wait() for _ in range(4)] == [0, 0, 0, 60]


def test_over_the_budget_the_answer_is_429(tmp_path: Path) -> None:
    with SandboxServer(tmp_path / "n.sqlite", requests_per_window=2, window_seconds=30) as server:
        client = Client(auth=server.token, base_url=server.url, retry=False)
        headers = {"authorization": f"Bearer {server.token}", "notion-version": "2025-09-03"}
        client.users.me()
        client.users.me()
        answer = httpx.get(f"{server.url}/v1/users/me", headers=headers)
        client.close()
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    assert answer.json()["additional_data"]["rate_limit_reason"] == "public_api_request_rate_limit"
