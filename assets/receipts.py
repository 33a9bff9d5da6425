"""The roots of the run's days: one hash for each tenant and day that commits to the receipts of all accounts."""

import time

import dagster as dg

from assets.context import days_of, days_run_id, pipeline_of
from assets.models import report, sql_asset
from assets.names import DEFAULT, Names
from csm_core.days.finished_days import model_parameters
from csm_core.receipts.day_roots import days_to_record, record_roots
from csm_core.receipts.statements import code_version
from csm_core.warehouse.day_status import require_scored
from csm_core.warehouse.duckdb_engine import DuckDbEngine
from csm_core.warehouse.materialize import ModelResult
from csm_core.warehouse.models import SqlModel


def day_roots_asset(
    model: SqlModel, partitions: dg.PartitionsDefinition, names: Names = DEFAULT
) -> dg.AssetsDefinition:
    """Return ``csm_day_roots``, which adds a root for each finished day whose receipts changed."""

    @sql_asset(model, partitions, ["csm_days"], names, code_version=code_version())
    def _day_roots(context: dg.AssetExecutionContext):
        pipeline = pipeline_of(context)
        started = time.perf_counter()
        with pipeline.warehouse.connect() as connection:
            require_scored(connection, days_of(context)[1])
            days = days_to_record(connection, days_run_id(context))
            added = record_roots(connection, days, model_parameters(pipeline.config), pipeline.clock())
            result = ModelResult(model.table, added, time.perf_counter() - started)
            # With every engine, the receipts and roots are computed and stored in the warehouse.
            return report(context, DuckDbEngine(connection), model, result, None)

    return _day_roots
