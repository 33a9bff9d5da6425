"""SQL expressions that parse text by the date and number settings of a source.

Text that does not match the settings is not changed: the gate accepts ISO times and plain numbers, and rejects other
text.
"""

from __future__ import annotations

import re

from csm_core.ingest.read_settings import Reading
from csm_core.warehouse.models import literal


def reading_sql(reading: Reading, column: str, value: str, kind: str) -> str:
    """Return the expression of a column with the settings applied; ``kind`` is the type of ``value``."""
    if kind != "VARCHAR":
        return value
    if reading.dates and column in reading.time_columns:
        return iso_time(value, reading.dates)
    if reading.decimal and column in reading.number_columns:
        return plain_number(value, reading.decimal)
    return value


def iso_time(value: str, formats: tuple[str, ...]) -> str:
    """Return an expression that converts text to an ISO date or time by the first matching strptime format.

    A format matches if formatting the parsed time reproduces the text, without regard to case, leading zeros and the
    number of blanks: strptime also accepts ``infinity`` and dates that do not exist.
    """
    return f"coalesce({', '.join(_by_format(value, form) for form in formats)}, {value})"


def _by_format(value: str, form: str) -> str:
    text = f"trim({value})"
    time = f"try_strptime({text}, {literal(form)})"
    local = time
    written, expected = text, form
    if _FROM_TEXT.search(form):
        # strftime does not reproduce an offset or a fraction: both sides are compared without them.
        parts = _FROM_TEXT.split(form)
        pattern = "".join(_OWN.get(part) or f"({_shape(part)})" for part in parts)
        groups = "".join(f"\\{number}" for number in range(1, (len(parts) + 1) // 2 + 1))
        written, expected = f"regexp_replace({text}, {literal(f'^{pattern}$')}, {literal(groups)})", "".join(parts[::2])
        local = f"try_strptime({written}, {literal(expected)})"
    if "%z" in form:
        time = f"({time} at time zone 'UTC')"
        shape = "%Y-%m-%dT%H:%M:%S.%fZ"
    else:
        shape = "%Y-%m-%dT%H:%M:%S.%f" if any(one in form for one in ("%H", "%I")) else "%Y-%m-%d"
    # Reject the first centuries: a year of two digits parsed with a four-digit format.
    return (
        f"case when year({time}) between 1000 and 9999 "
        f"and {_comparable(f'strftime({local}, {literal(expected)})')} = {_comparable(written)} "
        f"then strftime({time}, {literal(shape)}) end"
    )


_FROM_TEXT = re.compile("(%[fz])")
_OWN = {"%f": "[0-9]{1,6}", "%z": "[+-][0-9]{2}(?::?[0-9]{2}){0,2}"}
_DIGITS = {"Y": "{4}", "j": "{1,3}"}


def _shape(form: str) -> str:
    """Return an RE2 pattern for the texts of a format without offset and fraction."""
    pattern = ""
    for directive, blanks, other in re.findall(r"%(.)|(\s+)|(.)", form, re.DOTALL):
        if directive:
            named = "%" if directive == "%" else "[A-Za-z]+"
            pattern += named if directive in "aAbBp%" else f"[0-9]{_DIGITS.get(directive, '{1,2}')}"
        else:
            pattern += r"\s+" if blanks else f"\\x{{{ord(other):x}}}"
    return pattern


def _comparable(text: str) -> str:
    """Return an expression for text in lower case, with single blanks and without leading zeros."""
    single = f"regexp_replace(trim({text}), '\\s+', ' ', 'g')"
    return f"lower(regexp_replace({single}, '(^|[^0-9])0+([0-9])', '\\1\\2', 'g'))"


_SPACES = "[\\x{20}\\x{a0}\\x{2007}\\x{2009}\\x{202f}]"
_APOSTROPHES = "['\\x{2019}]"
_MINUS = "[-\\x{2212}]"
_CURRENCY = "(?:[A-Z]{3}|\\p{Sc})"


def plain_number(value: str, decimal: str) -> str:
    """Return an expression that converts a formatted number with this decimal separator to a plain number.

    Other text is not changed. With a decimal comma, the gate would accept text such as ``12.50``, which has the wrong
    separator: the setting is appended, ``12.50 [decimal: ","]``, so that the gate rejects it. An integer with a
    fraction of zeros, as programs write it, stays: ``10.0``.
    """
    original = f"regexp_replace({value}, {literal(_UNREAD)}, '')"
    text = f"trim({original}, {literal(' ' + chr(0xA0) + chr(0x202F))})"
    positive, negative = _patterns(decimal)
    digits = f"replace(regexp_replace({text}, {literal(f'[^0-9{decimal}]')}, '', 'g'), {literal(decimal)}, '.')"
    other = original
    if decimal == ",":
        fraction = f"regexp_matches({text}, {literal(_FRACTION)})"
        other = f"case when {fraction} then {original} || {literal(_UNREAD_MARK)} else {original} end"
    return (
        f"case when regexp_full_match({text}, {literal(positive)}) then {digits} "
        f"when regexp_full_match({text}, {literal(negative)}) then '-' || {digits} else {other} end"
    )


_UNREAD_MARK = ' [decimal: ","]'
_UNREAD = r' \[decimal: ","\]$'
_FRACTION = r"^[+-]?[0-9]+\.[0-9]*[1-9][0-9]*$"


def _patterns(decimal: str) -> tuple[str, str]:
    point, other = (r"\.", ",") if decimal == "." else (",", r"\.")
    # A number has one kind of thousands separator; a number with groups does not begin with 0.
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
