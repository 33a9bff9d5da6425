"""Staging assets: one per entity of the staged contract, from every configured system with a model for it.

A system may have steps between its raw tables and its models, and its models may read the account map.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.context import BACKFILL, Pipeline, in_order_of, pipeline_of, preview
from assets.models import asset_name, model_assets, version_for_days
from assets.names import DEFAULT, Names
from assets.unmaterialised import source_name
from csm_core.accounts import account_map
from csm_core.config import Config
from csm_core.contract import ACCOUNT_MAP, ACCOUNTS, ENTITIES, FIRST_LOAD, USAGE_EVENTS, Entity
from csm_core.logging import get_logger
from csm_core.publishing.notion import assessments
from csm_core.sources.registry import get_system, record_kinds
from csm_core.sources.source_settings import settings_text
from csm_core.sources.spark import require_no_other_usage
from csm_core.sources.spark_settings import SYSTEM as SPARK
from csm_core.sources.spark_settings import SparkSettings, usage_on_spark
from csm_core.sources.unread_files import unread_below
from csm_core.staging.erased_accounts import record_matched_customers
from csm_core.staging.gate import StageReport, UpstreamInputs, stage_entity
from csm_core.staging.spark_gate import leave_spark, stage_usage_on_spark
from csm_core.staging.vendor_records import build_records, kinds_version, records_table
from csm_core.warehouse.models import SqlModel, staging_models, staging_steps


def staging_assets(config: Config, names: Names = DEFAULT) -> list[dg.AssetsDefinition]:
    """Return one asset per entity; an entity without a configured system is an empty table."""
    # Assessments that users select in Notion are records of an additional system.
    systems = list(dict.fromkeys([*(source.system for source in config.sources), assessments.SYSTEM]))
    models = {system: staging_models(system) for system in systems}
    steps = {system: staging_steps(system) for system in systems}
    upstream = {system: upstream_of(config, system, steps[system], models[system]) for system in systems}
    # Usage events that are validated on Spark have no model here, and come from no other system.
    spark = usage_on_spark(config.sources)
    mapped = any(ACCOUNT_MAP in model.dependencies for found in models.values() for model in found.values())
    return [
        *(_records_asset(system, names) for system in systems if record_kinds(system)),
        *(asset for found in steps.values() for asset in model_assets(found.values(), names=names)),
        *([_account_map_asset(steps, names)] if mapped else []),
        *(
            _staging_asset(
                entity,
                {
                    system: found[entity.name]
                    for system, found in models.items()
                    if entity.name in found and not (spark and entity.name == USAGE_EVENTS)
                },
                upstream,
                spark if entity.name == USAGE_EVENTS else None,
                names,
            )
            for entity in ENTITIES.values()
        ),
    ]


def upstream_of(
    config: Config, system: str, steps: Mapping[str, SqlModel], models: Mapping[str, SqlModel]
) -> UpstreamInputs:
    """Return the indirect inputs of a system's models, through its steps and the account map."""
    read = {table for step in steps.values() for table in step.dependencies}
    if any(ACCOUNT_MAP in model.dependencies for model in models.values()):
        read |= {account_map.MAP_TABLE.table, account_map.DOMAIN_TABLE.table}
    kinds = record_kinds(system)
    if kinds:
        tables = {table.name: table.table for table in get_system(system).raw_tables}
        read |= {tables[name] for kind in kinds for name in kind.tables}
    if not read:
        return UpstreamInputs()
    versions = [step.version for step in steps.values()]
    versions.append(kinds_version(kinds))
    versions += [settings_text(source) for source in config.sources if source.system == system]
    return UpstreamInputs(
        frozenset(table for table in read if table.startswith("raw.")),
        hashlib.sha256("\n".join(versions).encode()).hexdigest()[:12],
        frozenset(step.table for step in steps.values() if FIRST_LOAD in step.columns),
    )


def _records_asset(system: str, names: Names) -> dg.AssetsDefinition:
    kinds, tables = record_kinds(system), get_system(system).raw_tables
    read = {name for kind in kinds for name in kind.tables}

    @dg.asset(
        key=names.key(asset_name(records_table(system))),
        deps=names.keys(sorted(asset_name(table.table) for table in tables if table.name in read)),
        description=f"The latest valid version of each record of {system}: all times, numbers and levels parse.",
        group_name=names.group("staging"),
        kinds={"duckdb", system},
        owners=names.owners,
        op_tags=in_order_of("staging"),
        backfill_policy=BACKFILL,
        code_version=kinds_version(kinds),
        required_resource_keys={names.resource},
        pool=names.pool,
        metadata={"dagster/table_name": names.table(records_table(system))},
    )
    def _records(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        pipeline = pipeline_of(context)
        with pipeline.warehouse.connect() as connection:
            counts = build_records(connection, system, kinds, tables)
        pipeline.records.extend(one for one in counts if one.records)
        current = sum(one.current for one in counts)
        pipeline.progress(asset_name(records_table(system)), {"rows": current, "layer": "staging"})
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": current,
                "records": preview([vars(one) for one in counts if one.records]),
                "rejected": sum(one.rejected for one in counts),
                "superseded": sum(one.superseded for one in counts),
                "ignored": sum(one.ignored for one in counts),
            }
        )

    return _records


def _account_map_asset(steps: Mapping[str, Mapping[str, SqlModel]], names: Names) -> dg.AssetsDefinition:
    systems = [system for system, found in steps.items() if f"{system}_externals" in found]

    @dg.asset(
        key=names.key(asset_name(ACCOUNT_MAP)),
        deps=names.keys(asset_name(account_map.externals_table(system)) for system in systems),
        description="The account of each vendor's customer, and how it was matched: by file, column or domain.",
        group_name=names.group("staging"),
        kinds={"duckdb", "sql"},
        owners=names.owners,
        op_tags=in_order_of("staging"),
        backfill_policy=BACKFILL,
        required_resource_keys={names.resource},
        pool=names.pool,
        metadata={"dagster/table_name": names.table(ACCOUNT_MAP)},
    )
    def _account_map(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        pipeline = pipeline_of(context)
        with pipeline.warehouse.connect() as connection:
            if not pipeline.is_replay:
                pipeline.unread.extend(unread_below(pipeline.config.identity.account_map))
                pipeline.unread.extend(unread_below(pipeline.config.identity.account_domains))
                account_map.load(
                    connection, pipeline.config, loaded_at=pipeline.clock(), log=get_logger("csm_core.sources")
                )
            customers = account_map.build(connection, pipeline.config, systems)
            record_matched_customers(connection)
        pipeline.progress(asset_name(ACCOUNT_MAP), {"rows": customers, "layer": "staging"})
        return dg.MaterializeResult(metadata={"dagster/row_count": customers})

    return _account_map


def _staging_asset(
    entity: Entity,
    models: dict[str, SqlModel],
    upstream: Mapping[str, UpstreamInputs],
    spark: SparkSettings | None,
    names: Names,
) -> dg.AssetsDefinition:
    # Publishing reads assessments back for later runs: a dependency on it would be a cycle.
    read = {table for model in models.values() for table in model.dependencies - {assessments.TABLE}}
    upstream_assets = {asset_name(table) for table in read if not table.startswith("run.")}
    if spark:
        upstream_assets.add(source_name(SPARK))
    # Records of unknown accounts are rejected, so accounts are staged first.
    if entity.name != ACCOUNTS:
        upstream_assets.add(asset_name(ENTITIES[ACCOUNTS].table))

    version = "+".join(model.version for model in models.values()) or (SPARK if spark else "none")
    origin = ", ".join(models) or (SPARK if spark else "no source")

    @dg.asset(
        key=names.key(asset_name(entity.table)),
        deps=names.keys(sorted(upstream_assets)),
        description=f"{entity.name} in the staged contract, from {origin}. "
        f"Rejected records are in {entity.quarantine_table}.",
        group_name=names.group("staging"),
        kinds={SPARK if spark else "duckdb", "sql"},
        owners=names.owners,
        op_tags=in_order_of("staging"),
        backfill_policy=BACKFILL,
        code_version=version,
        required_resource_keys={names.resource},
        pool=names.pool,
        metadata={
            "dagster/table_name": names.table(entity.table),
            "dagster/column_schema": dg.TableSchema(
                columns=[
                    dg.TableColumn(column.name, str(column.kind), description=column.note or None)
                    for column in entity.columns
                ]
            ),
        },
    )
    def _stage(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        pipeline = pipeline_of(context)
        result = _on_spark(pipeline, spark) if spark else _in_warehouse(pipeline, entity, models, upstream)
        pipeline.staged.append(result)
        pipeline.progress(asset_name(entity.table), {"rows": result.loaded, "seconds": result.seconds})
        metadata: dict[str, Any] = {
            "dagster/row_count": result.loaded,
            "rows_read": result.read,
            "rejected": result.rejected,
            "superseded": result.superseded,
            "ignored": result.ignored,
            "closed": result.closed,
            "rejected_by_reason": dict(result.by_reason),
            "ignored_by_rule": dict(result.by_rule),
            "seconds": round(result.seconds, 3),
        }
        if result.touched_days:
            metadata["days_touched"] = (
                f"{len(result.touched_days)}: {result.touched_days[0]} to {result.touched_days[-1]}"
            )
        return dg.MaterializeResult(metadata=metadata, data_version=version_for_days(version))

    return _stage


def _in_warehouse(
    pipeline: Pipeline, entity: Entity, models: Mapping[str, SqlModel], upstream: Mapping[str, UpstreamInputs]
) -> StageReport:
    with pipeline.warehouse.connect() as connection:
        if assessments.SYSTEM in models:
            assessments.prepare(connection)
        if entity.name == USAGE_EVENTS:
            leave_spark(connection, pipeline.clock())
        return stage_entity(
            connection,
            entity.name,
            [(system, model.sql) for system, model in models.items()],
            staged_at=pipeline.clock(),
            max_rejected_percent=pipeline.config.max_rejected_percent,
            min_rejected=pipeline.config.min_rejected,
            max_closed_percent=pipeline.config.max_closed_percent,
            upstream=upstream,
            derived=[system for system, model in models.items() if model.derived],
        )


def _on_spark(pipeline: Pipeline, source: SparkSettings) -> StageReport:
    require_no_other_usage(pipeline.config.sources)
    with pipeline.warehouse.connect() as connection:
        return stage_usage_on_spark(
            connection,
            pipeline.warehouse.session(),
            source,
            staged_at=pipeline.clock(),
            max_rejected_percent=pipeline.config.max_rejected_percent,
            min_rejected=pipeline.config.min_rejected,
        )
