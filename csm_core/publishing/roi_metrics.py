"""The configured metrics of business reviews (the setting ``roi``), from the usage of features."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import date

import duckdb

from csm_core.config import RoiMetric
from csm_core.publishing.customer_review import Figure
from csm_core.warehouse.catalog import table_exists

FeatureUsage = Mapping[str, tuple[int, int]]
"""The events of features in the period of a review and in the period before."""

_MINUTES_PER_HOUR = 60


def feature_usage(
    connection: duckdb.DuckDBPyConnection, day: date, roi: Mapping[str, RoiMetric]
) -> dict[tuple[str, str], dict[str, tuple[int, int]]]:
    """The usage of the features of the metrics, by account and period of the reviews of a day."""
    usage: dict[tuple[str, str], dict[str, tuple[int, int]]] = defaultdict(dict)
    if roi and table_exists(connection, "intermediate.int_review_features"):
        rows = connection.execute(
            "select account_id, period, feature, events, events_previous from intermediate.int_review_features "
            "where as_of_date = $day and feature in (select unnest($features))",
            {"day": day, "features": sorted({metric.feature for metric in roi.values()})},
        ).fetchall()
        for account_id, period, feature, events, events_previous in rows:
            usage[account_id, period][feature] = (events, events_previous)
    return usage


def roi_figures(roi: Mapping[str, RoiMetric], usage: FeatureUsage, *, compared: bool) -> list[Figure]:
    """The metrics of a review; without the period before if it is not ``compared``."""
    return [
        _figure(metric_name(name), metric, *usage.get(metric.feature, (0, 0)), compared=compared)
        for name, metric in roi.items()
    ]


def metric_name(name: str) -> str:
    """The name of a metric in texts: ``hours_saved`` is Hours saved."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def _figure(name: str, metric: RoiMetric, events: int, events_previous: int, *, compared: bool) -> Figure:
    if metric.minutes_per_event is not None:
        factor, decimals = metric.minutes_per_event / _MINUTES_PER_HOUR, 1
    else:
        factor, decimals = metric.value_per_event or 0.0, 2
    before = events_previous * factor if compared else None
    return Figure(name, events * factor, before, decimals, metric.unit)
