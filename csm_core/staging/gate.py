"""The gate between vendors' records and the staged contract: cast, refuse, keep the latest of each key, count.

``stage_entity`` runs the staging models of an entity (one per source system), casts their columns, puts refused
records into ``quarantine.<entity>`` with the reason and their raw text, lets the latest record of each key into
``staging.stg_<entity>``, and asserts that every record read is loaded, rejected, superseded or ignored. All of it is
one transaction; a load with too many rejected records changes nothing but its quarantine.

Small entities are staged again from raw in every run. ``usage_events`` only takes what is new: loads that it has not
taken yet, and records refused for an unknown account that has turned up since. Their days go to
``run.pending_usage_days``, from where the daily rollup takes them. A changed staging model, or a change in another raw
table that the model reads, stages all events again as well, and only the days that came out different are queued.

Records that touch days which have been materialised are noted as late (``csm_core.warehouse.late_changes``).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import duckdb

from csm_core.contract import ACCOUNTS, ENTITIES, USAGE_EVENTS, Entity
from csm_core.errors import ConfigError, RunError, SourceError, WarehouseError
from csm_core.ingest.full_lists import prepare as prepare_full_lists
from csm_core.ingest.raw_tables import prepare as prepare_raw
from csm_core.staging.changed_days import PENDING_DAYS
from csm_core.staging.full_refresh import AtOnce, suspects_table
from csm_core.staging.ignored_versions import prepare as prepare_ignored
from csm_core.staging.merge import ByKey
from csm_core.staging.plan import Behind, Counts, Limits, Outcome, Scope
from csm_core.staging.quarantine_writer import Refused
from csm_core.staging.vendor_records import prepare as prepare_records
from csm_core.warehouse.database import columns_of, transaction
from csm_core.warehouse.text_macros import create_macros

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
    *("gate_leaving", "gate_refused", "gate_staged", "gate_lists", "gate_left_out"),
)


@dataclass(frozen=True)
class StageReport:
    """The result of staging an entity: ``read`` = ``loaded`` + ``rejected`` + ``superseded`` + ``ignored``, asserted.

    ``ignored`` are records that a setting or a rule leaves out; ``by_rule`` counts them by its name. ``closed`` are
    loaded records that are no longer in the full list. If an entity is staged from scratch, these count all its
    records; ``new_read`` and ``new_rejected`` count records of loads not staged before. ``touched_days`` are the UTC
    dates whose usage changed.
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
    """Create the staged, quarantine and bookkeeping tables of an entity where they are not there yet."""
    prepare_raw(connection)
    prepare_records(connection)
    prepare_ignored(connection)
    prepare_full_lists(connection)
    columns = ", ".join(f"{name} {kind}" for name, kind in QUARANTINE_COLUMNS.items())
    create_macros(connection)
    connection.execute(f"create table if not exists {entity.quarantine_table} ({columns})")
    connection.execute(f"create table if not exists {PENDING_DAYS} (usage_date date not null)")
    for one in (entity, ENTITIES[ACCOUNTS]):
        connection.execute(f"create table if not exists {one.table} ({one.definition})")
        present = set(columns_of(connection, one.table))
        for name, kind in (*((column.name, column.kind) for column in one.columns), *one.gate_columns.items()):
            # A warehouse of an earlier version lacks columns that were added later.
            if name not in present:
                connection.execute(f"alter table {one.table} add column {name} {kind}")


def stage_entity(
    connection: duckdb.DuckDBPyConnection,
    entity_name: str,
    models: Sequence[tuple[str, str]],
    *,
    staged_at: datetime,
    max_rejected_percent: float = 5.0,
    min_rejected: int = 1,
    max_closed_percent: float = 100.0,
    behind: Mapping[str, Behind] | None = None,
) -> StageReport:
    """Stage one entity from its models, given as (system, SELECT); ``accounts`` has to be staged before the others.

    A model's SELECT gives the contract's columns under their names, in any type (one left out is null), and passes on
    the four bookkeeping columns of the raw table that its records come from. ``staged_at`` is a UTC instant. ``behind``
    says, by system, what a model reads indirectly.

    Raises SourceError with counts by reason when more than ``max_rejected_percent`` of the new records of a system, and
    at least ``min_rejected``, are rejected, or all new records of one raw table (they are then in quarantine, and
    nothing else has changed), or when more than ``max_closed_percent`` of the records, and at least ``min_rejected``,
    are no longer in a new full list, WarehouseError when a model does not run, and RunError when records are
    unaccounted for.
    """
    if entity_name not in ENTITIES:
        message = f"not an entity of the staged contract: {entity_name!r}; expected one of {', '.join(ENTITIES)}"
        raise ConfigError(message)
    entity = ENTITIES[entity_name]
    started = time.perf_counter()
    try:
        prepare(connection, entity)
        with transaction(connection):
            scope = Scope(connection, entity, models, staged_at.replace(tzinfo=None), behind or {})
            counts, new = Counts(), Counts()
            outcome = _run(scope, counts, new, Limits(max_rejected_percent, min_rejected, max_closed_percent))
            if not outcome.refusal:
                _assert_accounted(entity_name, counts)
                scope.remember_loads()
        for scratch in (*_SCRATCH, *(suspects_table(number) for number in range(len(models)))):
            connection.execute(f"drop table if exists temp.{scratch}")
    except duckdb.Error as error:
        message = f"staging {entity_name} failed: {str(error).splitlines()[0]}"
        raise WarehouseError(message) from error
    if outcome.refusal:
        raise SourceError(outcome.refusal)
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


def _run(scope: Scope, counts: Counts, new: Counts, limits: Limits) -> Outcome:
    refused = Refused(scope, counts, new)
    if scope.restages_all and scope.entity.name == USAGE_EVENTS and not scope.outdated():
        outcome = AtOnce(scope, refused, counts).run(limits)
        if outcome is not None:
            return outcome
    return ByKey(scope, refused, counts).run(limits)


def _assert_accounted(entity_name: str, counts: Counts) -> None:
    if counts.read != counts.loaded + counts.rejected + counts.superseded + counts.ignored:
        message = (
            f"{entity_name}: records unaccounted for: read {counts.read}, loaded {counts.loaded}, "
            f"rejected {counts.rejected}, superseded {counts.superseded}, ignored {counts.ignored}. "
            "Nothing was staged; please report this."
        )
        raise RunError(message)
