"""Maps vendors' customers to accounts in ``staging.account_map``, which staging models join.

A system's step ``<system>_externals`` lists its customers (``_source``, ``external_id``, ``external_name``,
``external_domain``, ``claimed_account_id``). Each becomes one row of the map. The first matching rule applies:

1. ``file``: the configured map contains the customer. If its ``account_id`` is blank, the customer is not an account,
   and its records are ignored.
2. ``column``: the vendor's record contains an ``account_id``.
3. ``domain``: its domain belongs to exactly one account in the configured list of domains.

A line of the map with ``?`` as the account is undecided and has no effect.

A customer without a matching rule has a null ``account_id``, and its records are rejected as unmatched. Customers are
never matched by similarity; `csm identity` only lists candidates.

``csm_core.accounts.domains`` parses domains in the list and in the vendors' records, and ``identifier_text`` parses
identifiers: ``7.0`` is ``7``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import duckdb

from csm_core.accounts.domains import DOMAIN_FORMS, write_domain_forms
from csm_core.config import Config
from csm_core.contract import ACCOUNT_MAP, ACCOUNTS, ENTITIES, UNDECIDED
from csm_core.errors import SourceError
from csm_core.ingest.loader import load_tables
from csm_core.ingest.raw_tables import Log, RawTable
from csm_core.sources.files import readable_files
from csm_core.system.terminal import printable
from csm_core.system.text_table import counted
from csm_core.warehouse.catalog import table_exists, transaction
from csm_core.warehouse.models import literal
from csm_core.warehouse.text_macros import BLANKS, create_macros

SYSTEM = "identity"
MAP_TABLE = RawTable(
    SYSTEM, "account_map", "account_map", ("system", "external_id", "account_id"), ("source",), snapshot=True
)
DOMAIN_TABLE = RawTable(SYSTEM, "account_domains", "account_domains", ("account_id", "domain"), snapshot=True)
EXTERNAL_COLUMNS = ("_source", "external_id", "external_name", "external_domain", "claimed_account_id")
# Mail providers: many companies use these domains, so they do not identify a company.
SHARED_DOMAINS = (
    *("gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "live.com", "msn.com", "yahoo.com", "icloud.com"),
    *("me.com", "aol.com", "gmx.de", "gmx.net", "web.de", "t-online.de", "mail.ru", "qq.com", "163.com"),
    *("proton.me", "protonmail.com", "zoho.com"),
)
_DECIDED = f"coalesce(trim(cast(account_id as varchar)), '') <> {literal(UNDECIDED)}"


def externals_table(system: str) -> str:
    """Return the step that lists a system's customers."""
    return f"staging.{system}_externals"


def load(connection: duckdb.DuckDBPyConnection, config: Config, *, loaded_at: datetime, log: Log) -> None:
    """Load the configured files of account map and domains. Raises SourceError for a file with unparseable lines."""
    files = ((MAP_TABLE, config.identity.account_map), (DOMAIN_TABLE, config.identity.account_domains))
    targets: list[tuple[RawTable, Sequence[Path]]] = [(table, _files(path)) for table, path in files]
    load_tables(connection, targets, loaded_at=loaded_at, log=log)
    broken = connection.execute(
        "select source_file, source_line, detail from raw.unparseable_rows where system = ? order by all limit 1",
        [SYSTEM],
    ).fetchone()
    if broken:
        message = f"{broken[0]}: line {broken[1]} cannot be read: {broken[2]}. Correct the file and run again."
        raise SourceError(message)


def _files(path: Path | None) -> list[Path]:
    if path is None:
        return []
    if path.is_dir():
        return readable_files(path)
    if not path.is_file():
        message = f"{path}: does not exist. Set `account_map` and `account_domains` under `identity:` in csm.yaml."
        raise SourceError(message)
    return [path]


def build(connection: duckdb.DuckDBPyConnection, config: Config, systems: Sequence[str]) -> int:
    """Build ``staging.account_map`` for the given systems; returns its number of customers.

    Raises SourceError for a line of the map or of the list of domains that lacks a required value, contains an invalid
    domain, maps a customer to several accounts, or contains a system that is not configured.
    """
    create_macros(connection)
    _require_values(connection, MAP_TABLE, ("system", "external_id"))
    _require_values(connection, DOMAIN_TABLE, ("account_id", "domain"))
    _require_plain_map(connection, {source.system for source in config.sources})
    queries = [
        f"select {literal(system)} as system, {', '.join(EXTERNAL_COLUMNS)} from {externals_table(system)}"
        for system in systems
        if table_exists(connection, externals_table(system))
    ]
    empty = "select null::varchar as system, " + ", ".join(f"null::varchar as {name}" for name in EXTERNAL_COLUMNS)
    externals = " union all ".join(queries) or f"{empty} limit 0"
    sources = ", ".join(f"({literal(one.system)}, {literal(one.label)})" for one in config.sources)
    shared = ", ".join(literal(domain) for domain in SHARED_DOMAINS)
    write_domain_forms(
        connection, f"select external_domain from ({externals}) union all select domain from {DOMAIN_TABLE.table}"
    )
    _require_domains(connection)
    with transaction(connection):
        connection.execute(
            f"""
            create or replace table {ACCOUNT_MAP} as
            with externals as ({externals}),
            sources(system, _source) as (values {sources}),
            mapped as (
                select distinct sources.system, sources._source, {_id("map.external_id")} as external_id,
                    {_id("map.account_id")} as account_id
                from {MAP_TABLE.table} as map inner join sources on sources.system = {_text("map.system")}
                where ({_text("map.source")} is null or {_text("map.source")} = sources._source) and {_DECIDED}
            ),
            domains as (
                select forms.domain, min({_id("listed.account_id")}) as account_id
                from {DOMAIN_TABLE.table} as listed
                inner join {DOMAIN_FORMS} as forms on forms.written = cast(listed.domain as varchar)
                where forms.domain not in ({shared})
                group by forms.domain having count(distinct {_id("listed.account_id")}) = 1
            ),
            customers as (
                select stated.system, stated._source, stated.external_id, max(stated.external_name) as external_name,
                    max(forms.domain) as external_domain,
                    max({_id("stated.claimed_account_id")}) as claimed_account_id
                from (
                    from externals union all
                    select system, _source, external_id, null, null, null from mapped
                ) as stated
                left join {DOMAIN_FORMS} as forms on forms.written = cast(stated.external_domain as varchar)
                where stated.external_id is not null group by all
            )
            select customers.system, customers._source, customers.external_id, customers.external_name,
                customers.external_domain,
                case when mapped.external_id is not null then mapped.account_id
                    else coalesce(customers.claimed_account_id, domains.account_id) end as account_id,
                case when mapped.external_id is not null then 'file'
                    when customers.claimed_account_id is not null then 'column'
                    when domains.account_id is not null then 'domain' end as matched_by,
                mapped.external_id is not null and mapped.account_id is null as is_ignored
            from customers
            left join mapped using (system, _source, external_id)
            left join domains on domains.domain = customers.external_domain
            order by all
            """
        )
    connection.execute(f"drop table {DOMAIN_FORMS}")
    row = connection.execute(f"select count(*) from {ACCOUNT_MAP}").fetchone()
    return int(row[0]) if row else 0


def unknown_accounts(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, int, str]]:
    """Return file, line and account of the lines in the list of domains with an unknown account."""
    if not table_exists(connection, DOMAIN_TABLE.table):
        return []
    create_macros(connection)
    account = _id("account_id")
    return connection.execute(
        f"select _source_file, _source_line, {account} from {DOMAIN_TABLE.table} where {account} is not null "
        f"and {account} not in (select account_id from {ENTITIES[ACCOUNTS].table}) order by all"
    ).fetchall()


def unknown_accounts_text(unknown: Sequence[tuple[str, int, str]]) -> str:
    """Return the message about the lines from ``unknown_accounts``."""
    file, line, account = unknown[0]
    return (
        f"{file}: {counted(len(unknown), 'line')} with an unknown account_id. "
        f"First: line {line}, {printable(account, 80)!r}. Correct the account_id, or remove the line."
    )


def _require_values(connection: duckdb.DuckDBPyConnection, table: RawTable, columns: Sequence[str]) -> None:
    """Raise SourceError for the first line without a value in one of the columns."""
    for column in columns:
        found = connection.execute(
            f"select _source_file, _source_line from {table.table} where {_text(column)} is null order by all limit 1"
        ).fetchone()
        if found:
            message = f"{found[0]}: line {found[1]}: {column} is missing. Add the value, or remove the line."
            raise SourceError(message)


def _require_domains(connection: duckdb.DuckDBPyConnection) -> None:
    found = connection.execute(
        f"select listed._source_file, listed._source_line, forms.written from {DOMAIN_TABLE.table} as listed "
        f"inner join {DOMAIN_FORMS} as forms on forms.written = cast(listed.domain as varchar) "
        "where forms.domain is null order by all limit 1"
    ).fetchone()
    if found:
        message = (
            f"{found[0]}: line {found[1]}: domain {printable(str(found[2]))!r} is not a domain. Write a domain such as "
            "example.com, or an address that contains one, or remove the line."
        )
        raise SourceError(message)


def _require_plain_map(connection: duckdb.DuckDBPyConnection, systems: set[str]) -> None:
    twice = connection.execute(
        f"""
        select {_text("system")} as system, {_id("external_id")} as external_id, min(_source_file),
            list(distinct coalesce({_id("account_id")}, ''))
        from {MAP_TABLE.table} where {_DECIDED}
        group by {_text("system")}, {_id("external_id")}, {_text("source")}
        having count(distinct coalesce({_id("account_id")}, '')) > 1 order by all limit 1
        """
    ).fetchone()
    if twice:
        accounts = ", ".join(sorted(printable(account) or "no account" for account in twice[3]))
        message = (
            f"{twice[2]}: {twice[0]} {printable(twice[1])!r} is mapped to several accounts: {accounts}. "
            "Keep only one of these lines."
        )
        raise SourceError(message)
    unknown = connection.execute(
        f"select {_text('system')}, _source_file, _source_line from {MAP_TABLE.table} "
        f"where not list_contains(?, {_text('system')}) order by all limit 1",
        [sorted(systems)],
    ).fetchone()
    if unknown:
        message = (
            f"{unknown[1]}: line {unknown[2]}: the system {printable(unknown[0])!r} is not configured. "
            f"Configured: {', '.join(sorted(systems))}."
        )
        raise SourceError(message)


def _text(column: str) -> str:
    """Return an expression for a column of any type as text without surrounding blanks; null for blank text."""
    return f"nullif(trim(cast({column} as varchar), {literal(BLANKS)}), '')"


def _id(column: str) -> str:
    """Return an expression for a column as an identifier."""
    return f"identifier_text(cast({column} as varchar))"
