"""Finds the rows of an account in every table of a warehouse, for ``csm forget``: counts them, then deletes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from csm_core.contract import ACCOUNT_COLUMN, ACCOUNT_MAP, ACCOUNTS, BOOKKEEPING, ENTITIES, RECORD
from csm_core.ingest.column_names import REPLACED_AT
from csm_core.sources.registry import get_system
from csm_core.staging.casts import validate
from csm_core.warehouse.catalog import columns_of, table_exists
from csm_core.warehouse.models import literal, quoted, staging_models, staging_steps
from csm_core.warehouse.text_macros import create_macros

# The raw records of the account: their table, load, file and line.
PLACES = "temp.erased_places"
_PLACE = ("_load_id", "_source_file", "_source_line")
# Texts of rejected records and of lines that cannot be split.
_TEXT_TABLES = ("run.rejected_records", "raw.unparseable_rows")
_TEXT_COLUMNS = ("value", "record_key", "raw_text", "detail")
_LEDGERS = ("sync.notion_pages", "sync.notion_changes", "sync.notion_journal")
# In the JSON of a vendor's record: an id, or a reference to a customer.
_REFERENCE = r'(?i)"(?:\w*id|customer|company|organization|account)"\s*:\s*"?(?:{})"?\s*[,}}\]]'
# The users of a vendor's customer: a SELECT of their ids, as in the account map, and of the customer's.
_MEMBERS = {
    "delighted": "select 'person/' || respondent_id, external_id from staging.delighted_responses",
    "hubspot": "select 'contact/' || contact_id, company_id from staging.hubspot_contacts",
    "segment": "select 'user/' || member_id, group_id from staging.segment_memberships",
    "zendesk": (
        "select 'user/' || record_id, identifier_text(record ->> '$.organization_id') from staging.zendesk_records "
        "where kind = 'users'"
    ),
}
# Shorter names appear in other texts by chance.
_LEAST_NAME = 4


@dataclass(frozen=True)
class ErasedAccount:
    """An account to erase: its id, the names that it had, and its and its users' ids at vendors, as (system, id)."""

    account_id: str
    names: tuple[str, ...] = ()
    external_ids: tuple[tuple[str, str], ...] = ()
    member_ids: tuple[tuple[str, str], ...] = ()

    @property
    def text_pattern(self) -> str:
        """A regular expression for a text with the account's id, as a whole word, or one of its names."""
        words = [re.escape(self.account_id), *(re.escape(one) for one in self._long_names)]
        return rf"(?:^|[^\w-])(?:{'|'.join(words)})(?:$|[^\w-])"

    @property
    def replaced_pattern(self) -> str:
        """A regular expression like ``text_pattern``, also for the ids at vendors."""
        identifiers = [re.escape(one.rpartition("/")[2]) for _, one in self.external_ids]
        return "|".join([self.text_pattern, *(rf"(?:^|[^\w-]){one}(?:$|[^\w-])" for one in identifiers)])

    @property
    def _long_names(self) -> list[str]:
        return [name for name in self.names if len(name) >= _LEAST_NAME]


def find_erased(connection: duckdb.DuckDBPyConnection, account_id: str) -> ErasedAccount:
    """Return the names and external ids of an account, from the tables that have them."""
    names: set[str] = set()
    for table in (ENTITIES[ACCOUNTS].table, "intermediate.int_account_days", "marts.csm_health_last"):
        if table_exists(connection, table):
            rows = connection.execute(
                f"select distinct account_name from {table} where account_id = ? and account_name is not null",
                [account_id],
            ).fetchall()
            names |= {name for (name,) in rows}
    external: list[tuple[str, str]] = []
    if table_exists(connection, ACCOUNT_MAP):
        external = connection.execute(
            f"select distinct system, external_id from {ACCOUNT_MAP} where account_id = ? order by all", [account_id]
        ).fetchall()
    return ErasedAccount(account_id, tuple(sorted(names)), tuple(external), tuple(_members(connection, external)))


def _members(connection: duckdb.DuckDBPyConnection, customers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the ids of users who belong to no other customer of the vendor, as (system, id)."""
    found: list[tuple[str, str]] = []
    for system in sorted({system for system, _ in customers} & _MEMBERS.keys()):
        sql = _MEMBERS[system]
        table = sql.partition(" from ")[2].partition(" ")[0]
        if table_exists(connection, table):
            create_macros(connection)
            rows = connection.execute(
                f"select member from ({sql}) as members(member, customer) where member is not null "
                "group by member having bool_and(list_contains(?, customer)) order by all",
                [[external_id for of, external_id in customers if of == system]],
            ).fetchall()
            found += [(system, member) for (member,) in rows]
    return found


def find_places(connection: duckdb.DuckDBPyConnection, account: ErasedAccount) -> None:
    """Collect the raw records of the account in a temporary table, from the staging models that read them."""
    create_macros(connection)
    connection.execute(
        f"create or replace temp table {PLACES.removeprefix('temp.')} "
        "(raw_table varchar, _load_id bigint, _source_file varchar, _source_line bigint)"
    )
    staged = connection.execute("select distinct entity, system from run.staged_loads order by all").fetchall()
    for name, system in staged:
        entity, model = ENTITIES.get(name), staging_models(system).get(name)
        if entity is None or model is None or ACCOUNT_COLUMN not in entity.column_names:
            continue
        if not all(table_exists(connection, table) for table in model.dependencies):
            continue
        types = {
            str(column): str(kind)
            for column, kind, *_ in connection.execute(f"describe ({_unterminated(model.sql)})").fetchall()
        }
        validated = validate(entity, _unterminated(model.sql), types, system).sql
        for table in _raw_tables(system, model.dependencies):
            if table_exists(connection, table):
                connection.execute(
                    f"insert into {PLACES} select {literal(table)}, {', '.join(_PLACE)} from ({validated}) "
                    f"where {ACCOUNT_COLUMN} = ?",
                    [account.account_id],
                )


def deletions(connection: duckdb.DuckDBPyConnection, account: ErasedAccount) -> list[tuple[str, str]]:
    """Return each table with rows of the account, and the condition for these rows. ``find_places`` comes first."""
    conditions: dict[str, list[str]] = {}
    is_account = literal(account.account_id)
    rows = connection.execute(
        "select schema_name || '.' || table_name, list(column_name) from duckdb_columns() "
        "inner join duckdb_tables() using (database_name, schema_name, table_name) "
        "where database_name = current_database() and not duckdb_tables.temporary group by all order by all"
    ).fetchall()
    pattern = literal(account.text_pattern)
    raw_places = {table for (table,) in connection.execute(f"select distinct raw_table from {PLACES}").fetchall()}
    for table, columns in rows:
        found = conditions.setdefault(table, [])
        if ACCOUNT_COLUMN in columns:
            found.append(f"trim(cast({ACCOUNT_COLUMN} as varchar)) = {is_account}")
        if table in raw_places:
            found.append(
                f"({', '.join(_PLACE)}) in (select ({', '.join(_PLACE)}) from {PLACES} "
                f"where raw_table = {literal(table)})"
            )
        if table in _TEXT_TABLES or table.startswith("quarantine."):
            found += [f"regexp_matches({name}, {pattern})" for name in _TEXT_COLUMNS if name in columns]
        if REPLACED_AT in columns:
            # No model reads replaced rows, so that their account can be in any column.
            found += [
                f"regexp_matches(cast({quoted(name)} as varchar), {literal(account.replaced_pattern)})"
                for name in columns
                if name not in (*BOOKKEEPING, REPLACED_AT)
            ]
        if table in _LEDGERS:
            found.append(f"case when json_valid(key) then json_extract_string(key, '$[0]') = {is_account} end")
    for system in {system for system, _ in account.external_ids}:
        for table, condition in _of_vendor(connection, system, account):
            conditions.setdefault(table, []).append(condition)
    return [
        (table, " or ".join(f"coalesce({one}, false)" for one in found)) for table, found in conditions.items() if found
    ]


def count_rows(connection: duckdb.DuckDBPyConnection, found: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return the number of rows of each table that a deletion would delete, without tables that have none."""
    counts: dict[str, int] = {}
    for table, condition in found:
        row = connection.execute(f"select count(*) from {table} where {condition}").fetchone()
        if row and row[0]:
            counts[table] = int(row[0])
    return counts


def delete_rows(
    connection: duckdb.DuckDBPyConnection, account: ErasedAccount, found: Sequence[tuple[str, str]]
) -> dict[str, int]:
    """Delete the rows; returns their number by table. The steps of vendors are emptied: the next run fills them."""
    counts = count_rows(connection, found)
    for table, condition in found:
        if table in counts:
            connection.execute(f"delete from {table} where {condition}")
    for system in {system for system, _ in account.external_ids}:
        connection.execute("delete from run.record_builds where system = ?", [system])
        for step in staging_steps(system).values():
            if table_exists(connection, step.table):
                connection.execute(f"delete from {step.table}")
        if table_exists(connection, f"staging.{system}_records"):
            connection.execute(f"delete from staging.{system}_records")
    return counts


def mentions(connection: duckdb.DuckDBPyConnection, account: ErasedAccount) -> list[str]:
    """Return the columns of which texts still have the account's id as a word, or one of its names."""
    pattern = literal(account.text_pattern)
    columns: dict[str, list[str]] = {}
    for table, column in connection.execute(
        "select schema_name || '.' || table_name, column_name from duckdb_columns() "
        "inner join duckdb_tables() using (database_name, schema_name, table_name) "
        "where database_name = current_database() and not duckdb_tables.temporary and data_type = 'VARCHAR' "
        "order by all"
    ).fetchall():
        columns.setdefault(table, []).append(column)
    found: list[str] = []
    for table, names in columns.items():
        counted = ", ".join(f"count(*) filter (where regexp_matches({quoted(name)}, {pattern}))" for name in names)
        row = connection.execute(f"select {counted} from {table}").fetchone()
        found += [f"{table}.{name}" for name, count in zip(names, row or (), strict=False) if count]
    return found


def reference_pattern(identifiers: Sequence[str]) -> str:
    """Return a regular expression for JSON with one of these ids, as an id or a reference to a customer."""
    return _REFERENCE.format("|".join(map(re.escape, identifiers)))


def _of_vendor(connection: duckdb.DuckDBPyConnection, system: str, account: ErasedAccount) -> list[tuple[str, str]]:
    """The records of the vendor's customer, and the records that refer to it."""
    identifiers = [one.rpartition("/")[2] for of, one in account.external_ids if of == system]
    pattern = literal(reference_pattern(identifiers))
    listed = ", ".join(map(literal, identifiers))
    found: list[tuple[str, str]] = []
    for raw in get_system(system).raw_tables:
        if not table_exists(connection, raw.table):
            continue
        columns = columns_of(connection, raw.table)
        if RECORD in columns:
            found.append((raw.table, f"regexp_matches(cast({RECORD} as varchar), {pattern})"))
        else:
            ids = [name for name in columns if name.endswith("id") and name not in BOOKKEEPING]
            found += [(raw.table, f"cast({quoted(name)} as varchar) in ({listed})") for name in ids]
    return found


def _raw_tables(system: str, dependencies: frozenset[str]) -> list[str]:
    """Return the raw tables that a model reads, directly, through the steps of its system, or as vendor records."""
    steps = {step.table: step for step in staging_steps(system).values()}
    read, waiting = set[str](), list(dependencies)
    while waiting:
        table = waiting.pop()
        if table in read:
            continue
        read.add(table)
        if table in steps:
            waiting += steps[table].dependencies
    if f"staging.{system}_records" in read:
        read |= {raw.table for raw in get_system(system).raw_tables}
    return sorted(table for table in read if table.startswith("raw.") and table != "raw.loads")


def _unterminated(sql: str) -> str:
    return sql.rstrip().rstrip(";")
