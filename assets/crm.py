"""The records of HubSpot and Salesforce: an asset for each configured destination, after the blocking checks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.context import BACKFILL, DO_NOT_PUBLISH, days_of, pipeline_of, preview
from assets.freshness import DAILY_HOUR, due_by
from assets.names import DEFAULT, Names
from csm_core.config import Config
from csm_core.errors import PublishError
from csm_core.system.crm_section import VENDORS, AnyDestination, destination_name
from csm_core.warehouse.day_status import require_newest, require_scored
from csm_core.warehouse.described_columns import HEALTH_LAST

if TYPE_CHECKING:
    from csm_core.publishing.crm.apply import CrmReport

# The maximum number of listed failures; the ledger has all of them.
SHOWN = 20
# After the pages in Notion.
_PRIORITY = {"dagster/priority": "-2"}


def crm_names(config: Config) -> tuple[str, ...]:
    """Return the names of the assets, in the order of the configuration."""
    return tuple(_asset_name(one) for one in config.publish)


def crm_assets(
    destinations: Sequence[AnyDestination],
    partitions: dg.PartitionsDefinition,
    timezone: str = "UTC",
    names: Names = DEFAULT,
) -> list[dg.AssetsDefinition]:
    """Return an asset for each destination."""
    return [_crm_asset(one, partitions, timezone, names) for one in destinations]


def _asset_name(destination: AnyDestination) -> str:
    # With HubSpot as a source, there is an asset hubspot_companies.
    return f"crm_{destination_name(destination)}"


def _crm_asset(
    destination: AnyDestination, partitions: dg.PartitionsDefinition, timezone: str, names: Names
) -> dg.AssetsDefinition:
    name = _asset_name(destination)

    @dg.asset(
        key=names.key(name),
        deps=names.keys([HEALTH_LAST, "csm_days"]),
        description=f"Fields of {destination.object_name} in {VENDORS[destination.to]} with values of the newest day; "
        "other fields are not written.",
        group_name=names.group("publish"),
        kinds={destination.to},
        owners=names.owners,
        partitions_def=partitions,
        backfill_policy=BACKFILL,
        required_resource_keys={names.resource},
        pool=names.pool,
        freshness_policy=due_by(DAILY_HOUR, timezone),
        op_tags=_PRIORITY,
    )
    def _publish(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        # The clients are only imported by a run that publishes.
        from csm_core.publishing.crm.publish import publish_destination
        from csm_core.publishing.crm.report_text import failure_text

        pipeline = pipeline_of(context)
        reason = context.run.tags.get(DO_NOT_PUBLISH)
        if reason:
            context.log.info(f"this run does not publish ({reason}); the run of the latest day does")
            return dg.MaterializeResult(metadata={"published": False})
        with pipeline.warehouse.connect() as connection:
            day, newest = days_of(context)[1], require_newest(connection)
            require_scored(connection, day)
            if day < newest:
                context.log.info(f"{day} is older than the newest complete day, {newest}; only that day is published")
                return dg.MaterializeResult(metadata={"published": False})
            report = publish_destination(
                connection,
                destination,
                environment=pipeline.environment,
                run_id=f"{context.run.run_id}/{name}",
            )
        pipeline.crm.append(report)
        pipeline.progress(name, {"rows": report.created + report.updated, "layer": "crm"})
        metadata = _metadata(report)
        if not report.is_complete:
            # A failed step has no materialisation, so the results are reported as an observation.
            context.log_event(dg.AssetObservation(context.asset_key, metadata=metadata))
            raise PublishError(failure_text(report))
        return dg.MaterializeResult(metadata=metadata)

    return _publish


def _metadata(report: "CrmReport") -> Mapping[str, Any]:
    listed = [
        {"outcome": one.action, "account": one.account_id, "message": one.message} for one in report.changes[:SHOWN]
    ]
    return {
        "published": dg.MetadataValue.bool(True),
        **{name: dg.MetadataValue.int(count) for name, count in report.counts().items()},
        **{
            f"skipped_{reason.replace(' ', '_')}": dg.MetadataValue.int(count)
            for reason, count in report.skipped.items()
        },
        "seconds": dg.MetadataValue.float(round(report.seconds, 3)),
        **({"not_written": preview(listed)} if listed else {}),
        **({"stopped": dg.MetadataValue.text(report.stopped)} if report.stopped else {}),
    }
