"""DuckDB macros that read text as a time, a number, a flag or an identifier, with one rule each.

The gate and every vendor's staging models read text only by these macros, so that a value means the same in every
source. A macro returns null for a blank and for text that does not parse; ``is_given`` distinguishes the two. The
macros are temporary: each connection that stages records creates them (``create_macros``).

- ``utc_time``: ISO 8601, a date or a date and a time, with an optional fraction and offset. A blank may precede the
  offset, and ``UTC`` may replace it, as Snowflake and BigQuery write them. The offset is applied; without one the time
  is UTC. Digits of a fraction beyond six are cut off. A year before 1900 does not parse: programs write it for "no
  date".
- ``vendor_time``: the same, or seconds or milliseconds since 1970 as a number, or an hour of one digit.
- ``whole_number``: digits with an optional sign; ``10.0`` and ``1E1`` are 10, ``10.5`` does not parse.
- ``plain_number``: digits with an optional sign, fraction and exponent. No thousands separator. Numbers beyond 10^15 do
  not parse: no count or amount is so large, and sums would leave the types of the warehouse.
- ``flag``: true or false, t or f, yes or no, 1 or 0, in any case.
- ``identifier_text``: text without surrounding blanks (tabs and no-break spaces too); ``7.0`` is ``7``.
- ``reference_id``: the same for a reference, which may be the object with its ``id``.
"""

from __future__ import annotations

import duckdb

from csm_core.warehouse.models import literal

BLANKS = " \t\r\n\v\f\u00a0\ufeff"
FIRST_TIME, LAST_TIME = "1900-01-01 00:00:00", "9999-12-31 23:59:59.999999"
"""The first and the last instant that a record may state."""

_DAY = "(19|[2-9][0-9])[0-9]{2}-[0-9]{2}-[0-9]{2}"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?"
# The form of most times: recognised by one pattern and cast without changes.
_PLAIN = rf"^{_DAY}[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{{1,6}})?Z?$"
_OFFSET = "Z|UTC|[+-](0[0-9]|1[0-8])(:?[0-5][0-9])?"
_ISO = f"^{_DAY}([T ]{_TIME}( ?({_OFFSET}))?)?$"
# With an offset, the last day of 9999 can be in the year 10000.
_TOO_LATE = "^9999-12-31[T ].*-"
_HAS_OFFSET = "[T ].*(Z|C|[+-])"
# Seconds since 1970 are those of 1973 to 5138; a thousand times as much are milliseconds.
_SECONDS = ("100000000", "100000000000")
_WHOLE = r"^[+-]?[0-9]+(\.0+)?$"
_NUMBER = r"^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$"
# No true value is larger, and sums of a million of them stay within the warehouse's types.
_MOST = "1000000000000000"


def in_time(value: str) -> str:
    """A timestamp if a record may state it, else null."""
    return f"(case when {value} between timestamp '{FIRST_TIME}' and timestamp '{LAST_TIME}' then {value} end)"


def utc_time(text: str) -> str:
    """ISO 8601 text as a UTC timestamp."""
    zoned = rf"try_cast(regexp_replace(replace({text}, 'UTC', 'Z'), ' +([Z+-])', '\1') as timestamptz)"
    return (
        f"(case when {_plain(text)} then try_cast({text} as timestamp) "
        f"when not regexp_matches({text}, {literal(_ISO)}) or regexp_matches({text}, {literal(_TOO_LATE)}) "
        f"then null when regexp_matches({text}, {literal(_HAS_OFFSET)}) "
        f"then cast({zoned} at time zone 'UTC' as timestamp) else try_cast({text} as timestamp) end)"
    )


def vendor_time(text: str) -> str:
    """ISO 8601 text, or seconds or milliseconds since 1970, as a UTC timestamp."""
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
        f"then case when abs(try_cast(trim(t) as hugeint)) <= {_MOST} then try_cast(trim(t) as bigint) end "
        f"when regexp_matches(trim(t), {literal(_NUMBER)}) and abs(try_cast(trim(t) as double)) <= {_MOST} "
        "and try_cast(trim(t) as double) = floor(try_cast(trim(t) as double)) "
        "then cast(try_cast(trim(t) as double) as bigint) end",
        "plain_number": f"case when regexp_matches(trim(t), {literal(_NUMBER)}) "
        f"and abs(try_cast(trim(t) as double)) <= {_MOST} then try_cast(trim(t) as double) end",
        "flag": "case when lower(trim(t)) in ('true', 't', 'yes', '1', '1.0') then true "
        "when lower(trim(t)) in ('false', 'f', 'no', '0', '0.0') then false end",
        # One mention of the text: models nest identifiers, and each mention multiplies what is planned.
        "identifier_text": rf"nullif(regexp_replace({text}, '^{blank}*([+-]?[0-9]+)\.0+{blank}*$|^{blank}+|{blank}+$', "
        r"'\1', 'g'), '')",
        "reference_id": "identifier_text(case when t like '{%' and json_valid(t) "
        "then json_extract_string(t, '$.id') else t end)",
    }


MACROS = _expressions()
"""The expression of ``t`` of each macro, by name. A macro may use the macros before it."""


def create_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the macros for this connection."""
    for name, expression in MACROS.items():
        connection.execute(f"create or replace temp macro {name}(t) as ({expression})")
