"""Publishing assets: health updates, business reviews and expansion records to Notion, behind the blocking checks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.context import (
    BACKFILL,
    DO_NOT_PUBLISH,
    OWNERS,
    RESOURCE,
    Linked,
    days_of,
    pipeline_of,
    preview,
    quarter_of,
)
from csm_core.errors import NotionError
from csm_core.publishing.notion.databases import EXPANSION, HEALTH, QBR, RECORD
from csm_core.warehouse.day_status import require_newest, require_scored

if TYPE_CHECKING:
    from csm_core.publishing.notion.apply import Report

HEALTH_UPDATES = "notion_health_updates"
QBR_PAGES = "notion_qbr_pages"
EXPANSION_RECORDS = "notion_expansion_records"
REVIEWS_TABLE = "marts.csm_qbr"
PUBLISH_ASSETS = (HEALTH_UPDATES, QBR_PAGES, EXPANSION_RECORDS)
# So many pages are linked to, and so many failures named; the ledger has all of them.
SHOWN = 20


def publish_assets(partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The three publishing assets."""
    return [
        _publish_asset(
            HEALTH_UPDATES,
            (HEALTH, RECORD),
            ["csm_health_scores", "int_account_days"],
            "Score and RAG on every account's page, and a health record where RAG or churn risk changed.",
            partitions,
        ),
        _publish_asset(
            QBR_PAGES, (QBR,), ["csm_qbr", "csm_feature_adoption"], "A page for every review that fell due.", partitions
        ),
        _publish_asset(
            EXPANSION_RECORDS,
            (EXPANSION,),
            ["csm_expansion_opportunities", "int_account_days"],
            "A page for every open opportunity, updated when its evidence changes.",
            partitions,
        ),
    ]


def _publish_asset(
    name: str, kinds: Sequence[str], upstream: Sequence[str], description: str, partitions: dg.PartitionsDefinition
) -> dg.AssetsDefinition:
    @dg.asset(
        key=name,
        deps=[*upstream, "csm_days"],
        description=description,
        group_name="publish",
        kinds={"notion"},
        owners=OWNERS,
        partitions_def=partitions,
        backfill_policy=BACKFILL,
        required_resource_keys={RESOURCE},
    )
    def _publish(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        # Notion's client and the sandbox are loaded by the run that publishes, not by all who load the definitions.
        from csm_core.publishing.notion.publish import publish_day

        pipeline = pipeline_of(context)
        held_back = context.run.tags.get(DO_NOT_PUBLISH)
        if held_back:
            said = f"this run does not publish ({held_back}); the run of the later day does"
            context.log.info(said)
            pipeline.not_published.append(said)
            return dg.MaterializeResult(metadata={"published": False})
        with pipeline.warehouse.connect() as connection:
            days = days_of(context)
            day, newest = days[1], require_newest(connection)
            require_scored(connection, day)
            if day < newest:
                said = f"{day} is older than {newest}, the newest complete day; only the newest is published"
                context.log.info(said)
                pipeline.not_published.append(said)
                return dg.MaterializeResult(metadata={"published": False})
            # Scores are published as they are now; a review is due on its own day, and of a range every day counts.
            # One that a late record made due in the last days, or moved, would otherwise never be seen.
            reviews_since, _ = pipeline.late.get(REVIEWS_TABLE, days)
            report = publish_day(
                connection,
                pipeline.config,
                day,
                kinds=kinds,
                run_id=f"{context.run.run_id}/{name}",
                reviews_since=reviews_since,
                reviews_until=quarter_of(context),
                clock=pipeline.clock,
            )
        pipeline.published.append(report)
        pipeline.progress(name, {"rows": sum(report.created.values()) + sum(report.updated.values())})
        metadata = _metadata(report)
        if report.failures:
            # A failed step has no materialisation: what it did is told by an observation.
            context.log_event(dg.AssetObservation(context.asset_key, metadata=metadata))
            first = "; ".join(f"{one.key}: {one.error}" for one in report.failures[:10])
            message = f"{len(report.failures):,} pages could not be written, all others were: {first}"
            raise NotionError(message)
        return dg.MaterializeResult(metadata=metadata)

    return _publish


def _metadata(report: "Report") -> Mapping[str, Any]:
    from csm_core.publishing.notion.plan import TITLES

    kinds = [
        {
            "pages": TITLES[kind],
            "created": report.created[kind],
            "updated": report.updated[kind],
            "skipped": report.skipped[kind],
        }
        for kind in report.skipped
    ]
    changed = [{"action": one.action, "page": Linked(one.label, one.url)} for one in report.links[:SHOWN]]
    failed = [{"kind": one.kind, "key": one.key, "error": one.error} for one in report.failures[:SHOWN]]
    counts = {
        "created": sum(report.created.values()),
        "updated": sum(report.updated.values()),
        "skipped": sum(report.skipped.values()),
        "failed": len(report.failures),
        "orphaned": report.orphans,
        "trashed": report.trashed,
        "requests": report.requests,
    }
    return {
        **{name: dg.MetadataValue.int(count) for name, count in counts.items()},
        "seconds": dg.MetadataValue.float(round(report.seconds, 3)),
        "published": dg.MetadataValue.bool(True),
        "pages": preview(kinds),
        **({"changed_pages": preview(changed)} if changed else {}),
        **({"failed_pages": preview(failed)} if failed else {}),
        **{f"database_{kind}": dg.MetadataValue.url(url) for kind, url in report.databases.items()},
        **({"assessments_read": dg.MetadataValue.int(report.read_back.new)} if report.read_back else {}),
    }
