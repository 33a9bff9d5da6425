"""The portfolio report: one HTML file of the newest complete day, written after the published copy."""

import time

import dagster as dg

from assets.context import BACKFILL, pipeline_of
from assets.freshness import DAILY_HOUR, due_by
from assets.names import DEFAULT, Names
from csm_core.analysts.queries import open_published
from csm_core.warehouse.day_status import newest_counted_day

NAME = "csm_report"
# After the alerts, which the report lists, but without a dependency: if a digest cannot be sent, there is a report.
_LAST = {"dagster/priority": "-4"}


def report_asset(after: str, timezone: str = "UTC", names: Names = DEFAULT) -> dg.AssetsDefinition:
    """Return ``csm_report``, which writes ``reports/portfolio-DAY.html`` next to the warehouse."""

    @dg.asset(
        key=names.key(NAME),
        deps=names.keys([after]),
        description="The portfolio report of the newest complete day: one HTML file without scripts and requests. "
        "Older reports are deleted as `reports.keep` states.",
        group_name=names.group("publish"),
        kinds={"html"},
        owners=names.owners,
        required_resource_keys={names.resource},
        pool=names.pool,
        backfill_policy=BACKFILL,
        freshness_policy=due_by(DAILY_HOUR, timezone),
        op_tags=_LAST,
    )
    def _report(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        # Imported here, since only this asset draws SVG charts.
        from csm_core.publishing.report.figures import Scope
        from csm_core.publishing.report.kept_charts import KeptCharts
        from csm_core.publishing.report.reports import (
            portfolio_report,
            remove_oldest,
            report_folder,
            write_report,
        )

        pipeline = pipeline_of(context)
        if pipeline.config.reports.keep == 0:
            return dg.MaterializeResult(metadata={"note": "reports.keep is 0, so there is no report"})
        started = time.perf_counter()
        with open_published(pipeline.warehouse) as copy:
            day = newest_counted_day(copy)
            if day is None:
                return dg.MaterializeResult(metadata={"note": "no day is complete yet, so there is no report"})
            folder = report_folder(pipeline.warehouse.path)
            path = folder / f"portfolio-{day}.html"
            scope = Scope(day, silence_limits=pipeline.config.checks.silence_limits)
            html = portfolio_report(copy, scope, KeptCharts.of_report(path))
        write_report(html, path)
        deleted = remove_oldest(folder, pipeline.config.reports.keep)
        seconds = time.perf_counter() - started
        pipeline.progress(NAME, {"seconds": seconds, "layer": "report"})
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(str(path)),
                "day": day.isoformat(),
                "kilobytes": round(len(html.encode()) / 1000),
                "deleted": len(deleted),
                "seconds": round(seconds, 3),
            }
        )

    return _report
