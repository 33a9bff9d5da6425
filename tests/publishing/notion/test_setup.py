"""Making the databases, making them again, and the check-up, over HTTP against the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from notion_client import AsyncClient, Client
from pydantic import SecretStr

from csm_core.errors import ConfigError, InputError, NotionError
from csm_core.notion_sandbox.faults import Fault
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing.notion.databases import ACCOUNTS, DATABASES, HEALTH_RECORDS
from csm_core.publishing.notion.rate_limiter import RateLimiter
from csm_core.publishing.notion.retry import Caller
from csm_core.publishing.notion.settings import NotionSettings
from csm_core.publishing.notion.setup import Finding, doctor, init_workspace
from csm_core.publishing.notion.workspace import open_workspace
from tests.publishing.notion.publication import at_once


@pytest.fixture
def server(tmp_path: Path) -> Generator[SandboxServer]:
    with SandboxServer(tmp_path / "notion.sqlite") as running:
        yield running


@pytest.fixture
def notion(server: SandboxServer) -> Generator[Client]:
    client = Client(auth=server.token, base_url=server.url, retry=False)
    yield client
    client.close()


def never_waiting() -> Caller:
    return Caller(RateLimiter(1_000_000), sleep=at_once)


def make(server: SandboxServer, parent: str | None = None, known: dict[str, str] | None = None) -> dict[str, str]:
    async def run() -> dict[str, str]:
        async with AsyncClient(auth=server.token, base_url=server.url, retry=False) as client:
            return await init_workspace(client, parent, known, caller=never_waiting())

    return asyncio.run(run())


def examine(server: SandboxServer, ids: dict[str, str], token: str | None = None, **sources: str) -> list[Finding]:
    async def run() -> list[Finding]:
        settings = NotionSettings(SecretStr("x"), database_ids=ids, data_source_ids=sources)
        async with AsyncClient(auth=token or server.token, base_url=server.url, retry=False) as client:
            return await doctor(client, settings, caller=never_waiting())

    return asyncio.run(run())


def source_of(notion: Client, database_id: str) -> dict[str, Any]:
    database: Any = notion.databases.retrieve(database_id)
    found: Any = notion.data_sources.retrieve(database["data_sources"][0]["id"])
    return found


def test_init_makes_four_databases_with_every_property(server: SandboxServer, notion: Client) -> None:
    ids = make(server)
    assert list(ids) == [spec.setting for spec in DATABASES]
    for spec in DATABASES:
        properties = source_of(notion, ids[spec.setting])["properties"]
        other_sides = {item.synced_name: "relation" for other in DATABASES for item in other.properties}
        assert {name: config["type"] for name, config in properties.items()} == {
            **{item.name: item.type for item in spec.properties},
            **({name: kind for name, kind in other_sides.items() if name} if spec is ACCOUNTS else {}),
        }
    options = source_of(notion, ids[ACCOUNTS.setting])["properties"]["CSM Health RAG"]["select"]["options"]
    assert [(option["name"], option["color"]) for option in options] == [
        ("GREEN", "green"),
        ("AMBER", "orange"),
        ("RED", "red"),
    ]
    assert examine(server, ids) == []


def test_init_again_changes_nothing_and_asks_for_no_write(server: SandboxServer) -> None:
    first = make(server)
    server.requests.clear()
    assert make(server) == first
    assert [request.path for request in server.requests if request.is_write] == []


def test_init_again_completes_what_is_missing_and_keeps_the_rest(server: SandboxServer, notion: Client) -> None:
    ids = make(server)
    accounts = ids[ACCOUNTS.setting]
    page: Any = notion.pages.create(
        parent={"database_id": accounts},
        properties={
            "Account": {"title": [{"text": {"content": "Acme"}}]},
            "account_id": {"rich_text": [{"text": {"content": "A-1"}}]},
            "Health Status": {"select": {"name": "GREEN"}},
            "CSM Health Score": {"number": 71.5},
        },
    )
    source = source_of(notion, accounts)
    notion.data_sources.update(
        source["id"],
        properties={
            "CSM Last Scan": None,
            "Account": {"name": "Kunde"},
            "Owner": {"rich_text": {}},
            "Health Status": {"select": {"options": [{"name": "GREEN"}, {"name": "Paused", "color": "gray"}]}},
        },
    )
    assert make(server) == ids
    after = source_of(notion, accounts)["properties"]
    assert after["CSM Last Scan"]["type"] == "date"
    assert after["Kunde"]["type"] == "title"
    assert after["Owner"]["type"] == "rich_text"
    names = [option["name"] for option in after["Health Status"]["select"]["options"]]
    assert names == ["GREEN", "Paused", "AMBER", "RED"]
    kept: Any = notion.pages.retrieve(page["id"])
    assert kept["properties"]["Health Status"]["select"]["name"] == "GREEN"
    assert kept["properties"]["CSM Health Score"]["number"] == 71.5


def test_init_makes_a_database_that_was_trashed_anew(server: SandboxServer, notion: Client) -> None:
    ids = make(server)
    notion.databases.update(ids[HEALTH_RECORDS.setting], in_trash=True)
    again = make(server)
    assert again[HEALTH_RECORDS.setting] != ids[HEALTH_RECORDS.setting]
    assert {key: again[key] for key in ids if key != HEALTH_RECORDS.setting} == {
        key: ids[key] for key in ids if key != HEALTH_RECORDS.setting
    }


def test_init_goes_on_after_breaking_off(server: SandboxServer) -> None:
    server.faults.add(Fault("reset_before", method="POST", path=r"/v1/databases$", nth=3, times=None))
    with pytest.raises(NotionError, match="cannot be reached"):
        make(server)
    assert len(server.store.databases.all()) == 2
    server.faults.clear()
    ids = make(server)
    assert len(server.store.databases.all()) == 4
    assert {row["id"] for row in server.store.databases.all()} == set(ids.values())


@pytest.mark.parametrize("kind", ["reset_before", "reset_after", "unavailable", "unavailable_written", "rate_limited"])
def test_init_and_doctor_try_again_after_a_transient_error(server: SandboxServer, kind: str) -> None:
    for method, path in (("GET", r"/v1/blocks/.*/children$"), ("POST", r"/v1/databases$")):
        server.faults.add(Fault(kind, method=method, path=path, retry_after=0))
    ids = make(server)
    assert {row["id"] for row in server.store.databases.all()} == set(ids.values())
    assert len(ids) == 4
    assert [fault["struck"] for fault in server.faults.armed()] == [1, 1]
    server.faults.clear()
    for path in (r"/v1/databases/", r"/v1/data_sources/"):
        server.faults.add(Fault(kind, method="GET", path=path, retry_after=0))
    assert examine(server, ids) == []
    assert [fault["struck"] for fault in server.faults.armed()] == [1, 1]


def test_an_update_that_was_carried_out_is_sent_again_without_harm(server: SandboxServer, notion: Client) -> None:
    ids = make(server)
    source = source_of(notion, ids[ACCOUNTS.setting])
    notion.data_sources.update(
        source["id"], properties={"CSM Last Scan": None, "CSM Health RAG": {"select": {"options": [{"name": "GREEN"}]}}}
    )
    server.faults.add(Fault("reset_after", method="PATCH", path=r"/v1/data_sources/"))
    assert make(server) == ids
    assert examine(server, ids) == []
    options = source_of(notion, ids[ACCOUNTS.setting])["properties"]["CSM Health RAG"]["select"]["options"]
    assert [option["name"] for option in options] == ["GREEN", "AMBER", "RED"]


def test_init_keeps_known_databases_whatever_they_are_called(server: SandboxServer, notion: Client) -> None:
    ids = make(server)
    notion.databases.update(ids[ACCOUNTS.setting], title=[{"text": {"content": "Our customers"}}])
    assert make(server, known=ids) == ids
    assert len(server.store.databases.all()) == 4


def test_init_goes_under_a_named_page_of_many_children(server: SandboxServer, notion: Client) -> None:
    parent: Any = notion.pages.create(parent={"page_id": server.root_page_id}, properties={"title": {"title": []}})
    for _ in range(2):
        notion.blocks.children.append(
            parent["id"], children=[{"paragraph": {"rich_text": [{"text": {"content": "x"}}]}}] * 100
        )
    ids = make(server, parent["id"])
    assert make(server, parent["id"]) == ids
    database: Any = notion.databases.retrieve(ids[ACCOUNTS.setting])
    assert database["parent"] == {"type": "page_id", "page_id": parent["id"]}


@pytest.mark.parametrize("page", ["no id", "00000000-0000-4000-8000-000000000000"])
def test_init_says_what_is_wrong_with_the_page(server: SandboxServer, page: str) -> None:
    with pytest.raises(InputError, match=r"cannot be found.*share the page"):
        make(server, page)


def test_init_refuses_a_property_of_another_type(server: SandboxServer, notion: Client) -> None:
    ids = make(server)
    source = source_of(notion, ids[ACCOUNTS.setting])
    notion.data_sources.update(source["id"], properties={"CSM Health Score": {"rich_text": {}}})
    with pytest.raises(InputError, match="CSM Health Score is rich_text, expected number"):
        make(server)


def test_init_relates_pages_to_accounts_whatever_else_the_accounts_have(server: SandboxServer, notion: Client) -> None:
    ids = make(server)
    accounts = source_of(notion, ids[ACCOUNTS.setting])
    notion.data_sources.update(
        accounts["id"], properties={"CSM Health Records": None, "CSM Opportunities": {"name": "Chances"}}
    )
    notion.data_sources.update(accounts["id"], properties={"CSM Health Records": {"rich_text": {}}})
    assert make(server) == ids
    after = source_of(notion, ids[ACCOUNTS.setting])["properties"]
    assert (after["CSM Health Records"]["type"], after["Chances"]["type"]) == ("rich_text", "relation")
    relation = source_of(notion, ids[HEALTH_RECORDS.setting])["properties"]["Account"]["relation"]
    assert relation["data_source_id"] == accounts["id"]
    assert relation["dual_property"]["synced_property_name"] == "CSM Health Records 1"
    assert examine(server, ids) == []


def test_a_relation_to_another_database_and_a_detail_of_another_type_block_nothing(
    server: SandboxServer, notion: Client
) -> None:
    ids = make(server)
    records, accounts = (source_of(notion, ids[spec.setting]) for spec in (HEALTH_RECORDS, ACCOUNTS))
    notion.data_sources.update(records["id"], properties={"Account": None})
    own = {"relation": {"data_source_id": records["id"], "single_property": {}}}
    notion.data_sources.update(records["id"], properties={"Account": own})
    notion.data_sources.update(accounts["id"], properties={"CSM Plan": {"rich_text": {}}})
    assert make(server) == ids
    found = examine(server, ids)
    assert [(one.property, one.problem, one.blocking) for one in found] == [
        ("CSM Plan", "wrong_type", False),
        ("Account", "wrong_type", False),
    ]
    assert "is rich_text, expected select" in found[0].message
    assert f"expected {accounts['id']}, the accounts" in found[1].message


def test_doctor_names_missing_and_mistyped_properties(server: SandboxServer, notion: Client) -> None:
    ids = make(server)
    source = source_of(notion, ids[ACCOUNTS.setting])
    notion.data_sources.update(source["id"], properties={"CSM Last Scan": None, "CSM Health Score": {"rich_text": {}}})
    found = {(finding.property, finding.problem) for finding in examine(server, ids)}
    assert found == {("CSM Last Scan", "missing_property"), ("CSM Health Score", "wrong_type")}


def test_doctor_names_what_cannot_be_seen(server: SandboxServer, notion: Client) -> None:
    ids = make(server)
    server.user_actions.hide(ids[ACCOUNTS.setting])
    notion.databases.update(ids[HEALTH_RECORDS.setting], in_trash=True)
    missing = {key: value for key, value in ids.items() if "EXPANSION" not in key}
    problems = [(finding.setting, finding.problem) for finding in examine(server, missing)]
    assert problems == [
        ("NOTION_DATABASE_ID", "no_access"),
        ("NOTION_CSM_HEALTH_DATABASE_ID", "in_trash"),
        ("NOTION_CSM_EXPANSION_DATABASE_ID", "not_configured"),
    ]
    refused = examine(server, ids, token="secret_of_mine")
    assert {finding.problem for finding in refused} == {"no_access"}
    assert "secret_of_mine" not in str(refused)


def test_doctor_lists_several_data_sources_and_the_setting_to_choose_with(
    server: SandboxServer, notion: Client
) -> None:
    ids = make(server)
    first = source_of(notion, ids[ACCOUNTS.setting])
    second: Any = notion.data_sources.create(
        parent={"type": "database_id", "database_id": ids[ACCOUNTS.setting]},
        properties={"Name": {"title": {}}},
        title=[{"text": {"content": "Archive"}}],
    )
    (finding,) = examine(server, ids)
    assert finding.problem == "several_data_sources"
    for part in (first["id"], f"Archive ({second['id']})", "NOTION_DATA_SOURCE_ID"):
        assert part in finding.message
    assert examine(server, ids, NOTION_DATA_SOURCE_ID=first["id"]) == []
    (other,) = examine(server, ids, NOTION_DATA_SOURCE_ID=server.root_page_id)
    assert other.problem == "several_data_sources"


def test_doctor_tells_full_options_from_absent_ones(server: SandboxServer, notion: Client) -> None:
    ids = make(server)
    source = source_of(notion, ids[ACCOUNTS.setting])
    few = [{"name": "GREEN"}]
    many = [{"name": f"Status {number}"} for number in range(100)]
    notion.data_sources.update(
        source["id"],
        properties={"CSM Health RAG": {"select": {"options": few}}, "Health Status": {"select": {"options": many}}},
    )
    found = {(finding.property, finding.problem, finding.blocking) for finding in examine(server, ids)}
    assert found == {("CSM Health RAG", "missing_option", False), ("Health Status", "options_full", True)}


def test_doctor_gives_up_when_notion_is_out_of_reach(server: SandboxServer) -> None:
    ids = make(server)
    server.faults.add(Fault("reset_before", times=None))
    with pytest.raises(NotionError, match="cannot be reached: ReadError"):
        examine(server, ids)


def test_without_a_token_the_sandbox_is_opened_ready_and_kept(tmp_path: Path) -> None:
    async def run() -> tuple[NotionSettings, str]:
        async with open_workspace({"NOTION_DATABASE_ID": "of another workspace"}, tmp_path / "s.sqlite") as opened:
            client, settings = opened
            page: Any = await client.pages.create(
                parent={"database_id": settings.database_ids[ACCOUNTS.setting]}, properties={}
            )
            return settings, page["id"]

    first, page_id = asyncio.run(run())
    second, _ = asyncio.run(run())
    assert first.is_sandbox
    assert first.database_ids == second.database_ids
    assert first.requests_per_minute > 100_000
    with SandboxServer(tmp_path / "s.sqlite") as server:
        assert server.store.pages.find(page_id) is not None


def test_settings_choose_among_the_databases_of_the_sandbox(server: SandboxServer, notion: Client) -> None:
    parent: Any = notion.pages.create(parent={"page_id": server.root_page_id}, properties={"title": {"title": []}})
    ids = make(server, parent["id"])

    async def run(*, prepare: bool) -> NotionSettings:
        env = {**ids, HEALTH_RECORDS.setting: "00000000-0000-4000-8000-000000000000"}
        async with open_workspace(env, server.store.path, prepare=prepare) as (_, settings):
            return settings

    seen = asyncio.run(run(prepare=False)).database_ids
    assert dict(seen) == {name: found for name, found in ids.items() if name != HEALTH_RECORDS.setting}
    made = asyncio.run(run(prepare=True)).database_ids
    assert {name: found for name, found in made.items() if ids[name] == found} == dict(seen)
    assert len(server.store.databases.all()) == 5


def test_with_a_token_the_named_address_is_used(server: SandboxServer, tmp_path: Path) -> None:
    env = {"NOTION_TOKEN": server.token, "NOTION_BASE_URL": server.url, "NOTION_DATABASE_ID": "abc"}

    async def run() -> NotionSettings:
        async with open_workspace(env, tmp_path / "unused.sqlite") as (client, settings):
            await client.users.me()
            return settings

    settings = asyncio.run(run())
    assert (settings.is_sandbox, settings.requests_per_minute) == (False, 180)
    assert dict(settings.database_ids) == {"NOTION_DATABASE_ID": "abc"}
    assert not (tmp_path / "unused.sqlite").exists()


def test_the_token_shows_nowhere() -> None:
    settings = NotionSettings.of({"NOTION_TOKEN": "ntn_verysecret"})
    assert "verysecret" not in f"{settings!r} {settings!s} {settings.__dict__}"


@pytest.mark.parametrize(
    ("name", "value"),
    [("NOTION_REQUESTS_PER_MINUTE", "0"), ("NOTION_REQUESTS_PER_MINUTE", "fast"), ("NOTION_BASE_URL", "notion")],
)
def test_settings_that_make_no_sense_are_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        NotionSettings.of({name: value})


def test_a_budget_of_ones_own_holds_for_the_sandbox_too() -> None:
    assert NotionSettings.of({"NOTION_REQUESTS_PER_MINUTE": "90"}).requests_per_minute == 90
