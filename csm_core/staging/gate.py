"""The gate between vendors' records and the staged contract: casts, validates, deduplicates and counts records.

``stage_entity`` runs the staging models of an entity (one per source system), casts their columns, writes rejected
records to ``quarantine.<entity>`` with the reason and their raw text, writes the latest record of each key to
``staging.stg_<entity>``, and asserts that every record is loaded, rejected, superseded or ignored. All of this is one
transaction; a load with too many rejected records only changes the quarantine.

Small entities are staged from scratch in every run. ``usage_events`` is incremental: it stages loads that are not
staged yet, and records that were rejected for an account that exists now. Their days are added to
``run.pending_usage_days``, the queue of the daily rollup. A changed staging model, or a change in another raw table
that the model reads, also stages all events from scratch; only the days that differ are queued.

Of accounts and features, the gate also keeps the attributes over time (``csm_core.staging.attribute_versions``).

Records that touch materialised days are recorded as late (``csm_core.warehouse.late_changes``).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import duckdb

from csm_core.contract import ACCOUNTS, ENTITIES, USAGE_EVENTS, Entity
from csm_core.errors import ConfigError, RunError, SourceError, WarehouseError
from csm_core.staging.attribute_versions import SCRATCH as VERSION_SCRATCH
from csm_core.staging.attribute_versions import prepare_versions
from csm_core.staging.erased_accounts import delete_erased_records
from csm_core.staging.full_refresh import FullRefresh, needs_validation_table
from csm_core.staging.merge import MergeByKey
from csm_core.staging.plan import Counts, Limits, Scope, StagingResult, UpstreamInputs
from csm_core.staging.quarantine_writer import QuarantineWriter
from csm_core.warehouse.catalog import columns_of, transaction
from csm_core.warehouse.text_macros import create_macros, keep_macros
from csm_core.warehouse.version_tables import VERSION_TABLES

QUARANTINE_COLUMNS = {
    "load_id": "bigint",
    "system": "varchar",
    "source_file": "varchar",
    "source_line": "bigint",
    "field": "varchar",
    "reason": "varchar",
    "value": "varchar",
    "record_key": "varchar",
    "raw_text": "varchar",
    "rejected_at": "timestamp",
}
_SCRATCH = (
    *("gate_outdated", "gate_rows", "gate_retries", "gate_decided", "gate_fresh", "gate_replaced", "gate_accepted"),
    *("gate_leaving", "gate_rejected", "gate_staged", "gate_lists", "gate_excluded"),
)


@dataclass(frozen=True)
class StageReport:
    """The result of staging an entity: ``read`` = ``loaded`` + ``rejected`` + ``superseded`` + ``ignored``, asserted.

    ``ignored`` are records that a setting or a rule excludes; ``by_rule`` counts them by its name. ``closed`` are
    loaded records that are no longer in the full list. If an entity is staged from scratch, these count all its
    records; ``new_read`` and ``new_rejected`` count records of new loads. ``touched_days`` are the UTC dates with
    changed usage.
    """

    entity: str
    read: int
    loaded: int
    rejected: int
    superseded: int
    ignored: int
    closed: int
    by_reason: Mapping[str, int]
    by_rule: Mapping[str, int]
    touched_days: tuple[date, ...]
    new_read: int
    new_rejected: int
    restaged: bool
    seconds: float


def prepare(connection: duckdb.DuckDBPyConnection, entity: Entity) -> None:
    """Create the staged and quarantine tables of an entity, and add columns that an earlier version lacks."""
    columns = ", ".join(f"{name} {kind}" for name, kind in QUARANTINE_COLUMNS.items())
    create_macros(connection)
    connection.execute(f"create table if not exists {entity.quarantine_table} ({columns})")
    for one in (entity, ENTITIES[ACCOUNTS]):
        connection.execute(f"create table if not exists {one.table} ({one.definition})")
        present = set(columns_of(connection, one.table))
        for name, kind in (*((column.name, column.kind) for column in one.columns), *one.gate_columns.items()):
            # A warehouse of an earlier version lacks columns that were added later.
            if name not in present:
                connection.execute(f"alter table {one.table} add column {name} {kind}")
        if one.is_versioned:
            prepare_versions(connection, VERSION_TABLES[one.name])


def stage_entity(
    connection: duckdb.DuckDBPyConnection,
    entity_name: str,
    models: Sequence[tuple[str, str]],
    *,
    staged_at: datetime,
    max_rejected_percent: float = 5.0,
    min_rejected: int = 1,
    max_closed_percent: float = 100.0,
    upstream: Mapping[str, UpstreamInputs] | None = None,
    derived: Collection[str] = (),
) -> StageReport:
    """Stage an entity from its models, given as (system, SELECT); ``accounts`` must be staged before the others.

    A model's SELECT returns the contract's columns by name, in any type (a missing column is null), and the four
    bookkeeping columns of the raw table of its records. ``staged_at`` is a UTC time. ``upstream`` has, by system, the
    indirect inputs of a model. ``derived`` are the systems whose model concludes the entity from other records; these
    records are ignored for accounts about which another system states records of the entity.

    Raises SourceError with counts by reason if more than ``max_rejected_percent`` of the new records of a system, and
    at least ``min_rejected``, are rejected, or all new records of one raw table (only the quarantine changes then), or
    if more than ``max_closed_percent`` of the records, and at least ``min_rejected``, are missing from a new full list.
    Raises WarehouseError if a model fails, and RunError if records are unaccounted for.
    """
    if entity_name not in ENTITIES:
        message = f"unknown entity {entity_name!r}; expected one of {', '.join(ENTITIES)}"
        raise ConfigError(message)
    entity = ENTITIES[entity_name]
    started = time.perf_counter()
    try:
        keep_macros(connection)
        prepare(connection, entity)
        with transaction(connection):
            scope = Scope(connection, entity, models, staged_at.replace(tzinfo=None), upstream or {}, derived)
            counts, new = Counts(), Counts()
            outcome = _run(scope, counts, new, Limits(max_rejected_percent, min_rejected, max_closed_percent))
            if not outcome.rejection:
                _assert_accounted(entity_name, counts)
                tables = {table for source in scope.sources for table in source.raw_tables}
                delete_erased_records(connection, entity, tables, scope.erased)
                scope.record_staged_loads()
        for scratch in (
            *_SCRATCH,
            *VERSION_SCRATCH,
            *(needs_validation_table(number) for number in range(len(models))),
        ):
            connection.execute(f"drop table if exists temp.{scratch}")
    except duckdb.Error as error:
        message = f"staging {entity_name} failed: {str(error).splitlines()[0]}"
        raise WarehouseError(message) from error
    if outcome.rejection:
        raise SourceError(outcome.rejection)
    return StageReport(
        entity=entity_name,
        read=counts.read,
        loaded=counts.loaded,
        rejected=counts.rejected,
        superseded=counts.superseded,
        ignored=counts.ignored,
        closed=counts.closed,
        by_reason=dict(sorted(counts.by_reason.items())),
        by_rule=dict(sorted(counts.by_rule.items())),
        touched_days=outcome.days,
        new_read=new.read,
        new_rejected=new.rejected,
        restaged=scope.restages_all,
        seconds=time.perf_counter() - started,
    )


def _run(scope: Scope, counts: Counts, new: Counts, limits: Limits) -> StagingResult:
    quarantine = QuarantineWriter(scope, counts, new)
    if scope.restages_all and scope.entity.name == USAGE_EVENTS and not scope.outdated():
        outcome = FullRefresh(scope, quarantine, counts).run(limits)
        if outcome is not None:
            return outcome
    return MergeByKey(scope, quarantine, counts).run(limits)


def _assert_accounted(entity_name: str, counts: Counts) -> None:
    if counts.read != counts.loaded + counts.rejected + counts.superseded + counts.ignored:
        message = (
            f"{entity_name}: records unaccounted for: read {counts.read}, loaded {counts.loaded}, "
            f"rejected {counts.rejected}, superseded {counts.superseded}, ignored {counts.ignored}. "
            "Nothing was staged. Please report this error."
        )
        raise RunError(message)
