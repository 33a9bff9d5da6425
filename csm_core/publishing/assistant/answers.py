"""The form of an answer to an assistant: its day, configuration and basis, its data, and apart from it untrusted text.

Names, notes and subjects are written by customers and other people. An assistant that reads them as instructions can be
misled, so they never share a field with text of this program: each object has them in a field ``untrusted_text``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, cast

import duckdb

from csm_core.rubric import CHURN_RISKS, FIELDS, RAGS, SIGNAL_NAMES
from csm_core.scoring.known_scores import SCORES, SUPERSEDED
from csm_core.warehouse.catalog import columns_of, table_exists

UNTRUSTED = "untrusted_text"
MIXED, UNKNOWN = "mixed", "unknown"

# Columns of people's text, whatever their value.
_PEOPLE = frozenset(
    ("account_name", "csm_owner", "owner", "segment", "plan", "subject", "evidence", "recommended_talk_track", "reason")
)
# Keys whose text this program wrote: names of its own, and sentences made of numbers.
_OWN = frozenset(
    (
        *("config_hash", "basis", "source", "rule", "state", "every", "opportunity_type"),
        *("churn_triggered_by", "rag_moved_by", "facts"),
    )
)
# Identifiers come from records; text that does not look like one is not trusted.
_IDENTIFIERS = frozenset(("tenant_id", "account_id", "currency", "reporting_currency"))
_IDENTIFIER = re.compile(r"[\w.:@/#+-]{1,100}")
_WORDS = frozenset(
    (
        *RAGS,
        *CHURN_RISKS,
        *SIGNAL_NAMES,
        *(field.name for field in FIELDS),
        *(level for field in FIELDS for level in field.levels),
    )
)
_FIGURE = re.compile(r"-?\d+(\.\d+)?|\d{4}-\d\d-\d\d([ T]\d\d:\d\d:\d\d(\.\d+)?)?")


@dataclass(frozen=True)
class Answer:
    """The data of an answer, as the JSON of a command has it, and what the data are based on.

    :ivar as_of_date: the day of the data; of several days, the last.
    :ivar config_hash: the hash of the configuration that scored the day; several are separated by commas.
    :ivar basis: ``as_known``, ``reconstructed``, ``mixed`` or ``unknown`` (a copy of an earlier version).
    :ivar is_separated: whether the data already have untrusted text apart.
    """

    as_of_date: date
    config_hash: str
    basis: str
    data: Any
    is_separated: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For the client: values as in JSON, with untrusted text apart."""
        return {
            "as_of_date": self.as_of_date.isoformat(),
            "config_hash": self.config_hash,
            "basis": self.basis,
            "data": as_json(self.data) if self.is_separated else separated(as_json(self.data)),
        }


def based_on(
    connection: duckdb.DuckDBPyConnection, day: date, data: Any, account: tuple[str, str] | None = None
) -> Answer:
    """An answer with the configuration and the basis of the scores of a day, or of one account on it."""
    condition = "as_of_date = $day"
    values: dict[str, Any] = {"day": day}
    if account:
        condition += " and tenant_id = $tenant and account_id = $account"
        values |= {"tenant": account[0], "account": account[1]}
    found: list[tuple[str, str | None]] = []
    for table in (SCORES, SUPERSEDED):
        if not found and table_exists(connection, table):
            basis = "cast(basis as varchar)" if "basis" in columns_of(connection, table) else "cast(null as varchar)"
            found = connection.execute(
                f"select distinct config_hash, {basis} from {table} where {condition} order by all", values
            ).fetchall()
    hashes = sorted({config_hash for config_hash, _ in found})
    bases = {basis or UNKNOWN for _, basis in found}
    return Answer(
        day, ", ".join(hashes) or UNKNOWN, bases.pop() if len(bases) == 1 else MIXED if bases else UNKNOWN, data
    )


def as_json(value: Any) -> Any:
    """A value with the types of JSON; amounts and times are text, as in ``--json`` of the commands."""
    if isinstance(value, Mapping):
        return {str(key): as_json(one) for key, one in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [as_json(one) for one in cast("list[Any]", value)]
    if isinstance(value, date | datetime | Decimal):
        return str(value)
    return value


def separated(value: Any) -> Any:
    """The same JSON value, in which every object has the text that people wrote in a field ``untrusted_text``."""
    if isinstance(value, list):
        return [separated(one) for one in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    trusted: dict[str, Any] = {}
    untrusted: dict[str, Any] = {}
    for key, one in cast("dict[str, Any]", value).items():
        if _is_untrusted(key, one):
            untrusted[key] = one
        else:
            trusted[key] = one if key in _OWN else separated(one)
    if untrusted:
        trusted[UNTRUSTED] = untrusted
    return trusted


def _is_untrusted(key: str, value: Any) -> bool:
    if key in _PEOPLE:
        return True
    texts: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
    return key not in _OWN and any(isinstance(text, str) and not _is_own_text(key, text) for text in texts)


def _is_own_text(key: str, text: str) -> bool:
    if key in _IDENTIFIERS:
        return bool(_IDENTIFIER.fullmatch(text))
    return text in _WORDS or bool(_FIGURE.fullmatch(text)) or not text
