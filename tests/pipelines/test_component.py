"""CsmHealthComponent: two instances in one project, each with its own names, warehouse and environment."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
import yaml
from dagster.components.testing import DefsFolderSandbox, create_defs_folder_sandbox

from assets.names import INSTANCE, Names
from csm_core.config import load_config
from csm_core.system.environment import prefixed_environment
from pipelines.build import build_defs
from pipelines.component import CsmHealthComponent

DAY = "2026-06-26"
TENANTS = ("north", "south")


def write_company(folder: Path, name: str, **settings: Any) -> Path:
    """The records and the configuration of a company with two accounts; returns its csm.yaml."""
    records = folder / name / "records"
    records.mkdir(parents=True)
    files = {
        "accounts.csv": "account_id,account_name,plan,created_at\n"
        f"{name}-1,First of {name},pro,2025-01-01\n{name}-2,Second of {name},pro,2025-01-01\n",
        "features.csv": "feature,module\nreports,core\n",
        "usage_events.csv": "event_id,account_id,user_id,event_name,feature,occurred_at\n"
        + "".join(f"e{day},{name}-1,u1,login,reports,2026-06-{day:02}T10:00:00Z\n" for day in range(1, 27)),
    }
    for file, content in files.items():
        (records / file).write_text(content, encoding="utf-8")
    stated = {
        "warehouse": "data/csm.duckdb",
        "partitions_start": "2026-06-01",
        "sources": [{"system": "files", "path": "records"}],
        "reports": {"keep": 0},
        **settings,
    }
    (folder / name / "csm.yaml").write_text(yaml.safe_dump(stated), encoding="utf-8")
    return folder / name / "csm.yaml"


def add(sandbox: DefsFolderSandbox, folder: str, **attributes: Any) -> Path:
    return sandbox.scaffold_component(
        CsmHealthComponent,
        defs_path=folder,
        defs_yaml_contents={"type": "pipelines.component.CsmHealthComponent", "attributes": attributes},
    )


@contextmanager
def project(tmp_path: Path, **of_all: Any) -> Iterator[dg.Definitions]:
    with create_defs_folder_sandbox() as sandbox:
        for name in TENANTS:
            add(sandbox, name, config_path=str(write_company(tmp_path, name)), key_prefix=name, **of_all)
        with sandbox.build_all_defs() as definitions:
            yield definitions


@pytest.fixture(autouse=True)
def instance() -> Iterator[dg.DagsterInstance]:
    """An open instance: Dagster otherwise reads the state of definitions from one that another test has closed."""
    with dg.DagsterInstance.ephemeral() as one:
        yield one


def names_of(definitions: dg.Definitions) -> dict[str, list[str]]:
    """Every name that must be unique in a code location."""
    graph = definitions.resolve_asset_graph()
    repository = definitions.get_repository_def()
    return {
        "assets": [key.to_user_string() for key in graph.get_all_asset_keys()],
        "checks": [key.to_user_string() for key in graph.asset_check_keys],
        "jobs": [job.name for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")],
        "schedules": [one.name for one in repository.schedule_defs],
        "sensors": [one.name for one in repository.sensor_defs],
        "resources": list(definitions.resources or {}),
        "ops": [asset.op.name for asset in repository.assets_defs_by_key.values() if asset.is_executable],
        "pools": sorted({pool for job in definitions.resolve_all_job_defs() for pool in _pools(job)}),
    }


def _pools(job: dg.JobDefinition) -> set[str]:
    return {
        node.definition.pool
        for node in job.nodes
        if isinstance(node.definition, dg.OpDefinition) and node.definition.pool
    }


def test_two_instances_have_the_same_definitions_under_different_names(tmp_path):
    with project(tmp_path) as definitions:
        found = names_of(definitions)
        for kind, all_names in found.items():
            by_tenant = {
                tenant: {one[len(tenant) + 1 :] for one in all_names if one.startswith((f"{tenant}/", f"{tenant}_"))}
                for tenant in TENANTS
            }
            assert by_tenant["north"] == by_tenant["south"], kind
            assert by_tenant["north"], kind
            assert sum(len(some) for some in by_tenant.values()) == len(set(all_names)), kind
        graph = definitions.resolve_asset_graph()
        groups = {graph.get(key).group_name for key in graph.get_all_asset_keys()}
        assert groups == {
            f"{tenant}_{layer}"
            for tenant in TENANTS
            for layer in ("sources", "raw", "staging", "intermediate", "marts", "publish")
        }
        # Dagster links assets with the same table, and these are in different warehouses.
        tables = [
            graph.get(key).metadata["dagster/table_name"]
            for key in graph.get_all_asset_keys()
            if "dagster/table_name" in graph.get(key).metadata
        ]
        assert len(tables) == len(set(tables)) > 100
        assert "north.marts.csm_health_scores" in tables
        for job in definitions.resolve_all_job_defs():
            if not job.name.startswith("__"):
                tenant = job.name.partition("_")[0]
                assert {key.path[0] for key in job.asset_layer.executable_asset_keys} == {tenant}
                assert job.tags[INSTANCE] == tenant
                assert job.executor_def.name == "in_process"
        assert definitions.executor is None
        # Without a prefix, the names are those of the documentation.
        plain = names_of(build_defs(load_config(tmp_path / "north" / "csm.yaml", {})))
        assert plain["jobs"] == sorted(one.removeprefix("north_") for one in found["jobs"] if one.startswith("north_"))
        assert plain["resources"] == ["pipeline"]
        assert plain["pools"] == []


def test_both_instances_score_a_day_each_into_its_own_warehouse(tmp_path, instance):
    with project(tmp_path) as definitions:
        for tenant in TENANTS:
            job = definitions.resolve_job_def(f"{tenant}_daily_health")
            # Up to the scores and their checks, since the steps after them take most of the time.
            scores = dg.AssetSelection.assets([tenant, "csm_health_scores"])
            until = (scores.upstream() & dg.AssetSelection.all()).resolve(definitions.resolve_asset_graph())
            result = job.execute_in_process(instance=instance, partition_key=DAY, asset_selection=sorted(until))
            assert result.success
            assert {check.asset_key.path[0] for check in result.get_asset_check_evaluations()} == {tenant}
            assert {key.path[0] for key in _materialised(result)} == {tenant}
        for tenant in TENANTS:
            with duckdb.connect(str(tmp_path / tenant / "data" / "csm.duckdb"), read_only=True) as connection:
                scored = connection.execute("select account_id from marts.csm_health_scores order by 1").fetchall()
            assert scored == [(f"{tenant}-1",), (f"{tenant}-2",)]
            assert instance.get_materialized_partitions(dg.AssetKey([tenant, "csm_health_scores"])) == {DAY}


def _materialised(result: dg.ExecuteInProcessResult) -> set[dg.AssetKey]:
    return {event.asset_key for event in result.all_events if event.is_step_materialization and event.asset_key}


def test_the_schedule_of_an_instance_catches_up_its_own_days_only(tmp_path):
    with project(tmp_path) as definitions, dg.instance_for_test() as stored:
        done = dg.AssetMaterialization(["south", "csm_days"], partition="2026-06-25")
        stored.report_runless_asset_event(done)
        found = {
            tenant: _tick(definitions, stored, f"{tenant}_daily_health_schedule").run_requests[0] for tenant in TENANTS
        }
    assert found["north"].partition_key == "2026-06-27"
    assert found["south"].tags["dagster/asset_partition_range_start"] == "2026-06-26"


def _tick(definitions: dg.Definitions, instance: dg.DagsterInstance, schedule: str) -> Any:
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=datetime(2026, 6, 28, 7, tzinfo=UTC),
        repository_def=definitions.get_repository_def(),
    )
    return definitions.get_schedule_def(schedule).evaluate_tick(context)


def test_attributes_name_owners_groups_and_the_status_of_schedules(tmp_path):
    config = str(write_company(tmp_path, "north"))
    with create_defs_folder_sandbox() as sandbox:
        add(
            sandbox,
            "north",
            config_path=config,
            key_prefix=["customers", "north"],
            group_prefix="cs",
            owners=["anna@example.com"],
            schedules=True,
        )
        with sandbox.build_all_defs() as definitions:
            graph = definitions.resolve_asset_graph()
            scores = graph.get(dg.AssetKey(["customers", "north", "csm_health_scores"]))
            assert (scores.group_name, list(scores.owners)) == ("cs_marts", ["anna@example.com"])
            repository = definitions.get_repository_def()
            assert {one.default_status.value for one in repository.schedule_defs} == {"RUNNING"}
            assert {one.name for one in repository.schedule_defs} == {
                f"customers_north_{job}_schedule" for job in ("daily_health", "renewal_check", "quarterly_qbr")
            }
    with project(tmp_path / "off") as definitions:
        repository = definitions.get_repository_def()
        assert {one.default_status.value for one in repository.schedule_defs} == {"STOPPED"}
        assert Counter(one.default_status.value for one in repository.sensor_defs) == {"STOPPED": 2, "RUNNING": 2}


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"key_prefix": "no spaces"}, "key_prefix: 'no spaces' is not valid"),
        ({"key_prefix": ["ok", "1st"]}, "key_prefix: '1st' is not valid"),
        ({"group_prefix": "a-b"}, "group_prefix: 'a-b' is not valid"),
        ({"config_path": "missing.yaml"}, "config_path: there is no file .*missing.yaml"),
        ({"owner": "anna"}, "owner"),
    ],
)
def test_an_invalid_attribute_is_named(tmp_path, attributes, reason):
    given = {"config_path": str(write_company(tmp_path, "north")), "key_prefix": "north", **attributes}
    with create_defs_folder_sandbox() as sandbox:
        add(sandbox, "north", **given)
        with pytest.raises(Exception, match="north") as caught, sandbox.build_all_defs():
            pass
    assert any(_matches(error, reason) for error in _chain(caught.value))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _matches(error: BaseException, reason: str) -> bool:
    return re.search(reason, str(error)) is not None


def test_two_instances_with_one_warehouse_are_rejected(tmp_path):
    config = str(write_company(tmp_path, "north"))
    with create_defs_folder_sandbox() as sandbox:
        for name in TENANTS:
            add(sandbox, name, config_path=config, key_prefix=name)
        with pytest.raises(Exception, match="error") as caught, sandbox.build_all_defs():
            pass
    assert any(_matches(error, "have the same warehouse, .*csm.duckdb") for error in _chain(caught.value))


def test_a_scaffolded_instance_loads_and_has_a_configuration_of_its_own():
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.scaffold_component(CsmHealthComponent, defs_path="acme")
        stated = yaml.safe_load((folder / "defs.yaml").read_text())
        assert stated == {
            "type": "pipelines.component.CsmHealthComponent",
            "attributes": {
                "config_path": "csm.yaml",
                "key_prefix": "acme",
                "group_prefix": "acme",
                "owners": ["team:customer-success-data"],
                "schedules": False,
            },
        }
        assert load_config(folder / "csm.yaml", {}).warehouse == sandbox.project_root / "data" / "acme" / "csm.duckdb"
        with sandbox.build_all_defs() as definitions:
            assert definitions.resolve_asset_graph().has(dg.AssetKey(["acme", "csm_health_scores"]))


def test_an_instance_uses_only_the_variables_with_its_prefix():
    variables = {
        "NOTION_TOKEN": "shared",
        "CSM_TIMEZONE": "UTC",
        "STRIPE_API_KEY": "key",
        "ACME_NOTION_TOKEN": "own",
        "ACME_CSM_TIMEZONE": "Europe/Berlin",
    }
    own = prefixed_environment("ACME_", variables)
    assert (own["NOTION_TOKEN"], own["CSM_TIMEZONE"], own["STRIPE_API_KEY"]) == ("own", "Europe/Berlin", "key")
    assert "NOTION_TOKEN" not in prefixed_environment("NORTH_", variables)
    assert prefixed_environment("", variables) == variables


@pytest.mark.parametrize(
    ("prefix", "job", "asset", "owned"),
    [
        (("north",), "north_daily_health", None, True),
        (("north",), "__ASSET_JOB", ["north", "csm_days"], True),
        (("north",), "__ASSET_JOB", ["south", "csm_days"], False),
        (("north",), "__ASSET_JOB", ["north", "other", "csm_days"], False),
        (("north",), "someone_elses", None, False),
        (("north",), "__ASSET_JOB", None, True),
        ((), "daily_health", None, True),
        ((), "__ASSET_JOB", ["csm_days"], True),
        ((), "__ASSET_JOB", ["north", "csm_days"], False),
    ],
)
def test_a_failed_run_belongs_to_the_instance_of_its_job_or_assets(prefix, job, asset, owned):
    names = Names(prefix)
    selected = frozenset([dg.AssetKey(asset)]) if asset else None
    run = dg.DagsterRun(job_name=job, asset_selection=selected)
    assert names.owns(run, {names.unique("daily_health")}) is owned
