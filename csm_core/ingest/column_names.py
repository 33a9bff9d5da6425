"""Compares names of columns, files and tables without regard to case, spaces and dashes.

``Account ID``, ``ACCOUNT-ID`` and ``account_id`` are the same name. DuckDB folds ASCII letters only, so raw tables
store the folded name.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence

from csm_core.contract import BOOKKEEPING
from csm_core.errors import SourceError

# All dashes of Unicode (category Pd).
_DASHES = (
    "\\-\u058a\u05be\u1400\u1806\u2010-\u2015\u2e17\u2e1a\u2e3a\u2e3b\u2e40\u2e5d"
    "\u301c\u3030\u30a0\ufe31\ufe32\ufe58\ufe63\uff0d\U00010ead"
)
_SEPARATORS = re.compile(f"[\\s{_DASHES}]+")
_BYTE_ORDER_MARK = "\ufeff"

REPLACED_AT = "_replaced_at"
"""The column that replaced rows of raw tables have in addition; see ``csm_core.ingest.replaced_rows``."""


def column_key(name: str) -> str:
    """Return the normalised name of a column: case folded, blanks stripped, separators as ``_``."""
    plain = name.strip().removeprefix(_BYTE_ORDER_MARK).strip()
    # Case folding can decompose accented letters, and decomposed letters fold differently: normalise before and after.
    folded = unicodedata.normalize("NFD", unicodedata.normalize("NFC", plain)).casefold()
    return _SEPARATORS.sub("_", unicodedata.normalize("NFC", unicodedata.normalize("NFD", folded).casefold()).strip())


def stored_name(name: str) -> str:
    """Return the name of a column in a raw table: its key, printable, and distinct from the bookkeeping columns."""
    cleaned = "".join(character if character.isprintable() else "_" for character in column_key(name)) or "unnamed"
    return f"{cleaned}__original" if cleaned in (*BOOKKEEPING, REPLACED_AT) else cleaned


def database_key(name: str) -> str:
    """Return a name as DuckDB compares it: ASCII letters in lower case."""
    return "".join(character.lower() if character.isascii() else character for character in name)


def by_key(names: Iterable[str]) -> dict[str, str]:
    """Return the names by key; of several names with the same key, the first."""
    names_by_key: dict[str, str] = {}
    for name in names:
        names_by_key.setdefault(column_key(name), name)
    return names_by_key


def require_distinct(where: str, names: Sequence[str]) -> None:
    """Raise SourceError with both names if two columns of a file are the same column in the warehouse."""
    seen: dict[str, str] = {}
    for name in names:
        key = stored_name(name)
        if key in seen:
            raise SourceError(_same_column(where, seen[key], name, key))
        seen[key] = name


def same_column(where: str, spellings: Sequence[str]) -> SourceError:
    """Return the error for two columns of a record that are the same column in the warehouse."""
    return SourceError(_same_column(where, spellings[0], spellings[1], stored_name(spellings[0])))


def _same_column(where: str, first: str, second: str, key: str) -> str:
    if first == second:
        return f"{where}: the column {shown(first)} appears twice. Rename or remove one of them."
    return (
        f"{where}: the columns {shown(first)} and {shown(second)} are both read as {shown(key)}. "
        "Rename or remove one of them."
    )


def near_columns(names: Sequence[str], absent: Sequence[str]) -> tuple[str, ...]:
    """Return, for each name, the absent column with the most similar name, or an empty string.

    If no name is similar, a name that consists of the first words of exactly one column matches it: ``nps`` matches
    ``nps_score``.
    """
    return tuple(_near(column_key(name), absent) for name in names)


def _near(key: str, absent: Sequence[str]) -> str:
    similar = difflib.get_close_matches(key, absent, n=1, cutoff=0.75)
    prefixed = [name for name in absent if name.startswith(f"{key}_")]
    return similar[0] if similar else prefixed[0] if len(prefixed) == 1 else ""


def unused_text(columns: Sequence[str], may_be: Sequence[str]) -> str:
    """Return the message about unused columns."""
    listed = [f"{name} (is it {near}?)" if near else name for name, near in zip(columns, may_be, strict=True)]
    return f"columns not used: {', '.join(listed)}"


def shown(text: str) -> str:
    """Return a name for a message, truncated."""
    return repr(text if len(text) <= 120 else text[:117] + "...")
