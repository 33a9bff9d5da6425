"""Answers in pages that have to come to an end: a service that repeats a cursor is an error, not a loop."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from csm_core.errors import CSMError

# So many pages in a row may bring nothing new: filters of some services leave pages empty.
MAX_EMPTY_PAGES = 20


class Paging:
    """Checks that each page of one list, called ``what`` in messages, gets further. Raises ``error`` if not."""

    def __init__(self, what: str, error: type[CSMError]) -> None:
        self._what = what
        self._error = error
        self._cursors: set[Hashable] = set()
        self._last: frozenset[Hashable] = frozenset()
        self._without_news = 0

    def follow(self, cursor: Hashable, ids: Iterable[Hashable]) -> None:
        """Note where the next page begins, and the ids on the page just read.

        Raises for a missing cursor, one that was followed before, and too many pages in a row without a new id.
        """
        if cursor is None or cursor == "":
            raise self._endless("reports more results without saying where they begin")
        if cursor in self._cursors:
            raise self._endless(f"gives the cursor {str(cursor)[:60]!r} a second time")
        self._cursors.add(cursor)
        page = frozenset(ids)
        self._without_news = 0 if page - self._last else self._without_news + 1
        self._last = page or self._last
        if self._without_news >= MAX_EMPTY_PAGES:
            raise self._endless(f"reports more results, and {MAX_EMPTY_PAGES} pages in a row bring none")

    def _endless(self, reason: str) -> CSMError:
        return self._error(f"{self._what}: the service {reason}. The list cannot be read to its end. Try again later.")
