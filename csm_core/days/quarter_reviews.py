"""Builds the reviews of a quarter on the morning after it, before their due day has ended and can be scored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from csm_core.errors import WarehouseError
from csm_core.warehouse.engine import Engine
from csm_core.warehouse.materialize import ModelResult
from csm_core.warehouse.model_checks import run_checks
from csm_core.warehouse.models import SqlModel, load_models

# The models of the account that a review reads for its own day.
OF_THE_DAY = ("int_account_days", "int_account_subscriptions", "int_account_support", "int_account_invoices")
# The steps of a review in order of dependency; the review is the mart csm_qbr.
INTERMEDIATE_STEPS = ("int_review_periods", "int_review_usage", "int_review_features", "int_review_tickets")
MART_STEPS = ("csm_review_signals",)


def build_reviews_early(
    engine: Engine,
    reviews: SqlModel,
    parameters: Mapping[str, Any],
    days: tuple[date, date],
    first_of_quarter: date,
) -> ModelResult:
    """Build ``marts.csm_qbr`` for ``days``, then the reviews of the quarter that ended before ``first_of_quarter``.

    That day is not scored: its reviews read the days that count before it. When it has ended, it is rebuilt, including
    reviews before renewals.
    """
    result = engine.build(reviews, parameters, days)
    models = {**load_models("intermediate"), **load_models("marts")}
    for name in (*OF_THE_DAY, *INTERMEDIATE_STEPS, *MART_STEPS):
        _build_early(engine, models[name], parameters, first_of_quarter)
    early = _build_early(engine, reviews, parameters, first_of_quarter)
    return ModelResult(result.table, result.rows + early.rows, result.seconds + early.seconds)


def _build_early(engine: Engine, model: SqlModel, parameters: Mapping[str, Any], day: date) -> ModelResult:
    result = engine.build(model, parameters, (day, day))
    for outcome in run_checks(engine, model, (day, day)):
        if not outcome.passed:
            raise WarehouseError(outcome.text())
    return result
