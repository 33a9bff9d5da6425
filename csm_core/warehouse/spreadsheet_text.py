"""Escapes text in CSV files, so that a spreadsheet does not run it as a formula.

A spreadsheet runs a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return. Exported CSV files
have an apostrophe before such text, also if it already begins with apostrophes: removing one apostrophe is then the
exact inverse. Values of numeric types are not changed; text that looks like a number, such as an account id ``-5``, is
escaped.
"""

from __future__ import annotations

import re
from typing import Any

from csm_core.warehouse.models import literal

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_FORMULA = r"^'*[=+@\t\r-]"
_ESCAPED = r"^'+[=+@\t\r-]"


def escaped(value: Any) -> Any:
    """Return the value for a CSV cell; text that a spreadsheet would run as a formula is escaped."""
    return f"'{value}" if isinstance(value, str) and re.match(_FORMULA, value) else value


def escaped_sql(expression: str) -> str:
    """Return ``escaped`` as a SQL expression over an expression of any type."""
    text = f"cast({expression} as varchar)"
    return f"case when regexp_matches({text}, {literal(_FORMULA)}) then '''' || {text} else {text} end"


def unescaped(text: str) -> str:
    """Return the original text; the inverse of ``escaped``."""
    return text[1:] if re.match(_ESCAPED, text) else text


def unescaped_sql(expression: str) -> str:
    """Return ``unescaped`` as a SQL expression over a text expression."""
    return f"(case when regexp_matches({expression}, {literal(_ESCAPED)}) then {expression}[2:] else {expression} end)"
