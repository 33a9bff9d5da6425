"""Publishing assets: health updates, business reviews and expansion records in Notion, after the blocking checks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.context import (
    BACKFILL,
    DO_NOT_PUBLISH,
    Linked,
    days_of,
    pipeline_of,
    preview,
    quarter_of,
)
from assets.freshness import DAILY_HOUR, REVIEWS_HOUR, due_by
from assets.names import DEFAULT, Names
from csm_core.errors import NotionError
from csm_core.publishing.notion.databases import EXPANSION, HEALTH, PORTFOLIO, QBR, RECORD
from csm_core.system.text_table import counted
from csm_core.warehouse.day_status import require_newest, require_scored

if TYPE_CHECKING:
    from csm_core.publishing.notion.apply import Report

HEALTH_UPDATES = "notion_health_updates"
QBR_PAGES = "notion_qbr_pages"
EXPANSION_RECORDS = "notion_expansion_records"
REVIEWS_TABLE = "marts.csm_qbr"
PORTFOLIO_PAGE = "notion_portfolio_page"
PUBLISH_ASSETS = (HEALTH_UPDATES, QBR_PAGES, EXPANSION_RECORDS, PORTFOLIO_PAGE)
_PRIORITIES = {HEALTH_UPDATES: "0", PORTFOLIO_PAGE: "-2"}
# The maximum number of linked pages and listed failures; the ledger has all of them.
SHOWN = 20


def publish_assets(
    partitions: dg.PartitionsDefinition, timezone: str = "UTC", names: Names = DEFAULT
) -> list[dg.AssetsDefinition]:
    """Return the publishing assets."""
    return [
        _publish_asset(
            HEALTH_UPDATES,
            (HEALTH, RECORD),
            [
                *("csm_health_scores", "csm_settled_bands", "int_account_days"),
                *("csm_accounts_daily", "csm_signal_points", "csm_rag_transitions", "csm_day_roots"),
            ],
            "Score, RAG, owner, contract, reason and next step on the page of each account, and a health record for "
            "each settled change of RAG or churn risk and for each large move of the score.",
            partitions,
            timezone,
            names,
        ),
        _publish_asset(
            QBR_PAGES,
            (QBR,),
            ["csm_qbr", "csm_feature_adoption", "int_review_features"],
            "A page for each review that is due.",
            partitions,
            timezone,
            names,
        ),
        _publish_asset(
            EXPANSION_RECORDS,
            (EXPANSION,),
            ["csm_expansion_opportunities", "int_account_days"],
            "A page for each open opportunity, updated when its evidence changes.",
            partitions,
            timezone,
            names,
        ),
        _publish_asset(
            PORTFOLIO_PAGE,
            (PORTFOLIO,),
            ["csm_health_scores", "csm_health_signals", "csm_accounts_daily"],
            "The portfolio page: bands, largest changes, renewals, MRR at risk and data quality of the newest day.",
            partitions,
            timezone,
            names,
        ),
    ]


def _publish_asset(
    name: str,
    kinds: Sequence[str],
    upstream: Sequence[str],
    description: str,
    partitions: dg.PartitionsDefinition,
    timezone: str,
    names: Names,
) -> dg.AssetsDefinition:
    @dg.asset(
        key=names.key(name),
        deps=names.keys([*upstream, "csm_days"]),
        description=description,
        group_name=names.group("publish"),
        kinds={"notion"},
        owners=names.owners,
        partitions_def=partitions,
        backfill_policy=BACKFILL,
        required_resource_keys={names.resource},
        pool=names.pool,
        freshness_policy=due_by(REVIEWS_HOUR if name == QBR_PAGES else DAILY_HOUR, timezone),
        # Reviews and opportunities are related to the pages of accounts, so these are written first. There is no
        # dependency: if an account page cannot be written, the reviews are still published.
        op_tags={"dagster/priority": _PRIORITIES.get(name, "-1")},
    )
    def _publish(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        # The Notion client and the sandbox are only imported by a run that publishes.
        from csm_core.publishing.notion.publish import publish_day

        pipeline = pipeline_of(context)
        reason = context.run.tags.get(DO_NOT_PUBLISH)
        if reason:
            message = f"this run does not publish ({reason}); the run of the latest day does"
            context.log.info(message)
            pipeline.not_published.append(message)
            return dg.MaterializeResult(metadata={"published": False})
        if name == PORTFOLIO_PAGE and not pipeline.config.notion.portfolio_page:
            return dg.MaterializeResult(metadata={"published": False})
        with pipeline.warehouse.connect() as connection:
            days = days_of(context)
            day, newest = days[1], require_newest(connection)
            require_scored(connection, day)
            if day < newest:
                message = f"{day} is older than the newest complete day, {newest}; only the newest day is published"
                context.log.info(message)
                pipeline.not_published.append(message)
                return dg.MaterializeResult(metadata={"published": False})
            # Only the current scores are published, but the reviews of every day of a range: a review that a late
            # record moved or made due in the last days would otherwise never be published.
            reviews_since, _ = pipeline.late.get(REVIEWS_TABLE, days)
            report = publish_day(
                connection,
                pipeline.config,
                day,
                kinds=kinds,
                environment=pipeline.environment,
                run_id=f"{context.run.run_id}/{name}",
                reviews_since=reviews_since,
                reviews_until=quarter_of(context),
                clock=pipeline.clock,
            )
        pipeline.published.append(report)
        pipeline.progress(name, {"rows": sum(report.created.values()) + sum(report.updated.values())})
        metadata = _metadata(report)
        if report.failures:
            # A failed step has no materialisation, so the results are reported as an observation.
            context.log_event(dg.AssetObservation(context.asset_key, metadata=metadata))
            first = "; ".join(f"{one.key}: {one.error}" for one in report.failures[:10])
            message = (
                f"{counted(len(report.failures), 'page')} could not be written; all other pages were written: {first}"
            )
            raise NotionError(message)
        return dg.MaterializeResult(metadata=metadata)

    return _publish


def _metadata(report: "Report") -> Mapping[str, Any]:
    from csm_core.publishing.notion.report_text import TITLES

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
    rejected = report.pulses.rejected[:SHOWN] if report.pulses else ()
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
        **({"notes": dg.MetadataValue.text("\n".join(report.notes))} if report.notes else {}),
        **{f"database_{kind}": dg.MetadataValue.url(url) for kind, url in report.databases.items()},
        **({"assessments_read": dg.MetadataValue.int(report.read_back.new)} if report.read_back else {}),
        **({"pulses_read": dg.MetadataValue.int(report.pulses.new)} if report.pulses else {}),
        **({"pulses_rejected": preview([{"value": one} for one in rejected])} if rejected else {}),
    }
