"""An asset per SQL model of the intermediate and marts layers, generated from the SQL and its yml."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg

from assets.check_days import DayResult, evaluations
from assets.context import (
    BACKFILL,
    accepted_checks,
    check_results,
    days_between,
    days_of,
    days_run_id,
    days_to_build,
    in_order_of,
    pipeline_of,
    preview,
    quarter_of,
)
from assets.names import DEFAULT, Names, beside
from csm_core.days.finished_days import model_parameters
from csm_core.days.portfolio_checks import require_data_for
from csm_core.days.quarter_reviews import build_reviews_early
from csm_core.devtools.column_lineage import column_lineage_of
from csm_core.scoring.known_scores import keep_revised_signals
from csm_core.warehouse.day_status import DAYS_TABLE, STATUS_TABLE, UNCOUNTED_TABLE, begin_days, count_only_days_of
from csm_core.warehouse.engine import Engine
from csm_core.warehouse.fx_rates import FX_RATES_TABLE, store_rates
from csm_core.warehouse.late_changes import span_text
from csm_core.warehouse.materialize import ModelResult
from csm_core.warehouse.model_checks import CheckOutcome, check_names, outcomes_by_day, run_checks
from csm_core.warehouse.models import SqlModel
from csm_core.warehouse.new_inputs import build_new_inputs
from csm_core.warehouse.version_tables import VERSION_TABLES

PREVIEW_ROWS = 5
FEW_COLUMNS = 3
FIRST_MART = "csm_health_signals"
REVIEWS = "csm_qbr"
_STAGED_BY_VERSIONS = {versions.table: versions.entity.table for versions in VERSION_TABLES.values()}


def asset_name(table: str) -> str:
    """Return the name of the asset of a table: the name of the table, with a prefix for raw tables.

    The asset of a staged table also maintains the versions of its records.
    """
    table = _STAGED_BY_VERSIONS.get(table, table)
    layer, _, name = table.partition(".")
    return f"raw_{name}" if layer == "raw" else name


def upstream(model: SqlModel) -> list[str]:
    """Return the names of the assets that a model reads, from its SQL.

    Tables of the schemas ``run`` and ``sync`` are not assets. The statuses of the run's days are final when
    ``csm_days`` is built.
    """
    tables = {DAYS_TABLE if table == STATUS_TABLE else table for table in model.dependencies} - {model.table}
    return sorted({asset_name(table) for table in tables if not table.startswith(("run.", "sync."))})


def sql_asset(
    model: SqlModel,
    partitions: dg.PartitionsDefinition | None,
    deps: Sequence[str],
    names: Names = DEFAULT,
    code_version: str | None = None,
    freshness: dg.FreshnessPolicy | None = None,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """The decorator of the function that builds a model, with what Dagster's UI shows of it.

    Without ``partitions`` the asset has none: it holds a whole table, which is the same whichever day is run. The code
    version is the model's own unless one is given.
    """
    key = names.key(model.name)
    return dg.asset(
        key=key,
        deps=names.keys(deps),
        description=model.description,
        group_name=names.group(model.layer),
        kinds={"duckdb", "sql"},
        owners=names.owners,
        op_tags=in_order_of(model.layer),
        code_version=code_version or model.version,
        partitions_def=partitions,
        backfill_policy=BACKFILL,
        freshness_policy=freshness,
        required_resource_keys={names.resource},
        pool=names.pool,
        metadata={
            # The UI takes the types from the last materialisation, and the descriptions from here.
            "dagster/column_schema": _table_schema(model, {}),
            "dagster/table_name": names.table(model.table),
        },
        # A check of a table that is not built by day is about all rows, also if the asset has partitions.
        check_specs=[
            dg.AssetCheckSpec(
                name,
                asset=key,
                description=description,
                blocking=True,
                partitions_def=partitions if model.partitioned else None,
            )
            for name, description in check_names(model)
        ],
    )


def model_asset(
    model: SqlModel, partitions: dg.PartitionsDefinition | None, names: Names = DEFAULT
) -> dg.AssetsDefinition:
    """Return the asset of a SQL model."""

    @sql_asset(model, partitions if model.partitioned else None, upstream(model), names)
    def _model(context: dg.AssetExecutionContext):
        pipeline = pipeline_of(context)
        with pipeline.warehouse.connect() as connection:
            engine = pipeline.warehouse.engine(connection)
            days = days_to_build(context, connection, model.table) if model.partitioned else None
            if model.dependencies & {STATUS_TABLE, UNCOUNTED_TABLE}:
                count_only_days_of(connection, days_run_id(context))
            if FX_RATES_TABLE in model.dependencies:
                store_rates(connection, pipeline.config.rates, pipeline.config.reporting_currency)
            if model.name == FIRST_MART and days:
                accepted_checks(context, pipeline)
                require_data_for(connection, days)
                begin_days(connection, days, days_run_id(context))
            parameters = model_parameters(pipeline.config)
            if days:
                build_new_inputs(engine, model, parameters, days)
            early = quarter_of(context) if model.name == REVIEWS else None
            if days and early:
                result = build_reviews_early(engine, model, parameters, days, early)
            else:
                around = keep_revised_signals if model.name == FIRST_MART else None
                result = engine.build(model, parameters, days, around=around)
            return report(context, engine, model, result, days)

    return _model


def report(
    context: dg.AssetExecutionContext,
    engine: Engine,
    model: SqlModel,
    result: ModelResult,
    days: tuple[date, date] | None,
    more: Mapping[str, Any] | None = None,
    by_day: Mapping[date, Mapping[str, Any]] | None = None,
) -> Any:
    """Report a built model to Dagster: rows, seconds, a preview, late records, and the outcomes of its checks by day.

    The value is what the function of the asset returns: a result, or for a table that is built by day also the events
    that follow it.

    ``days`` are the days that were built, None for a whole table. Each partition of the run has its own number of rows
    and its own entries of ``by_day``; the preview shows the last partition.
    """
    outcomes = run_checks(engine, model, days, result.queued_days)
    results = check_results(outcomes, context.asset_key)
    found = outcomes_by_day(engine, model, days, outcomes) if days and model.partitioned else {}
    # Long, and the same for every day: the last day of a range has it, which is the one that the UI shows.
    once = {
        "preview": preview(_first_rows(engine, model, days)),
        "dagster/column_schema": _column_schema(engine, model),
        "dagster/column_lineage": _column_lineage(model, context.asset_key),
    }
    if days:
        _report_partitions(context, engine, model, by_day or {}, once)
    failed = [outcome for outcome in outcomes if not outcome.passed]
    for outcome in failed:
        message = (
            f"{outcome.text()}. Models that depend on {model.table} were not built or published. Correct "
            "the records or the model, and rerun the days."
        )
        context.log.error(message)
        pipeline_of(context).held.append(message)
    pipeline_of(context).progress(model.name, {"rows": result.rows, "seconds": result.seconds, "layer": model.layer})
    late = pipeline_of(context).late.get(model.table)
    again = {"late_days_materialised_again": span_text(late)} if late else {}
    result_of_table = dg.MaterializeResult(
        asset_key=context.asset_key,
        metadata={
            "dagster/row_count": engine.query(f"select count(*) from {model.table}")[0][0],
            "seconds": round(result.seconds, 3),
            **({"operation": result.operation} if result.operation else {}),
            "table_checks_failed": len(failed),
            **({} if days else once),
            **again,
            **(more or {}),
        },
        check_results=[] if found else results,
        data_version=None if days else version_for_days(model.version),
    )
    if not found:
        return result_of_table
    return _with_evaluations(context, result_of_table, results, _checked_days(context, found, days_of(context)))


def _with_evaluations(
    context: dg.AssetExecutionContext,
    result: dg.MaterializeResult,
    of_run: Sequence[dg.AssetCheckResult],
    by_day: Sequence[DayResult],
) -> Iterator[Any]:
    yield result
    yield from evaluations(context, of_run, by_day)


def _checked_days(
    context: dg.AssetExecutionContext,
    found: Mapping[date, Sequence[CheckOutcome]],
    own: tuple[date, date],
) -> list[DayResult]:
    """Return the results of each day of the run, and the failed results of earlier days with late records.

    Dagster shows the result that was added last as the latest one, and results of earlier days are added last.
    """
    return [
        DayResult(day, result)
        for day, outcomes in found.items()
        for result in check_results(outcomes, context.asset_key)
        if day >= own[0] or not result.passed
    ]


def version_for_days(code_version: str) -> dg.DataVersion:
    """Return the data version of an unpartitioned table that partitioned models read: it only changes with the SQL.

    Later records do not change past days, and late records are tracked separately, so Dagster must not show every past
    partition as outdated after each run.
    """
    return dg.DataVersion(code_version)


def _first_rows(engine: Engine, model: SqlModel, days: tuple[date, date] | None) -> list[dict[str, Any]]:
    within = " where as_of_date = $last_date" if days else ""
    sql = f"select * from {model.table}{within} limit {PREVIEW_ROWS}"
    return engine.query_dicts(sql, {"last_date": days[1]} if days else None)


def _report_partitions(
    context: dg.AssetExecutionContext,
    engine: Engine,
    model: SqlModel,
    by_day: Mapping[date, Mapping[str, Any]],
    of_last_day: Mapping[str, Any],
) -> None:
    # Earlier days that were rebuilt for late records are not partitions of the run.
    first, last = days_of(context)
    rows = dict(
        engine.query(
            f"select as_of_date, count(*) from {model.table} where as_of_date between $first_date and $last_date "
            "group by as_of_date",
            {"first_date": first, "last_date": last},
        )
    )
    for day in days_between(first, last):
        metadata = {"dagster/partition_row_count": rows.get(day, 0), **by_day.get(day, {})}
        context.add_asset_metadata({**metadata, **(of_last_day if day == last else {})}, partition_key=day.isoformat())


def _column_schema(engine: Engine, model: SqlModel) -> dg.TableSchema:
    """Return the table's columns with their types in the warehouse."""
    return _table_schema(
        model,
        engine.column_types(model.table),
    )


def _table_schema(model: SqlModel, types: Mapping[str, str]) -> dg.TableSchema:
    """Return the columns with their descriptions and origins."""
    origins = column_lineage_of(model)
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name, _type_name(types.get(name, "unknown")), description=text + _origin(origins.get(name, ()))
            )
            for name, text in model.columns.items()
        ]
    )


def _origin(origins: Sequence[tuple[str, str]]) -> str:
    """Return the origin of a column as a sentence for its description; many origins are shortened to their tables."""
    named = sorted({f"{asset_name(table)}.{column}" for table, column in origins})
    if len(named) > FEW_COLUMNS:
        named = sorted({asset_name(table) for table, _ in origins})
    return f" From {', '.join(named)}." if named else ""


def _type_name(kind: str) -> str:
    # The description of the column lists the levels of an enumeration.
    return "enum" if kind.startswith("ENUM(") else kind.lower()


def _column_lineage(model: SqlModel, key: dg.AssetKey) -> dg.TableColumnLineage:
    """Return the source columns of each column."""
    return dg.TableColumnLineage(
        {
            column: [
                dg.TableColumnDep(beside(key, asset), name)
                for asset, name in sorted({(asset_name(table), name) for table, name in origins})
            ]
            for column, origins in column_lineage_of(model).items()
        }
    )


def model_assets(
    models: Iterable[SqlModel], partitions: dg.PartitionsDefinition | None = None, names: Names = DEFAULT
) -> list[dg.AssetsDefinition]:
    """Return the assets of all models with SQL; ``partitions`` apply to partitioned models."""
    return [model_asset(model, partitions, names) for model in models if model.sql]
