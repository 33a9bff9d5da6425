"""The gate of usage events on Spark: the rules and counts of ``csm_core.staging.gate``, for the source ``spark``.

The events are read, validated, deduplicated and counted on Spark; only counts, and at most ``MAX_STORED`` rejected
events, come to the warehouse. Every run validates the whole source. ``run.engine_usage_days`` has the number and a
checksum of the events of each day as they were written last; only days that differ are written again, to a new
directory, and are queued for the daily rollup. Its row without a date is the state of the events that are not loaded:
rejected, superseded and ignored. If nothing differs, nothing is written, and the quarantine stays as it is.

The directory is written and recorded in one transaction of the warehouse, so a killed run leaves the days of the run
before it.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import duckdb

from csm_core.contract import ACCOUNTS, ENTITIES, IGNORED, USAGE_EVENTS, Reason
from csm_core.errors import SourceError, WarehouseError
from csm_core.logging import get_logger
from csm_core.sources.spark import SourceTable
from csm_core.sources.spark_settings import SYSTEM, SparkSettings
from csm_core.staging.casts import ValidatedSelect
from csm_core.staging.changed_days import PENDING_DAYS
from csm_core.staging.erased_accounts import erased_hashes
from csm_core.staging.gate import StageReport, prepare
from csm_core.staging.ignored_versions import IGNORED_VERSIONS
from csm_core.staging.plan import Limits
from csm_core.staging.quarantine_writer import rejection_text
from csm_core.staging.spark_events import (
    DUPLICATES,
    EVENTS,
    FILE,
    KEY,
    LINE,
    RAW,
    contents_by_day,
    contents_by_outcome,
    decided_events,
    differing_events,
    loaded_events,
    rejected_events,
    repeated_keys,
)
from csm_core.warehouse.catalog import has_rows, transaction
from csm_core.warehouse.engine_usage_days import USAGE_DAYS, DayContent, stored_days
from csm_core.warehouse.late_changes import last_materialised, record_counted_changes
from csm_core.warehouse.live_tables import EVENTS_TABLE, LiveTables, retried, withdraw
from csm_core.warehouse.models import literal
from csm_core.warehouse.remote_session import Directory, EngineQueryError, RemoteSession

MAX_STORED = 100_000
"""The number of rejected events that are stored; all of them are counted."""

_COLUMNS = {column.name: str(column.kind).upper() for column in EVENTS.columns}
_WRITTEN = "gate.written"


@dataclass
class _Found:
    """What the source has: events by outcome, and the content of each day and of the events that are not loaded."""

    outcomes: Counter[str] = field(default_factory=Counter)
    by_reason: Counter[str] = field(default_factory=Counter)
    by_rule: Counter[str] = field(default_factory=Counter)
    days: dict[date, DayContent] = field(default_factory=dict)
    others: DayContent = field(default_factory=lambda: DayContent(0, 0))

    @property
    def read(self) -> int:
        """The number of all events."""
        return self.outcomes.total()

    @property
    def erased(self) -> int:
        """The number of events of erased accounts."""
        return self.by_reason[str(Reason.ERASED)]


def stage_usage_on_spark(
    connection: duckdb.DuckDBPyConnection,
    session: RemoteSession,
    settings: SparkSettings,
    *,
    staged_at: datetime,
    max_rejected_percent: float = 5.0,
    min_rejected: int = 1,
) -> StageReport:
    """Stage the usage events of a source on Spark; ``accounts`` must be staged before.

    Raises SourceError for a source that cannot be read, and with the counts by reason if more than
    ``max_rejected_percent`` of a changed source, and at least ``min_rejected`` events or all, are rejected (only the
    quarantine changes then). Raises WarehouseError if Spark fails.
    """
    limits = Limits(max_rejected_percent, min_rejected)
    try:
        return retried(session, lambda: _SparkGate(connection, session, settings, staged_at).run(limits))
    except EngineQueryError as error:
        message = f"staging {USAGE_EVENTS} on Spark failed: {error}"
        raise WarehouseError(message) from None
    except duckdb.Error as error:
        message = f"staging {USAGE_EVENTS} failed: {str(error).splitlines()[0]}"
        raise WarehouseError(message) from error


def leave_spark(connection: duckdb.DuckDBPyConnection, staged_at: datetime) -> None:
    """Remove the usage events of Spark, since another source has them now; their days count as changed."""
    stored = stored_days(connection)
    if not stored:
        return
    with transaction(connection):
        days = [day for day in stored if day]
        withdraw(connection, EVENTS_TABLE, days)
        connection.execute(f"delete from {USAGE_DAYS}")
        _queue(connection, days)
        record_counted_changes(connection, EVENTS.name, {day: stored[day].events for day in days}, staged_at)


class _SparkGate:
    """One attempt of staging."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        session: RemoteSession,
        settings: SparkSettings,
        staged_at: datetime,
    ) -> None:
        self._connection = connection
        self._session = session
        self._settings = settings
        self._staged_at = staged_at.replace(tzinfo=None)
        self._tables = LiveTables(connection, session)

    def run(self, limits: Limits) -> StageReport:
        """Validate the source, and write what differs."""
        started = time.perf_counter()
        prepare(self._connection, EVENTS)
        self._tables.delete_unreferenced()
        source = SourceTable(self._session, self._settings)
        self._tables.hand_over(ENTITIES[ACCOUNTS].table)
        decided, validated = decided_events(
            source, has_duplicates=self._find_duplicates(source), erased=erased_hashes(self._connection)
        )
        found = self._found(decided, validated)
        stored = stored_days(self._connection)
        self._require_rows(found, stored)
        changed = sorted(day for day in {*found.days, *stored} if day and found.days.get(day) != stored.get(day))
        is_new = bool(changed) or found.others != stored.get(None)
        rejected = found.outcomes["rejected"] if is_new else 0
        # A source may have any number of events of erased accounts.
        exceeded = is_new and limits.exceeded(rejected - found.erased, found.read - found.erased)
        written = [day for day in changed if day in found.days]
        path = self._tables.new_directory(EVENTS_TABLE) if written and not exceeded else None
        with transaction(self._connection):
            if is_new:
                self._replace_quarantine(decided if rejected else None, validated)
            if exceeded:
                # The quarantine has the events of this content, so the content that was staged before counts as new.
                self._connection.execute(f"delete from {USAGE_DAYS} where usage_date is null")
                touched: tuple[date, ...] = ()
            else:
                touched = self._replace_days(decided, found, stored, changed, path)
        if exceeded:
            raise SourceError(self._rejection(limits, found))
        return StageReport(
            entity=USAGE_EVENTS,
            read=found.read,
            loaded=found.outcomes["loaded"],
            rejected=found.outcomes["rejected"],
            superseded=found.outcomes["superseded"],
            ignored=found.outcomes["ignored"],
            closed=0,
            by_reason=dict(sorted(found.by_reason.items())),
            by_rule=dict(sorted(found.by_rule.items())),
            touched_days=touched,
            new_read=found.read if is_new else 0,
            new_rejected=rejected,
            restaged=True,
            seconds=time.perf_counter() - started,
        )

    def _find_duplicates(self, source: SourceTable) -> bool:
        """Show the hashes of keys that several events have; returns whether there are any."""
        path = self._tables.new_directory(EVENTS_TABLE)
        columns = {"key_hash": "BIGINT"}
        self._session.write(repeated_keys(source), {}, columns, path)
        self._session.show(DUPLICATES, columns, [Directory(path)])
        return bool(self._rows(f"select count(*) as keys from {DUPLICATES}")[0]["keys"])

    def _found(self, decided: str, validated: ValidatedSelect) -> _Found:
        """Count the events of the source by outcome, and sum up their content."""
        found = _Found()
        groups = self._rows(contents_by_outcome(decided))
        others: list[tuple[Any, ...]] = []
        for one in groups:
            outcome, events, content = one["_outcome"], one["events"], int(one["content"])
            found.outcomes[outcome] += events
            if outcome == "loaded":
                found.days[one["usage_date"]] = DayContent(events, content)
                continue
            others.append((outcome, one["_problem"] or 0, one[IGNORED] or "", events, content))
            if outcome == "rejected":
                found.by_reason[str(validated.problems[one["_problem"] - 1][1])] += events
            elif outcome == "ignored":
                found.by_rule[one[IGNORED]] += events
        state = hashlib.sha256(repr((self._settings.place, sorted(others))).encode()).hexdigest()
        found.others = DayContent(sum(one[3] for one in others), int(state[:15], 16))
        return found

    def _require_rows(self, found: _Found, stored: Mapping[date | None, DayContent]) -> None:
        if found.read or self._settings.may_be_empty or not any(stored):
            return
        message = (
            f"{self._settings.label}: {self._settings.place} has no rows, but had rows before. Nothing was staged. If "
            "this is correct, set `may_be_empty: true` for the source; otherwise check the table."
        )
        raise SourceError(message)

    def _replace_quarantine(self, decided: str | None, validated: ValidatedSelect) -> None:
        """Replace the quarantine with the rejected events, of which only the first are stored."""
        table = EVENTS.quarantine_table
        self._connection.execute(f"delete from {table}")
        if decided is None:
            return
        rows = self._session.query(rejected_events(decided, MAX_STORED), {})
        problems = ", ".join(
            f"({number}, {literal(name)}, {literal(str(reason))})"
            for number, (name, reason) in enumerate(validated.problems, start=1)
        )
        # The texts of erased accounts are not kept.
        value, key, raw = (
            f"case when problem.reason <> {literal(str(Reason.ERASED))} then {column} end"
            for column in ("_value", KEY, RAW)
        )
        load = self._connection.execute("select coalesce(max(load_id), 0) + 1 from raw.loads").fetchall()
        self._connection.register("rejected_rows", rows)
        try:
            self._connection.execute(
                f"insert into {table} select ?, {literal(SYSTEM)}, {FILE}, {LINE}, problem.field, problem.reason, "
                f"{value}, {key}, {raw}, ? from rejected_rows join (values {problems}) as problem(number, field, "
                f"reason) on problem.number = _problem order by {FILE}, {LINE}, {KEY}",
                [load[0][0], self._staged_at],
            )
        finally:
            self._connection.unregister("rejected_rows")

    def _replace_days(
        self,
        decided: str,
        found: _Found,
        stored: Mapping[date | None, DayContent],
        changed: Sequence[date],
        path: str | None,
    ) -> tuple[date, ...]:
        """Write the changed days and record their events; queues and returns the days."""
        connection = self._connection
        contents: dict[date, DayContent] = {}
        if path:
            contents = self._written(decided, found, [day for day in changed if day in found.days], path)
        left = self._leave_duckdb()
        days = tuple(sorted({*changed, *contents, *left}))
        late = self._late_records(days, contents, stored)
        withdraw(connection, EVENTS_TABLE, days)
        if path and contents:
            self._tables.set_live(EVENTS_TABLE, sorted(contents), path)
        connection.execute(
            f"delete from {USAGE_DAYS} where usage_date is null or list_contains(cast(? as date[]), usage_date)",
            [list(days)],
        )
        connection.executemany(
            f"insert into {USAGE_DAYS} values (?, ?, ?)",
            [[day, one.events, Decimal(one.content)] for day, one in [*sorted(contents.items()), (None, found.others)]],
        )
        _queue(connection, days)
        record_counted_changes(connection, EVENTS.name, {**late, **left} if left else late, self._staged_at)
        return days

    def _written(self, decided: str, found: _Found, days: Sequence[date], path: str) -> dict[date, DayContent]:
        """Write the loaded events of days to a directory; returns the content of each day in it."""
        select = loaded_events(decided, None if len(days) == len(found.days) else days)
        self._session.write(select, {}, _COLUMNS, path)
        self._session.show(_WRITTEN, _COLUMNS, [Directory(path)])
        groups = self._rows(contents_by_day(_WRITTEN))
        contents = {one["usage_date"]: DayContent(one["events"], int(one["content"])) for one in groups}
        if contents != {day: found.days[day] for day in days}:
            get_logger(__name__).warning(
                "the source changed while it was read; the next run stages the difference", source=self._settings.label
            )
        return contents

    def _leave_duckdb(self) -> dict[date, int]:
        """Remove events that DuckDB staged before the source was changed to Spark; returns their number by day."""
        connection = self._connection
        connection.execute("delete from run.staged_loads where entity = ?", [USAGE_EVENTS])
        connection.execute(f"delete from {IGNORED_VERSIONS} where entity = ?", [USAGE_EVENTS])
        if not has_rows(connection, EVENTS_TABLE):
            return {}
        left = dict(
            connection.execute(f"select cast(occurred_at as date), count(*) from {EVENTS_TABLE} group by 1").fetchall()
        )
        connection.execute(f"delete from {EVENTS_TABLE}")
        return left

    def _late_records(
        self, days: Sequence[date], contents: Mapping[date, DayContent], stored: Mapping[date | None, DayContent]
    ) -> dict[date, int]:
        """Return how many events of materialised days are new, changed or removed; see ``late_changes``."""
        last = last_materialised(self._connection)
        touched = [day for day in days if last and day <= last]
        if not touched:
            return {}
        before = [day for day in touched if day in stored]
        after = [day for day in touched if day in contents]
        if not before or not after:
            # All events of these days are new, or all are removed.
            return {day: contents[day].events for day in after} | {day: stored[day].events for day in before}
        self._tables.show(EVENTS_TABLE)
        groups = self._rows(differing_events(EVENTS_TABLE, _WRITTEN, touched))
        return {one["touched_day"]: one["records"] for one in groups}

    def _rejection(self, limits: Limits, found: _Found) -> str:
        first = self._connection.execute(
            f"select source_file, source_line, field, value from {EVENTS.quarantine_table} "
            "order by source_file, source_line limit 1"
        ).fetchone()
        reasons = sorted(found.by_reason.items(), key=lambda one: (-one[1], one[0]))
        of = f"{USAGE_EVENTS} from {SYSTEM}"
        counts = (found.outcomes["rejected"] - found.erased, found.read - found.erased)
        return rejection_text(EVENTS, of, counts, limits, reasons, first)

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        return self._session.query(sql, {}).to_pylist()


def _queue(connection: duckdb.DuckDBPyConnection, days: Sequence[date]) -> None:
    connection.execute(
        f"insert into {PENDING_DAYS} select usage_date from (select unnest(cast(? as date[])) as usage_date) "
        f"where usage_date not in (select usage_date from {PENDING_DAYS}) order by usage_date",
        [list(days)],
    )
