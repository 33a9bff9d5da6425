"""Compares the fields of a destination with those that the vendor has."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from csm_core.publishing.crm.targets import Configured


def field_problems(
    destination: Configured,
    present: Collection[str],
    unique: Collection[str],
    read_only: Collection[str],
    noun: str,
    plural: str,
) -> list[str]:
    """Return what to fix, one line each: fields that do not exist or are read-only, and a key that is not unique."""
    folded = {name.lower(): name for name in present}
    problems: list[str] = []
    for setting, field in [("key", destination.key), *((f"fields.{one}", one) for one in destination.fields)]:
        name = folded.get(field.lower())
        if name is None:
            near = difflib.get_close_matches(field.lower(), folded, n=1, cutoff=0.6)
            hint = f"did you mean {folded[near[0]]!r}?" if near else f"create the {noun}"
            problems.append(f"{setting}: {destination.object_name} has no {noun} {field!r} among its {plural}; {hint}")
        elif setting == "key" and name not in unique:
            problems.append(f"key: the {noun} {field!r} is not unique; create one whose values are unique")
        elif setting != "key" and name in read_only:
            problems.append(f"{setting}: the {noun} {field!r} is read-only")
    return problems
