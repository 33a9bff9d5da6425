"""Which account a vendor's customer is: one table, ``staging.account_map``, that staging models join.

A system's step ``<system>_externals`` lists its customers (``_source``, ``external_id``, ``external_name``,
``external_domain``, ``claimed_account_id``). Each becomes one row of the map, by the first of these that speaks:

1. ``file``: the configured map names the customer; a blank ``account_id`` there says that it is no account, and its
   records are left out.
2. ``column``: the vendor's own record holds an ``account_id``.
3. ``domain``: its domain is that of exactly one account in the configured list of domains.

A line of the map that holds ``?`` in place of an account says nothing: somebody has still to decide.

Whoever is in none of them has a null ``account_id``: records of such customers are refused as unmatched. Nothing is
matched by likeness; `csm identity` proposes, a person decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import duckdb

from csm_core.config import Config
from csm_core.contract import ACCOUNT_MAP, UNDECIDED
from csm_core.errors import SourceError
from csm_core.sources.files import readable_files
from csm_core.sources.loading import load_tables
from csm_core.sources.raw_tables import Log, RawTable
from csm_core.sql_models import literal
from csm_core.warehouse import table_exists, transaction

SYSTEM = "identity"
MAP_TABLE = RawTable(
    SYSTEM, "account_map", "account_map", ("system", "external_id", "account_id"), ("source",), snapshot=True
)
DOMAIN_TABLE = RawTable(SYSTEM, "account_domains", "account_domains", ("account_id", "domain"), snapshot=True)
EXTERNAL_COLUMNS = ("_source", "external_id", "external_name", "external_domain", "claimed_account_id")
# Mail providers: half the world shares these domains, so they say nothing of who somebody is.
SHARED_DOMAINS = (
    *("gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "live.com", "msn.com", "yahoo.com", "icloud.com"),
    *("me.com", "aol.com", "gmx.de", "gmx.net", "web.de", "t-online.de", "mail.ru", "qq.com", "163.com"),
    *("proton.me", "protonmail.com", "zoho.com"),
)
_DECIDED = f"coalesce(trim(account_id), '') <> {literal(UNDECIDED)}"


def externals_table(system: str) -> str:
    """The step that lists a system's customers."""
    return f"staging.{system}_externals"


def load(connection: duckdb.DuckDBPyConnection, config: Config, *, loaded_at: datetime, log: Log) -> None:
    """Load the configured files of account map and domains. Raises SourceError for one that cannot be read whole."""
    given = ((MAP_TABLE, config.identity.account_map), (DOMAIN_TABLE, config.identity.account_domains))
    targets: list[tuple[RawTable, Sequence[Path]]] = [(table, _files(path)) for table, path in given]
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
        message = f"{path}: not there. Set `account_map` and `account_domains` under `identity:` in csm.yaml."
        raise SourceError(message)
    return [path]


def build(connection: duckdb.DuckDBPyConnection, config: Config, systems: Sequence[str]) -> int:
    """Build ``staging.account_map`` for the given systems; returns how many customers it has.

    Raises SourceError when the map names one customer twice with different accounts, or a system that is not
    configured.
    """
    _require_plain_map(connection, {source.system for source in config.sources})
    known = [
        f"select {literal(system)} as system, {', '.join(EXTERNAL_COLUMNS)} from {externals_table(system)}"
        for system in systems
        if table_exists(connection, externals_table(system))
    ]
    nobody = "select null::varchar as system, " + ", ".join(f"null::varchar as {name}" for name in EXTERNAL_COLUMNS)
    sources = ", ".join(f"({literal(one.system)}, {literal(one.label)})" for one in config.sources)
    shared = ", ".join(literal(domain) for domain in SHARED_DOMAINS)
    with transaction(connection):
        connection.execute(
            f"""
            create or replace table {ACCOUNT_MAP} as
            with externals as ({" union all ".join(known) or f"{nobody} limit 0"}),
            sources(system, _source) as (values {sources}),
            told as (
                select distinct sources.system, sources._source, trim(map.external_id) as external_id,
                    nullif(trim(map.account_id), '') as account_id
                from {MAP_TABLE.table} as map inner join sources on sources.system = trim(map.system)
                where (nullif(trim(map.source), '') is null or trim(map.source) = sources._source) and {_DECIDED}
            ),
            domains as (
                select lower(trim(domain)) as domain, min(trim(account_id)) as account_id
                from {DOMAIN_TABLE.table} where lower(trim(domain)) not in ({shared})
                group by all having count(distinct trim(account_id)) = 1
            ),
            customers as (
                select system, _source, external_id, max(external_name) as external_name,
                    max(lower(trim(external_domain))) as external_domain,
                    max(nullif(trim(claimed_account_id), '')) as claimed_account_id
                from (
                    from externals union all
                    select system, _source, external_id, null, null, null from told
                )
                where external_id is not null group by all
            )
            select customers.system, customers._source, customers.external_id, customers.external_name,
                customers.external_domain,
                case when told.external_id is not null then told.account_id
                    else coalesce(customers.claimed_account_id, domains.account_id) end as account_id,
                case when told.external_id is not null then 'file'
                    when customers.claimed_account_id is not null then 'column'
                    when domains.account_id is not null then 'domain' end as matched_by,
                told.external_id is not null and told.account_id is null as is_ignored
            from customers
            left join told using (system, _source, external_id)
            left join domains on domains.domain = customers.external_domain
            order by all
            """
        )
    row = connection.execute(f"select count(*) from {ACCOUNT_MAP}").fetchone()
    return int(row[0]) if row else 0


def _require_plain_map(connection: duckdb.DuckDBPyConnection, systems: set[str]) -> None:
    twice = connection.execute(
        f"select trim(system), trim(external_id), min(_source_file), list(distinct trim(account_id)) from "
        f"{MAP_TABLE.table} where {_DECIDED} group by trim(system), trim(external_id), nullif(trim(source), '') "
        "having count(distinct coalesce(trim(account_id), '')) > 1 order by all limit 1"
    ).fetchone()
    if twice:
        message = (
            f"{twice[2]}: {twice[0]} {twice[1]!r} is mapped to several accounts: {', '.join(sorted(twice[3]))}. "
            "Leave one line of it."
        )
        raise SourceError(message)
    strange = connection.execute(
        f"select trim(system), _source_file, _source_line from {MAP_TABLE.table} "
        "where not list_contains(?, trim(system)) order by all limit 1",
        [sorted(systems)],
    ).fetchone()
    if strange:
        message = (
            f"{strange[1]}: line {strange[2]} names system {strange[0]!r}, which is not configured. "
            f"Configured: {', '.join(sorted(systems))}."
        )
        raise SourceError(message)
