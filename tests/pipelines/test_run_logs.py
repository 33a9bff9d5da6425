"""What a run logs: JSON lines with run and days on the console, and the same in Dagster's event log."""

import json
import logging
import subprocess
import sys

import pytest
import structlog

from csm_core import logging as csm_logging
from csm_core.config import PROJECT_ROOT
from pipelines.instance import prepare_home, shared_instance
from tests.conftest import Company, make_company
from tests.pipelines.test_sensors import FILES, WIDE

DAY = "2026-06-18"
# The tables of a system are loaded together: one of them selects all.
LOAD = "raw_files__accounts"


@pytest.fixture
def company(tmp_path, monkeypatch) -> Company:
    (tmp_path / "records").mkdir()
    for name, content in FILES.items():
        (tmp_path / "records" / name).write_text(content, encoding="utf-8")
    one = make_company(tmp_path, tmp_path / "records", checks=WIDE)
    monkeypatch.setenv("DAGSTER_HOME", str(one.folder / "dagster_home"))
    return one


def json_lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def event_log(company: Company, run_id: str) -> list[str]:
    with shared_instance(company.config) as instance:
        return [entry.user_message for entry in instance.all_logs(run_id) if entry.dagster_event is None]


def test_csm_run_says_every_line_with_its_run_and_days_and_dagster_keeps_them(company):
    done = company.csm("run", "--as-of", DAY, "--select", LOAD, "--json", environment={"CSM_LOG_FORMAT": "json"})
    assert done.returncode == 0, done.stderr
    run_id = json.loads(done.stdout)["run_id"]
    lines = json_lines(done.stderr)
    assert {(line["run_id"], line["partition"]) for line in lines} == {(run_id, DAY)}
    loaded = {line["asset"]: line["rows"] for line in lines if line["event"] == "asset done"}
    assert loaded["raw_files__accounts"] == 2
    assert loaded["raw_files__usage_events"] == 30
    kept = event_log(company, run_id)
    assert len(kept) == len(lines)
    assert any(line.startswith("asset done asset=raw_files__accounts rows=2 seconds=") for line in kept)


def test_for_people_the_console_shows_progress_and_dagster_keeps_the_lines(company):
    done = company.csm("run", "--from", DAY, "--to", "2026-06-19", "--select", LOAD)
    assert done.returncode == 0, done.stderr
    assert "asset done" not in done.stderr
    with shared_instance(company.config) as instance:
        (run,) = instance.get_runs()
    assert any(line.startswith("asset done asset=raw_files__accounts") for line in event_log(company, run.run_id))


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_run_of_dagsters_own_says_every_line_once(company, log_format):
    prepare_home(company.config)
    tags = json.dumps({"dagster/partition": DAY})
    command = ["job", "execute", "-j", "load_records", "--tags", tags, "-m", "pipelines.definitions"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "dagster", *command],
        capture_output=True,
        text=True,
        cwd=PROJECT_ROOT,
        env={**company.environment, "CSM_LOG_FORMAT": log_format},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with shared_instance(company.config) as instance:
        (run,) = instance.get_runs()
    assert any(line.startswith("asset done asset=raw_files__accounts") for line in event_log(company, run.run_id))
    # What Dagster says itself stays in its own form.
    lines = json_lines("\n".join(line for line in done.stderr.splitlines() if line.startswith("{")))
    if log_format == "json":
        assert {(line["run_id"], line["partition"]) for line in lines} == {(run.run_id, DAY)}
        assert [line["rows"] for line in lines if line["asset"] == "raw_files__accounts"] == [2]
    else:
        assert lines == []
        assert done.stderr.count("asset done asset=raw_files__accounts") == 1


@pytest.fixture
def restored():
    yield
    structlog.reset_defaults()
    logger = logging.getLogger("csm_core")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


def test_secrets_are_in_no_line(restored, capfd, monkeypatch):
    monkeypatch.setenv("NOTION_TOKEN", "ntn_not_to_be_told")
    for log_format in ("console", "json"):
        csm_logging.configure(log_format)
        log = structlog.get_logger("csm_core.notion")
        with csm_logging.run_logging("r1", DAY):
            log.warning("asked with ntn_not_to_be_told", api_key="k", page="a b")
            logging.getLogger("csm_core.other").warning("got %s", "ntn_not_to_be_told")
            try:
                raise ValueError("ntn_not_to_be_told")
            except ValueError:
                log.exception("failed")
        said = capfd.readouterr().err
        assert "ntn_not_to_be_told" not in said
        assert said.count("r1") == 3
        assert "(hidden)" in said
        assert "ValueError" in said
    assert [line["event"] for line in json_lines(said)] == ["asked with (hidden)", "got (hidden)", "failed"]
