"""What the settings of the source ``files`` may name: columns of the contract and formats of dates."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from datetime import date
from typing import cast

from csm_core.contract import ENTITIES, UPDATED

_DIRECTIVES = frozenset("aAbBdfHIjmMpSyYz%")
_DIRECTIVE = re.compile(r"%(.?)", re.DOTALL)


def mappable_columns(entity: str) -> tuple[str, ...]:
    """The columns that files of an entity may have."""
    return (*ENTITIES[entity].column_names, UPDATED)


def require_known(message: str, name: str, known: Iterable[str]) -> None:
    """Raise ValueError with the message, and the nearest known name, for one that is not known."""
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
        error = f"{message}; {hint}"
        raise ValueError(error)


def require_texts(where: str, value: object) -> None:
    """Raise ValueError for a value inside mappings and lists that YAML does not read as text because of its spelling.

    Without quotes ``No`` is a boolean, ``1`` a number and ``NULL`` a null.
    """
    if isinstance(value, dict):
        for key, one in cast("dict[object, object]", value).items():
            _require_text(f"{where}: {key}", one)
    elif isinstance(value, list):
        for one in cast("list[object]", value):
            _require_text(where, one)


def _require_text(where: str, value: object) -> None:
    if isinstance(value, dict | list):
        require_texts(where, cast("object", value))
    elif value is None:
        message = f'{where}: YAML reads this value as null; put it in quotes, as in "NULL"'
        raise ValueError(message)
    elif isinstance(value, bool):
        spelled, quoted = ("yes, on or true", "Yes") if value else ("no, off or false", "No")
        message = f'{where}: YAML reads {spelled} without quotes as a boolean; put it in quotes, as in "{quoted}"'
        raise ValueError(message)
    elif isinstance(value, int | float | date):
        message = f'{where}: YAML reads {value} without quotes as a number or a date; put it in quotes: "{value}"'
        raise ValueError(message)


def require_date_format(form: str) -> None:
    """Raise ValueError for a format that does not state a whole date, or has a directive that is not known."""
    found = _DIRECTIVE.findall(form)
    unknown = [one for one in found if one not in _DIRECTIVES]
    if unknown:
        message = f"dates: {form!r} has the directive %{unknown[0]}; there are %{', %'.join(sorted(_DIRECTIVES))}"
        raise ValueError(message)
    has = set(found)
    if not has & {"Y", "y"} or not (({"d"} <= has and has & {"m", "b", "B"}) or "j" in has):
        message = f"dates: {form!r} does not state year, month and day, as in %d/%m/%Y"
        raise ValueError(message)
    if "I" in has and "p" not in has:
        message = f"dates: {form!r} has an hour of twelve (%I) without %p"
        raise ValueError(message)
