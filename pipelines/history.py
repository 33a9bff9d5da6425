"""The Dagster instance of dagster.yaml: secrets hidden in every event, failed runs explained, SQLite kept open.

Keeping SQLite open (``pipelines.open_sqlite``) uses private parts of Dagster. If they differ in a version of Dagster,
the instance logs a warning and uses Dagster's own storage, which is slower and has the same files. A DAGSTER_HOME with
a dagster.yaml that does not name this class also works, and can be changed at any time.
"""

import logging
from collections.abc import Mapping
from typing import Any

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, EventLogEntry
from dagster import __version__ as dagster_version
from dagster_shared.serdes import pack_value, serialize_value, unpack_value

from assets.check_days import MOST_DAYS
from csm_core.redaction import anything_to_hide, without_secrets, without_secrets_inside


class Instance(DagsterInstance):
    """Dagster's instance, with SQLite connections that stay open. Other storage is not changed."""

    def __init__(self, *, event_storage: Any, run_storage: Any, **others: Any) -> None:
        event_storage, run_storage = _kept_open(event_storage, run_storage)
        super().__init__(event_storage=event_storage, run_storage=run_storage, **others)

    def handle_new_event(self, event: EventLogEntry, **more: Any) -> None:
        """Store an event without secrets; the event of a failed run also gets its problems and next steps."""
        if event.dagster_event and event.dagster_event.event_type == DagsterEventType.RUN_FAILURE:
            event = self._explained(event, event.dagster_event)
        super().handle_new_event(_without_secrets(_planned_once(event)), **more)

    def _explained(self, event: EventLogEntry, failure: DagsterEvent) -> EventLogEntry:
        # The web server and the daemon also load this module, and do not need the pipeline.
        from pipelines.failures import failure_text, show_held_partitions

        try:
            run = self.get_run_by_id(event.run_id)
            text = failure_text(self, run) if run else None
            if run is None or text is None:
                return event
            show_held_partitions(self, run)
            return event._replace(dagster_event=failure._replace(message=f"{failure.message}\n{text}"))
        except Exception:  # The failure must be stored in any case.
            logging.getLogger(__name__).exception(
                "the failure of run %s is stored without its problems and next steps", event.run_id
            )
            return event

    @classmethod
    def config_schema(cls) -> dict[str, Any]:
        """The class has no settings in dagster.yaml."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, Any]:
        """The defaults of Dagster's instance: storage in the folder of dagster.yaml."""
        from dagster._core.instance.ref import InstanceRef

        return InstanceRef.config_defaults(base_dir)


def _kept_open(event_storage: Any, run_storage: Any) -> tuple[Any, Any]:
    try:
        from pipelines.open_sqlite import difference, kept_open

        reason = difference()
        if reason is None:
            return kept_open(event_storage, run_storage)
    except (ImportError, AttributeError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
    logging.getLogger(__name__).warning(
        "The storage of Dagster %s differs from the expected one (%s). Runs work, but take longer: install a "
        "version of Dagster that pyproject.toml allows.",
        dagster_version,
        reason,
    )
    return event_storage, run_storage


def _planned_once(event: EventLogEntry) -> EventLogEntry:
    """The event of a planned check, without its days if the run reports its checks once: they would stay unfinished."""
    if not event.dagster_event or event.dagster_event.event_type != DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
        return event
    planned = event.dagster_event.asset_check_planned_data
    if planned.partitions_subset is None or len(planned.partitions_subset) <= MOST_DAYS:
        return event
    whole = type(planned)(asset_key=planned.asset_key, check_name=planned.check_name)
    return event._replace(dagster_event=event.dagster_event._replace(event_specific_data=whole))


def _without_secrets(event: EventLogEntry) -> EventLogEntry:
    """The event with all secrets hidden, in error messages and their causes, metadata and log lines."""
    if not anything_to_hide():
        return event
    text = serialize_value(event)
    if without_secrets(text) == text:
        return event
    hidden: Any = unpack_value(without_secrets_inside(pack_value(event)))
    return hidden
