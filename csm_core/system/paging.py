"""Detects endless pagination: a repeated cursor is an error, not a loop."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from csm_core.errors import CSMError

# The limit of consecutive pages without a new id: filters of some services leave pages empty.
MAX_EMPTY_PAGES = 20


class Paging:
    """Checks that each page of a list makes progress, and raises ``error`` if not. ``what`` names the list."""

    def __init__(self, what: str, error: type[CSMError]) -> None:
        self._what = what
        self._error = error
        self._cursors: set[Hashable] = set()
        self._last: frozenset[Hashable] = frozenset()
        self._pages_without_new = 0

    def follow(self, cursor: Hashable, ids: Iterable[Hashable]) -> None:
        """Record the cursor of the next page and the ids on the current page.

        Raises for a missing cursor, a repeated cursor, and too many consecutive pages without a new id.
        """
        if cursor is None or cursor == "":
            raise self._endless("reports more results but returned no cursor for the next page")
        if cursor in self._cursors:
            raise self._endless(f"returned the cursor {str(cursor)[:60]!r} twice")
        self._cursors.add(cursor)
        page = frozenset(ids)
        self._pages_without_new = 0 if page - self._last else self._pages_without_new + 1
        self._last = page or self._last
        if self._pages_without_new >= MAX_EMPTY_PAGES:
            raise self._endless(
                f"reports more results but returned {MAX_EMPTY_PAGES} pages in a row without a new record"
            )

    def _endless(self, reason: str) -> CSMError:
        return self._error(f"{self._what}: the service {reason}. The list cannot be read completely. Try again later.")
