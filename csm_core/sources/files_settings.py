"""Settings of the source ``files``, with the checks of columns of the contract and formats of dates."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Literal, Self, cast

from pydantic import Field, field_validator, model_validator

from csm_core.contract import ENTITIES, FULL_BY_NATURE, MANDATORY_ENTITIES, UPDATED
from csm_core.ingest.column_names import column_key
from csm_core.sources.settings_base import SourceSettings, require_entities

_DIRECTIVES = frozenset("aAbBdfHIjmMpSyYz%")
_DIRECTIVE = re.compile(r"%(.?)", re.DOTALL)


def mappable_columns(entity: str) -> tuple[str, ...]:
    """The columns that files of an entity may have."""
    return (*ENTITIES[entity].column_names, UPDATED)


def require_known(message: str, name: str, known: Iterable[str]) -> None:
    """Raise ValueError with the message and the most similar known name if the name is not known."""
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(names)}"
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


class FilesSettings(SourceSettings, frozen=True):
    """Files in the format of the staged contract. ``entities`` are required; other sources may have the others.

    ``columns`` maps columns of the contract, by entity, to the names in the files. ``dates`` are strptime formats for
    timestamp columns, ``decimal`` is the decimal separator of formatted numbers, ``delimiter`` separates values (one
    character, or ``tab``), ``null_values`` are texts that mean null when they are not quoted.

    ``full`` lists entities whose files contain the full list: a record that is no longer in the list is closed.
    ``accounts`` and ``features`` are full lists unless ``incremental`` lists them.
    """

    system: Literal["files"]
    path: Path
    entities: tuple[str, ...] = MANDATORY_ENTITIES
    columns: Mapping[str, Mapping[str, str]] = Field(default_factory=dict[str, Mapping[str, str]])
    dates: tuple[str, ...] = ()
    decimal: Literal[".", ","] | None = None
    delimiter: str | None = None
    null_values: tuple[str, ...] | None = None
    full: tuple[str, ...] = ()
    incremental: tuple[str, ...] = ()

    @property
    def full_entities(self) -> tuple[str, ...]:
        """The entities whose files contain the full list."""
        named = {*FULL_BY_NATURE, *self.full} - set(self.incremental)
        return tuple(name for name in ENTITIES if name in named)

    @field_validator("entities")
    @classmethod
    def _known_entities(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        require_entities(value)
        return value

    @field_validator("full", "incremental")
    @classmethod
    def _can_be_closed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        require_entities(value)
        for name in value:
            if not ENTITIES[name].closed_by:
                can = ", ".join(entity.name for entity in ENTITIES.values() if entity.closed_by)
                message = f"records of {name} have no end, so they cannot be closed; full lists are possible for {can}"
                raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        both = sorted(set(self.full) & set(self.incremental))
        if both:
            message = f"{both[0]} is in both `full` and `incremental`; keep one"
            raise ValueError(message)
        return self

    @field_validator("columns", mode="before")
    @classmethod
    def _names_quoted_in_yaml(cls, value: object) -> object:
        require_texts("columns", value)
        return value

    @field_validator("columns")
    @classmethod
    def _known_columns(cls, value: Mapping[str, Mapping[str, str]]) -> Mapping[str, Mapping[str, str]]:
        for entity, columns in value.items():
            require_known(f"columns: {entity!r} is not an entity", entity, ENTITIES)
            known = mappable_columns(entity)
            for column, name in columns.items():
                require_known(f"columns: {entity}: {column!r} is not a column of {entity}", column, known)
                if not column_key(name):
                    message = f"columns: {entity}: {column}: the name of a column is empty"
                    raise ValueError(message)
        return value

    @field_validator("dates", mode="before")
    @classmethod
    def _several_formats(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("dates")
    @classmethod
    def _whole_dates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for form in value:
            require_date_format(form)
        return value

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        delimiter = "\t" if value == "tab" else value
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n\0\ufeff'):
            message = (
                f"delimiter: {value!r} is not allowed; set `tab`, or one character other than a quote or a line end"
            )
            raise ValueError(message)
        return delimiter

    @field_validator("null_values", mode="before")
    @classmethod
    def _quoted_in_yaml(cls, value: object) -> object:
        require_texts("null_values", value)
        return (value,) if isinstance(value, str) else value

    @field_validator("null_values")
    @classmethod
    def _plain_texts(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for text in value or ():
            if not text or any(one in text for one in '"\r\n\0'):
                message = (
                    f"null_values: {text!r} is empty or contains a quote or a line end; remove it "
                    "(an empty value is always null)"
                )
                raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.delimiter and self.delimiter == self.decimal:
            message = f"delimiter and decimal are both {self.decimal!r}; set two different characters"
            raise ValueError(message)
        return self
