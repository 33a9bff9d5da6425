"""Settings of the source ``spark``, and the check that usage events come from Spark alone or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from csm_core.contract import ENTITIES, USAGE_EVENTS
from csm_core.sources.files_settings import FilesSettings, mappable_columns, require_known, require_texts
from csm_core.sources.settings_base import SourceSettings, require_entities

SYSTEM = "spark"
ONE_SOURCE = (
    "Events of the system spark are validated on Spark and never stored in DuckDB, so an event that is in both sources "
    "could not be recognised as one."
)


class SparkSettings(SourceSettings, frozen=True):
    """The records of one entity in a table of Spark's catalog (``table``) or in Parquet files (``path``).

    ``columns`` maps columns of the contract to columns of the table; a column that is not named there is taken under
    its own name. An empty table after one with rows is an error, unless ``may_be_empty`` is set.
    """

    system: Literal["spark"]
    entity: str
    table: str | None = Field(default=None, pattern=r"^\S+$")
    path: str | None = Field(default=None, pattern=r"\S")
    columns: Mapping[str, str] = Field(default_factory=dict[str, str])
    may_be_empty: bool = False

    @property
    def label(self) -> str:
        """The name of the source; by default it names the entity, since a source has one."""
        return self.name or f"{SYSTEM}_{self.entity}"

    @property
    def place(self) -> str:
        """The table or path, for messages."""
        return self.table or self.path or ""

    @field_validator("entity")
    @classmethod
    def _known_entity(cls, value: str) -> str:
        require_entities((value,))
        return value

    @field_validator("path")
    @classmethod
    def _whole_path(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/") and "://" not in value:
            message = (
                "expected an absolute path or an address that Spark can read, such as s3a://bucket/events/*.parquet"
            )
            raise ValueError(message)
        return value

    @field_validator("columns", mode="before")
    @classmethod
    def _quoted_in_yaml(cls, value: object) -> object:
        require_texts("columns", value)
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.table is None) == (self.path is None):
            message = "set either table, a table of Spark's catalog, or path, Parquet files that Spark can read"
            raise ValueError(message)
        known = mappable_columns(self.entity)
        for column in self.columns:
            require_known(f"columns: {self.entity} has no column {column!r}", column, known)
        return self


def usage_on_spark(sources: Sequence[SourceSettings]) -> SparkSettings | None:
    """Return the source of usage events that are validated on Spark, if there is one."""
    return next((one for one in sources if isinstance(one, SparkSettings) and one.entity == USAGE_EVENTS), None)


def require_one_source_of_usage(sources: Sequence[SourceSettings]) -> None:
    """Raise ValueError if usage events are configured from Spark and from another source at once."""
    spark = usage_on_spark(sources)
    if spark is None:
        return
    for other in sources:
        if other is spark:
            continue
        if isinstance(other, FilesSettings):
            if USAGE_EVENTS in other.entities:
                kept = ", ".join(name for name in ENTITIES if name in other.entities and name != USAGE_EVENTS)
                message = (
                    f"usage_events come from {spark.label}, so the source {other.label} must not require them: set its "
                    f"`entities: [{kept}]`. {ONE_SOURCE}"
                )
                raise ValueError(message)
        elif _has_usage(other):
            message = f"usage_events come from {spark.label} and from {other.label}; remove one of them. {ONE_SOURCE}"
            raise ValueError(message)


def _has_usage(source: SourceSettings) -> bool:
    if isinstance(source, SparkSettings):
        return source.entity == USAGE_EVENTS
    return source.system in ("segment", "ravenstack") or USAGE_EVENTS in getattr(source, "queries", ())
