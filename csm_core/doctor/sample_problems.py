"""The problems that `csm doctor` reports, with location, number of records and hints."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

ERROR, WARNING, NOTE = "error", "warning", "note"
FILE_NOT_READ = "file_not_read"
# The file with the result of a query.
_QUERY_FILE = re.compile(r"/queries/([a-z_]+)-[0-9a-f]{12}(?:-[0-9]+)?\.csv")


@dataclass(frozen=True)
class Problem:
    """One problem of a source. ``level``: an error must be fixed; a warning and a note do not stop a run.

    ``kind`` is a stable name for programs. ``records`` counts records of the sample; ``value``, ``file`` and ``line``
    belong to the first of them. For kind ``settings``, ``value`` is the YAML text of the settings.
    """

    level: str
    kind: str
    message: str
    file: str | None = None
    entity: str | None = None
    column: str | None = None
    reason: str | None = None
    records: int | None = None
    value: str | None = None
    line: int | None = None


class Problems:
    """Collects problems by source. In messages, the names of sample files are replaced by the names of the files."""

    def __init__(self, labels: Iterable[str]) -> None:
        self.by_source: dict[str, list[Problem]] = {label: [] for label in labels}
        self._names: dict[str, str] = {}

    def replaces(self, copy: str, name: str) -> None:
        """Register ``copy`` as a sample of ``name``."""
        self._names[copy] = name

    def named(self, text: str) -> str:
        """The text with the names of sample files replaced by the names of the files."""
        for copy in sorted(self._names, key=len, reverse=True):
            text = text.replace(copy, self._names[copy])
        return _QUERY_FILE.sub(r": query \1", text)

    def add(
        self,
        label: str,
        level: str,
        kind: str,
        message: str,
        *,
        file: str | None = None,
        entity: str | None = None,
        column: str | None = None,
        reason: str | None = None,
        records: int | None = None,
        value: str | None = None,
        line: int | None = None,
    ) -> None:
        """Report a problem; a repeated problem is reported once."""
        problem = Problem(level, kind, self.named(message), file, entity, column, reason, records, value, line)
        own = self.by_source.setdefault(label, [])
        if problem not in own:
            own.append(problem)
