"""Small stacked bar charts as PNG images for Dagster metadata. The caption is text outside the image."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import duckdb

from csm_core.analysts.drawing import stacked_bars_png
from csm_core.system.text_table import counted
from csm_core.warehouse.day_status import counted_sql

BUCKET = 5
DAYS = 90


def score_distributions(connection: duckdb.DuckDBPyConnection, days: tuple[date, date]) -> dict[date, str]:
    """Markdown for each scored day of ``days``: a histogram of scores in steps of five, coloured by RAG."""
    rows: list[Any] = connection.execute(
        "select as_of_date, least(floor(score / $step), $last)::integer, rag, count(*) from marts.csm_health_scores "
        "where as_of_date between $first_date and $last_date group by all order by as_of_date",
        {"first_date": days[0], "last_date": days[1], "step": BUCKET, "last": 100 // BUCKET - 1},
    ).fetchall()
    bars: dict[date, list[dict[str, int]]] = {}
    for day, bucket, rag, accounts in rows:
        bars.setdefault(day, [{} for _ in range(100 // BUCKET)])[bucket][rag] = accounts
    return {day: _distribution(day, of_day) for day, of_day in bars.items()}


def _distribution(day: date, bars: Sequence[Mapping[str, int]]) -> str:
    tallest = max(sum(bar.values()) for bar in bars)
    caption = (
        f"Scores on {day} from 0 to 100, one bar per {BUCKET} points; the tallest bar is {counted(tallest, 'account')}."
    )
    return _markdown(caption, stacked_bars_png(bars))


def rag_over_time(connection: duckdb.DuckDBPyConnection, days: tuple[date, date]) -> dict[date, str]:
    """Markdown for each scored day of ``days``: accounts by RAG on the last 90 scored days up to that day.

    Held and unfinished days before ``days`` are excluded.
    """
    rows: list[Any] = connection.execute(
        "select as_of_date, rag, count(*) from marts.csm_health_scores where as_of_date in "
        "(select distinct as_of_date from marts.csm_health_scores where as_of_date < $first_date "
        f"and {counted_sql(connection)} order by as_of_date desc limit $days) "
        "or as_of_date between $first_date and $last_date group by all",
        {"first_date": days[0], "last_date": days[1], "days": DAYS},
    ).fetchall()
    bars: dict[date, dict[str, int]] = {}
    for scored, rag, accounts in sorted(rows):
        bars.setdefault(scored, {})[rag] = accounts
    scored_days = list(bars)
    return {
        day: _history({one: bars[one] for one in scored_days[max(0, number + 1 - DAYS) : number + 1]})
        for number, day in enumerate(scored_days)
        if day >= days[0]
    }


def _history(bars: Mapping[date, Mapping[str, int]]) -> str:
    maximum = max(sum(bar.values()) for bar in bars.values())
    days = f"{min(bars)}, the only scored day"
    if len(bars) > 1:
        days = f"each of {len(bars)} scored days from {min(bars)} to {max(bars)}"
    caption = (
        f"Accounts by RAG, RED at the bottom, one bar for {days}; the full height is {counted(maximum, 'account')}."
    )
    return _markdown(caption, stacked_bars_png(list(bars.values())))


def churn_by_decile(deciles: Sequence[tuple[int, int]]) -> str:
    """Markdown of the churn rate of each tenth of the scores: (churned, observations) each, lowest scores first."""
    rates = [churned / observations if observations else 0.0 for churned, observations in deciles]
    caption = (
        f"Churn rate by score, one bar for each of {counted(len(rates), 'group')} of observations of about equal size, "
        f"lowest scores on the left; the tallest bar is {max(rates, default=0.0):.1%}."
    )
    return _markdown(caption, stacked_bars_png([{"RED": round(rate * 1000)} for rate in rates]))


def _markdown(caption: str, image: bytes) -> str:
    return f"{caption}\n\n![{caption}](data:image/png;base64,{base64.b64encode(image).decode()})"
