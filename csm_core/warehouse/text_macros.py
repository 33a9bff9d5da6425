"""DuckDB macros that parse text as a time, a number, a flag or an identifier.

The gate and the staging models of all vendors parse text only with these macros, so that a value means the same in
every source. A macro returns null for blank text and for text that does not parse; ``is_given`` distinguishes the two.
The macros are temporary: each connection that stages records creates them (``create_macros``).

- ``utc_time``: ISO 8601, a date or a date and a time, with an optional fraction and offset. A blank may precede the
  offset, and ``UTC`` may replace it, as Snowflake and BigQuery write them. The offset is applied; without one the time
  is UTC. Fractions are truncated to six digits. A year before 1900 does not parse: programs write it for "no date".
- ``vendor_time``: like ``utc_time``; also seconds or milliseconds since 1970 as a number, or an hour of one digit.
- ``whole_number``: digits with an optional sign; ``10.0`` and ``1E1`` are 10, ``10.5`` does not parse.
- ``plain_number``: digits with an optional sign, fraction and exponent. No thousands separator. Numbers beyond 10^15 do
  not parse: no count or amount is that large, and sums would overflow the types of the warehouse.
- ``flag``: true or false, t or f, yes or no, 1 or 0, in any case.
- ``identifier_text``: text without surrounding blanks (tabs and no-break spaces too); ``7.0`` is ``7``.
- ``reference_id``: like ``identifier_text``, for a reference, which may be an object with an ``id``.
"""

from __future__ import annotations

from weakref import WeakSet

import duckdb

from csm_core.warehouse.models import literal

BLANKS = " \t\r\n\v\f\u00a0\ufeff"
FIRST_TIME, LAST_TIME = "1900-01-01 00:00:00", "9999-12-31 23:59:59.999999"
"""The earliest and the latest time in a record."""

_DAY = "(19|[2-9][0-9])[0-9]{2}-[0-9]{2}-[0-9]{2}"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?"
# The most common format: matched by one pattern and cast without changes.
_PLAIN = rf"^{_DAY}[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{{1,6}})?Z?$"
_OFFSET = "Z|UTC|[+-](0[0-9]|1[0-8])(:?[0-5][0-9])?"
_ISO = f"^{_DAY}([T ]{_TIME}( ?({_OFFSET}))?)?$"
# With a negative offset, the last day of 9999 can fall into the year 10000 in UTC.
_TOO_LATE = "^9999-12-31[T ].*-"
_HAS_OFFSET = "[T ].*(Z|C|[+-])"
# Numbers in this range are seconds since 1970 (the years 1973 to 5138); larger ones are milliseconds.
_SECONDS = ("100000000", "100000000000")
_WHOLE = r"^[+-]?[0-9]+(\.0+)?$"
_NUMBER = r"^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$"
# No real value is larger, and sums of a million of them fit the types of the warehouse.
_MAX_NUMBER = "1000000000000000"


def in_time(value: str) -> str:
    """Return a SQL expression: the timestamp if it is in the allowed range, else null."""
    return f"(case when {value} between timestamp '{FIRST_TIME}' and timestamp '{LAST_TIME}' then {value} end)"


def utc_time(text: str) -> str:
    """Return a SQL expression that parses ISO 8601 text as a UTC timestamp."""
    zoned = rf"try_cast(regexp_replace(replace({text}, 'UTC', 'Z'), ' +([Z+-])', '\1') as timestamptz)"
    return (
        f"(case when {_plain(text)} then try_cast({text} as timestamp) "
        f"when not regexp_matches({text}, {literal(_ISO)}) or regexp_matches({text}, {literal(_TOO_LATE)}) "
        f"then null when regexp_matches({text}, {literal(_HAS_OFFSET)}) "
        f"then cast({zoned} at time zone 'UTC' as timestamp) else try_cast({text} as timestamp) end)"
    )


def vendor_time(text: str) -> str:
    """Return a SQL expression that parses ISO 8601 text, or seconds or milliseconds since 1970, as a UTC timestamp."""
    number = f"try_cast(trim({text}) as double)"
    padded = rf"regexp_replace(trim({text}), '^([0-9-]{{10}}[T ])([0-9]:)', '\10\2')"
    return (
        f"(case when regexp_matches(trim({text}), {literal(_NUMBER)}) then case "
        f"when {number} >= {_SECONDS[0]} and {number} < {_SECONDS[1]} "
        f"then make_timestamp(cast(floor({number} * 1000000) as bigint)) "
        f"when {number} >= {_SECONDS[1]} and {number} < {_SECONDS[1]} * 1000 "
        f"then make_timestamp(cast(floor({number} * 1000) as bigint)) end "
        f"else {utc_time(padded)} end)"
    )


def _plain(text: str) -> str:
    return f"regexp_matches({text}, {literal(_PLAIN)})"


def _expressions() -> dict[str, str]:
    text, blank = "t", rf"[\s\v{''.join(one for one in BLANKS if ord(one) > ord(' '))}]"
    return {
        "is_given": f"coalesce(trim({text}, {literal(BLANKS)}), '') <> ''",
        "in_time": in_time(text),
        "utc_time": utc_time(text),
        "vendor_time": vendor_time(text),
        "whole_number": f"case when regexp_matches(trim(t), {literal(_WHOLE)}) "
        f"then case when abs(try_cast(trim(t) as hugeint)) <= {_MAX_NUMBER} then try_cast(trim(t) as bigint) end "
        f"when regexp_matches(trim(t), {literal(_NUMBER)}) and abs(try_cast(trim(t) as double)) <= {_MAX_NUMBER} "
        "and try_cast(trim(t) as double) = floor(try_cast(trim(t) as double)) "
        "then cast(try_cast(trim(t) as double) as bigint) end",
        "plain_number": f"case when regexp_matches(trim(t), {literal(_NUMBER)}) "
        f"and abs(try_cast(trim(t) as double)) <= {_MAX_NUMBER} then try_cast(trim(t) as double) end",
        "flag": "case when lower(trim(t)) in ('true', 't', 'yes', '1', '1.0') then true "
        "when lower(trim(t)) in ('false', 'f', 'no', '0', '0.0') then false end",
        # The text occurs once: models nest identifiers, and each occurrence multiplies the size of the plan.
        "identifier_text": rf"nullif(regexp_replace({text}, '^{blank}*([+-]?[0-9]+)\.0+{blank}*$|^{blank}+|{blank}+$', "
        r"'\1', 'g'), '')",
        "reference_id": "identifier_text(case when t like '{%' and json_valid(t) "
        "then json_extract_string(t, '$.id') else t end)",
    }


MACROS = _expressions()
"""The expression of each macro over its parameter ``t``, by name. A macro may use the macros before it."""


_WITH_MACROS: WeakSet[duckdb.DuckDBPyConnection] = WeakSet()


def keep_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the macros on a connection that has no transaction in progress; they stay as long as the connection."""
    create_macros(connection)
    _WITH_MACROS.add(connection)


def create_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the macros on a connection, unless it keeps them. A transaction that is rolled back takes them away."""
    if connection in _WITH_MACROS:
        return
    for name, expression in MACROS.items():
        connection.execute(f"create or replace temp macro {name}(t) as ({expression})")
