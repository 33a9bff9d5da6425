"""Records the versions of ignored records, for entities that are staged incrementally.

An ignored record is not in a staged table. ``run.ignored_versions`` has its version, so that an older version of the
same record that is loaded later is superseded, as it is when all records are staged from scratch. A key is stored as a
hash of 128 bits.
"""

from __future__ import annotations

from csm_core.contract import USAGE_EVENTS
from csm_core.staging.plan import Scope
from csm_core.warehouse.models import literal

IGNORED_VERSIONS = "run.ignored_versions"


def record_ignored(scope: Scope, ignored: str, *, decided: str = "") -> None:
    """Record the ignored records of a scope, given as a SELECT of ``_key``, ``_version`` and ``_load_id``.

    ``decided`` is the table of the records with their outcomes, for an incremental scope: earlier entries of keys that
    are now loaded or ignored are deleted.
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
