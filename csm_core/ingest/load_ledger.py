"""Records the loads of a raw table: the loaded files with their states, and the loads that a new load replaces."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import duckdb

from csm_core.ingest.raw_tables import Log, RawTable
from csm_core.ingest.replaced_rows import record_end_of_load, replace_rows_of
from csm_core.ingest.source_files import SourceFile
from csm_core.ingest.text_files import fingerprint_of

_BATCH_ROWS = 20_000
_LISTED = 10
_WITH = "+"


class LoadLedger:
    """The rows of ``raw.loads`` and ``raw.unparseable_rows`` for one raw table."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, target: RawTable, log: Log) -> None:
        self._connection = connection
        self._target = target
        self._log = log

    def latest(self) -> dict[str, tuple[int, int, str]]:
        """Return size, modification time and fingerprint of the latest load of each file, by path."""
        return {
            path: (size, mtime, fingerprint)
            for path, size, mtime, fingerprint in self._connection.execute(
                "select path, file_size, file_mtime_ns, fingerprint from raw.loads "
                "where raw_table = ? and status = 'loaded' "
                "qualify row_number() over (partition by path order by load_id desc) = 1",
                [self._target.table],
            ).fetchall()
        }

    def next_load_id(self) -> int:
        """Return the id of a new load."""
        row = self._connection.execute("select coalesce(max(load_id), 0) + 1 from raw.loads").fetchone()
        return int(row[0]) if row else 1

    def touch(self, file: SourceFile) -> None:
        """Update the modification time of a file with unchanged content."""
        self._connection.execute(
            "update raw.loads set file_mtime_ns = ? where raw_table = ? and path = ? and status = 'loaded'",
            [file.mtime_ns, self._target.table, file.name],
        )

    def withdraw_removed_files(self, paths: Sequence[Path], at: datetime) -> None:
        """Withdraw the loads of removed files that the gate has not accepted (or that are snapshots)."""
        pending = self._connection.execute(
            "select distinct path, load_id, fingerprint from raw.loads where raw_table = ? and status = 'loaded' "
            "and (? or load_id not in (select load_id from run.staged_loads))",
            [self._target.table, self._target.snapshot],
        ).fetchall()
        present = {str(path) for path in paths}
        for path, load_id, fingerprint in pending:
            # Another source of the same system may also have files in this table.
            if path not in present and (self._target.snapshot or not Path(path).is_file()):
                if not self._target.snapshot and self._replaces_accepted(path, load_id, fingerprint):
                    continue
                self._forget(path, load_id, "replaced" if self._target.snapshot else "withdrawn", at)
                self._log.info("records of a removed file withdrawn", file=path)

    def drop_replaced(self, changed: Sequence[SourceFile], at: datetime) -> None:
        """Withdraw the loads that changed files replace. Accepted loads stay unless the same content is read again.

        The new rows are in the table, and the new load is not recorded yet.
        """
        reread: list[str] = []
        names = [file.name for file in changed]
        earlier: dict[str, list[tuple[int, bool, str]]] = {}
        for path, *load in self._connection.execute(
            "select path, load_id, load_id in (select load_id from run.staged_loads), fingerprint from raw.loads "
            "where raw_table = ? and path in (select unnest(?)) and status = 'loaded' order by load_id",
            [self._target.table, names],
        ).fetchall():
            earlier.setdefault(path, []).append((load[0], load[1], load[2]))
        for file in changed:
            read_again = False
            for load_id, staged, fingerprint in earlier.get(file.name, ()):
                # The same content, read with other settings. Other contents are versions of the file, and stay.
                same_content = content_in(fingerprint) == content_in(file.fingerprint)
                settings_changed = same_content and digest_in(fingerprint) != file.reading.digest
                read_again = read_again or settings_changed
                accepted = staged or self._replaces_accepted(file.name, load_id, fingerprint)
                if self._target.snapshot or settings_changed or not accepted:
                    self._forget(file.name, load_id, "replaced" if staged else "withdrawn", at)
            if read_again:
                self._log.info("file read again with other settings", file=file.name)
                reread.append(file.name)
        self._connection.execute(
            "delete from raw.unparseable_rows where raw_table = ? and source_file in (select unnest(?))",
            [self._target.table, names],
        )
        if reread:
            shown = ", ".join(reread[:_LISTED])
            shown += f", and {len(reread) - _LISTED} more" if len(reread) > _LISTED else ""
            self._log.warning("files read again with other settings", entity=self._target.entity, files=shown)

    def record(self, changed: Sequence[SourceFile], load_id: int, loaded_at: datetime) -> None:
        """Insert the files of a load and their rejected lines."""
        import numpy as np

        target = self._target
        self._connection.execute(
            f"insert into raw.loads select ?, ?, ?, ?, {', '.join(['unnest(?)'] * 7)}, ?, 'loaded'",
            [
                *(load_id, target.system, target.entity, target.table),
                [file.name for file in changed],
                [file.size for file in changed],
                [file.mtime_ns for file in changed],
                [file.fingerprint for file in changed],
                [file.rows + len(file.rejected) for file in changed],
                [file.rows for file in changed],
                [len(file.rejected) for file in changed],
                loaded_at,
            ],
        )
        rejected = [(file, line) for file in changed for line in file.rejected]
        for start in range(0, len(rejected), _BATCH_ROWS):
            part = rejected[start : start + _BATCH_ROWS]
            self._connection.register(
                "incoming_batch",
                {
                    "file": np.array([file.name for file, _ in part], dtype=object),
                    "line": np.array([line.line for _, line in part], dtype=np.int64),
                    "reason": np.array([str(line.reason) for _, line in part], dtype=object),
                    "detail": np.array([line.detail for _, line in part], dtype=object),
                    "raw_text": np.array([line.text for _, line in part], dtype=object),
                },
            )
            try:
                self._connection.execute(
                    "insert into raw.unparseable_rows select ?, ?, ?, ?, file, line, reason, detail, raw_text, ? "
                    "from incoming_batch",
                    [load_id, target.system, target.entity, target.table, loaded_at],
                )
            finally:
                self._connection.unregister("incoming_batch")

    def _replaces_accepted(self, path: str, load_id: int, fingerprint: str) -> bool:
        """Whether a load replaced an accepted load of the same content that was read with other settings."""
        found = self._connection.execute(
            "select 1 from raw.loads where raw_table = ? and path = ? and status = 'replaced' and load_id < ? "
            "and starts_with(fingerprint, ?) limit 1",
            [self._target.table, path, load_id, content_in(fingerprint)],
        ).fetchone()
        return found is not None

    def _forget(self, path: str, load_id: int, status: str, at: datetime) -> None:
        replace_rows_of(
            self._connection,
            self._target.table,
            "_load_id = $load_id and _source_file = $path",
            {"load_id": load_id, "path": path},
            at,
            across_files=self._target.snapshot,
        )
        record_end_of_load(self._connection, self._target.table, path, load_id, at)
        self._connection.execute(
            "delete from raw.unparseable_rows where load_id = ? and source_file = ? and raw_table = ?",
            [load_id, path, self._target.table],
        )
        self._connection.execute(
            "update raw.loads set status = ? where load_id = ? and path = ? and raw_table = ?",
            [status, load_id, path, self._target.table],
        )


def file_fingerprint(path: Path, digest: str) -> str:
    """Return the fingerprint of a file: of its content and its read settings."""
    return f"{fingerprint_of(path)}{_WITH * bool(digest)}{digest}"


def content_in(fingerprint: str) -> str:
    """Return the digest of the content from a fingerprint."""
    return fingerprint.partition(_WITH)[0]


def digest_in(fingerprint: str) -> str:
    """Return the digest of the read settings from a fingerprint; empty for the defaults."""
    return fingerprint.partition(_WITH)[2]
