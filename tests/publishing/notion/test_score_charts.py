"""The image of the score on account pages: equal bytes, one block for each page, replaced when the scores change."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Generator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from notion_client import Client
from notion_client.errors import APIResponseError

from csm_core.config import Config
from csm_core.notion_sandbox.faults import Fault
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing.notion.commands import doctor
from csm_core.publishing.notion.ledger import Change, Ledger
from csm_core.publishing.notion.publish import plan_day, publish_day
from csm_core.publishing.notion.report_text import plan_lines
from csm_core.publishing.notion.score_charts import ChartPublication, ScoreChart, load_charts
from csm_core.warehouse.database import Warehouse
from tests.publishing.notion.publication import DAY, adapter_of, fill, lose_ledger, publish

PNG = b"\x89PNG\r\n\x1a\n"
NEXT = DAY + timedelta(days=1)


class Workspace:
    """A sandbox with the pages of two accounts."""

    def __init__(self, folder: Path, server: SandboxServer) -> None:
        self.file = folder / "notion.sqlite"
        self.server = server
        self.warehouse = Warehouse(folder / "w.duckdb")
        self.notion = Client(auth=server.token, base_url=server.url, retry=False)
        with self.warehouse.connect() as marts:
            fill(marts, 2)

    def publish(self, day: date = DAY, version: str = "2026-03-11") -> list[Change]:
        """Publish the pages and the charts; the failures of the charts."""

        async def run() -> list[Change]:
            async with adapter_of(self.server, version=version) as adapter:
                await publish(marts, adapter, day=day)
                client: Any = adapter.blocks._client
                charts = ChartPublication(client, adapter, Ledger(marts), day, "run/chart")
                report = await charts.publish(load_charts(marts, day))
                return list(report.failures)

        with self.warehouse.connect() as marts:
            return asyncio.run(run())

    def next_day(self) -> None:
        """Another score on the next day; the marts keep the scores of both days."""
        with self.warehouse.connect() as marts:
            marts.execute("create or replace table before as from marts.csm_health_scores")
            fill(marts, 2, day=NEXT, score=55.0)
            marts.execute("insert into marts.csm_health_scores from before")
            marts.execute("drop table before")

    def images(self) -> list[tuple[str, bytes]]:
        """The captions and contents of the images on pages, and that each page has one."""
        with closing(sqlite3.connect(self.file)) as store:
            blocks = store.execute(
                "select parent, content from blocks where type = 'image' and in_trash = 0"
            ).fetchall()
            files = dict(store.execute("select id, content from files").fetchall())
        assert len({parent for parent, _ in blocks}) == len(blocks)
        contents = [json.loads(content) for _, content in blocks]
        return sorted((one["caption"][0]["plain_text"], files[one["file"]["id"]]) for one in contents)

    def writes(self) -> list[str]:
        return [one.path for one in self.server.requests if one.is_write]


@pytest.fixture
def workspace(tmp_path: Path) -> Generator[Workspace]:
    with SandboxServer(tmp_path / "notion.sqlite") as server:
        made = Workspace(tmp_path, server)
        yield made
        made.notion.close()


@pytest.mark.parametrize("version", ["2026-03-11", "2025-09-03"])
def test_each_account_has_an_image_and_an_equal_one_is_not_sent_again(workspace: Workspace, version: str) -> None:
    assert workspace.publish(version=version) == []
    (first, content), second = workspace.images()
    assert first == "CSM Health Score from 2026-06-30 (80.0) to 2026-06-30 (80.0), lowest 80.0, highest 80.0."
    assert content.startswith(PNG)
    assert second == (first, content)
    workspace.server.requests.clear()
    assert workspace.publish(version=version) == []
    assert workspace.writes() == []
    workspace.next_day()
    assert workspace.publish(NEXT, version) == []
    (caption, changed), _ = workspace.images()
    assert caption == "CSM Health Score from 2026-06-30 (80.0) to 2026-07-01 (55.0), lowest 55.0, highest 80.0."
    assert changed != content


def test_the_image_is_on_the_web_page(workspace: Workspace) -> None:
    workspace.publish()
    with closing(sqlite3.connect(workspace.file)) as store:
        (page_id,), *_ = store.execute("select parent from blocks where type = 'image'").fetchall()
    answer = httpx.get(f"{workspace.server.url}/{page_id.replace('-', '')}")
    source = answer.text.split('<img src="')[1].split('"')[0]
    assert 'alt="CSM Health Score from' in answer.text
    image = httpx.get(workspace.server.url + source)
    assert (image.headers["content-type"], image.content[:8]) == ("image/png", PNG)
    assert httpx.get(f"{workspace.server.url}/_files/{'0' * 32}").status_code == 404


def test_an_image_that_a_user_deleted_stays_deleted(workspace: Workspace) -> None:
    workspace.publish()
    with closing(sqlite3.connect(workspace.file)) as store:
        for (block_id,) in store.execute("select id from blocks where type = 'image'").fetchall():
            workspace.server.user_actions.strike(block_id)
    for day in (NEXT, NEXT):
        workspace.next_day()
        assert workspace.publish(day) == []
    assert workspace.images() == []
    workspace.server.requests.clear()
    workspace.publish(NEXT)
    assert workspace.writes() == []


def test_a_lost_ledger_finds_the_images(workspace: Workspace) -> None:
    workspace.publish()
    before = workspace.images()
    with workspace.warehouse.connect() as marts:
        lose_ledger(marts)
    assert workspace.publish() == []
    assert workspace.images() == before


@pytest.mark.parametrize("version", ["2026-03-11", pytest.param("2025-09-03", marks=pytest.mark.slow)])
@pytest.mark.parametrize("path", ["^/v1/file_uploads$", "/send$", "/children$"])
@pytest.mark.parametrize("kind", ["unavailable_written", "unavailable_committed", "reset_after", "reset_before"])
def test_one_image_under_faults(workspace: Workspace, kind: str, path: str, version: str) -> None:
    method = "PATCH" if "children" in path else "POST"
    workspace.server.faults.add(Fault(kind, method, path, times=2, retry_after=0))
    assert workspace.publish(version=version) == []
    assert len(workspace.images()) == 2


def test_a_rejected_image_is_a_failure_and_is_written_by_the_next_run(workspace: Workspace) -> None:
    workspace.server.faults.add(Fault("status", "POST", "^/v1/file_uploads$", status=403, message="No uploads."))
    (failure,) = workspace.publish()
    assert (failure.kind, "No uploads." in str(failure.error)) == ("chart", True)
    assert len(workspace.images()) == 1
    assert workspace.publish() == []
    assert len(workspace.images()) == 2


def test_what_the_sandbox_refuses(workspace: Workspace) -> None:
    upload: Any = workspace.notion.file_uploads.create(filename="a.png", content_type="image/png")
    assert upload["status"] == "pending"
    image = {"image": {"file_upload": {"id": upload["id"]}}}
    root = workspace.server.root_page_id
    with pytest.raises(APIResponseError, match="is pending"):
        workspace.notion.blocks.children.append(root, children=[image])
    with pytest.raises(APIResponseError, match="is not image/png"):
        workspace.notion.file_uploads.send(upload["id"], file=("a.png", b"text", "image/png"))
    sent: Any = workspace.notion.file_uploads.send(upload["id"], file=("a.png", PNG + b"more", "image/png"))
    assert (sent["status"], sent["content_length"]) == ("uploaded", len(PNG) + 4)
    with pytest.raises(APIResponseError, match="already uploaded"):
        workspace.notion.file_uploads.send(upload["id"], file=("a.png", PNG, "image/png"))
    with pytest.raises(APIResponseError, match="content_type"):
        workspace.notion.file_uploads.create(filename="a.exe", content_type="application/octet-stream")
    answer: Any = workspace.notion.blocks.children.append(root, children=[image])
    assert answer["results"][0]["image"]["file"]["url"].endswith(f"/_files/{upload['id']}")


@given(st.lists(st.floats(0, 100), min_size=1, max_size=5), st.integers(-1000, 1000))
def test_the_hash_and_the_bytes_depend_on_what_is_shown(scores: list[float], offset: int) -> None:
    days = tuple(DAY + timedelta(days=offset + number) for number in range(len(scores)))
    one, other = (ScoreChart(account, days, tuple(scores), 70, 40) for account in ("A", "B"))
    assert one.content_hash == other.content_hash
    assert one.content_hash != ScoreChart("A", days, tuple(scores), 71, 40).content_hash


def test_equal_charts_have_equal_bytes() -> None:
    one, other = (ScoreChart(account, (DAY, NEXT), (80.0, 55.5), 70, 40).draw() for account in ("A", "B"))
    assert one == other
    assert one.startswith(PNG)


def counts(**more: int) -> dict[str, int]:
    return {"create": 0, "update": 0, "skip": 0, **more}


def test_the_image_and_the_template_are_settings(tmp_path: Path) -> None:
    def config(**notion: Any) -> Config:
        return Config.model_validate(
            {"warehouse": tmp_path / "w.duckdb", "notion": {"portfolio_page": False, **notion}}
        )

    with Warehouse.from_config(config()).connect() as marts:
        fill(marts, 2)
        assert plan_day(marts, config(), DAY, environment={}).chart_actions is None
        assert plan_day(marts, config(score_chart=True), DAY, environment={}).chart_actions == counts(create=2)
        assert "chart" not in publish_day(marts, config(), DAY, environment={}).created
        assert plan_day(marts, config(score_chart=True), DAY, environment={}).chart_actions == counts(create=2)
        first = publish_day(marts, config(score_chart=True), DAY, environment={})
        assert (first.created["chart"], list(first.failures)) == (2, [])
        again = publish_day(marts, config(score_chart=True), DAY, environment={})
        assert (again.created["chart"], again.skipped["chart"]) == (0, 2)
        plan = plan_day(marts, config(score_chart=True), DAY, environment={})
        assert plan.chart_actions == plan.as_dict()["score_images"] == counts(skip=2)
        assert "  score images       create      0   update      0   skip      2" in plan_lines(plan)
        runs = "select created, requests > 0, status from sync.notion_runs where run_id like '%/chart'"
        assert marts.execute(runs).fetchall() == [(2, True, "done")]
        fill(marts, 2, reviews=1)
        (drift,) = plan_day(marts, config(qbr_template="Nothing"), DAY, environment={}).drift
        assert "notion.qbr_template is 'Nothing'" in drift
        assert [one["problem"] for one in doctor(config(qbr_template="Nothing"))] == ["template"]
        assert doctor(config()) == []
        (failure,) = publish_day(marts, config(qbr_template="Nothing"), DAY, environment={}).failures
        assert "notion.qbr_template is 'Nothing'" in str(failure.error)
        assert publish_day(marts, config(), DAY, environment={}).created["qbr"] == 1
