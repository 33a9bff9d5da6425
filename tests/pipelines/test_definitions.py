"""The definitions as Dagster loads them: keys, lineage, checks, jobs, schedules, the module of both workspaces."""

import ast
import subprocess
import sys
import tomllib
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import yaml

from csm_core.config import PROJECT_ROOT, Config
from csm_core.contract import ENTITIES
from csm_core.warehouse.models import load_models
from pipelines.build import build_defs

PUBLISHED = {
    *("notion_health_updates", "notion_qbr_pages", "notion_expansion_records", "notion_portfolio_page"),
    "csm_alerts",
}
VIEWS = {"account_spells", "csm_feature_adoption_v0"}
REVIEWS = {
    "int_review_periods",
    "int_review_usage",
    "int_review_features",
    "int_review_tickets",
    "csm_review_signals",
    "csm_qbr",
}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_defs(Config())


def names(keys) -> set[str]:
    return {key.to_user_string() for key in keys}


def test_there_is_an_asset_for_every_model_entity_raw_table_and_publication(definitions):
    wanted = {f"raw_files__{entity}" for entity in ENTITIES} | {f"stg_{entity}" for entity in ENTITIES}
    wanted |= set(load_models("intermediate")) | set(load_models("marts")) | PUBLISHED
    wanted |= {"csm_analytics", "csm_backtest", "csm_report"}
    graph = definitions.resolve_asset_graph()
    assert names(graph.materializable_asset_keys) == wanted
    # Source systems and views are shown, and never materialised.
    assert names(definitions.resolve_all_asset_keys()) == wanted | {"source_files"} | VIEWS
    assert names(graph.external_asset_keys) == {"source_files"} | VIEWS
    assert {key for key in graph.get_all_asset_keys() if graph.get(key).is_virtual} == {
        dg.AssetKey(name) for name in VIEWS
    }


def test_assets_that_people_read_are_due_each_day_in_the_configured_time_zone():
    graph = build_defs(Config(timezone="America/New_York")).resolve_asset_graph()
    policies = {
        key.to_user_string(): policy
        for key in graph.materializable_asset_keys
        if (policy := graph.get(key).freshness_policy)
    }
    assert policies.keys() == PUBLISHED | {"csm_health_scores", "csm_analytics", "csm_report"}
    for name, policy in policies.items():
        hour = 10 if name == "notion_qbr_pages" else 9
        assert policy == dg.FreshnessPolicy.cron(
            deadline_cron=f"0 {hour} * * *", lower_bound_delta=timedelta(hours=hour), timezone="America/New_York"
        )


def test_lineage_is_what_the_sql_reads(definitions):
    graph = definitions.resolve_asset_graph()
    parents = {key.to_user_string(): names(graph.get(key).parent_keys) for key in definitions.resolve_all_asset_keys()}
    assert parents["int_usage_daily"] == {"stg_usage_events"}
    assert parents["stg_tickets"] == {"raw_files__tickets", "stg_accounts"}
    assert parents["csm_health_scores"] == {"csm_health_signals", "int_account_days"}
    assert parents["notion_qbr_pages"] == {"csm_qbr", "csm_feature_adoption", "int_review_features", "csm_days"}
    # A day is complete when all of its marts are built; what is published is of complete days.
    by_day = {name for name, model in load_models("marts").items() if model.partitioned}
    assert parents["csm_days"] == by_day
    assert all("csm_days" in parents[name] for name in (*PUBLISHED, "csm_analytics"))
    assert all(parents[f"raw_files__{entity}"] == {"source_files"} for entity in ENTITIES)
    assert parents["account_spells"] == {"int_account_spells"}
    assert parents["source_files"] == set()
    for key in definitions.resolve_all_asset_keys():
        node = graph.get(key)
        assert node.group_name in ("sources", "raw", "staging", "intermediate", "marts", "publish")
        assert node.owners
        assert node.description


def test_what_is_built_by_day_has_partitions_and_what_holds_a_whole_table_has_none(definitions):
    graph = definitions.resolve_asset_graph()
    models = {**load_models("intermediate"), **load_models("marts")}
    by_day = {name for name, model in models.items() if model.partitioned} | PUBLISHED | {"csm_days", "csm_day_roots"}
    partitioned = {key for key in definitions.resolve_all_asset_keys() if graph.get(key).partitions_def}
    assert names(partitioned) == by_day
    assert all(isinstance(graph.get(key).partitions_def, dg.DailyPartitionsDefinition) for key in partitioned)
    assert {"csm_health_scores", "int_account_days"} <= by_day
    # A range stays one run, of a job that holds both as well.
    for job in definitions.resolve_all_job_defs():
        if job.name in ("daily_health", "backfill_scores", "late_days", "quarterly_qbr", "renewal_check"):
            assert isinstance(job.partitions_def, dg.DailyPartitionsDefinition)
            assert job.backfill_policy == dg.BackfillPolicy.single_run()


def test_the_commands_of_dagster_can_run_a_range_of_all_assets(definitions):
    graph = definitions.resolve_asset_graph()
    selected = dg.AssetSelection.from_string("* and not key:csm_backtest").resolve(graph)
    # `dagster asset materialize --partition-range` requires this policy of every selected asset.
    assert {graph.get(key).backfill_policy for key in selected} == {dg.BackfillPolicy.single_run()}
    assert selected == graph.materializable_asset_keys - {dg.AssetKey("csm_backtest")}
    assert definitions.resolve_implicit_job_def_def_for_assets(selected) is not None


def test_columns_say_where_they_come_from(definitions):
    schema = definitions.resolve_asset_graph().get(dg.AssetKey("csm_health_scores")).metadata["dagster/column_schema"]
    said = {column.name: column.description for column in schema.columns}
    assert said["usage_trend_points"].endswith("From csm_health_signals.usage_trend.")


def test_publishing_stands_behind_blocking_checks(definitions):
    checks = {
        key.name: definitions.resolve_asset_graph().get(key)
        for key in definitions.resolve_asset_graph().asset_check_keys
        if key.asset_key == dg.AssetKey("csm_health_scores")
    }
    assert {
        "key_unique",
        "score_in_range",
        "population_scored",
        "portfolio_swing",
        "usage_delivered",
        "scalar_agrees",
    } <= checks.keys()
    assert all(check.blocking for check in checks.values())


def test_jobs_publish_what_they_should(definitions):
    selected = {
        job.name: names(job.asset_layer.executable_asset_keys)
        for job in definitions.resolve_all_job_defs()
        if not job.name.startswith("__")
    }
    assert selected.keys() == {
        "daily_health",
        "renewal_check",
        "quarterly_qbr",
        "backfill_scores",
        "late_days",
        "load_records",
    }
    for quiet in ("backfill_scores", "late_days", "load_records"):
        assert selected[quiet]
        assert selected[quiet] & PUBLISHED == set()
    # A review that a late record changed is published by the renewal check, which builds it.
    assert selected["backfill_scores"] - selected["late_days"] == REVIEWS
    assert selected["daily_health"] & PUBLISHED == PUBLISHED - {"notion_qbr_pages"}
    assert selected["quarterly_qbr"] & PUBLISHED == {"notion_qbr_pages"}
    assert selected["renewal_check"] == REVIEWS | {"notion_qbr_pages", "csm_analytics", "csm_days"}
    assert [name for name, some in selected.items() if "csm_report" in some] == ["daily_health"]
    # The backtest is materialised by hand.
    assert not any("csm_backtest" in names for names in selected.values())
    # Whatever builds scores ends with the status of the day.
    assert all("csm_days" in names for names in selected.values() if "csm_health_scores" in names)


@pytest.mark.parametrize(
    ("schedule", "cron", "tick", "partition"),
    [
        ("daily_health_schedule", "0 7 * * *", datetime(2026, 7, 2, 7, tzinfo=UTC), "2026-07-01"),
        ("renewal_check_schedule", "0 8 * * *", datetime(2026, 3, 1, 8, tzinfo=UTC), "2026-02-28"),
        ("quarterly_qbr_schedule", "0 4 1 1,4,7,10 *", datetime(2026, 7, 1, 4, tzinfo=UTC), "2026-06-30"),
    ],
)
def test_schedules_ask_for_the_days_that_are_complete(definitions, schedule, cron, tick, partition):
    found = definitions.get_schedule_def(schedule)
    assert found.cron_schedule == cron
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=tick, repository_def=definitions.get_repository_def()
        )
        (request,) = found.evaluate_tick(context).run_requests
    tags = request.tags
    ranged = f"{tags.get('dagster/asset_partition_range_start')}...{tags.get('dagster/asset_partition_range_end')}"
    assert (request.partition_key or ranged) == partition


def test_both_workspaces_name_the_same_module():
    workspace = yaml.safe_load((PROJECT_ROOT / "workspace.yaml").read_text())
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert workspace["load_from"][0]["python_module"]["module_name"] == project["code_location_target_module"]
    assert project["code_location_target_module"] == "pipelines.definitions"


# Heavy, and of no use before a run: publishing, the sandbox, sources over the network, data frames.
NOT_FOR_DEFINITIONS = {
    "numpy",
    "pandas",
    "notion_client",
    "httpx",
    "starlette",
    "uvicorn",
    "dlt",
    "structlog",
    "sqlglot",
}
DEFINITIONS = """
import dagster, sys
before = set(sys.modules)
opened = []
sys.addaudithook(lambda event, arguments: opened.append(f"{event} {arguments[0]}") if event in EVENTS else None)
import pipelines.definitions
assert not any(str(one).endswith((".sql", ".yml", ".yaml")) for one in opened), "the import reads models"
print(len(list(pipelines.definitions.defs().resolve_all_asset_keys())))
print(sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
print([one for one in opened if not one.startswith("open ")])
"""
EVENTS = {"open", "socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.mkdir", "os.rename"}


def test_definitions_load_in_a_fresh_interpreter_without_configuration(tmp_path):
    done = subprocess.run(
        [sys.executable, "-B", "-c", f"EVENTS = {EVENTS}\n{DEFINITIONS}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PROJECT_ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assets, loaded, done_at_import = (ast.literal_eval(line) for line in done.stdout.splitlines())
    assert assets > 40
    assert set(loaded) & NOT_FOR_DEFINITIONS == set()
    assert "duckdb" in loaded
    assert done_at_import == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_workspace_is_valid_without_a_warning_of_ours(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-w", str(PROJECT_ROOT / "workspace.yaml")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
    )
    said = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0, said
    assert any("Validation successful for code location csm_health" in line for line in said)
    # Dagster says of the command itself that `dg check defs` is to take its place.
    assert [line for line in said if "warning" in line.lower() and "SupersessionWarning" not in line] == []
