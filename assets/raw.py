"""Raw assets: the unchanged records of a source system, an asset per raw table."""

from collections.abc import Sequence

import dagster as dg

from assets.context import BACKFILL, Pipeline, in_order_of, pipeline_of, preview
from assets.models import asset_name
from assets.names import DEFAULT, Names
from assets.unmaterialised import source_name
from csm_core.ingest.found_files import UnreadFile
from csm_core.logging import get_logger
from csm_core.operations.backup_content import SOURCES
from csm_core.sources.registry import get_system
from csm_core.sources.settings_base import SourceSettings
from csm_core.sources.source_settings import record_source_load, write_source_settings
from csm_core.sources.unread_files import unread_files

_LISTED = 100


def raw_assets(sources: Sequence[SourceSettings], names: Names = DEFAULT) -> list[dg.AssetsDefinition]:
    """Return the raw assets of the configured sources, by system."""
    systems = list(dict.fromkeys(source.system for source in sources))
    return [_raw_asset([one for one in sources if one.system == system], names) for system in systems]


def _unread(pipeline: Pipeline, sources: Sequence[SourceSettings]) -> list[UnreadFile]:
    identity = pipeline.config.identity
    configured = (identity.account_map, identity.account_domains)
    return [one for source in sources for one in unread_files(source, pipeline.config.sources, configured)]


def _raw_asset(sources: Sequence[SourceSettings], names: Names) -> dg.AssetsDefinition:
    """Return the asset that loads the sources of a system; unchanged files are skipped."""
    system = get_system(sources[0].system)

    @dg.multi_asset(
        name=names.unique(f"load_{system.name}"),
        specs=[
            dg.AssetSpec(
                names.key(asset_name(raw.table)),
                deps=[names.key(source_name(system.name))],
                description=f"Raw {raw.name} from {system.name}, unchanged.",
                group_name=names.group("raw"),
                kinds={"duckdb", system.name},
                owners=names.owners,
                metadata={"dagster/table_name": names.table(raw.table)},
            )
            for raw in system.raw_tables
        ],
        required_resource_keys={names.resource},
        op_tags=in_order_of("raw"),
        backfill_policy=BACKFILL,
        pool=names.pool,
    )
    def _load(context: dg.AssetExecutionContext):
        pipeline = pipeline_of(context)
        folder = pipeline.warehouse.path.parent / SOURCES
        unread = _unread(pipeline, sources)
        pipeline.unread.extend(unread)
        with pipeline.warehouse.connect() as connection:
            loaded_at = pipeline.clock()
            results = get_system(system.name, pipeline.warehouse.session).load(
                connection, sources, loaded_at=loaded_at, folder=folder, log=get_logger("csm_core.sources")
            )
            write_source_settings(connection, system.name, sources)
            record_source_load(connection, system.name, loaded_at)
            rows = {
                result.table: connection.execute(f"select count(*) from {result.table}").fetchall()[0][0]
                for result in results
            }
        for result in results:
            pipeline.progress(asset_name(result.table), {"rows": result.read, "seconds": result.seconds})
            yield dg.MaterializeResult(
                asset_key=names.key(asset_name(result.table)),
                metadata={
                    "dagster/row_count": rows[result.table],
                    "rows_loaded": result.loaded,
                    "rows_read": result.read,
                    "rejected": result.unparseable,
                    "files_loaded": len(result.files),
                    "files_unchanged": result.files_unchanged,
                    "files_not_read": len(unread),
                    **({"not_read": preview(_listed(unread))} if unread else {}),
                    "seconds": round(result.seconds, 3),
                },
            )

    return _load


def _listed(unread: Sequence[UnreadFile]) -> list[dict[str, str]]:
    shown = [{"file": str(one.path), "why": one.why} for one in unread[:_LISTED]]
    return shown + ([{"file": f"and {len(unread) - _LISTED} more", "why": ""}] if len(unread) > _LISTED else [])
