"""The backtest of the scores: figures, a chart, and the observations for analysts. No job materialises it."""

import time
from typing import TYPE_CHECKING

import dagster as dg

from assets.context import BACKFILL, pipeline_of
from assets.names import DEFAULT, Names
from csm_core.analysts.backtest.observation_rows import create_observations
from csm_core.analysts.backtest.observation_table import observation_table, store_observations
from csm_core.analysts.backtest.options import BacktestOptions
from csm_core.analysts.charts import churn_by_decile
from csm_core.analysts.published_copy import publish_copy
from csm_core.days.finished_days import model_parameters
from csm_core.scoring.macros import create_macros

if TYPE_CHECKING:
    from csm_core.analysts.backtest.figures import BacktestFigures

NAME = "csm_backtest"
READ = ("csm_outcomes", "csm_health_scores", "csm_health_signals", "csm_accounts_daily")


def backtest_asset(names: Names = DEFAULT) -> dg.AssetsDefinition:
    """Return ``csm_backtest``, which compares all scored days with the accounts that left since then."""
    table = observation_table()

    @dg.asset(
        key=names.key(NAME),
        deps=names.keys(READ),
        description="How well scores predicted churn, as `csm backtest` with its default options shows it. Writes "
        f"{table.table} and replaces the published copy. Materialise it by hand: it is not part of the jobs.",
        group_name=names.group("marts"),
        kinds={"duckdb"},
        owners=names.owners,
        required_resource_keys={names.resource},
        pool=names.pool,
        backfill_policy=BACKFILL,
        metadata={
            "dagster/table_name": names.table(table.table),
            "dagster/column_schema": dg.TableSchema(
                columns=[dg.TableColumn(name, description=text) for name, text in table.columns.items()]
            ),
        },
    )
    def _backtest(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        # Imported here, since numpy takes longer to load than all definitions.
        from csm_core.analysts.backtest.figures import backtest_figures
        from csm_core.analysts.backtest.reading import read_input

        pipeline = pipeline_of(context)
        started = time.perf_counter()
        with pipeline.warehouse.connect() as connection:
            scope = create_observations(connection, BacktestOptions())
            figures = backtest_figures(read_input(connection, scope))
            rows = store_observations(connection, scope)
        publish_copy(pipeline.warehouse, create_macros, model_parameters(pipeline.config))
        seconds = time.perf_counter() - started
        pipeline.progress(NAME, {"rows": rows, "seconds": seconds, "layer": "backtest"})
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": rows,
                **_plotted(figures),
                "churn_by_decile": dg.MetadataValue.md(
                    churn_by_decile([(one.churned, one.observations) for one in figures.calibration])
                ),
                "figures": dg.MetadataValue.json(figures.as_dict()),
                "seconds": round(seconds, 3),
            }
        )

    return _backtest


def _plotted(figures: "BacktestFigures") -> dict[str, float | int | str]:
    """Return the figures that Dagster plots over the materialisations; without an AUC, it has no entry."""
    auc = figures.auc
    plotted: dict[str, float | int | str] = {
        "basis": figures.given.basis,
        "observations": len(figures.given.observations.day),
        "churned_accounts": figures.churned_accounts,
        "dead_zone": figures.given.dead_zone,
        "censored": figures.given.censored,
        "green_churn": len(figures.green_churn),
    }
    if auc and auc.auc is not None:
        plotted["auc"] = round(auc.auc, 4)
        if auc.interval:
            plotted |= {"auc_low": round(auc.interval.low, 4), "auc_high": round(auc.interval.high, 4)}
    return plotted | {f"lift_{percent}_percent": round(value, 3) for percent, value in figures.lifts.items()}
