"""What the warehouse remembers of the databases and users in Notion, so that runs do not read it again.

Every method commits before it returns.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime

import duckdb

from csm_core.publishing.notion.database_reader import DataSource
from csm_core.publishing.notion.databases import DatabaseSpec
from csm_core.warehouse.catalog import transaction


class SourceLedger:
    """The data sources, the days that descriptions state, and the users, for one set of databases."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    # -- data sources

    def source(self, spec: DatabaseSpec, database_id: str) -> DataSource | None:
        """The data source that an earlier run resolved for this database."""
        row = self._connection.execute(
            "select data_source_id, title, only_source from sync.notion_sources where setting = ? and database_id = ?",
            [spec.setting, database_id],
        ).fetchone()
        return DataSource(database_id, row[0], row[1], row[2]) if row else None

    def remember_source(self, spec: DatabaseSpec, source: DataSource) -> None:
        """Store a resolved data source. The pages of another data source under the same setting are deleted."""
        with transaction(self._connection):
            stored = self._connection.execute(
                "select data_source_id from sync.notion_sources where setting = ?", [spec.setting]
            ).fetchone()
            if stored and stored[0] != source.data_source_id:
                self._connection.execute("delete from sync.notion_pages where setting = ?", [spec.setting])
            self._connection.execute("delete from sync.notion_sources where setting = ?", [spec.setting])
            self._connection.execute(
                "insert into sync.notion_sources (setting, database_id, data_source_id, title, only_source) "
                "values (?, ?, ?, ?, ?)",
                [spec.setting, source.database_id, source.data_source_id, source.title, source.only_source],
            )

    def windows(self, spec: DatabaseSpec) -> tuple[str, ...]:
        """The creation times that split a database into queries within Notion's limit, from the last full read."""
        row = self._connection.execute(
            "select windows from sync.notion_sources where setting = ?", [spec.setting]
        ).fetchone()
        return tuple(json.loads(row[0])) if row and row[0] else ()

    def remember_windows(self, spec: DatabaseSpec, windows: Sequence[str]) -> None:
        """Store these times for the next full read."""
        self._connection.execute(
            "update sync.notion_sources set windows = ? where setting = ?", [json.dumps(list(windows)), spec.setting]
        )

    def read_until(self, spec: DatabaseSpec) -> datetime | None:
        """The time of the last complete read of the database; None if there was none."""
        row = self._connection.execute(
            "select read_until from sync.notion_sources where setting = ?", [spec.setting]
        ).fetchone()
        return row[0] if row else None

    def mark_read(self, specs: Iterable[DatabaseSpec], until: datetime) -> None:
        """Record that all pages up to ``until`` are in the ledger, or unresolved in the journal."""
        for spec in specs:
            self._connection.execute(
                "update sync.notion_sources set read_until = ? where setting = ?", [naive_utc(until), spec.setting]
            )

    def described_day(self, spec: DatabaseSpec) -> date | None:
        """The day that the description of the database states."""
        row = self._connection.execute(
            "select described_day from sync.notion_sources where setting = ?", [spec.setting]
        ).fetchone()
        return row[0] if row else None

    def remember_described_day(self, spec: DatabaseSpec, day: date) -> None:
        """Store the day that the description of the database states."""
        self._connection.execute(
            "update sync.notion_sources set described_day = ? where setting = ?", [day, spec.setting]
        )

    # -- users

    def users(self, emails: Collection[str], read_since: datetime) -> dict[str, str] | None:
        """The ids of the users with these e-mail addresses; None if one of them was not looked for since a time."""
        known: dict[str, str | None] = dict(
            self._connection.execute(
                "select email, user_id from sync.notion_users where read_at >= ?", [naive_utc(read_since)]
            ).fetchall()
        )
        if not known.keys() >= set(emails):
            return None
        return {email: user_id for email in emails if (user_id := known[email])}

    def remember_users(self, emails: Collection[str], ids: Mapping[str, str], read_at: datetime) -> None:
        """Replace the stored users by the result of a read: the addresses looked for, and the ids of those found."""
        with transaction(self._connection):
            self._connection.execute("delete from sync.notion_users")
            ordered = sorted(emails)
            self._connection.execute(
                "insert into sync.notion_users (email, user_id, read_at) select unnest($emails), unnest($ids), $at",
                {"emails": ordered, "ids": [ids.get(email) for email in ordered], "at": naive_utc(read_at)},
            )


def naive_utc(time: datetime) -> datetime:
    """A time in UTC without its zone, as the tables of the ledger have it."""
    return time.astimezone(UTC).replace(tzinfo=None)
