"""Finds the settings that read dates and numbers in other formats, for the hints of `csm doctor`.

It converts no values; the SQL of the loader determines whether a setting reads a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime

import duckdb

from csm_core.ingest.read_settings_sql import iso_time, plain_number
from csm_core.warehouse.text_macros import utc_time

_DATES = (
    *("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d"),
    *("%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y"),
    "%Y-%m-%d",
)
_TIMES = (
    *("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", ", %H:%M", ", %I:%M %p"),
    *("T%H:%M", "T%H:%M:%S", "T%H:%M:%S.%f", "T%H:%M:%S%z", "T%H:%M:%S.%f%z"),
    *(" %H:%M %z", " %H:%M:%S %z", " %H:%M:%S.%f %z", " %H:%M:%S%z", " %H:%M:%S.%f%z"),
    *(" %H:%M:%S UTC", " %H:%M:%S.%f UTC", " %H:%M:%S Z"),
)
_FORMATS = tuple(date + time for date in _DATES for time in _TIMES)
_IS_TIME = f"{utc_time('read')} is not null"
_IS_NUMBER = r"regexp_full_match(read, '[+-]?[0-9]+(\.[0-9]+)?')"
_NULLS = frozenset(
    (
        "?",
        "-",
        "--",
        "n/a",
        "#n/a",
        "na",
        "nan",
        "nat",
        "none",
        "null",
        "nil",
        "(null)",
        "<null>",
        "(blank)",
        "\\n",
        "<na>",
    )
)
_MINIMUM_SHARE = 0.8
"""The minimum share of values that a suggested setting must read; the others may be invalid for another reason."""


def date_formats(connection: duckdb.DuckDBPyConnection, values: Sequence[str]) -> list[str]:
    """The formats that read values that the gate does not accept unchanged.

    Several formats if day and month cannot be distinguished; none for other texts and for times that the gate rejects.
    """
    texts = [value.strip() for value in values if value.strip()]
    # Testing every format on every value is slow, so formats that read no shape of value are excluded first.
    shapes = {_shape(text): text for text in texts}
    possible = [form for form in _FORMATS if any(_reads(form, text) for text in shapes.values())]
    accepted = _count(connection, "value", _IS_TIME, texts)
    read = {form: _count(connection, iso_time("value", (form,)), _IS_TIME, texts) for form in possible}
    return _most({form: count for form, count in read.items() if count > accepted}, len(texts))


def decimal_marks(connection: duckdb.DuckDBPyConnection, values: Sequence[str]) -> list[str]:
    """The settings of ``decimal`` that read the values: ``.``, ``,``, both or none."""
    texts = [value for value in values if value.strip()]
    read = {mark: _count(connection, plain_number("value", mark), _IS_NUMBER, texts) for mark in (".", ",")}
    return _most(read, len(texts))


def _count(connection: duckdb.DuckDBPyConnection, read: str, accepted: str, texts: Sequence[str]) -> int:
    """The number of texts that the SQL of the loader converts to values that meet the condition ``accepted``."""
    row = connection.execute(
        f"select count(*) from (select {read} as read from (select unnest(cast(? as varchar[])) as value)) "
        f"where {accepted}",
        [list(texts)],
    ).fetchone()
    return int(row[0]) if row else 0


def null_texts(values: Sequence[str]) -> list[str]:
    """The values that programs write instead of null."""
    return sorted({value.strip() for value in values if value.strip().lower() in _NULLS})


def _most(read: Mapping[str, int], total: int) -> list[str]:
    best = max(read.values(), default=0)
    return (
        [setting for setting, count in read.items() if count == best] if best and best >= _MINIMUM_SHARE * total else []
    )


def _shape(text: str) -> str:
    return re.sub(r"[A-Za-z]+", "a", re.sub(r"[0-9]", "0", text))


def _reads(form: str, text: str) -> bool:
    # strptime accepts a year of fewer digits, and fewer digits of a day in compact dates.
    if "%Y" in form and not re.search(r"[0-9]{4}", text):
        return False
    if form.startswith("%Y%m%d") and not re.match(r"[0-9]{8}(?![0-9])", text):
        return False
    with suppress(ValueError):
        datetime.strptime(text, form)  # noqa: DTZ007  # only whether it parses
        return True
    return False
