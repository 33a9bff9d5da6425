"""What publishing tells Dagster: real runs of the publishing assets against the sandbox, and what they leave behind."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.context import Linked, preview
from assets.publish import PUBLISH_ASSETS, SHOWN
from csm_core.config import Config
from csm_core.notion_sandbox.address import DEFAULT_VIEW_ADDRESS
from csm_core.notion_sandbox.faults import Fault
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.operations.run_outcome import RunOutcome
from csm_core.publishing.notion.databases import DATABASES, SPECS
from csm_core.publishing.notion.publish import sandbox_file
from csm_core.publishing.notion.settings import NotionSettings
from csm_core.publishing.notion.workspace import open_workspace
from csm_core.warehouse.database import Warehouse
from pipelines.instance import shared_instance
from pipelines.run import run_days
from tests.publishing.notion.publication import DAY, fill

HOSTILE = "[Click](https://evil.example) | <b>x</b> ![i](https://evil.example/i.png) `c` *b* \n# h"
COUNTS = ("created", "updated", "skipped", "failed", "orphaned", "trashed", "requests")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster_home"))
    for name in ("NOTION_TOKEN", "NOTION_BASE_URL", *(spec.setting for spec in DATABASES)):
        monkeypatch.delenv(name, raising=False)
    return Config(warehouse=tmp_path / "w.duckdb", partitions_start=DAY)


def publish(config: Config, accounts: int, *, score: float, opportunities: int = 1) -> RunOutcome:
    with Warehouse.from_config(config).connect() as marts:
        fill(marts, accounts, score=score, reviews=1, opportunities=opportunities)
        marts.execute("update intermediate.int_account_days set account_name = ? where account_id = 'A0'", [HOSTILE])
        marts.execute("update marts.csm_qbr set account_name = ? where account_id = 'A0'", [HOSTILE])
    return run_days(config, (DAY, DAY), select=PUBLISH_ASSETS, clock=lambda: datetime(2026, 7, 1, 6, tzinfo=UTC))


def told(config: Config, asset: str, *, failed: bool = False) -> dict[str, Any]:
    """The metadata of an asset's latest materialisation, or of the observation that a failed step leaves."""
    with shared_instance(config) as instance:
        key = dg.AssetKey(asset)
        records = (instance.fetch_observations if failed else instance.fetch_materializations)(key, limit=1).records
        event = records[0].asset_observation if failed else records[0].asset_materialization
        assert event is not None
        return {name: value.value for name, value in event.metadata.items()}


def counts(found: dict[str, Any]) -> dict[str, int]:
    return {name: found[name] for name in COUNTS if found[name] and name != "requests"}


def test_every_publishing_asset_tells_counts_time_and_links(config: Config) -> None:
    assert publish(config, 30, score=80.0).succeeded
    health, reviews, expansion = (told(config, asset) for asset in PUBLISH_ASSETS[:3])
    assert [counts(found) for found in (health, reviews, expansion)] == [
        {"created": 60},
        {"created": 1},
        {"created": 1},
    ]
    assert all(found["seconds"] > 0 and found["requests"] > 0 for found in (health, reviews, expansion))
    assert "| health updates | 30 | 0 | 0 |" in health["pages"]
    assert "| health records | 30 | 0 | 0 |" in health["pages"]

    lines = health["changed_pages"].splitlines()
    assert len(lines) == 2 + SHOWN
    assert any(line.startswith(f"| created | [Account 1]({DEFAULT_VIEW_ADDRESS}/") for line in lines)
    with SandboxServer(sandbox_file(config)) as server:
        page_id = lines[2].rsplit("/", 1)[1].split(")")[0]
        assert server.store.pages.find(
            f"{page_id[:8]}-{page_id[8:12]}-{page_id[12:16]}-{page_id[16:20]}-{page_id[20:]}"
        )
        databases = {
            health["database_health"],
            health["database_record"],
            reviews["database_qbr"],
            expansion["database_expansion"],
        }
        assert databases == {f"{server_address(row['id'])}" for row in server.store.databases.all()}

    assert publish(config, 29, score=80.0, opportunities=0).succeeded
    again, _, none_open = (told(config, asset) for asset in PUBLISH_ASSETS[:3])
    assert counts(again) == {"skipped": 58, "orphaned": 1}
    assert counts(none_open) == {"orphaned": 1}
    assert "changed_pages" not in again
    assert publish(config, 29, score=20.0).succeeded
    assert counts(told(config, PUBLISH_ASSETS[2])) == {"updated": 1}
    assert "| updated | [Account 1](" in told(config, PUBLISH_ASSETS[0])["changed_pages"]


def server_address(identifier: str) -> str:
    return f"{DEFAULT_VIEW_ADDRESS}/{identifier.replace('-', '')}"


def test_names_are_shown_and_never_read_as_markdown(config: Config) -> None:
    assert publish(config, 1, score=80.0).succeeded
    for asset in PUBLISH_ASSETS[:3]:
        table = told(config, asset)["changed_pages"]
        assert "Click" in table
        for line in table.splitlines()[2:]:
            assert line.count("|") == 3
            assert line.count("](") == 1
            assert f"]({DEFAULT_VIEW_ADDRESS}/" in line
            assert not {"<", ">", "`", "*", "!"} & set(line)


def test_what_failed_is_told_with_the_figures_of_the_run(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SandboxServer(tmp_path / "workspace.sqlite") as server:
        monkeypatch.setenv("NOTION_TOKEN", server.token)
        monkeypatch.setenv("NOTION_BASE_URL", server.url)
        for setting, identifier in databases_of(server).items():
            monkeypatch.setenv(setting, identifier)
        server.faults.add(Fault("status", "POST", "/v1/pages$", nth=2, status=400, message="No *such* | thing"))
        outcome = publish(config, 3, score=80.0)
    assert [failure.asset for failure in outcome.failures] == [PUBLISH_ASSETS[0]]
    found = told(config, PUBLISH_ASSETS[0], failed=True)
    assert counts(found) == {"created": 5, "failed": 1}
    assert "No &#42;such&#42; &#124; thing" in found["failed_pages"]
    # These pages are not at Notion's own address, so that no address of their databases is made up.
    assert "database_health" not in found
    assert server.token not in json.dumps(found)


def databases_of(server: SandboxServer) -> dict[str, str]:
    import asyncio

    async def run() -> dict[str, str]:
        async with open_workspace({}, server.store.path) as (_, settings):
            return dict(settings.database_ids)

    return asyncio.run(run())


def test_addresses_are_those_that_people_open() -> None:
    identifier = "01234567-89ab-4cde-8f01-23456789abcd"
    real = NotionSettings.of({"NOTION_TOKEN": "ntn_x"})
    assert real.address_of(identifier) == "https://www.notion.so/0123456789ab4cde8f0123456789abcd"
    assert NotionSettings.of({}).address_of(identifier) == server_address(identifier)
    assert real.address_of(None) == ""
    assert NotionSettings.of({"NOTION_TOKEN": "x", "NOTION_BASE_URL": "http://proxy"}).address_of(identifier) == ""
    assert set(SPECS) == {"health", "record", "qbr", "expansion"}


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (Linked("A [b](c)", "https://n.so/a b(c)|d"), "[A &#91;b&#93;(c)](https://n.so/a%20b%28c%29%7Cd)"),
        (Linked("A", "javascript:alert(1)"), "A"),
        (Linked("", "https://n.so/a"), "[untitled](https://n.so/a)"),
        ("x" * 200, "x" * 117 + "..."),
        ("&" * 200, "&#38;" * 117 + "..."),
        ("a\r\n| b\\", "a &#124; b&#92;"),
        (None, ""),
        (0, "0"),
    ],
)
def test_cells(cell: Any, shown: str) -> None:
    assert preview([{"column": cell}]).value.splitlines()[2] == f"| {shown} |"
