"""Declares the parts of a vendor's records that staging models read: keys, versions, and fields that must parse.

A kind of record (``invoices``) may be in several raw tables: as returned by the vendor's API, and as landed by other
tools. ``csm_core.staging.vendor_records`` builds ``staging.<system>_records`` from the kinds: the latest record of each
key whose fields parse.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from csm_core.contract import Reason


class FieldKind(StrEnum):
    """The type of a field; the value is a SQL condition that is true if the text ``{0}`` parses."""

    TIME = "vendor_time({0}) is not null"
    WHOLE = "whole_number({0}) is not null"
    NUMBER = "plain_number({0}) is not null"
    FLAG = "flag({0}) is not null"
    JSON = "json_valid({0})"
    OBJECT = "case when json_valid({0}) then json_type({0}) = 'OBJECT' end"
    LIST = "case when json_valid({0}) then json_type({0}) = 'ARRAY' end"
    COMPLETE = "not coalesce(flag({0}), true)"
    LEVEL = "level"

    @property
    def reason(self) -> Reason:
        """The reason for rejecting a record if the field does not parse."""
        return _REASONS[self]


_REASONS = {
    FieldKind.TIME: Reason.INVALID_TIMESTAMP,
    FieldKind.WHOLE: Reason.INVALID_NUMBER,
    FieldKind.NUMBER: Reason.INVALID_NUMBER,
    FieldKind.FLAG: Reason.INVALID_LEVEL,
    FieldKind.LEVEL: Reason.INVALID_LEVEL,
    FieldKind.JSON: Reason.INVALID_JSON,
    FieldKind.OBJECT: Reason.INVALID_JSON,
    FieldKind.LIST: Reason.INVALID_JSON,
    FieldKind.COMPLETE: Reason.INCOMPLETE,
}


@dataclass(frozen=True)
class Field:
    """A field that staging models read, by its JSON path without ``$.``.

    ``inside`` is the path of a column with JSON, as an object or as text, that contains ``path``. A path with ``[*]``
    is a field of every element of a list. ``levels`` are the allowed values of a level, without regard to case; a level
    that ends in ``*`` matches every text with that prefix. ``when`` restricts a field to the elements (or the record)
    in which other paths have certain values: each condition is a path and its values.
    """

    path: str
    kind: FieldKind
    inside: str = ""
    levels: tuple[str, ...] = ()
    when: tuple[tuple[str, ...], ...] = ()

    @property
    def name(self) -> str:
        """The name of the field in quarantine."""
        return ".".join(filter(None, (self.inside, self.path)))


@dataclass(frozen=True)
class Reference:
    """A foreign key: ``column`` of ``table`` must contain the identifier in ``path``.

    Identifiers are compared by the macro ``identifier_text``. With ``having``, the referenced record must also have a
    value in that column.
    """

    path: str
    table: str
    column: str
    having: str = ""
    reason: Reason = Reason.UNKNOWN_REFERENCE


@dataclass(frozen=True)
class RecordKind:
    """One kind of a vendor's records.

    ``tables`` are the names of its raw tables. ``key`` are JSON paths; the first one that is present identifies a
    record. Without ``key``, every record is current and has no versions. ``required`` are groups of paths; a record
    must have a value in one path of each group. ``versions`` are the paths of the times that decide which of two
    records with the same key is later, the most precise one first. ``deletions`` are flags; any of them marks a deleted
    record. ``columns`` are columns that a landed table must have besides its key, alternatives separated by ``|``.
    ``where`` restricts the rows of the raw tables. ``references`` are foreign keys to records in raw tables that have
    the columns of their files; a record with an unknown identifier is rejected. ``customers`` are paths of the vendor's
    customer, each with the prefix that its id has in the account map: records of erased customers are rejected.
    """

    name: str
    tables: tuple[str, ...]
    key: tuple[str, ...] = ("id",)
    fields: tuple[Field, ...] = ()
    required: tuple[tuple[str, ...], ...] = ()
    versions: tuple[str, ...] = ("updated_at",)
    deletions: tuple[str, ...] = ("deleted", "is_deleted", "_fivetran_deleted")
    columns: tuple[str, ...] = ()
    where: str = "true"
    references: tuple[Reference, ...] = ()
    # Not part of the version of the kinds: the records of customers that are not erased stay the same.
    customers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


LANDED_VERSIONS = ("_fivetran_start", "_airbyte_extracted_at", "_airbyte_emitted_at", "_fivetran_synced")
"""The times at which tools that land tables extracted a record."""


def times(*paths: str, inside: str = "") -> tuple[Field, ...]:
    """Return fields of times."""
    return tuple(Field(path, FieldKind.TIME, inside) for path in paths)


def wholes(*paths: str, inside: str = "") -> tuple[Field, ...]:
    """Return fields of integers."""
    return tuple(Field(path, FieldKind.WHOLE, inside) for path in paths)


def numbers(*paths: str, inside: str = "") -> tuple[Field, ...]:
    """Return fields of numbers with an optional fraction."""
    return tuple(Field(path, FieldKind.NUMBER, inside) for path in paths)


def flags(*paths: str, inside: str = "") -> tuple[Field, ...]:
    """Return boolean fields."""
    return tuple(Field(path, FieldKind.FLAG, inside) for path in paths)


def objects(*paths: str, inside: str = "") -> tuple[Field, ...]:
    """Return fields of JSON objects, which files and landed tables may write as text."""
    return tuple(Field(path, FieldKind.OBJECT, inside) for path in paths)


def lists(*paths: str, inside: str = "") -> tuple[Field, ...]:
    """Return fields of JSON lists, which files and landed tables may write as text."""
    return tuple(Field(path, FieldKind.LIST, inside) for path in paths)


def json_values(*paths: str, inside: str = "") -> tuple[Field, ...]:
    """Return fields of JSON objects or lists, which files and landed tables may write as text."""
    return tuple(Field(path, FieldKind.JSON, inside) for path in paths)


def complete(*paths: str, inside: str = "") -> tuple[Field, ...]:
    """Return fields that state whether a list in the record is truncated (``has_more``)."""
    return tuple(Field(path, FieldKind.COMPLETE, inside) for path in paths)


def level(path: str, *levels: str, inside: str = "") -> tuple[Field, ...]:
    """Return a field with one of the levels."""
    return (Field(path, FieldKind.LEVEL, inside, levels),)
