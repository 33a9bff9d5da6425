"""Canonical JSON as SQL expressions: the same text, byte for byte, as ``standalone.canonical`` of the values."""

from __future__ import annotations

from collections.abc import Mapping

from csm_core.receipts.standalone import canonical
from csm_core.warehouse.models import literal, quoted

UTC_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
"""The text of a UTC time, in DuckDB and Python."""

Fields = Mapping[str, "str | Fields"]


def text(expression: str) -> str:
    """Return a text or level as a JSON string; null as null."""
    return f"coalesce(cast(to_json(cast({expression} as varchar)) as varchar), 'null')"


def number(expression: str) -> str:
    """Return a number or boolean as its JSON text, a double in its shortest form; null as null."""
    return f"coalesce(cast({expression} as varchar), 'null')"


def plain_text(expression: str) -> str:
    """Return a date, a decimal, a hash or another text without quotes and escapes as a JSON string; null as null."""
    return f"coalesce('\"' || cast({expression} as varchar) || '\"', 'null')"


def hex_float(expression: str) -> str:
    """Return the bits of a double as a JSON string."""
    return plain_text(f"printf('%a', {expression})")


def utc_time(expression: str) -> str:
    """Return a UTC timestamp as a JSON string; null as null."""
    return plain_text(f"strftime({expression}, '{UTC_FORMAT}')")


def document(fields: Fields) -> str:
    """Return an object with these fields, given as expressions of their JSON texts; keys are sorted."""
    return " || ".join(_pieces(fields))


def column(name: str) -> str:
    """Return a column as a quoted identifier."""
    return quoted(name)


def _pieces(fields: Fields) -> list[str]:
    pieces: list[str] = []
    constant = "{"
    for at, key in enumerate(sorted(fields)):
        constant += f"{',' if at else ''}{canonical(key)}:"
        value = fields[key]
        if isinstance(value, str):
            pieces += [literal(constant), value]
            constant = ""
        else:
            first, *rest = _pieces(value)
            # Both are constants: the start of this field, and the start of the object in it.
            pieces += [literal(constant + first[1:-1].replace("''", "'")), *rest]
            constant = ""
    return [*pieces, literal(constant + "}")]
