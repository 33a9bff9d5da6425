"""Builds the Dagster definitions. Tests and the command line build their own variants."""

import warnings
from collections.abc import Iterator

import dagster as dg

from assets.alerts import alerts_asset
from assets.analytics import NAME as ANALYTICS
from assets.analytics import analytics_asset
from assets.backtest import backtest_asset
from assets.checks import portfolio_asset_checks
from assets.context import Pipeline
from assets.crm import crm_assets, crm_names
from assets.days import days_asset
from assets.models import model_assets
from assets.names import DEFAULT, Names
from assets.publish import publish_assets
from assets.raw import raw_assets
from assets.receipts import day_roots_asset
from assets.reports import report_asset
from assets.scores import scores_asset
from assets.staging import staging_assets
from assets.unmaterialised import source_assets, view_assets
from csm_core.config import Config, load_config
from csm_core.errors import ConfigError
from csm_core.system.file_access import restrict_files
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.engine import SPARK
from csm_core.warehouse.models import load_models
from pipelines.abandoned import note_process
from pipelines.jobs import all_jobs
from pipelines.partitions import daily
from pipelines.run_logs import logged_run
from pipelines.schedules import all_schedules
from pipelines.sensors import all_sensors

SCORES, DAYS, ROOTS = "csm_health_scores", "csm_days", "csm_day_roots"


def build_defs(config: Config | None = None, pipeline: Pipeline | None = None) -> dg.Definitions:
    """The definitions for a configuration (default: the one of the environment) and a pipeline resource."""
    config = config or (pipeline.config if pipeline else load_config())
    pipeline = pipeline or Pipeline(config, Warehouse.from_config(config))
    return dg.Definitions.merge(named_defs(pipeline), dg.Definitions(executor=dg.in_process_executor))


def named_defs(
    pipeline: Pipeline, names: Names = DEFAULT, *, running: bool = False, restrict: bool = False
) -> dg.Definitions:
    """The definitions of one instance of the pipeline, with its names and without an executor.

    With ``running``, the schedules and the sensor of late files are enabled until a user disables them. With
    ``restrict``, each run sets the permissions of its files; otherwise the process that loads the definitions does.
    """
    # Dagster marks range backfills as beta, and partitions of checks and virtual assets as preview; the pinned version
    # supports them, and tests run them.
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    warnings.filterwarnings("ignore", category=dg.PreviewWarning)
    config = pipeline.config
    _require_engine(config)
    partitions = daily(config.partitions_start)
    intermediate, marts, zone = load_models("intermediate"), load_models("marts"), config.timezone
    assets = [
        *raw_assets(config.sources, names),
        *staging_assets(config, names),
        *model_assets(intermediate.values(), partitions, names),
        *model_assets([model for model in marts.values() if model.name != DAYS], partitions, names),
        scores_asset(marts[SCORES], partitions, zone, names),
        days_asset(marts[DAYS], sorted(name for name in marts if marts[name].partitioned), partitions, names),
        day_roots_asset(marts[ROOTS], partitions, names),
        analytics_asset(sorted(marts), zone, names),
        report_asset(ANALYTICS, zone, names),
        backtest_asset(names),
        *publish_assets(partitions, zone, names),
        *crm_assets(config.publish, partitions, zone, names),
        alerts_asset(partitions, zone, names),
    ]
    unmaterialised = [
        *source_assets(config.sources, names),
        *view_assets([*intermediate.values(), *marts.values()], names),
    ]
    jobs = all_jobs(assets, names, crm_names(config))
    schedule_status = dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED
    sensor_status = dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED
    return dg.Definitions(
        assets=[*assets, *unmaterialised],
        asset_checks=portfolio_asset_checks(partitions, names),
        jobs=jobs,
        schedules=all_schedules(
            config.timezone, config.catch_up_days, pipeline.clock, pipeline.warehouse, names, schedule_status
        ),
        sensors=all_sensors(pipeline, jobs, names, sensor_status),
        resources={names.resource: _resource(pipeline, restrict=restrict)},
    )


def _require_engine(config: Config) -> None:
    """Raise ConfigError if the engine of the configuration cannot build the models."""
    if config.engine.kind != SPARK:
        return
    # Imported here, since the default engine needs no translation.
    from csm_core.scoring.translation import require_spark

    messages = require_spark(config.engine.master)
    if messages:
        raise ConfigError("\n".join(messages))


def _resource(pipeline: Pipeline, *, restrict: bool) -> dg.ResourceDefinition:
    @dg.resource(
        description="The configuration, the warehouse and the state of a run. Limits the warehouse to one run."
    )
    def _pipeline(context: dg.InitResourceContext) -> Iterator[Pipeline]:
        if restrict:
            restrict_files(pipeline.config)
        note_process(context)
        warehouse = pipeline.warehouse
        with logged_run(context.run, pipeline.config), warehouse.run_lock(), warehouse.kept_open():
            yield pipeline

    return _pipeline
