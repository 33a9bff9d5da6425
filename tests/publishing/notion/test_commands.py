"""`csm notion …` as a person runs it: processes of their own against a sandbox that the test changes meanwhile."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from notion_client import Client

from csm_core.notion_sandbox.faults import Fault
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing.notion.databases import ACCOUNTS, DATABASES, EXPANSIONS, HEALTH_RECORDS, QBRS
from csm_core.publishing.notion.views import VIEWS
from csm_core.warehouse.database import Warehouse
from tests.conftest import CSM, Company, make_company
from tests.notion_sandbox.request_schema import problems
from tests.publishing.notion.publication import DAY, fill, held


class Workspace:
    """A company, a sandbox that stands for a real workspace, and ``csm notion`` between them."""

    def __init__(self, company: Company, server: SandboxServer) -> None:
        self.company = company
        self.server = server
        self.notion = Client(auth=server.token, base_url=server.url, retry=False)
        self.environment = {"NOTION_TOKEN": server.token, "NOTION_BASE_URL": server.url}

    def csm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``csm notion`` with these arguments."""
        done = self.company.csm("notion", *arguments, environment=self.environment)
        assert self.server.token not in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done

    def fill(self, accounts: int, **more: Any) -> None:
        with Warehouse.from_config(self.company.config).connect() as marts:
            fill(marts, accounts, **more)

    def source(self, setting: str) -> str:
        database: Any = self.notion.databases.retrieve(self.environment[setting])
        return str(database["data_sources"][0]["id"])

    def change(self, setting: str, properties: dict[str, Any]) -> None:
        self.notion.data_sources.update(self.source(setting), properties=properties)

    def page_of(self, account_id: str) -> str:
        answer: Any = self.notion.data_sources.query(
            self.source(ACCOUNTS.setting),
            filter={"property": "account_id", "rich_text": {"equals": account_id}},
        )
        return str(answer["results"][0]["id"])

    def writes(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.server.requests if one.is_write]


@pytest.fixture
def workspace(tmp_path: Path) -> Generator[Workspace]:
    records = tmp_path / "records"
    records.mkdir()
    with SandboxServer(tmp_path / "workspace.sqlite") as server:
        made = Workspace(make_company(tmp_path, records), server)
        yield made
        made.notion.close()


def set_up(workspace: Workspace) -> None:
    answer = workspace.csm("init", "--parent", workspace.server.root_page_id, "--json")
    assert answer.returncode == 0, answer.stderr
    workspace.environment |= json.loads(answer.stdout)


def test_init_makes_says_and_makes_nothing_twice(workspace: Workspace) -> None:
    refused = workspace.csm("init")
    assert (refused.returncode, "--parent is required" in refused.stderr) == (2, True)
    unknown = workspace.csm("init", "--parent", "0" * 32)
    assert unknown.returncode == 2
    assert "share the page with the integration" in unknown.stderr

    first = workspace.csm("init", "--parent", workspace.server.root_page_id)
    assert first.returncode == 0, first.stderr
    lines = dict(line.split("=") for line in first.stdout.splitlines())
    assert list(lines) == [spec.setting for spec in DATABASES]
    # Each database is created, the relation of each to the accounts is added, and views are created.
    assert len(workspace.writes()) == len(DATABASES) + len(DATABASES) - 1 + len(VIEWS)

    workspace.server.requests.clear()
    again = workspace.csm("init", "--parent", workspace.server.root_page_id, "--json")
    assert (again.returncode, json.loads(again.stdout)) == (0, lines)
    assert workspace.writes() == []
    workspace.environment |= lines
    healthy = workspace.csm("doctor")
    assert (healthy.returncode, healthy.stdout) == (0, "no problems found in the four databases\n")


def test_doctor_names_everything_that_is_wrong(workspace: Workspace) -> None:
    set_up(workspace)
    statuses = [{"name": f"Status {number}"} for number in range(100)]
    workspace.change(ACCOUNTS.setting, {"Health Status": {"select": {"options": statuses}}, "CSM Last Scan": None})
    workspace.change(ACCOUNTS.setting, {"CSM Health Score": {"rich_text": {}}})
    workspace.server.user_actions.hide(workspace.environment[HEALTH_RECORDS.setting])
    parent = {"type": "database_id", "database_id": workspace.environment[QBRS.setting]}
    second: Any = workspace.notion.data_sources.create(
        parent=parent, properties={"Name": {"title": {}}}, title=[{"text": {"content": "Archive"}}]
    )
    workspace.change(EXPANSIONS.setting, {"confidence": {"select": {"options": [{"name": "low"}]}}})

    answer = workspace.csm("doctor", "--json")
    assert answer.returncode == 1
    found = json.loads(answer.stdout)
    assert [(one["setting"], one["problem"], one["property"], one["blocking"]) for one in found] == [
        (ACCOUNTS.setting, "wrong_type", "CSM Health Score", True),
        (ACCOUNTS.setting, "missing_property", "CSM Last Scan", True),
        (ACCOUNTS.setting, "options_full", "Health Status", True),
        (HEALTH_RECORDS.setting, "no_access", None, True),
        (QBRS.setting, "several_data_sources", None, True),
        (EXPANSIONS.setting, "missing_option", "confidence", False),
    ]
    text = workspace.csm("doctor")
    assert text.returncode == 1
    said = text.stdout.splitlines()
    assert len(said) == len(found)
    for line, words in zip(
        said,
        (
            "CSM Health Score of Customer accounts is rich_text, expected number",
            "has no property CSM Last Scan (date). Run csm notion init, or add it",
            "has 100 options, so GREEN, AMBER, RED cannot be added",
            "share the database with the integration",
            f"Archive ({second['id']})",
            "lacks the options medium, high",
        ),
        strict=True,
    ):
        assert words in line
    assert f"{QBRS.data_source_setting}=ID" in said[4]

    # What is advised helps: the second data source is chosen, and init completes what is missing.
    workspace.server.user_actions.hide(workspace.environment[HEALTH_RECORDS.setting], hidden=False)
    wrong = workspace.csm("init", "--parent", workspace.server.root_page_id)
    assert wrong.returncode == 2
    assert "CSM Health Score is rich_text, expected number" in wrong.stderr


def test_a_plan_tells_drift_the_trash_and_orphans_and_apply_does_what_it_can(workspace: Workspace) -> None:
    set_up(workspace)
    workspace.fill(4, opportunities=2, reviews=1)
    workspace.server.requests.clear()
    dry = workspace.csm("apply", "--dry-run")
    assert (dry.returncode, workspace.writes()) == (0, [])
    assert dry.stdout == workspace.csm("plan").stdout
    assert re.search(r"health updates +create +4 +update +0 +skip +0\n", dry.stdout)

    applied = workspace.csm("apply")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert re.search(r"health updates +created +4 ", applied.stdout)
    unchanged = json.loads(workspace.csm("plan", "--json").stdout)
    assert (unchanged["steps"], unchanged["drift"]) == ([], [])

    # Meanwhile people rename, retype, tidy up and throw away; one account leaves and one comes.
    workspace.server.user_actions.trash(workspace.page_of("A1"))
    workspace.change(HEALTH_RECORDS.setting, {"as_of_date": {"name": "Day"}})
    workspace.change(EXPANSIONS.setting, {"estimated_arr_impact": {"rich_text": {}}})
    workspace.change(ACCOUNTS.setting, {"CSM Health RAG": {"select": {"options": [{"name": "GREEN"}]}}})
    workspace.fill(5, opportunities=1, reviews=1, score=20.0)
    with Warehouse.from_config(workspace.company.config).connect() as marts:
        marts.execute("delete from marts.csm_health_scores where account_id = 'A3'")
    workspace.server.requests.clear()

    planned = workspace.csm("plan", "--json")
    assert (planned.returncode, workspace.writes()) == (0, [])
    plan = json.loads(planned.stdout)
    assert plan["day"] == DAY.isoformat()
    steps = {(step["action"], step["kind"], step["key"]) for step in plan["steps"]}
    assert {key for action, kind, key in steps if (action, kind) == ("update", "health")} == {'["A0"]', '["A2"]'}
    assert ("create", "health", '["A4"]') in steps
    assert ("update", "expansion", '["A0", "module", "reports"]') in steps
    assert plan["trashed"] == ["Account 1"]
    assert plan["orphans"] == ["account A3", "opportunity A1 module reports"]
    assert [line.split(".")[0] for line in plan["drift"]] == [
        "CSM Health RAG of Customer accounts lacks the options AMBER, RED",
        "CSM health records has no property as_of_date (date)",
        "estimated_arr_impact of CSM expansion opportunities is rich_text, expected number",
    ]
    text = workspace.csm("plan").stdout
    for words in (
        "in the trash, not created again: Account 1\n",
        "in Notion but not in the marts, not changed: account A3, opportunity A1 module reports\n",
        *(f"database: {line}\n" for line in plan["drift"]),
    ):
        assert f"  {words}" in text

    applied = workspace.csm("apply", "--json")
    assert applied.returncode == 1
    report = json.loads(applied.stdout)
    failed = {(one["kind"], re.sub(r"^.*?: (?=as_of|estimated)", "", one["error"])) for one in report["failed"]}
    assert {kind for kind, _ in failed} == {"record", "expansion"}
    assert any("as_of_date is not a property that exists" in said for _, said in failed)
    assert any("estimated_arr_impact is expected to be rich_text" in said for _, said in failed)
    # Account updates and the review went on all the same; a missing option is made with its first use.
    assert (report["updated"]["health"], report["created"]["health"], report["trashed"]) == (2, 1, 1)
    accounts = {page["account_id"]: page for page in held(workspace.server.store.path)[ACCOUNTS.title]}
    assert [accounts[key]["CSM Health RAG"] for key in ("A0", "A2", "A3", "A4")] == ["RED", "RED", "GREEN", "RED"]
    assert accounts["A1"]["in_trash"]
    said = workspace.csm("apply")
    assert said.returncode == 1
    assert (
        'FAILED expansion ["A0", "module", "reports"]: Notion rejected the request: 400 validation_error' in said.stdout
    )


def test_commands_say_what_is_missing(workspace: Workspace) -> None:
    nothing = workspace.csm("plan")
    assert (nothing.returncode, "no day has been scored" in nothing.stderr) == (2, True)
    workspace.fill(1)
    unset = workspace.csm("apply")
    assert (unset.returncode, "NOTION_DATABASE_ID is not set" in unset.stderr) == (2, True)
    workspace.environment["NOTION_TOKEN"] = "ntn_somebody_elses"
    set_to_nothing = workspace.csm("doctor", "--json")
    assert {one["problem"] for one in json.loads(set_to_nothing.stdout)} == {"not_configured"}
    workspace.environment |= {spec.setting: "0" * 32 for spec in DATABASES}
    stranger = workspace.csm("doctor")
    assert stranger.returncode == 1
    assert stranger.stdout.count("Notion rejected the token") == len(DATABASES)
    assert "ntn_somebody_elses" not in stranger.stdout + stranger.stderr


def test_doctor_examines_the_sandbox_where_there_is_no_token(workspace: Workspace) -> None:
    company = workspace.company
    before = company.csm("notion", "doctor")
    assert (before.returncode, before.stdout.count("has no id set")) == (1, len(DATABASES))
    workspace.fill(1)
    assert company.csm("notion", "apply").returncode == 0
    told = company.csm("sql", "select created from sync.notion_runs order by started_at", "--format", "csv")
    # The pages of the databases, then the portfolio page.
    assert told.stdout.split() == ["created", "2", "1"]
    after = company.csm("notion", "doctor")
    assert (after.returncode, after.stdout.strip()) == (0, "no problems found in the four databases")


def test_ctrl_c_ends_a_publication_and_the_next_goes_on(workspace: Workspace) -> None:
    """With progress and the time that is left, on a terminal."""
    set_up(workspace)
    workspace.fill(40)
    # After the first pages, the rest would take a long time, so that a busy machine can stop it in the middle.
    workspace.server.faults.add(Fault("delay", "POST", "/v1/pages$", times=18, seconds=0.1))
    workspace.server.faults.add(Fault("delay", "POST", "/v1/pages$", times=None, seconds=2))
    terminal, end = pty.openpty()
    running = subprocess.Popen(
        [*CSM, "notion", "apply"],
        stdout=subprocess.PIPE,
        stderr=end,
        env={**workspace.company.environment, **workspace.environment},
        cwd=workspace.company.folder,
    )
    os.close(end)
    shown = ""
    deadline = time.monotonic() + 60
    while "\r\033[K  12 of 80 pages" not in shown and time.monotonic() < deadline:
        shown += os.read(terminal, 4_096).decode()
    assert re.search(r"12 of 80 pages, about [1-9]\d* s left", shown), shown
    running.send_signal(signal.SIGINT)
    stopped = time.monotonic()
    said = shown
    while True:
        try:
            part = os.read(terminal, 4_096).decode()
        except OSError:
            break
        if not part:
            break
        said += part
    assert running.wait(20) == 130
    assert time.monotonic() - stopped < 6
    os.close(terminal)
    assert "csm: stopped; run the same command again to continue" in said
    assert "Traceback" not in said
    written = sum(len(pages) for pages in held(workspace.server.store.path).values())
    assert 12 <= written < 80

    workspace.server.faults.clear()
    again = workspace.csm("apply", "--json")
    assert again.returncode == 0, again.stderr
    created = json.loads(again.stdout)["created"]
    assert (sum(created.values()), created["portfolio"]) == (80 - written + 1, 1)
    assert [len(pages) for pages in held(workspace.server.store.path).values()] == [40, 40, 0, 0]
    statuses = workspace.company.query("select status from sync.notion_runs order by started_at")
    assert statuses == [("interrupted",), ("done",), ("done",)]


@pytest.mark.slow
def test_what_the_commands_send_is_as_the_published_schema_wants_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests of other processes, as the service gets them."""
    bodies: list[tuple[str, str, bytes]] = []
    service: Any = workspace.server.service
    answer = service._answer

    def noting(scope: Any, method: str, path: str, body: bytes | None, request_id: str) -> Any:
        bodies.append((method, path, body or b""))
        return answer(scope, method, path, body, request_id)

    monkeypatch.setattr(service, "_answer", noting)
    set_up(workspace)
    workspace.fill(3, reviews=2, opportunities=2, features=120)
    assert workspace.csm("apply").returncode == 0
    workspace.fill(3, reviews=2, opportunities=2, features=110, score=20.0)
    assert workspace.csm("apply").returncode == 0
    assert {path.split("/")[2] for _, path, _ in bodies} >= {"pages", "blocks", "databases", "data_sources"}
    assert [(one, wrong) for *one, body in bodies if (wrong := problems(*one, body))] == []
