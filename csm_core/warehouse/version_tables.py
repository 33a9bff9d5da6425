"""The tables of the attributes of accounts and features over time, next to their staged tables.

A version has the attributes of a key from ``valid_from`` until before ``valid_to`` (null: still).
``csm_core.staging.attribute_versions`` maintains the tables and states the rules.
"""

from __future__ import annotations

from dataclasses import dataclass

from csm_core.contract import ENTITIES, VALID_FROM, Entity, Kind

ALWAYS = "timestamp '1900-01-01'"
"""``valid_from`` of a first version whose source states no time: the earliest time that a record can state."""


@dataclass(frozen=True)
class VersionTable:
    """The table of the versions of a versioned entity."""

    entity: Entity

    @property
    def name(self) -> str:
        """The name without its schema and prefix, as changes of the table are recorded."""
        return f"{self.entity.name.removesuffix('s')}_versions"

    @property
    def table(self) -> str:
        """The schema-qualified table."""
        return f"staging.stg_{self.name}"

    @property
    def attributes(self) -> tuple[str, ...]:
        """The columns of the entity that a version has: all but the key and the times."""
        return tuple(column.name for column in self.entity.columns[1:] if column.kind is not Kind.TIMESTAMP)

    @property
    def columns(self) -> dict[str, str]:
        """The names and types of the columns: with the span, what states ``valid_from``, and the latest load."""
        kinds = {column.name: str(column.kind) for column in self.entity.columns}
        return {name: kinds[name] for name in (self.entity.key, *self.attributes)} | {
            VALID_FROM: "timestamp",
            "valid_to": "timestamp",
            "basis": "varchar",
            "_load_id": "bigint",
        }

    @property
    def definition(self) -> str:
        """The column list of ``create table``."""
        return ", ".join(f"{name} {kind}" for name, kind in self.columns.items())


VERSION_TABLES: dict[str, VersionTable] = {
    entity.name: VersionTable(entity) for entity in ENTITIES.values() if entity.is_versioned
}
"""The version tables by the name of their entity."""
