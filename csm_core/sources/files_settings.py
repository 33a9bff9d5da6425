"""Checks of the settings of the source ``files``: columns of the contract and formats of dates."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from csm_core.contract import ENTITIES, UPDATED

_DIRECTIVES = frozenset("aAbBdfHIjmMpSyYz%")
_DIRECTIVE = re.compile(r"%(.?)", re.DOTALL)


def mappable_columns(entity: str) -> tuple[str, ...]:
    """The columns that files of an entity may have."""
    return (*ENTITIES[entity].column_names, UPDATED)


def require_known(message: str, name: str, known: Iterable[str]) -> None:
    """Raise ValueError with the message and the nearest known name if the name is not known."""
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(names)}"
        error = f"{message}; {hint}"
        raise ValueError(error)


def require_date_format(form: str) -> None:
    """Raise ValueError for a format that does not state a complete date or has an unknown directive."""
    found = _DIRECTIVE.findall(form)
    unknown = [one for one in found if one not in _DIRECTIVES]
    if unknown:
        known = ", ".join(f"%{one}" for one in sorted(_DIRECTIVES))
        message = f"dates: {form!r} has the unknown directive %{unknown[0]}; expected one of {known}"
        raise ValueError(message)
    has = set(found)
    if not has & {"Y", "y"} or not (({"d"} <= has and has & {"m", "b", "B"}) or "j" in has):
        message = f"dates: {form!r} does not state year, month and day, as in %d/%m/%Y"
        raise ValueError(message)
    if "I" in has and "p" not in has:
        message = f"dates: {form!r} has the 12-hour clock (%I) without %p"
        raise ValueError(message)
