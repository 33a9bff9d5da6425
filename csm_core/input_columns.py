"""Which column of a frame or a file holds which input of the scorer; what is missing, doubled or misnamed is told."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from csm_core.errors import SignalError
from csm_core.rubric import FIELD_ALIASES, FIELDS

ACCOUNT = "account_id"
KEYS = (ACCOUNT, "tenant_id", "as_of_date")
_NEARLY = 0.84


def input_columns(present: Sequence[str], where: str) -> dict[str, str]:
    """Input → the column that holds it, for every input that a column holds. ``where`` begins the messages.

    Raises SignalError for a column that stands twice, for an input beside its alias, for ``account_id`` or a required
    input that no column holds, and for a column that is called nearly like an optional input that none holds: left
    alone, what it says would count as unknown without a word.
    """
    doubled = sorted({name for name in present if present.count(name) > 1})
    if doubled:
        message = f"{where} has these columns more than once: {', '.join(doubled)}"
        raise SignalError(message)
    found = {name: name for name in present}
    for alias, name in FIELD_ALIASES.items():
        if alias in found and name in found:
            message = f"{where} has both {name} and {alias}, which mean the same; keep one"
            raise SignalError(message)
        if alias in found:
            found[name] = alias
    _require(found, present, where)
    _refuse_misnamed(found, where)
    return {field.name: found[field.name] for field in FIELDS if field.name in found}


def _require(found: Collection[str], present: Sequence[str], where: str) -> None:
    hints: list[str] = []
    for name in (ACCOUNT, *(field.name for field in FIELDS if field.required)):
        if name not in found:
            near = difflib.get_close_matches(name, present, n=1)
            hints.append(f"{name} (is it {near[0]!r}?)" if near else name)
    if hints:
        message = f"{where} lacks {', '.join(hints)}; it has {', '.join(present) or 'no column'}"
        raise SignalError(message)


def _refuse_misnamed(found: Collection[str], where: str) -> None:
    known = {*KEYS, *FIELD_ALIASES, *(field.name for field in FIELDS)}
    others = {name.lower(): name for name in found if name not in known}
    for name in (*(field.name for field in FIELDS), *FIELD_ALIASES):
        if name in found or FIELD_ALIASES.get(name) in found:
            continue
        near = difflib.get_close_matches(name, others, n=1, cutoff=_NEARLY)
        if near:
            message = f"{where} has no {name}, but {others[near[0]]!r}: rename that, or take it out if it is another"
            raise SignalError(message)
