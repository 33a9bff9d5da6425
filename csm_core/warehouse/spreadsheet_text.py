"""Text in CSV files that a person may open in a spreadsheet: what looks like a formula is text, not a formula.

A spreadsheet runs a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return. Every CSV file that
is written for people has an apostrophe in front of such text, also where apostrophes precede the character: removing
one apostrophe from text of this shape is then the exact inverse. Values that are typed as numbers are not text and
stay as they are; text that looks like a number, such as an account id ``-5``, is text.
"""

from __future__ import annotations

import re
from typing import Any

from csm_core.warehouse.models import literal

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_FORMULA = r"^'*[=+@\t\r-]"
_ESCAPED = r"^'+[=+@\t\r-]"


def escaped(value: Any) -> Any:
    """The value for a cell of CSV; only text that a spreadsheet would run changes."""
    return f"'{value}" if isinstance(value, str) and re.match(_FORMULA, value) else value


def escaped_sql(expression: str) -> str:
    """The same as SQL: an expression as text."""
    text = f"cast({expression} as varchar)"
    return f"case when regexp_matches({text}, {literal(_FORMULA)}) then '''' || {text} else {text} end"


def unescaped(text: str) -> str:
    """The inverse: the text that was escaped."""
    return text[1:] if re.match(_ESCAPED, text) else text


def unescaped_sql(expression: str) -> str:
    """The same as SQL, from an expression of text."""
    return f"(case when regexp_matches({expression}, {literal(_ESCAPED)}) then {expression}[2:] else {expression} end)"
