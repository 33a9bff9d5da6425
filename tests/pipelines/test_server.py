"""The files of deploy/: read by what they are for, and what they start, run with PostgreSQL as Dagster's storage."""

import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import pytest
import yaml
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
)

from csm_core.config import PROJECT_ROOT
from tests.conftest import Company
from tests.process_group import end_group
from tests.recent_company import make_recent_company

DEPLOY = PROJECT_ROOT / "deploy"
UNITS = DEPLOY / "systemd"
INSTALLED = "/opt/csm-health"
PATIENCE_SECONDS = 900
ENDED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


def unit(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        key, _, value = line.partition("=")
        if value and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_the_servers_instance_is_the_projects_with_another_storage():
    server = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    storage = server.pop("storage")
    project = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text())
    assert project.pop("instance_class")["module"] == "pipelines.history"
    assert server == project
    database = storage["postgres"]["postgres_db"]
    assert database.pop("scheme") == "postgresql+psycopg2"
    named = {value["env"] for value in database.values()}
    assert len(named) == 5
    stated = [line.partition("=")[0] for line in (DEPLOY / "dagster.env.example").read_text().splitlines()]
    assert named <= set(stated)


@pytest.mark.parametrize("file", ["csm.env.example", "dagster.env.example"])
def test_examples_of_environments_hold_names_and_no_secret(file):
    documented = "".join(path.read_text() for path in (PROJECT_ROOT / "docs").rglob("*.md"))
    for line in (DEPLOY / file).read_text().splitlines():
        name, is_stated, value = line.lstrip("#").partition("=")
        if is_stated and name.isupper():
            assert name in documented or name.startswith("DAGSTER_PG_")
            if any(word in name for word in ("TOKEN", "PASSWORD", "KEY", "WEBHOOK")):
                assert value == ""


@pytest.mark.parametrize("name", sorted(path.name for path in UNITS.glob("*.service")))
def test_units_run_as_nobody_special_and_keep_no_secret(name):
    stated = unit(name)
    assert stated["User"] == ["csm"]
    assert stated["NoNewPrivileges"] == ["yes"]
    assert stated["ProtectSystem"] == ["strict"]
    assert "Environment" not in stated
    assert all(value.startswith("/etc/csm-health/") for value in stated["EnvironmentFile"])
    command = stated["ExecStart"][0]
    if " -p " in command:
        assert "-h 127.0.0.1" in command
    # The web server and the daemon have no business with the keys of Notion and of sources.
    if name in ("csm-webserver.service", "csm-daemon.service"):
        assert stated["EnvironmentFile"] == ["/etc/csm-health/dagster.env"]


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here: apt-get install systemd")
    for path in UNITS.iterdir():
        here = path.read_text().replace(f"{INSTALLED}/.venv/bin", str(Path(sys.executable).parent))
        (tmp_path / path.name).write_text(here)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *sorted(map(str, tmp_path.iterdir()))], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "csm-" not in done.stderr


def test_compose_binds_the_ui_to_this_machine_and_takes_secrets_from_files(tmp_path):
    stated = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    ports = [port for service in stated["services"].values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:3000:3000"]
    for name, service in stated["services"].items():
        assert not any("PASSWORD" in key or "TOKEN" in key for key in service.get("environment", {}))
        if name != "postgres":
            assert service["cap_drop"] == ["ALL"]
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert dockerfile.rstrip().splitlines()[-1] == "USER csm"
    for line in dockerfile.splitlines():
        if line.startswith("COPY"):
            assert all((PROJECT_ROOT / path).exists() for path in line.split()[1:-1]), line
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("no docker-compose here to read the file: apt-get install docker-compose")
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    for name in ("csm", "dagster"):
        shutil.copyfile(DEPLOY / f"{name}.env.example", tmp_path / "deploy" / f"{name}.env")
    done = subprocess.run(
        [program, "-f", str(tmp_path / "deploy" / "compose.yaml"), "config", "--quiet"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# -- the processes of the units, on PostgreSQL ---------------------------------------------------------------------


@pytest.fixture
def company(tmp_path) -> Company:
    return make_recent_company(tmp_path)


@pytest.fixture
def environment(company, postgres_url, monkeypatch) -> dict[str, str]:
    """What the two environment files would say, with the server's instance in DAGSTER_HOME."""
    pytest.importorskip("dagster_postgres", reason="the extra `server` is not installed")
    parts = urlsplit(postgres_url)
    stated = {
        **company.environment,
        "DAGSTER_PG_HOST": str(parts.hostname),
        "DAGSTER_PG_PORT": str(parts.port),
        "DAGSTER_PG_USERNAME": str(parts.username),
        "DAGSTER_PG_PASSWORD": str(parts.password),
        "DAGSTER_PG_DB": parts.path.lstrip("/"),
        "CSM_LOG_FORMAT": "json",
    }
    home = Path(stated["DAGSTER_HOME"])
    home.mkdir()
    shutil.copyfile(DEPLOY / "dagster.yaml", home / "dagster.yaml")
    for name, value in stated.items():
        monkeypatch.setenv(name, value)
    return stated


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def started(name: str, replaced: dict[str, str], environment: dict[str, str], log: Path) -> Iterator[Path]:
    """A unit's own command, with this installation and free ports; ended like systemd ends it."""
    command = unit(name)["ExecStart"][0]
    for before, after in replaced.items():
        command = command.replace(before, after)
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            shlex.split(command),
            cwd=PROJECT_ROOT,
            env=environment,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield log
        finally:
            end_group(process)


def wait_for(found, logs: list[Path]):
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        value = found()
        if value:
            return value
        assert time.monotonic() < until, "\n".join(log.read_text(errors="replace")[-3000:] for log in logs)
        time.sleep(0.2)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def switch_on(instance: dg.DagsterInstance, workspace: Path, schedule: str) -> bool:
    """Switch the schedule on as the UI does, a day ago, so that its last tick is due now; False without the code."""
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget

    with WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)])) as process:
        locations = process.create_request_context().code_locations
        if not locations:
            return False
        (location,) = locations
        found = next(iter(location.get_repositories().values())).get_schedule(schedule)
        yesterday = (datetime.now(UTC) - timedelta(days=1)).timestamp()
        instance.add_instigator_state(
            InstigatorState(
                found.get_remote_origin(),
                InstigatorType.SCHEDULE,
                InstigatorStatus.RUNNING,
                ScheduleInstigatorData(found.cron_schedule, yesterday),
            )
        )
    return True


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Error loading repository location")
def test_a_schedule_ticks_on_postgresql_and_its_run_is_published(company, environment, postgres_server, tmp_path):
    code, ui = free_port(), free_port()
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text((DEPLOY / "workspace.yaml").read_text().replace("4266", str(code)))
    replaced = {
        f"{INSTALLED}/.venv/bin/python": sys.executable,
        "deploy/workspace.yaml": str(workspace),
        "4266": str(code),
        "3000": str(ui),
    }
    logs = [tmp_path / f"{name}.log" for name in ("code", "webserver", "daemon")]
    with ExitStack() as stack:
        instance = stack.enter_context(dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]))
        stack.enter_context(started("csm-code.service", replaced, environment, logs[0]))
        stack.enter_context(started("csm-webserver.service", replaced, environment, logs[1]))
        wait_for(lambda: answers(f"http://127.0.0.1:{ui}/server_info"), logs)
        wait_for(lambda: switch_on(instance, workspace, "daily_health_schedule"), logs)
        stack.enter_context(started("csm-daemon.service", replaced, environment, logs[2]))
        run = wait_for(lambda: next((one for one in instance.get_runs() if one.status in ENDED), None), logs)
        assert run.status == dg.DagsterRunStatus.SUCCESS, logs[0].read_text()[-5000:]
        assert run.job_name == "daily_health"
        assert run.tags["dagster/schedule_name"] == "daily_health_schedule"
        assert "asset done asset=csm_health_scores" in " ".join(
            entry.user_message for entry in instance.all_logs(run.run_id)
        )
        day = date.fromisoformat(run.tags["dagster/partition"])
        assert instance.get_materialized_partitions(dg.AssetKey("notion_health_updates")) == {str(day)}
    # Dagster kept nothing in files of its own.
    assert not list(Path(environment["DAGSTER_HOME"]).rglob("*.db"))
    assert company.query("select as_of_date, count(*) from marts.csm_health_scores group by 1") == [(day, 2)]
    ((pages,),) = company.query("select count(*) from sync.notion_pages")
    assert pages >= 2
