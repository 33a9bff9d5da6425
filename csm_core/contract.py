"""The staged contract as data: entities with their columns, types, levels, ranges, defaults and keys.

The gate casts and validates records by it, the loader checks required columns, and the documentation is generated from
it. Rules: docs/sources/files.md, "Columns".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The kind of a staged column; the value is its type in the warehouse."""

    TEXT = "varchar"
    INTEGER = "bigint"
    DECIMAL = "decimal(18,2)"
    TIMESTAMP = "timestamp"


def storage_of(kind: str) -> str:
    """Return a column's type with its compression for ``create table``.

    Numbers and times have a fixed compression that nearly always fits; testing all methods on every block takes time.
    """
    return f"{kind} using compression bitpacking" if kind in (Kind.INTEGER, Kind.TIMESTAMP) else kind


class Reason(StrEnum):
    """The reasons for rejecting a record: all values of ``quarantine.<entity>.reason``."""

    MISSING_REQUIRED = "missing_required"
    INVALID_TIMESTAMP = "invalid_timestamp"
    INVALID_NUMBER = "invalid_number"
    INVALID_LEVEL = "invalid_level"
    INVALID_CURRENCY = "invalid_currency"
    OUT_OF_RANGE = "out_of_range"
    UNKNOWN_ACCOUNT = "unknown_account"
    UNMATCHED = "unmatched"
    UNKNOWN_REFERENCE = "unknown_reference"
    INVALID_JSON = "invalid_json"
    INCOMPLETE = "incomplete"
    UNPARSEABLE_ROW = "unparseable_row"
    INVALID_ENCODING = "invalid_encoding"
    ROW_TOO_LONG = "row_too_long"
    ERASED = "erased"

    @property
    def meaning(self) -> str:
        """A description of the reason."""
        return _MEANINGS[self]


_MEANINGS = {
    Reason.MISSING_REQUIRED: "a required value is missing",
    Reason.INVALID_TIMESTAMP: "not a full ISO 8601 date or time from 1900 to 9999",
    Reason.INVALID_NUMBER: "not a plain number (no thousands separators, no exponents, no NaN or infinity)",
    Reason.INVALID_LEVEL: "not one of the allowed levels",
    Reason.INVALID_CURRENCY: "not an ISO 4217 code of three letters",
    Reason.OUT_OF_RANGE: "outside the allowed range",
    Reason.UNKNOWN_ACCOUNT: "the account does not exist",
    Reason.UNMATCHED: "the vendor's customer is not matched with an account; see `csm identity`",
    Reason.UNKNOWN_REFERENCE: "no record with this id belongs to an account",
    Reason.INVALID_JSON: "not JSON, where the vendor writes an object or a list",
    Reason.INCOMPLETE: "a list in the record is truncated (has_more); export the complete record",
    Reason.UNPARSEABLE_ROW: "the row cannot be split into the columns of its file",
    Reason.INVALID_ENCODING: "the row is not UTF-8",
    Reason.ROW_TOO_LONG: "the row exceeds the maximum length",
    Reason.ERASED: "the account was erased with `csm forget`; the text of the record is not kept",
}


@dataclass(frozen=True)
class Column:
    """A staged column. ``levels`` are compared without regard to case and stored as written here.

    ``state`` marks a time at which the state of an existing record changes: solving a ticket does not affect earlier
    days.

    ``identifier`` marks identifiers: a floating point number without a fraction (``7.0``, as pandas writes a column
    with nulls) becomes the integer. A record with the value ``ignored_at`` states that nothing happened; it is ignored.

    ``mostly_distinct`` marks text with nearly unique values, which is stored uncompressed: searching for repeated
    values takes more than half of the time to load a large table.
    """

    name: str
    kind: Kind = Kind.TEXT
    required: bool = False
    levels: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    default: str | int | None = None
    currency: bool = False
    mostly_distinct: bool = False
    state: bool = False
    identifier: bool = False
    ignored_at: int | None = None
    note: str = ""

    @property
    def storage(self) -> str:
        """Type and compression for ``create table``."""
        return f"{self.kind} using compression uncompressed" if self.mostly_distinct else storage_of(self.kind)


CLOSED = "_closed_at"
GATE_COLUMNS = {"_loaded_at": "timestamp", "_load_id": "bigint", "_version": "timestamp"}
"""Additional columns of a staged table: time and number of the record's load, and the version of the record."""

VALID_FROM = "valid_from"
"""The optional column of a versioned entity: the time from which the record's attributes apply."""


@dataclass(frozen=True)
class Entity:
    """A staged table; its first column is the key.

    ``closed_by`` is the column that the gate sets to close a record that is no longer in a full list: a state column,
    or ``_closed_at``, which the gate adds to an entity without an end date. ``is_versioned``: the gate keeps the
    attributes over time (``csm_core.warehouse.version_tables``).
    """

    name: str
    columns: tuple[Column, ...]
    mandatory: bool = False
    closed_by: str = ""
    is_versioned: bool = False

    @property
    def key(self) -> str:
        """The key column: a later record replaces an earlier record with the same key."""
        return self.columns[0].name

    @property
    def table(self) -> str:
        """The schema-qualified staged table."""
        return f"staging.stg_{self.name}"

    @property
    def quarantine_table(self) -> str:
        """The schema-qualified table of rejected records."""
        return f"quarantine.{self.name}"

    @property
    def refers_to_accounts(self) -> bool:
        """Whether ``account_id`` must exist in ``accounts``."""
        return self.name != ACCOUNTS and any(column.name == ACCOUNT_COLUMN for column in self.columns)

    @property
    def required_columns(self) -> tuple[str, ...]:
        """The columns that must be present and not null."""
        return tuple(column.name for column in self.columns if column.required)

    @property
    def dated_by(self) -> Column:
        """The column with the date of a record: the first time column of the entity."""
        return next(column for column in self.columns if column.kind is Kind.TIMESTAMP)

    @property
    def state_columns(self) -> tuple[str, ...]:
        """The times at which the state of a record changes, such as solved, paid, ended and churned."""
        return tuple(column.name for column in self.columns if column.state)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, in order, without the columns of the gate."""
        return tuple(column.name for column in self.columns)

    @property
    def definitions(self) -> tuple[str, ...]:
        """The columns of the staged table for ``create table``; the columns that the gate adds come last."""
        gates = (f"{name} {storage_of(kind)}" for name, kind in self.gate_columns.items())
        return (*(f"{column.name} {column.storage}" for column in self.columns), *gates)

    @property
    def gate_columns(self) -> dict[str, str]:
        """The names and types of the columns that the gate adds to the staged table."""
        return GATE_COLUMNS | ({CLOSED: "timestamp"} if self.closed_by == CLOSED else {})

    @property
    def definition(self) -> str:
        """The column list of ``create table`` for the staged table."""
        return ", ".join(self.definitions)


ACCOUNTS = "accounts"
ACCOUNT_COLUMN = "account_id"
EXTERNAL_ACCOUNT = "external_account_id"
"""A column of vendors' staging models: the vendor's id of the customer, to identify unmatched customers."""
USAGE_EVENTS = "usage_events"
VERSION, UPDATED = "_version", "updated_at"
"""``_version`` of staging models, ``updated_at`` of files: when the record last changed. The latest version is used."""
IGNORED = "_ignored"
"""A column of staging models: the name of the setting or rule that excludes the record; the gate counts by it."""
RECORD, SOURCE = "record", "_source"
"""The columns of a raw table of complete vendor records, without bookkeeping."""
FIRST_LOAD = "_first_load_id"
"""A column of steps: the load since which a row is valid. Such a load changes records that are already staged."""
ACCOUNT_MAP = "staging.account_map"
"""The table that maps vendors' customers to accounts; see ``csm_core.accounts.account_map``."""


def _text(name: str, *, required: bool = False, default: str | None = None, note: str = "") -> Column:
    return Column(name, required=required, default=default, note=note)


def _id(name: str, *, required: bool = False, note: str = "") -> Column:
    return Column(name, required=required, identifier=True, note=note)


def _time(name: str, *, required: bool = False) -> Column:
    return Column(name, Kind.TIMESTAMP, required=required)


def _since(name: str) -> Column:
    return Column(name, Kind.TIMESTAMP, state=True)


def _levels(name: str, levels: tuple[str, ...], *, required: bool = False) -> Column:
    return Column(name, levels=levels, required=required)


# Limits beyond any real value, so that sums over any number of records fit the types of the warehouse.
MAX_COUNT = 1_000_000_000
MAX_AMOUNT = 1_000_000_000_000

_ACCOUNT = _id(ACCOUNT_COLUMN, required=True)
_CURRENCY = Column("currency", currency=True, note="ISO 4217")

ENTITIES: dict[str, Entity] = {
    entity.name: entity
    for entity in (
        Entity(
            ACCOUNTS,
            (
                _ACCOUNT,
                _text("account_name", required=True),
                _text("tenant_id", default="default"),
                _text("segment"),
                _id("plan"),
                _text("csm_owner"),
                _time("created_at"),
                _since("churned_at"),
                _time(VALID_FROM),
            ),
            mandatory=True,
            closed_by="churned_at",
            is_versioned=True,
        ),
        Entity(
            "features",
            (
                _id("feature", required=True),
                _text("module"),
                _id("plan", note="null: part of every plan"),
                _time("released_at"),
                _text("display_name", note="null: `feature` is shown"),
                _time(VALID_FROM),
            ),
            mandatory=True,
            closed_by=CLOSED,
            is_versioned=True,
        ),
        Entity(
            USAGE_EVENTS,
            (
                Column("event_id", required=True, mostly_distinct=True, identifier=True),
                _ACCOUNT,
                _id("user_id", note="null counts for no user"),
                _text("event_name", required=True, note="a login is `login`"),
                _id("feature"),
                Column(
                    "quantity",
                    Kind.INTEGER,
                    minimum=0,
                    maximum=MAX_COUNT,
                    default=1,
                    ignored_at=0,
                    note="above 1: a row that is already a count; a row with 0 is ignored",
                ),
                _time("occurred_at", required=True),
            ),
            mandatory=True,
        ),
        Entity(
            "subscriptions",
            (
                _id("subscription_id", required=True),
                _ACCOUNT,
                Column("seats", Kind.INTEGER, minimum=0, maximum=MAX_COUNT),
                Column("mrr", Kind.DECIMAL, minimum=0, maximum=MAX_AMOUNT, note="major units per month"),
                _CURRENCY,
                _time("started_at", required=True),
                _time("renews_at"),
                _since("ended_at"),
                Column(
                    "term_months",
                    Kind.INTEGER,
                    minimum=0,
                    maximum=1200,
                    note="months between renewals; 0 below one month; null: not known",
                ),
            ),
            closed_by="ended_at",
        ),
        Entity(
            "invoices",
            (
                _id("invoice_id", required=True),
                _ACCOUNT,
                Column("amount_due", Kind.DECIMAL, minimum=-MAX_AMOUNT, maximum=MAX_AMOUNT, note="major units"),
                _CURRENCY,
                _time("issued_at", required=True),
                _time("due_at"),
                _since("paid_at"),
                _since("voided_at"),
            ),
            closed_by="voided_at",
        ),
        Entity(
            "tickets",
            (
                _id("ticket_id", required=True),
                _ACCOUNT,
                _time("opened_at", required=True),
                _since("solved_at"),
                _text("priority"),
                _levels("sentiment", ("positive", "neutral", "negative", "critical")),
                _since("escalated_at"),
            ),
            closed_by="solved_at",
        ),
        Entity(
            "nps_responses",
            (
                _id("response_id", required=True),
                _ACCOUNT,
                _id("respondent_id", required=True),
                Column("score", Kind.INTEGER, required=True, minimum=0, maximum=10),
                _time("responded_at", required=True),
            ),
        ),
        Entity(
            "interactions",
            (
                _id("interaction_id", required=True),
                _ACCOUNT,
                _id("contact_id"),
                _text("contact_role"),
                _text("kind", required=True),
                _time("occurred_at", required=True),
            ),
        ),
        Entity(
            "tam_assessments",
            (
                _id("assessment_id", required=True),
                _ACCOUNT,
                _levels("rag", ("GREEN", "AMBER", "RED"), required=True),
                _time("assessed_at", required=True),
            ),
        ),
        Entity(
            "lifecycle_events",
            (
                _id("event_id", required=True),
                _ACCOUNT,
                _levels("kind", ("started", "churned", "returned"), required=True),
                _time("occurred_at", required=True),
                _text("reason"),
            ),
        ),
    )
}
"""All entities by name, in staging order: accounts first, since other entities refer to them."""

MANDATORY_ENTITIES: tuple[str, ...] = tuple(entity.name for entity in ENTITIES.values() if entity.mandatory)

FULL_BY_NATURE = (ACCOUNTS, "features")
"""The entities with files that are full lists by default."""

EXPORT_COLUMNS = ("rejected_field", "rejected_reason", "rejected_value", "rejected_file", "rejected_line")
"""The additional columns of an export of rejected records; a file with all of them is such an export."""
MAP_EXPORT_COLUMNS = ("waiting_records", "candidate_1", "candidate_2", "candidate_3")
"""The additional columns of an export of unmatched customers, which identify such a file."""
UNDECIDED = "?"
"""The account of an undecided customer in an account map."""

LATEST_LOAD_FIRST = "_load_id desc, _source_file desc, _source_line desc"
"""The order of records with the same key and version: later load, then later file by name, then later line."""

BOOKKEEPING: dict[str, str] = {
    "_source_file": "varchar",
    "_source_line": "bigint",
    "_loaded_at": "timestamp",
    "_load_id": "bigint",
}
"""The last columns of every raw table, which vendors' staging models must also return."""
