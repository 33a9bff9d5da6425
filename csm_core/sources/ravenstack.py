"""The source system ``ravenstack``: a third-party data set of five CSV files, loaded unchanged.

The staging models in ``sql/staging/ravenstack`` map its columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import duckdb

from csm_core.contract import Reason
from csm_core.errors import SourceError
from csm_core.ingest.found_files import FoundFiles, UnreadFile, find_files
from csm_core.ingest.loader import load_tables
from csm_core.ingest.raw_tables import LoadResult, Log, RawTable
from csm_core.ingest.record_kinds import Field, RecordKind, Reference, flags, level, numbers, times
from csm_core.sources.files import source_folder
from csm_core.sources.settings import RavenStackSettings
from csm_core.system.text_table import counted

SYSTEM = "ravenstack"


def _table(name: str, entity: str, columns: str) -> RawTable:
    return RawTable(SYSTEM, name, entity, tuple(columns.split()), snapshot=True)


RAW_TABLES: tuple[RawTable, ...] = (
    _table(
        "accounts",
        "accounts",
        "account_id account_name industry country signup_date referral_source plan_tier seats is_trial churn_flag",
    ),
    _table(
        "churn_events",
        "accounts",
        "churn_event_id account_id churn_date reason_code refund_amount_usd preceding_upgrade_flag "
        "preceding_downgrade_flag is_reactivation feedback_text",
    ),
    _table(
        "feature_usage",
        "usage_events",
        "usage_id subscription_id usage_date feature_name usage_count usage_duration_secs error_count is_beta_feature",
    ),
    _table(
        "subscriptions",
        "subscriptions",
        "subscription_id account_id start_date end_date plan_tier seats mrr_amount arr_amount is_trial upgrade_flag "
        "downgrade_flag churn_flag billing_frequency auto_renew_flag",
    ),
    _table(
        "support_tickets",
        "tickets",
        "ticket_id account_id submitted_at closed_at resolution_time_hours priority first_response_time_minutes "
        "satisfaction_score escalation_flag",
    ),
)


def _kind(name: str, key: str, *fields: Field, required: Sequence[str], references: Sequence[Reference]) -> RecordKind:
    return RecordKind(
        name,
        (name,),
        (key,) if key else (),
        fields,
        tuple((path,) for path in required),
        versions=(),
        deletions=(),
        references=tuple(references),
    )


_KINDS = (
    _kind("accounts", "account_id", *times("signup_date"), required=("account_name",), references=()),
    _kind(
        "churn_events",
        "churn_event_id",
        *times("churn_date"),
        required=("account_id", "churn_date"),
        references=[Reference("account_id", "accounts", "account_id", reason=Reason.UNKNOWN_ACCOUNT)],
    ),
    # The key of a usage row consists of two columns; the gate chooses the latest version.
    _kind(
        "feature_usage",
        "",
        required=("usage_id", "subscription_id"),
        references=[Reference("subscription_id", "subscriptions", "subscription_id", having="account_id")],
    ),
    _kind(
        "subscriptions",
        "subscription_id",
        *times("start_date", "end_date"),
        *numbers("mrr_amount"),
        *level("billing_frequency", "annual", "monthly"),
        *flags("auto_renew_flag", "is_trial"),
        required=("account_id", "start_date"),
        references=(),
    ),
    _kind(
        "support_tickets",
        "ticket_id",
        *times("submitted_at", "closed_at"),
        *level("satisfaction_score", "1", "2", "3", "4", "5"),
        *flags("escalation_flag"),
        required=("account_id", "submitted_at"),
        references=(),
    ),
)


class RavenStackSource:
    """Reads a folder of ``ravenstack_<name>.csv`` or ``.csv.gz`` files."""

    name = SYSTEM
    kinds = _KINDS

    @property
    def raw_tables(self) -> tuple[RawTable, ...]:
        """One raw table per file of the data set."""
        return RAW_TABLES

    def check(self, settings: RavenStackSettings) -> str:
        """Report that the five files exist. Raises SourceError for a missing file."""
        return f"{settings.path}: {counted(len(data_files(settings).read), 'file')}"

    def load(
        self,
        connection: duckdb.DuckDBPyConnection,
        sources: Sequence[RavenStackSettings],
        *,
        loaded_at: datetime,
        folder: Path,  # noqa: ARG002  # nothing is fetched
        log: Log,
    ) -> list[LoadResult]:
        """Load the five files, all or none. Raises SourceError for a missing or unreadable file."""
        by_source = [data_files(settings).read for settings in sources]
        return load_tables(
            connection,
            [(table, [path for files in by_source for path in files[table.name]]) for table in RAW_TABLES],
            loaded_at=loaded_at,
            log=log,
        )


def data_files(settings: RavenStackSettings) -> FoundFiles:
    """The files of the data set by the table that they fill. Raises SourceError for a missing file."""
    folder = source_folder(settings.path, SYSTEM)
    found = find_files(folder, [f"{SYSTEM}_{table.name}" for table in RAW_TABLES], called="a table", numbered=False)
    chosen: dict[str, list[Path]] = {}
    for table in RAW_TABLES:
        name = f"{SYSTEM}_{table.name}"
        files = found.read[name]
        if not files:
            message = (
                f"{folder / name}.csv: file not found, with or without .gz. The ravenstack source needs all five files."
            )
            raise SourceError(message)
        # Plain before compressed: a second copy of the table would double its rows.
        first, *rest = sorted(files, key=lambda path: (len(path.name), path.name))
        chosen[table.name] = [first]
        found.unread.extend(UnreadFile(path, f"{first.name} is read instead") for path in rest)
    return FoundFiles(chosen, found.unread)
