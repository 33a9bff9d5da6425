"""Publishing in runs of Dagster and from the command line, and what the ledger shows afterwards."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
import yaml

from assets.context import DO_NOT_PUBLISH, Pipeline
from assets.names import Names
from csm_core.analysts.published_copy import PUBLISHED_LEDGERS
from csm_core.config import Config, load_config
from csm_core.errors import InputError
from csm_core.operations.erased_rows import count_rows, deletions, find_erased, find_places
from csm_core.operations.run_outcome import RunOutcome
from csm_core.operations.run_report import Publication, RunReport
from csm_core.operations.run_report_text import report_lines
from csm_core.system.environment import prefixed_environment
from csm_core.warehouse.database import Warehouse
from pipelines.build import build_defs, named_defs
from pipelines.instance import shared_instance
from pipelines.run import run_days
from tests.in_process import Done, csm
from tests.publishing.crm.destination import DAY, ENVIRONMENT, marts, row, scores, settings_of
from tests.publishing.crm.vendors import CLIENT_SECRET, TOKEN, CrmServer

SECRETS = (TOKEN, CLIENT_SECRET, "very-secret-session")


@pytest.fixture
def config(tmp_path: Path, new_warehouse: Path, server: CrmServer, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster_home"))
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    shutil.copy(new_warehouse, tmp_path / "w.duckdb")
    values = {
        "warehouse": str(tmp_path / "w.duckdb"),
        "partitions_start": DAY.isoformat(),
        "publish": [settings_of(server)],
    }
    (tmp_path / "csm.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    loaded = load_config(tmp_path / "csm.yaml", {})
    fill(loaded, {"A1": row(50.0), "A2": row(60.0)})
    return loaded


def fill(config: Config, rows: dict[str, Any]) -> None:
    with Warehouse.from_config(config).connect() as connection:
        marts(connection, rows)


def asset_of(server: CrmServer) -> str:
    return {"hubspot": "crm_hubspot_companies", "salesforce": "crm_salesforce_account"}[server.vendor]


def run(config: Config, asset: str, **more: Any) -> RunOutcome:
    clock = lambda: datetime(2026, 7, 1, 6, tzinfo=UTC)  # noqa: E731
    return run_days(config, (DAY, DAY), select=[asset], clock=clock, **more)


def metadata(config: Config, asset: str, *, failed: bool = False) -> dict[str, Any]:
    with shared_instance(config) as instance:
        key = dg.AssetKey(asset)
        records = (instance.fetch_observations if failed else instance.fetch_materializations)(key, limit=1).records
        event = records[0].asset_observation if failed else records[0].asset_materialization
        assert event is not None
        return {name: value.value for name, value in event.metadata.items()}


def test_a_run_publishes_and_reports_what_the_vendor_rejects(config: Config, server: CrmServer) -> None:
    asset = asset_of(server)
    server.refused = {"A2": "Score | is [wrong](https://evil.example)"}
    first = run(config, asset)
    assert [failure.asset for failure in first.failures] == [asset]
    assert first.exit_status == 1
    assert "1 record rejected (A2: " in first.failures[0].message
    found = metadata(config, asset, failed=True)
    assert (found["created"], found["rejected"]) == (1, 1)
    assert "[wrong](" not in found["not_written"]

    second = run(config, asset)
    assert second.succeeded
    found = metadata(config, asset)
    assert (found["published"], found["requests"], found["skipped"]) == (True, 0, 2)
    fill(config, {"A1": row(51.0), "A2": row(61.0)})
    server.refused = {}
    third = run(config, asset)
    assert third.succeeded
    assert scores(server) == {"A1": 51.0, "A2": 61.0}
    name = asset.removeprefix("crm_")
    report = RunReport(third, (DAY, DAY), 1.0, None, Publication(), config.warehouse)
    assert report.as_dict()["crm"][0]["updated"] == 1
    lines = report_lines(report)
    assert f"CRM        {name}: 1 created, 1 updated, 0 skipped" in lines
    with Warehouse.from_config(config).connect() as connection:
        stored = connection.execute("select distinct run_id from sync.crm_runs").fetchall()
    assert {f"{one.run_id}/{asset}" for one in (first, second, third)} == {one for (one,) in stored}
    log = [path.read_bytes() for path in (config.warehouse.parent / "dagster_home").rglob("*") if path.is_file()]
    assert log
    assert not any(secret.encode() in text for text in log for secret in SECRETS)


def test_runs_that_do_not_publish_and_older_days_send_nothing(config: Config, server: CrmServer) -> None:
    asset = asset_of(server)
    definitions = build_defs(config, Pipeline(config, Warehouse.from_config(config)))
    with shared_instance(config) as instance:
        done = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(asset)],
            partition_key=DAY.isoformat(),
            tags={DO_NOT_PUBLISH: "a later tick is due"},
        )
    assert done.success
    assert metadata(config, asset)["published"] is False
    with Warehouse.from_config(config).connect() as connection:
        marts(connection, {"A1": row(1.0)}, day=DAY + timedelta(days=1))
        connection.execute("insert into marts.csm_health_scores values (?)", [DAY])
    assert run(config, asset).succeeded
    assert server.asked == []


def test_an_instance_publishes_with_its_own_variables(
    config: Config, server: CrmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(f"ACME_{name}", value)
        monkeypatch.setenv(name, "the-value-of-another-instance")
    environment = prefixed_environment("ACME_", os.environ)
    clock = lambda: datetime(2026, 7, 1, 6, tzinfo=UTC)  # noqa: E731
    pipeline = Pipeline(config, Warehouse.from_config(config), environment=environment, clock=clock)
    with shared_instance(config) as instance:
        done = (
            build_defs(config, pipeline)
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=instance, asset_selection=[dg.AssetKey(asset_of(server))], partition_key=DAY.isoformat()
            )
        )
    assert done.success
    assert scores(server) == {"A1": 50.0, "A2": 60.0}


def test_a_selection_that_only_publishes_is_an_error_without_publishing(config: Config, server: CrmServer) -> None:
    with pytest.raises(InputError, match=rf"only publish \({asset_of(server)}\)"):
        run(config, asset_of(server), publish=False)
    assert server.asked == []


def test_assets_exist_for_configured_destinations_with_the_names_of_the_instance(
    config: Config, server: CrmServer
) -> None:
    asset = asset_of(server)
    assert not [key for key in build_defs(Config()).resolve_all_asset_keys() if key.path[-1].startswith("crm_")]
    names = Names(("acme",), "acme", ("team:acme",))
    definitions = named_defs(Pipeline(config, Warehouse.from_config(config)), names)
    graph = definitions.resolve_asset_graph()
    node = graph.get(dg.AssetKey(["acme", asset]))
    assert node.parent_keys == {dg.AssetKey(["acme", "csm_health_last"]), dg.AssetKey(["acme", "csm_days"])}
    assert (node.group_name, node.owners) == ("acme_publish", ("team:acme",))
    selected = {
        job: {key.path[-1] for key in definitions.resolve_job_def(f"acme_{job}").asset_layer.executable_asset_keys}
        for job in ("daily_health", "renewal_check", "quarterly_qbr", "backfill_scores", "late_days", "load_records")
    }
    assert [job for job, found in selected.items() if asset in found] == ["daily_health"]


def test_hubspot_can_be_a_source_and_a_destination(tmp_path: Path) -> None:
    publish = [{"to": "hubspot", "key": "csm_account_id", "fields": {"csm_score": "score"}}]
    sources = [{"system": "hubspot", "path": str(tmp_path)}]
    config = Config.model_validate({"warehouse": tmp_path / "w.duckdb", "sources": sources, "publish": publish})
    keys = {key.to_user_string() for key in build_defs(config).resolve_all_asset_keys()}
    assert {"hubspot_companies", "crm_hubspot_companies"} <= keys


def command(config: Config, *arguments: str) -> Done:
    folder = config.warehouse.parent
    return csm(*arguments, folder=folder, environment={**ENVIRONMENT, "CSM_CONFIG": str(folder / "csm.yaml")})


def test_the_commands_plan_apply_and_show(config: Config, server: CrmServer) -> None:
    name = asset_of(server).removeprefix("crm_")
    planned = command(config, "crm", "plan")
    assert planned.status == 0, planned.stderr
    assert planned.stdout.splitlines()[:3] == [
        "Plan for 2026-06-30",
        f"  {'destination'.ljust(len(name))}  create  update  skip",
        f"  {name}       2       0     0",
    ]
    assert server.asked == []
    server.refused = {"A2": "No\x1b[31m such owner"}
    applied = command(config, "crm", "apply")
    assert applied.status == 1, applied.stderr
    assert f"REJECTED {name} A2: " in applied.stdout
    assert "No" in applied.stdout
    assert "\x1b" not in applied.stdout
    shown = command(config, "crm", "status", "--json", "--destination", name)
    (state,) = json.loads(shown.stdout)
    assert state["records"] == {"rejected": 1, "written": 1}
    assert state["problems"][0]["account_id"] == "A2"
    assert "csm crm apply --retry" in command(config, "crm", "status").stdout
    assert command(config, "crm", "apply").status == 0
    server.refused = {}
    again = command(config, "crm", "apply", "--retry", "--json")
    assert again.status == 0
    assert json.loads(again.stdout)[0]["created"] == 1
    with duckdb.connect(str(Warehouse.from_config(config).published_path), read_only=True) as copy:
        tables = copy.execute(
            "select table_name, comment from duckdb_tables() where schema_name = 'sync' and table_name like 'crm_%'"
        ).fetchall()
    assert {one for one, _ in tables} == {one for one in PUBLISHED_LEDGERS if one.startswith("crm_")}
    assert all(comment for _, comment in tables)
    unknown = command(config, "crm", "apply", "--destination", "hubspot")
    assert unknown.status == 2
    assert f"the destinations are: {name}" in unknown.stderr


def test_errors_of_the_settings_have_status_2(config: Config, server: CrmServer) -> None:
    folder = config.warehouse.parent
    environment = {"CSM_CONFIG": str(folder / "csm.yaml")}
    missing = csm("crm", "apply", folder=folder, environment=environment)
    assert missing.status == 2
    assert "is not set" in missing.stderr
    none = csm("crm", "plan", folder=folder, environment={"CSM_CONFIG": str(folder / "csm.yaml"), "CSM_PUBLISH": "[]"})
    assert none.status == 2
    assert "docs/crm.md" in none.stderr
    assert server.asked == []


@pytest.mark.slow
def test_doctor_checks_the_destination(config: Config, server: CrmServer) -> None:
    name = asset_of(server).removeprefix("crm_")
    found = command(config, "doctor")
    assert f"ok    publish {name}  {server.url} is reachable" in found.stdout
    server.fields.popitem()
    found = command(config, "doctor")
    assert found.status == 2
    assert f"FAIL  publish {name}" in found.stdout
    assert "error   fields." in found.stdout
    assert server.writes == 0


def test_the_records_of_a_forgotten_account_are_found(config: Config, server: CrmServer) -> None:
    assert command(config, "crm", "apply").status == 0
    with Warehouse.from_config(config).connect() as connection:
        account = find_erased(connection, "A1")
        find_places(connection, account)
        counts = count_rows(connection, deletions(connection, account))
    assert {table: count for table, count in counts.items() if table.startswith("sync.")} == {
        "sync.crm_records": 1,
        "sync.crm_changes": 1,
    }
