"""The versions of records that a setting or rule leaves out, for entities that are staged load by load.

An ignored record is in no staged table. ``run.ignored_versions`` remembers its version, so that an older version of the
same record that is loaded later is superseded, as it is when all records are staged again. A key is stored as its hash
of 128 bits.
"""

from __future__ import annotations

import duckdb

from csm_core.contract import USAGE_EVENTS
from csm_core.staging.plan import Scope
from csm_core.warehouse.models import literal

IGNORED_VERSIONS = "run.ignored_versions"


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the table if it does not exist."""
    connection.execute(
        f"create table if not exists {IGNORED_VERSIONS} (entity varchar not null, key_hash uhugeint not null, "
        "_version timestamp, _load_id bigint)"
    )


def note_ignored(scope: Scope, ignored: str, *, decided: str = "") -> None:
    """Remember the ignored records of a scope, given as a SELECT of ``_key``, ``_version`` and ``_load_id``.

    ``decided`` is the table of the records with their outcomes, for a scope of new records only: what was remembered of
    the keys that are now loaded or ignored is forgotten.
    """
    entity, connection = scope.entity, scope.connection
    if entity.name != USAGE_EVENTS:
        return
    own = f"entity = {literal(entity.name)}"
    if scope.restages_all:
        connection.execute(f"delete from {IGNORED_VERSIONS} where {own}")
    else:
        keys = f"select md5_number({entity.key}) from {decided} where _outcome in ('loaded', 'ignored')"
        connection.execute(f"delete from {IGNORED_VERSIONS} where {own} and key_hash in ({keys})")
    if ignored:
        connection.execute(
            f"insert into {IGNORED_VERSIONS} select {literal(entity.name)}, md5_number(_key), _version, _load_id "
            f"from ({ignored}) where _key is not null"
        )
