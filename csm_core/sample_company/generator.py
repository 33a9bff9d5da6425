"""Generates the fictional company with DuckDB and writes it to a folder; the SQL is in the other modules."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb

from csm_core.errors import InputError
from csm_core.sample_company import accounts_sql, contact_records_sql, contract_records_sql, odd_sql, usage_sql

_RECORDS = {**contract_records_sql.ENTITIES, **contact_records_sql.ENTITIES}
ENTITY_NAMES = (*_RECORDS, "usage_events")

FORMATS = ("parquet", "csv", "jsonl", "mixed")

# A smaller company has no broken records, because they would exceed the limit for rejected records.
BROKEN_FROM_ACCOUNTS = 100

_MIXED = {
    "accounts": "csv",
    "features": "csv",
    "subscriptions": "csv",
    "invoices": "csv",
    "tickets": "jsonl",
    "nps_responses": "csv",
    "interactions": "jsonl",
    "tam_assessments": "csv",
    "usage_events": "parquet",
}

_COPY_OPTIONS = {
    "parquet": "format parquet, compression zstd, parquet_version v2, row_group_size 122880",
    "csv": "format csv, header true, timestampformat '%Y-%m-%dT%H:%M:%SZ'",
    "jsonl": "format json, timestampformat '%Y-%m-%dT%H:%M:%SZ'",
}


@dataclass(frozen=True)
class GeneratedCompany:
    """A generated company: its folder, the first and last day (inclusive), and the number of records per entity."""

    folder: Path
    first_date: date
    last_date: date
    counts: Mapping[str, int]


def generate(
    folder: Path | str,
    *,
    accounts: int = 200,
    days: int = 275,
    end: date = date(2026, 9, 30),
    seed: int = 7,
    events_per_account_day: float = 1.8,
    format: str = "parquet",  # noqa: A002  the usual name of this option
    per_day_files: bool = False,
    odd_records: bool = True,
    memory_limit: str | None = None,
    threads: int | None = None,
) -> GeneratedCompany:
    """Write a company to ``folder``: one file per entity, and for usage events a folder with one file per month or day.

    The same arguments generate the same records in the same order on every machine. Each account has one of eleven
    archetypes (thriving, sinking, dormant, churned …, see ``accounts_sql.ARCHETYPES``), which determines its signals.

    :param accounts: number of accounts; the share of each archetype is constant.
    :param days: number of days with records; the last day is ``end``.
    :param events_per_account_day: usage events ÷ (accounts × days), accurate to about one percent.
    :param format: ``parquet``, ``csv`` or ``jsonl`` for all entities, or ``mixed`` as in the bundled example.
    :param per_day_files: write usage events as one file per day instead of one per month; both are sorted by time.
    :param odd_records: include unusual names, corrections and duplicates; and, with 100 or more accounts, a few broken
        records that are quarantined.
    :param memory_limit: memory limit of DuckDB, such as ``2GB``; larger sorts spill to a temporary folder.
    :param threads: number of threads of DuckDB; the result does not depend on it.
    :raises InputError: for an argument outside its range.
    """
    _check(accounts=accounts, days=days, events_per_account_day=events_per_account_day, format=format)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    _remove_earlier(target)
    first = end - timedelta(days=days - 1)
    formats = _MIXED if format == "mixed" else dict.fromkeys(ENTITY_NAMES, format)
    with tempfile.TemporaryDirectory(prefix="sample_company_") as spill:
        settings: dict[str, str | bool | int | float | list[str]] = {"temp_directory": spill}
        if memory_limit is not None:
            settings["memory_limit"] = memory_limit
        if threads is not None:
            settings["threads"] = threads
        with duckdb.connect(":memory:", config=settings) as connection:
            _draw_company(
                connection,
                accounts=accounts,
                first=first,
                end=end,
                seed=seed,
                total_events=round(accounts * days * events_per_account_day),
                odd_records=odd_records,
            )
            broken = odd_records and accounts >= BROKEN_FROM_ACCOUNTS
            counts = {
                entity: _write_entity(connection, target, entity, formats[entity], odd=odd_records, broken=broken)
                for entity in _RECORDS
            }
            counts["usage_events"] = _write_usage(
                connection,
                target / "usage_events",
                formats["usage_events"],
                chunks=_chunks(first, end, by_day=per_day_files),
                odd=odd_records,
                broken=broken,
            )
    return GeneratedCompany(folder=target, first_date=first, last_date=end, counts=counts)


def _check(*, accounts: int, days: int, events_per_account_day: float, format: str) -> None:  # noqa: A002
    if format not in FORMATS:
        raise InputError(f"unknown format {format!r}; expected one of {', '.join(FORMATS)}")
    if accounts < 1 or days < 1:
        raise InputError(f"accounts and days must be at least 1, got {accounts} and {days}")
    if not 0 <= events_per_account_day <= 100_000:
        raise InputError(f"events per account and day must be from 0 to 100000, got {events_per_account_day}")


def _remove_earlier(folder: Path) -> None:
    """Remove the files of an earlier run, so that no files of another format or period are left."""
    for entity in ENTITY_NAMES:
        for suffix in ("parquet", "csv", "jsonl"):
            (folder / f"{entity}.{suffix}").unlink(missing_ok=True)
        if (folder / entity).is_dir():
            shutil.rmtree(folder / entity)


def _draw_company(
    connection: duckdb.DuckDBPyConnection,
    *,
    accounts: int,
    first: date,
    end: date,
    seed: int,
    total_events: int,
    odd_records: bool,
) -> None:
    variables: dict[str, object] = {
        "seed": str(seed),
        "accounts": accounts,
        "start_date": first,
        "end_date": end,
        "total_events": total_events,
        "odd": odd_records,
        "adjectives": accounts_sql.ADJECTIVES,
        "nouns": accounts_sql.NOUNS,
        "trades": accounts_sql.TRADES,
        "owners": accounts_sql.OWNERS,
    }
    for name, value in variables.items():
        connection.execute(f"set variable {name} = ?", [value])
    connection.execute(accounts_sql.MACROS)
    connection.execute("create table archetype (archetype varchar, first_bucket bigint, last_bucket bigint)")
    bucket = 0
    for archetype, width in accounts_sql.ARCHETYPES:
        connection.execute("insert into archetype values (?, ?, ?)", [archetype, bucket, bucket + width - 1])
        bucket += width
    connection.execute("create table odd_name (i bigint, account_name varchar)")
    connection.executemany("insert into odd_name values (?, ?)", list(accounts_sql.ODD_NAMES))
    for statement in (accounts_sql.FEATURES, accounts_sql.ACCOUNTS, usage_sql.ADOPTIONS, usage_sql.ACCOUNT_DAYS):
        connection.execute(statement)
    connection.execute("create table adopters as select distinct i, adopted from adoption")


def _write_entity(
    connection: duckdb.DuckDBPyConnection, folder: Path, entity: str, file_format: str, *, odd: bool, broken: bool
) -> int:
    connection.execute(f"create or replace temp table drawn_row as {_RECORDS[entity]}")
    # The order is: the regular records, then later versions of some of them, then the broken ones.
    connection.execute(
        "create or replace temp table entity_row as select * exclude (part, sort_key) from drawn_row order by sort_key"
    )
    for wanted, statements in ((odd, odd_sql.ODD), (broken, odd_sql.BROKEN)):
        if wanted and entity in statements:
            connection.execute(f"create or replace temp table further_row as {statements[entity]}")
            connection.execute("insert into entity_row select * from further_row")
    return _copy(connection, "from entity_row", folder / f"{entity}.{file_format}", file_format)


def _write_usage(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    file_format: str,
    *,
    chunks: Iterator[tuple[str, date, date]],
    odd: bool,
    broken: bool,
) -> int:
    folder.mkdir(parents=True)
    further = [
        statement
        for wanted, statement in ((odd, usage_sql.ODD_USAGE_EVENTS), (broken, usage_sql.BROKEN_USAGE_EVENTS))
        if wanted
    ]
    parts = [usage_sql.USAGE_EVENTS]
    parts += [
        "select event_id, account_id, user_id, event_name, feature, cast(quantity as bigint),"
        " at_second(getvariable('end_date') - cast(days_before_end as integer), second)"
        f" from ({statement}) as further"
        " where getvariable('end_date') - days_before_end between getvariable('first_day') and getvariable('last_day')"
        for statement in further
    ]
    # Events at the same time are ordered by id; of a repeated id, the larger quantity comes first.
    query = (
        "select event_id, account_id, user_id, event_name, feature, quantity, occurred_at from ("
        + " union all ".join(parts)
        + ") as events order by occurred_at, account_id, event_id, quantity desc"
    )
    written = 0
    for name, first_day, last_day in chunks:
        connection.execute("set variable first_day = ?", [first_day])
        connection.execute("set variable last_day = ?", [last_day])
        written += _copy(connection, query, folder / f"{name}.{file_format}", file_format)
    return written


def _copy(connection: duckdb.DuckDBPyConnection, query: str, path: Path, file_format: str) -> int:
    """Write the rows of ``query`` in their order; return the number of rows."""
    quoted = str(path).replace("'", "''")
    options = _COPY_OPTIONS[file_format]
    names = {name for name, *_ in connection.execute(f"describe {query}").fetchall()}
    if file_format == "csv" and "account_name" in names:
        # The name of one account is NULL, which is read as null unless it is quoted.
        options = f"{options}, force_quote (account_name)"
    row = connection.execute(f"copy ({query}) to '{quoted}' ({options})").fetchone()
    return int(row[0]) if row is not None else 0


def _chunks(first: date, end: date, *, by_day: bool) -> Iterator[tuple[str, date, date]]:
    """File name without suffix, first and last day of each chunk, in time order."""
    day = first
    while day <= end:
        if by_day:
            last, name = day, day.isoformat()
        else:
            next_month = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
            last, name = min(end, next_month - timedelta(days=1)), f"{day:%Y-%m}"
        yield name, day, last
        day = last + timedelta(days=1)
