"""Merge by key: stages the latest record of each key."""

from __future__ import annotations

from datetime import date

from csm_core.contract import (
    ACCOUNT_MAP,
    ACCOUNTS,
    CLOSED,
    IGNORED,
    LATEST_LOAD_FIRST,
    USAGE_EVENTS,
    VALID_FROM,
    Reason,
)
from csm_core.ingest.full_lists import FULL_FILES
from csm_core.ingest.replaced_rows import replace_rows_of
from csm_core.staging.attribute_versions import record_versions
from csm_core.staging.changed_days import record_changed_days
from csm_core.staging.derived_records import ignore_derived
from csm_core.staging.ignored_versions import IGNORED_VERSIONS, record_ignored
from csm_core.staging.plan import Counts, Limits, Scope, StagingResult, among
from csm_core.staging.quarantine_writer import QuarantineWriter
from csm_core.warehouse.catalog import has_rows, table_exists
from csm_core.warehouse.models import literal

# The version in the record, then the number of the load. Load times are not compared, since clocks may be wrong.
_RECENT_FIRST = f"_version desc nulls last, {{}}{LATEST_LOAD_FIRST}"
# A current full list precedes a replaced one, even if the replaced one was loaded later.
_CURRENT_FIRST = "lists.listed_until desc nulls first, "
_AGE = "(coalesce({0}._version, timestamp '-infinity'), coalesce({0}._load_id, 0))"


class MergeByKey:
    """Stages the latest record of each key, of all records or of new records only."""

    def __init__(self, scope: Scope, quarantine: QuarantineWriter, counts: Counts) -> None:
        self._scope = scope
        self._quarantine = quarantine
        self._counts = counts
        self._connection = scope.connection
        self._entity = scope.entity
        self._sources = scope.sources

    def run(self, limits: Limits) -> StagingResult:
        """Stage the records in scope."""
        connection, entity = self._connection, self._entity
        self._scope.outdated()
        self._find_lists()
        self._collect()
        self._decide()
        self._quarantine.write(
            "select _system, _load_id, _source_file, _source_line, _problem, _value, "
            f"{entity.key} as _key, _loaded_at from temp.gate_decided where _outcome = 'rejected'"
        )
        outcomes = dict(
            connection.execute("select _outcome, count(*) from temp.gate_decided group by _outcome").fetchall()
        )
        self._counts.read = sum(count for name, count in outcomes.items() if name != "withdrawn")
        before = self._quarantine.superseded_by_steps()
        self._counts.read += self._quarantine.beside_models() + before
        self._counts.superseded = outcomes.get("superseded", 0) + before
        self._counts.count_ignored(
            connection.execute(
                f"select {IGNORED}, count(*) from temp.gate_decided where _outcome = 'ignored' group by all"
            ).fetchall()
        )
        rejection = self._quarantine.limit_message(limits)
        if rejection:
            return StagingResult(rejection)
        closing = self._closing(limits)
        if closing:
            return StagingResult(closing)
        accepted = f"select {self._accepted_columns()} from temp.gate_decided where _outcome = 'loaded'"
        if self._scope.restages_all:
            order = "occurred_at" if entity.name == USAGE_EVENTS else entity.key
            connection.execute(f"create or replace temp table gate_fresh as {accepted} order by {order}")
            days = record_changed_days(self._scope, entity.table, "temp.gate_fresh")
            if entity.is_versioned:
                record_versions(self._scope)
            if entity.name == ACCOUNTS:
                self._restage_events_of_missing_accounts()
            connection.execute(f"delete from {entity.table}")
            self._counts.loaded = self._scope.one(f"insert into {entity.table} by name from temp.gate_fresh")
        else:
            days = self._replace_by_key(accepted)
        record_ignored(
            self._scope,
            f"select {entity.key} as _key, _version, _load_id from temp.gate_decided where _outcome = 'ignored'",
            decided="temp.gate_decided",
        )
        self._prune()
        return StagingResult(days=days)

    def _restage_events_of_missing_accounts(self) -> None:
        """Stage all usage events from scratch if an account was removed, so that its events are rejected."""
        gone = (
            f"(select account_id from {self._entity.table} "
            "where account_id not in (select account_id from temp.gate_fresh))"
        )
        if has_rows(self._connection, gone):
            self._connection.execute(f"update run.staged_loads set model_hash = '' where entity = '{USAGE_EVENTS}'")

    def _accepted_columns(self) -> str:
        """The columns of the staged table; records that are no longer in a full list get their end."""
        entity = self._entity
        if not self._has_lists:
            return ", ".join((*entity.column_names, *entity.gate_columns))
        ended = f"least({entity.closed_by}, _listed_until)" if entity.closed_by != CLOSED else "_listed_until"
        return ", ".join(
            f"{ended} as {name}" if name == entity.closed_by else name
            for name in (*entity.column_names, *entity.gate_columns)
        )

    @property
    def _has_lists(self) -> bool:
        """Whether the entity can have full lists, so that missing records are closed."""
        return bool(self._entity.closed_by) and self._scope.restages_all

    def _find_lists(self) -> None:
        """Collect the versions of the files of full lists, and the time until which each was current."""
        if not self._has_lists:
            return
        own = f"list_contains(?, raw_table) and entity = {literal(self._entity.name)}"
        tables = sorted({table for source in self._sources for table in source.raw_tables})
        self._connection.execute(
            f"""
            create or replace temp table gate_lists as
            with versions as (
                select raw_table, path, load_id, loaded_at, rejected, status,
                    lead(loaded_at) over (partition by raw_table, path order by load_id) as next_loaded_at
                -- A later load read the content of a replaced load with other settings: it ends the one before it.
                from raw.loads where {own} and status in ('loaded', 'replaced')
            ),
            newest as (
                select *, row_number() over (partition by raw_table, path order by load_id desc) as place
                from versions where status = 'loaded'
            ),
            lists as (
                select newest.path, newest.load_id, newest.place = 1 as is_newest, newest.rejected,
                    full_files.is_present, full_files.dated_at, full_files.replaced_at, newest.next_loaded_at,
                    (select min(later.loaded_at) from raw.loads as later
                        where later.raw_table = newest.raw_table and later.status in ('loaded', 'replaced')
                        and later.load_id > newest.load_id) as later_loaded_at
                from newest inner join {FULL_FILES} as full_files using (raw_table, path)
            )
            select path, load_id, is_newest, is_present, rejected, dated_at, replaced_at,
                -- The earlier of both, or the one that is not null.
                coalesce(
                    least(case when not is_newest then next_loaded_at end, replaced_at),
                    case when not is_present then later_loaded_at end
                ) as listed_until
            from lists
            """,
            [tables],
        )

    def _closing(self, limits: Limits) -> str | None:
        """Determine until when records were in their full list; returns a message if too many would be closed.

        A record is in the list while a file of the list has its key, even in a rejected record. If lines of the list
        are unparseable, no record is closed, since their keys are unknown.
        """
        entity, connection = self._entity, self._connection
        if not self._has_lists:
            return None
        key = entity.key
        listed = "is_newest and is_present and replaced_at is null"
        readable = f"(select coalesce(sum(rejected), 0) = 0 from temp.gate_lists where {listed})"
        connection.execute(
            f"""
            create or replace temp table gate_decided as
            with listed_keys as (
                select distinct {key} as listed_key from temp.gate_decided
                inner join temp.gate_lists as lists on lists.load_id = _load_id and lists.path = _source_file
                where {listed} and {key} is not null
            )
            select decided.*, case when _outcome = 'loaded' and listed_key is null and {readable} then listed_until end
                as _listed_until
            from temp.gate_decided as decided
            left join temp.gate_lists as lists on lists.load_id = decided._load_id and lists.path = _source_file
            left join listed_keys on listed_key = {key}
            """
        )
        closed, total, replaced = self._scope.row(
            "select count(_listed_until), count(*), count(*) filter (where _listed_until in "
            f"(select loaded_at from raw.loads where {among('load_id', self._scope.pending)})) "
            "from temp.gate_decided where _outcome = 'loaded'"
        )
        self._counts.closed = closed
        for new, loaded in ((replaced, total), self._closed_by_latest_date()):
            # If all records would be closed, the file is probably empty or wrong.
            if new * 100 <= limits.closed_percent * loaded or (new < limits.records and new < loaded):
                continue
            return (
                f"{new} of {loaded} {entity.name} are missing from the new full list "
                f"({new * 100 / loaded:.1f} %, limit {limits.closed_percent:g} %) and would be closed. "
                "This load was not staged. Provide the full list, add the entity to `incremental` of the source "
                "if its files contain only changes, or raise max_closed_percent in csm.yaml."
            )
        return None

    def _closed_by_latest_date(self) -> tuple[int, int]:
        """Return how many records of earlier dated lists the latest list closes, and the total of these records.

        Zero if the latest list was staged before. Earlier lists need no limit, since later lists confirm them.
        """
        latest = "(select max(replaced_at) from temp.gate_lists)"
        is_new = (
            "exists (select 1 from temp.gate_lists where is_newest and is_present and replaced_at is null "
            f"and {among('load_id', self._scope.pending)})"
        )
        closed, total = self._scope.row(
            f"select count(*) filter (where _listed_until = {latest}), count(*) from temp.gate_decided "
            f"where _outcome = 'loaded' and {is_new} and (_listed_until is null or _listed_until >= {latest})"
        )
        return closed, total

    def _collect(self) -> None:
        """Collect the validated records in scope in a temporary table."""
        connection, entity = self._connection, self._entity
        selects: list[str] = []
        if not self._scope.restages_all:
            self._collect_retries()
        for source in self._sources:
            validated = source.validated.sql
            if self._scope.restages_all:
                selects.append(f"select * from ({validated})")
                continue
            own = f"system = {literal(source.system)}"
            retried = connection.execute(f"select distinct load_id from temp.gate_retries where {own}").fetchall()
            # DuckDB pushes the plain condition on the load through the model's joins to the storage statistics.
            loads = (*source.pending, *(load_id for (load_id,) in retried))
            narrowed = f"select * from ({source.sql}) where {among('_load_id', loads)}"
            if retried:
                narrowed += (
                    f" and ({among('_load_id', source.pending)} or (_load_id, _source_file, _source_line) in "
                    f"(select (load_id, source_file, source_line) from temp.gate_retries where {own}))"
                )
            selects.append(self._scope.validate(narrowed, source).sql)
        empty = (
            f"select '' as _system, *, '' as _source_file, 0 as _source_line, 0 as _problem, '' as _value, "
            f"'' as {IGNORED} from {entity.table} limit 0"
        )
        connection.execute(f"create or replace temp table gate_rows as {' union all by name '.join(selects) or empty}")
        ignore_derived(self._scope, "temp.gate_rows")

    def _collect_retries(self) -> None:
        """Collect rejected records whose account now exists, or whose customer is now matched."""
        pending = self._scope.pending
        matched = (
            f"or (reason = '{Reason.UNMATCHED}' and (system, value) in (select (system, external_id) "
            "from staging.account_map where account_id is not null or is_ignored))"
            if table_exists(self._connection, ACCOUNT_MAP)
            else ""
        )
        self._connection.execute(
            f"create or replace temp table gate_retries as select system, load_id, source_file, source_line "
            f"from {self._entity.quarantine_table} where ((reason = '{Reason.UNKNOWN_ACCOUNT}' "
            f"and value in (select account_id from staging.stg_accounts)) {matched}) "
            f"and not {among('load_id', pending)}"
        )

    def _decide(self) -> None:
        """Assign each record an outcome: loaded, ignored, rejected, superseded, or withdrawn with its file version."""
        key = self._entity.key
        if not self._scope.restages_all:
            # Computed once, since it reads every key of the whole history.
            self._connection.execute(
                f"create or replace temp table gate_staged as from {self._entity.table} "
                f"where {key} in (select {key} from temp.gate_rows where _problem is null)"
            )
        recent_first = _RECENT_FIRST.format(_CURRENT_FIRST if self._has_lists else "")
        if self._entity.is_versioned:
            # Of the states of a key in one load, the latest is current; a state without a time applies from the load.
            recent_first = recent_first.replace(
                LATEST_LOAD_FIRST, f"_load_id desc, {VALID_FROM} desc nulls first, {LATEST_LOAD_FIRST}"
            )
        lists = (
            "left join temp.gate_lists as lists on lists.load_id = _load_id and lists.path = _source_file"
            if self._has_lists
            else ""
        )
        newer_staged = ""
        if not self._scope.restages_all:
            newer_staged = (
                "when _problem is null and (exists (select 1 from temp.gate_staged as staged "
                f"where staged.{key} = ranked.{key} and {_AGE.format('staged')} > {_AGE.format('ranked')}) "
                f"or exists (select 1 from {IGNORED_VERSIONS} as ignored "
                f"where ignored.entity = {literal(self._entity.name)} and ignored.key_hash = md5_number({key}) "
                f"and {_AGE.format('ignored')} > {_AGE.format('ranked')})) then 'superseded' "
            )
        self._connection.execute(
            f"""
            create or replace temp table gate_decided as
            with recency as (
                select gate_rows.*, row_number() over (partition by {key} order by {recent_first}) as _recency,
                    (_load_id, _source_file) in (select (load_id, path) from temp.gate_outdated) as _outdated
                from temp.gate_rows as gate_rows {lists}
            ),
            ranked as (
                select *, case when {key} is not null then
                    min(_recency) filter (where _problem is null) over (partition by {key}) end as _winner
                from recency
            )
            select * exclude (_recency, _outdated, _winner), case
                {newer_staged}
                when _problem is null and _recency = _winner and {IGNORED} is null then 'loaded'
                when {IGNORED} is not null and ({key} is null or _recency = _winner) then 'ignored'
                when _outdated then 'withdrawn'
                when _problem is null then 'superseded'
                when _recency > _winner then 'superseded'
                else 'rejected' end as _outcome
            from ranked
            """
        )

    def _replace_by_key(self, accepted: str) -> tuple[date, ...]:
        """Replace records with the accepted records of the same keys; queue the days that differ."""
        connection, entity = self._connection, self._entity
        keys = f"select {entity.key} from temp.gate_decided where _outcome in ('loaded', 'ignored')"
        connection.execute(
            f"create or replace temp table gate_replaced as from temp.gate_staged where {entity.key} in ({keys})"
        )
        connection.execute(f"create or replace temp table gate_accepted as {accepted}")
        days = record_changed_days(self._scope, "temp.gate_replaced", "temp.gate_accepted")
        if has_rows(connection, "temp.gate_replaced"):
            connection.execute(
                f"delete from {entity.table} where {entity.key} in (select {entity.key} from temp.gate_replaced)"
            )
        order = "order by occurred_at" if entity.name == USAGE_EVENTS else ""
        # Remove records that are accepted now from quarantine.
        connection.execute(
            f"delete from {entity.quarantine_table} where record_key in ({keys}) and not "
            f"{among('load_id', self._scope.pending)}"
        )
        self._counts.loaded = self._scope.one(f"insert into {entity.table} by name from temp.gate_accepted {order}")
        return days

    def _prune(self) -> None:
        """Move raw records that a newer version of the same file replaced, also rejected ones, to the kept rows."""
        connection = self._connection
        if not has_rows(connection, "temp.gate_outdated"):
            return
        if not self._scope.restages_all:
            self._find_replaced_by_new_versions()
        else:
            connection.execute(
                "create or replace temp table gate_leaving as select distinct _load_id, _source_file, _source_line "
                "from temp.gate_decided where _outcome in ('withdrawn', 'superseded') "
                "and (_load_id, _source_file) in (select (load_id, path) from temp.gate_outdated) "
                "and (_load_id, _source_file, _source_line) not in (select (_load_id, _source_file, _source_line) "
                "from temp.gate_decided where _outcome in ('loaded', 'ignored'))"
            )
        for (table,) in connection.execute(
            "select distinct raw_table from temp.gate_outdated "
            "where load_id in (select _load_id from temp.gate_leaving)"
        ).fetchall():
            replace_rows_of(
                connection,
                table,
                "_load_id in (select _load_id from temp.gate_leaving) and (_load_id, _source_file, _source_line) in "
                "(select (_load_id, _source_file, _source_line) from temp.gate_leaving)",
                {},
                self._scope.staged_at,
            )

    def _find_replaced_by_new_versions(self) -> None:
        entity = self._entity
        # DuckDB answers the plain condition on the load from storage statistics, unlike the condition on pairs.
        earlier = (
            "_load_id in (select load_id from temp.gate_outdated) "
            "and (_load_id, _source_file) in (select (load_id, path) from temp.gate_outdated)"
        )
        rejected = f"select (load_id, source_file, source_line) from {entity.quarantine_table}"
        selects: list[str] = []
        for source in self._sources:
            validated = self._scope.validate(f"select * from ({source.sql}) where {earlier}", source).sql
            selects.append(
                f"select _load_id, _source_file, _source_line from ({validated}) where {entity.key} in "
                f"(select {entity.key} from temp.gate_decided where _outcome in ('loaded', 'ignored')) "
                f"or (_load_id, _source_file, _source_line) in ({rejected})"
            )
        self._connection.execute(f"create or replace temp table gate_leaving as {' union all '.join(selects)}")
        self._connection.execute(
            f"delete from {entity.quarantine_table} "
            "where (load_id, source_file) in (select (load_id, path) from temp.gate_outdated)"
        )
