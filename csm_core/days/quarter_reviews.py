"""Reviews of a quarter on the morning after it: before the day in which they fall due has ended and can be scored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import duckdb

from csm_core.errors import WarehouseError
from csm_core.warehouse.database import ModelResult, build_model
from csm_core.warehouse.model_checks import run_checks
from csm_core.warehouse.models import SqlModel, load_models

# What a review takes of its own day: who the account is, and what its subscriptions say.
OF_THE_DAY = ("int_account_days", "int_account_subscriptions")


def build_reviews_early(
    connection: duckdb.DuckDBPyConnection,
    reviews: SqlModel,
    parameters: Mapping[str, Any],
    days: tuple[date, date],
    first_of_quarter: date,
) -> ModelResult:
    """Build ``marts.csm_qbr`` for ``days``, then the reviews of the quarter that ended before ``first_of_quarter``.

    That day is not scored: its reviews read the days that count before it. It is built again, with the reviews before
    renewals, when it has ended.
    """
    result = build_model(connection, reviews, parameters, days)
    models = load_models("intermediate")
    for name in OF_THE_DAY:
        build_model(connection, models[name], parameters, (first_of_quarter, first_of_quarter))
    early = build_model(connection, reviews, parameters, (first_of_quarter, first_of_quarter))
    for outcome in run_checks(connection, reviews, (first_of_quarter, first_of_quarter)):
        if not outcome.passed:
            raise WarehouseError(outcome.text())
    return ModelResult(result.table, result.rows + early.rows, result.seconds + early.seconds)
