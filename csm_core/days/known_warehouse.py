"""Creates a warehouse with the raw records that another warehouse had at a time."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import duckdb

from csm_core.ingest.full_lists import FULL_FILES
from csm_core.ingest.replaced_rows import ENDED_LOADS, create_known_rows
from csm_core.staging.attribute_versions import prepare_versions
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.models import literal
from csm_core.warehouse.version_tables import VERSION_TABLES

_ORIGIN = "origin"
_LEDGERS = ("raw.loads", "raw.unparseable_rows", FULL_FILES)


def create_known_warehouse(path: Path, origin: Path, known_at: datetime) -> Warehouse:
    """Create a warehouse at ``path`` with the records and loads of ``origin`` at a UTC time; nothing is staged.

    The settings of sources are the present ones.
    """
    warehouse = Warehouse(path)
    with warehouse.connect() as connection:
        connection.execute(f"attach {literal(str(origin))} as {_ORIGIN} (read_only)")
        _copy_loads(connection, known_at)
        for (name,) in connection.execute(
            "select table_name from duckdb_tables() where database_name = ? and schema_name = 'raw' "
            "order by table_name",
            [_ORIGIN],
        ).fetchall():
            if f"raw.{name}" not in _LEDGERS:
                create_known_rows(connection, f"raw.{name}", _ORIGIN, known_at)
        _copy_versions(connection, known_at)
        connection.execute(
            f"insert into run.source_loads by name select * from {_ORIGIN}.run.source_loads where loaded_at <= ?",
            [known_at],
        )
        connection.execute(f"insert into run.sources by name select * from {_ORIGIN}.run.sources")
        connection.execute(f"detach {_ORIGIN}")
    return warehouse


def _copy_versions(connection: duckdb.DuckDBPyConnection, known_at: datetime) -> None:
    """Copy the versions of attributes that were known: the raw records of a time only have the newest ones.

    The time of a load is when its version became known. A stated version is known if its latest statement is of a load
    until then; if it was stated again later, the raw records of the time state it.
    """
    for versions in VERSION_TABLES.values():
        prepare_versions(connection, versions)
        schema, _, name = versions.table.partition(".")
        present = connection.execute(
            "select 1 from duckdb_tables() where database_name = ? and schema_name = ? and table_name = ?",
            [_ORIGIN, schema, name],
        ).fetchone()
        if present:
            by_key = f"partition by {versions.entity.key} order by valid_from"
            connection.execute(
                f"""
                insert into {versions.table} by name
                with ends as (
                    select *, case when valid_to is distinct from lead(valid_from) over ({by_key}) then valid_to end
                        as closed_at
                    from {_ORIGIN}.{versions.table}
                ),
                last_load as (select max(load_id) as load_id from raw.loads)
                select ends.* exclude (closed_at) replace (
                    least(case when closed_at <= $at then closed_at end, lead(valid_from) over ({by_key})) as valid_to,
                    least(_load_id, last_load.load_id) as _load_id
                )
                from ends cross join last_load
                where case when basis = 'load' then valid_from <= $at else _load_id <= last_load.load_id end
                """,
                {"at": known_at},
            )


def _copy_loads(connection: duckdb.DuckDBPyConnection, known_at: datetime) -> None:
    """Copy the ledger of loads: a load that ended later still counts, and a list that was removed later is present."""
    at = {"at": known_at}
    connection.execute(
        f"""
        insert into raw.loads by name
        select loads.* replace (case when ended.ended_at > $at then 'loaded' else loads.status end as status)
        from {_ORIGIN}.raw.loads as loads
        left join {_ORIGIN}.{ENDED_LOADS} as ended
            on loads.raw_table = ended.raw_table and loads.path = ended.path and loads.load_id = ended.load_id
        where loads.loaded_at <= $at
        """,
        at,
    )
    connection.execute(
        f"insert into raw.unparseable_rows by name select * from {_ORIGIN}.raw.unparseable_rows where loaded_at <= $at",
        at,
    )
    connection.execute(
        f"""
        insert into {FULL_FILES} by name
        select files.* replace (
            files.is_present or coalesce(files.absent_since > $at, false) as is_present,
            -- A list that is replaced by one of a date after the time was current.
            case when files.replaced_at <= $at then files.replaced_at end as replaced_at
        )
        from {_ORIGIN}.{FULL_FILES} as files
        where exists (
            select 1 from raw.loads as loads where loads.raw_table = files.raw_table and loads.path = files.path
        )
        """,
        at,
    )
