"""The asset of the scores: the mart with SQL that the vectorised scorer generates from the rubric."""

from datetime import date
from typing import Any

import dagster as dg

from assets.context import days_between, days_of, days_run_id, days_to_build, pipeline_of
from assets.freshness import DAILY_HOUR, due_by
from assets.models import report, sql_asset
from assets.names import DEFAULT, Names
from csm_core.analysts.charts import rag_over_time, score_distributions
from csm_core.analysts.day_figures import DayFigures, day_figures
from csm_core.scoring.score_days import other_configurations, score_days, scores_sql
from csm_core.system.text_table import counted
from csm_core.warehouse.day_status import begin_days
from csm_core.warehouse.late_changes import days_touched_by_late_records, span_text, stale_days_text
from csm_core.warehouse.models import SqlModel, version_of


def scores_asset(
    model: SqlModel, partitions: dg.PartitionsDefinition, timezone: str = "UTC", names: Names = DEFAULT
) -> dg.AssetsDefinition:
    """``csm_health_scores``: every account and day of the run scored inside the warehouse."""
    inputs = ["csm_health_signals", "int_account_days"]
    freshness = due_by(DAILY_HOUR, timezone)

    @sql_asset(model, partitions, inputs, names, version_of(scores_sql()), freshness)
    def _scores(context: dg.AssetExecutionContext):
        pipeline = pipeline_of(context)
        with pipeline.warehouse.connect() as connection:
            engine = pipeline.warehouse.engine(connection)
            days = days_to_build(context, connection, model.table)
            for earlier, number in other_configurations(connection, pipeline.config, days):
                message = (
                    f"{counted(number, 'day')} scored with another configuration ({earlier}) will be rescored "
                    f"with this configuration ({pipeline.config.config_hash})"
                )
                context.log.warning(message)
                pipeline.notes.append(message)
            begin_days(connection, days, days_run_id(context))
            result = score_days(engine, model, pipeline.config, days, scored_at=pipeline.clock())
            limit = pipeline.config.late_arrival_days
            stale = days_touched_by_late_records(connection, days[1], limit)
            more: dict[str, Any] = {}
            if stale:
                message = stale_days_text(stale, days[1], limit)
                context.log.warning(message)
                pipeline.notes.append(message)
                more["days_lacking_late_records"] = span_text((stale.days[0], stale.days[-1]))
            return report(context, engine, model, result, days, more, metadata_by_day(connection, days_of(context)))

    return _scores


def metadata_by_day(connection: Any, days: tuple[date, date]) -> dict[date, dict[str, Any]]:
    """Return the metadata of each partition: its figures, as numbers that Dagster plots, and its charts."""
    figures = day_figures(connection, days)
    charts = {
        "score_distribution": score_distributions(connection, days),
        "rag_over_time": rag_over_time(connection, days),
    }
    return {
        day: {
            **_plotted(figures.get(day)),
            **{name: dg.MetadataValue.md(by_day[day]) for name, by_day in charts.items() if day in by_day},
        }
        for day in days_between(*days)
    }


def _plotted(figures: DayFigures | None) -> dict[str, Any]:
    if figures is None:
        return {"rows": 0, "red_accounts": 0, "amber_accounts": 0, "green_accounts": 0, "alerts": 0}
    return {
        "rows": figures.accounts,
        "mean_score": round(figures.mean_score, 2),
        "red_accounts": figures.red_accounts,
        "amber_accounts": figures.amber_accounts,
        "green_accounts": figures.green_accounts,
        "alerts": figures.alerts,
        "mrr_at_risk": round(figures.mrr_at_risk, 2),
        "mrr_at_risk_currency": figures.currency or "none",
        "at_risk_in_other_currencies": figures.at_risk_in_other_currencies,
    }
