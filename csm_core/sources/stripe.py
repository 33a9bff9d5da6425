"""The source system ``stripe``: files of API records, tables landed by Fivetran or Airbyte, or the API itself.

What the records mean is the business of ``sql/staging/stripe``. Here they only reach raw: records of files and of the
API by their kind, landed tables as snapshots of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import duckdb

from csm_core.errors import SourceError
from csm_core.sources.files import source_folder
from csm_core.sources.landed import files_of, found_tables, landed_files
from csm_core.sources.loading import load_tables
from csm_core.sources.pulling import pull, pulled_files
from csm_core.sources.raw_tables import LoadResult, Log, RawTable
from csm_core.sources.settings import LandedTables, StripeApi, StripeSettings
from csm_core.sources.stripe_api import StripeStream, connect, reach

SYSTEM = "stripe"
RECORDS = {
    "customers": "invoices",
    "subscriptions": "subscriptions",
    "invoices": "invoices",
    "credit_notes": "invoices",
    "events": "subscriptions",
}
AIRBYTE = ("customers", "subscriptions", "invoices", "credit_notes")
# Newer connectors of Fivetran land the history of a table instead of the table.
FIVETRAN = {
    "customer": ("customer",),
    "subscription": ("subscription", "subscription_history"),
    "subscription_item": ("subscription_item",),
    "plan": ("plan",),
    "price": ("price",),
    "invoice": ("invoice",),
    "invoice_line_item": ("invoice_line_item",),
    "credit_note": ("credit_note",),
}
NEEDED = ("subscriptions", "invoices")


def _landed(name: str) -> RawTable:
    entity = "subscriptions" if "subscription" in name else "invoices"
    return RawTable(SYSTEM, name, entity, ("id",), records=True, snapshot=True)


RAW_TABLES = (
    *(RawTable(SYSTEM, name, entity, ("id",), records=True) for name, entity in RECORDS.items()),
    *(_landed(f"airbyte_{name}") for name in AIRBYTE),
    *(_landed(f"fivetran_{name}") for name in FIVETRAN),
)


class StripeSource:
    """Brings customers, subscriptions, invoices, credit notes and events."""

    name = SYSTEM

    @property
    def raw_tables(self) -> tuple[RawTable, ...]:
        """Records as Stripe has them, and the tables that others land."""
        return RAW_TABLES

    def check(self, settings: StripeSettings) -> str:
        """Say what there is to read. Raises SourceError where neither subscriptions nor invoices are there."""
        if settings.tables:
            found = found_tables(settings.tables, _landed_names(settings.tables))
            _require(settings.tables.path, found)
            return f"{settings.tables.path}: tables {', '.join(found)}"
        if settings.path:
            folder = source_folder(settings.path, SYSTEM)
            found = [name for name in RECORDS if files_of(folder, name)]
            _require(folder, found)
            return f"{folder}: {', '.join(found)}"
        return reach(settings.api or StripeApi())

    def load(
        self,
        connection: duckdb.DuckDBPyConnection,
        sources: Sequence[StripeSettings],
        *,
        loaded_at: datetime,
        folder: Path,
        log: Log,
    ) -> list[LoadResult]:
        """Load what is new of all Stripe accounts, all of it or nothing.

        Raises SourceError for a folder, a table or a file that is not as it should be, ConfigError and
        SourceUnavailableError as the API has it; what was fetched until then is kept.
        """
        files: dict[str, dict[Path, str]] = {table.name: {} for table in RAW_TABLES}
        for source in sources:
            for name, paths in _files(source, folder / source.label, log).items():
                files[name] |= dict.fromkeys(paths, source.label)
        targets = [(table, files[table.name]) for table in RAW_TABLES]
        return load_tables(connection, targets, loaded_at=loaded_at, log=log)


def _files(source: StripeSettings, kept: Path, log: Log) -> dict[str, list[Path]]:
    """Files by the raw table that they belong to."""
    if source.tables:
        found = landed_files(source.tables, _landed_names(source.tables), kept / "tables")
        _require(source.tables.path, list(found))
        return {_raw_name(source.tables, name): paths for name, paths in found.items()}
    if source.path:
        folder = source_folder(source.path, SYSTEM)
        found = {name: files_of(folder, name) for name in RECORDS}
        _require(folder, [name for name, paths in found.items() if paths])
        return found
    pull(SYSTEM, source.label, StripeStream(connect(source.api or StripeApi())), kept / "api", log)
    return {name: pulled_files(kept / "api", name) for name in RECORDS}


def _landed_names(landed: LandedTables) -> tuple[str, ...]:
    return AIRBYTE if landed.by == "airbyte" else tuple(name for names in FIVETRAN.values() for name in names)


def _raw_name(landed: LandedTables, name: str) -> str:
    if landed.by == "airbyte":
        return f"airbyte_{name}"
    return next(f"fivetran_{raw}" for raw, names in FIVETRAN.items() if name in names)


def _require(place: Path, found: Sequence[str]) -> None:
    if not any(name.removesuffix("_history").rstrip("s") in ("subscription", "invoice") for name in found):
        message = (
            f"{place}: neither subscriptions nor invoices of Stripe are there. Expected files or tables such as "
            f"{', '.join(NEEDED)}. Found: {', '.join(found) or 'nothing'}."
        )
        raise SourceError(message)
