"""Maps columns of a frame or a file to inputs of the scorer; reports missing, duplicate and misnamed columns."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

from csm_core.errors import SignalError
from csm_core.ingest.column_names import by_key, column_key, near_columns, unused_text
from csm_core.rubric import FIELD_ALIASES, FIELDS

ACCOUNT = "account_id"
KEYS = (ACCOUNT, "tenant_id", "as_of_date")
_SIMILAR = 0.84


class UnusedColumnsWarning(UserWarning):
    """A frame has columns that are not inputs of the scorer."""


def input_columns(present: Sequence[str], where: str) -> dict[str, str]:
    """Return the column of each input that is present. ``where`` is the start of messages.

    Names are compared by ``column_key``. Raises SignalError for two columns with the same name, for an input and its
    alias, for a missing ``account_id`` or required input, and for a column with a name similar to a missing optional
    input: without the error, its values would silently count as unknown.
    """
    found = _by_key(present, where)
    for alias, name in FIELD_ALIASES.items():
        if alias in found and name in found:
            message = f"{where} has both {found[name]} and {found[alias]}, which are the same input; remove one"
            raise SignalError(message)
        if alias in found:
            found[name] = found[alias]
    _require(found, present, where)
    _reject_misnamed(found, where)
    return {field.name: found[field.name] for field in FIELDS if field.name in found}


def key_columns(present: Sequence[str]) -> dict[str, str]:
    """Return the column of each key (``account_id``, ``tenant_id``, ``as_of_date``) that is present."""
    found = by_key(present)
    return {key: found[key] for key in KEYS if key in found}


def unused_note(present: Sequence[str]) -> str:
    """Return the message about columns that are not inputs, with similar inputs; empty if all columns are used."""
    inputs = {*KEYS, *FIELD_ALIASES, *(field.name for field in FIELDS)}
    keys = {column_key(name) for name in present}
    unused = [name for name in present if column_key(name) not in inputs]
    return unused_text(unused, near_columns(unused, sorted(inputs - keys - _aliased(keys)))) if unused else ""


def _aliased(keys: Collection[str]) -> set[str]:
    """Return the inputs that are present under an alias, and the aliases of inputs that are present."""
    return {name for alias, name in FIELD_ALIASES.items() if alias in keys} | {
        alias for alias, name in FIELD_ALIASES.items() if name in keys
    }


def _by_key(present: Sequence[str], where: str) -> dict[str, str]:
    duplicates = sorted({name for name in present if present.count(name) > 1})
    if duplicates:
        message = f"{where} has these columns more than once: {', '.join(duplicates)}"
        raise SignalError(message)
    found: dict[str, str] = {}
    for name in present:
        key = column_key(name)
        if key in found:
            message = f"{where} has the columns {found[key]!r} and {name!r}, which are both read as {key}; remove one"
            raise SignalError(message)
        found[key] = name
    return found


def _require(found: Collection[str], present: Sequence[str], where: str) -> None:
    hints: list[str] = []
    for name in (ACCOUNT, *(field.name for field in FIELDS if field.required)):
        if name not in found:
            near = difflib.get_close_matches(name, present, n=1)
            hints.append(f"{name} (is it {near[0]!r}?)" if near else name)
    if hints:
        message = f"{where} lacks {', '.join(hints)}; it has {', '.join(present) or 'no column'}"
        raise SignalError(message)


def _reject_misnamed(found: Mapping[str, str], where: str) -> None:
    inputs = {*KEYS, *FIELD_ALIASES, *(field.name for field in FIELDS)}
    others = {key: name for key, name in found.items() if key not in inputs}
    for name in (*(field.name for field in FIELDS), *FIELD_ALIASES):
        if name in found or FIELD_ALIASES.get(name) in found:
            continue
        near = difflib.get_close_matches(name, others, n=1, cutoff=_SIMILAR)
        if near:
            message = (
                f"{where} has no {name}, but a similar column {others[near[0]]!r}; "
                "rename it, or remove it if it is a different value"
            )
            raise SignalError(message)
