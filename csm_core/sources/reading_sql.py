"""The settings of a source for dates and numbers as SQL over a column of text.

Text that does not match the settings does not change: the gate accepts ISO times and plain numbers, and rejects all
other text.
"""

from __future__ import annotations

from csm_core.sources.reading import Reading
from csm_core.sql_models import literal


def reading_sql(reading: Reading, column: str, value: str, kind: str) -> str:
    """The value of a column of a file, given as an expression and its type, read by the settings."""
    if kind != "VARCHAR":
        return value
    if reading.dates and column in reading.time_columns:
        return iso_time(value, reading.dates)
    if reading.decimal and column in reading.number_columns:
        return plain_number(value, reading.decimal)
    return value


def iso_time(value: str, formats: tuple[str, ...]) -> str:
    """Text as an ISO date or time by the first of the formats of strptime that parses it; other text unchanged."""
    return f"coalesce({', '.join(_by_format(value, form) for form in formats)}, {value})"


def _by_format(value: str, form: str) -> str:
    time = f"try_strptime(trim({value}), {literal(form)})"
    if "%z" in form:
        time = f"({time} at time zone 'UTC')"
        shape = "%Y-%m-%dT%H:%M:%S.%fZ"
    else:
        shape = "%Y-%m-%dT%H:%M:%S.%f" if any(one in form for one in ("%H", "%I")) else "%Y-%m-%d"
    # A two-digit year read by %Y is a year of the first century.
    return f"case when year({time}) between 1000 and 9999 then strftime({time}, {literal(shape)}) end"


_SPACES = "[\\x{20}\\x{a0}\\x{2007}\\x{2009}\\x{202f}]"
_APOSTROPHES = "['\\x{2019}]"
_MINUS = "[-\\x{2212}]"
_CURRENCY = "(?:[A-Z]{3}|\\p{Sc})"


def plain_number(value: str, decimal: str) -> str:
    """Text of a formatted number with this decimal separator as a plain number; other text unchanged."""
    text = f"trim({value}, {literal(' ' + chr(0xA0) + chr(0x202F))})"
    positive, negative = _patterns(decimal)
    digits = f"replace(regexp_replace({text}, {literal(f'[^0-9{decimal}]')}, '', 'g'), {literal(decimal)}, '.')"
    return (
        f"case when regexp_full_match({text}, {literal(positive)}) then {digits} "
        f"when regexp_full_match({text}, {literal(negative)}) then '-' || {digits} else {value} end"
    )


def _patterns(decimal: str) -> tuple[str, str]:
    point, other = (r"\.", ",") if decimal == "." else (",", r"\.")
    # One kind of separator in a number, between groups of three; a number that has groups does not begin with 0.
    groups = "|".join(f"[1-9][0-9]{{0,2}}(?:{one}[0-9]{{3}})+" for one in (other, _SPACES, _APOSTROPHES))
    number = f"(?:{groups}|[0-9]+)(?:{point}[0-9]+)?"
    gap = f"{_SPACES}?"

    def priced(inside: str) -> str:
        return f"(?:{_CURRENCY}{gap}{inside}|{inside}{gap}{_CURRENCY}|{inside})"

    positive = f"[+]?{priced(number)}"
    signed = f"{_MINUS}{gap}{priced(number)}|{_CURRENCY}{gap}{_MINUS}{gap}{number}"
    trailing = f"{priced(number)}{gap}{_MINUS}|{number}{gap}{_MINUS}{gap}{_CURRENCY}"
    within = rf"\({number}\)"
    bracketed = rf"\({priced(number)}\)|{priced(within)}"
    return positive, f"{signed}|{trailing}|{bracketed}"
