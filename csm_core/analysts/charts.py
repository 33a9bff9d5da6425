"""Small stacked bar charts as PNG images for Dagster metadata. The caption is text outside the image.

A PNG with a palette consists of a header, colours and rows of bytes, so no drawing library is necessary.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import duckdb

from csm_core.system.text_table import counted
from csm_core.warehouse.day_status import counted_sql

WIDTH, HEIGHT = 480, 120
# White, a grey line at each quarter, then the bands.
_PALETTE = {
    "": (255, 255, 255),
    "line": (221, 221, 221),
    "RED": (204, 51, 51),
    "AMBER": (240, 160, 48),
    "GREEN": (64, 145, 96),
}
_COLOURS = {name: number for number, name in enumerate(_PALETTE)}
BUCKET = 5
DAYS = 90


def stacked_bars(bars: Sequence[Mapping[str, int]]) -> bytes:
    """A PNG with one stacked bar per entry (counts per RAG, RED at the bottom); the tallest bar has the full height."""
    highest = max([1, *(sum(bar.values()) for bar in bars)])
    rows = [bytearray(WIDTH) for _ in range(HEIGHT)]
    for quarter in range(1, 4):
        rows[HEIGHT - quarter * HEIGHT // 4] = bytearray([_COLOURS["line"]]) * WIDTH
    for number, bar in enumerate(bars):
        left, right = number * WIDTH // len(bars), (number + 1) * WIDTH // len(bars)
        # Leave a gap of one pixel if the bar is wide enough.
        right = max(left + 1, right - 1)
        below = 0
        for name in ("RED", "AMBER", "GREEN"):
            bottom, below = below, below + bar.get(name, 0)
            for level in range(bottom * HEIGHT // highest, below * HEIGHT // highest):
                rows[HEIGHT - 1 - level][left:right] = bytes([_COLOURS[name]]) * (right - left)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 3, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows), 9)
    palette = bytes(channel for colour in _PALETTE.values() for channel in colour)
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


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
    return _markdown(caption, stacked_bars(bars))


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
    return _markdown(caption, stacked_bars(list(bars.values())))


def churn_by_decile(deciles: Sequence[tuple[int, int]]) -> str:
    """Markdown of the churn rate of each tenth of the scores: (churned, observations) each, lowest scores first."""
    rates = [churned / observations if observations else 0.0 for churned, observations in deciles]
    caption = (
        f"Churn rate by score, one bar for each of {counted(len(rates), 'group')} of observations of about equal size, "
        f"lowest scores on the left; the tallest bar is {max(rates, default=0.0):.1%}."
    )
    return _markdown(caption, stacked_bars([{"RED": round(rate * 1000)} for rate in rates]))


def _markdown(caption: str, image: bytes) -> str:
    return f"{caption}\n\n![{caption}](data:image/png;base64,{base64.b64encode(image).decode()})"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
