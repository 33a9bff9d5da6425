"""Lists unmatched customers of vendors with their rejected records and their closest candidates.

Similarity only suggests candidates; it never matches a customer. A candidate is an account that shares a word, the
first three letters or a domain with the customer. Its similarity, from 0 to 1, is the maximum of

- ``domain``: 1 if the account has the customer's domain (which several accounts share, or the customer would match);
- ``name``: the Jaro-Winkler similarity of both names;
- ``domain like name``: the Jaro-Winkler similarity of the customer's domain without its suffix and the account's name.

Names are compared in lower case without accents, punctuation and final legal forms (such as Ltd and GmbH).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from csm_core.accounts.account_map import DOMAIN_TABLE, SHARED_DOMAINS
from csm_core.accounts.domains import DOMAIN_FORMS, write_domain_forms
from csm_core.contract import ACCOUNT_MAP, ENTITIES, MAP_EXPORT_COLUMNS, SOURCE, UNDECIDED, Reason
from csm_core.errors import InputError
from csm_core.warehouse.catalog import columns_of, table_exists
from csm_core.warehouse.export import write_export
from csm_core.warehouse.models import literal
from csm_core.warehouse.text_macros import create_macros

MIN_SIMILARITY = 0.8
CANDIDATES = 3
# A word that more accounts share does not identify an account.
_COMMON_WORD_ACCOUNTS = 500
_LEGAL_FORMS = (
    *("inc", "incorporated", "corp", "corporation", "co", "company", "ltd", "limited", "llc", "llp", "lp", "plc"),
    *("gmbh", "mbh", "ag", "kg", "kgaa", "ohg", "ug", "se", "sa", "sas", "sarl", "srl", "spa", "bv", "nv", "ab", "as"),
    *("asa", "oy", "oyj", "aps", "pty", "pvt", "pte", "kk", "group", "holding", "holdings"),
)
_SECOND_LEVEL = ("ac", "co", "com", "edu", "gov", "net", "or", "org")
_CUSTOMERS, _CANDIDATES = "temp.unmatched_customers", "temp.unmatched_candidates"
_ORDER = "records desc, system, _source, external_id"


@dataclass(frozen=True)
class SourceMatches:
    """The customers of a source: their number, by what they are matched, and how many are unmatched.

    ``ignored`` are customers that the map lists without an account; ``unknown_account`` counts customers that are
    matched with an unknown account, so that their records are rejected.
    """

    system: str
    source: str
    customers: int
    by_file: int
    by_column: int
    by_domain: int
    ignored: int
    unmatched: int
    unknown_account: int


@dataclass(frozen=True)
class Candidate:
    """A candidate account of an unmatched customer: ``similarity`` from 0 to 1, and the property that is similar."""

    account_id: str
    account_name: str
    similarity: float
    because: str


@dataclass(frozen=True)
class UnmatchedCustomer:
    """A customer without an account; ``waiting`` counts its records in quarantine by entity."""

    system: str
    source: str
    external_id: str
    name: str | None
    domain: str | None
    waiting: Mapping[str, int]
    candidates: Sequence[Candidate]


def matches(connection: duckdb.DuckDBPyConnection) -> list[SourceMatches]:
    """Return how the customers of each source are matched, as of the last run, by system and source."""
    if not table_exists(connection, ACCOUNT_MAP):
        return []
    _collect_customers(connection)
    accounts = ENTITIES["accounts"].table
    is_unknown = (
        f"account_id not in (select account_id from {accounts})" if table_exists(connection, accounts) else "false"
    )
    rows = connection.execute(
        f"""
        with customers as (
            select system, _source, account_id, matched_by, is_ignored from {ACCOUNT_MAP}
            where account_id is not null or is_ignored
            union all
            select system, _source, null, null, false from {_CUSTOMERS}
        )
        select system, _source, count(*),
            count(*) filter (where matched_by = 'file' and not is_ignored),
            count(*) filter (where matched_by = 'column'), count(*) filter (where matched_by = 'domain'),
            count(*) filter (where is_ignored), count(*) filter (where account_id is null and not is_ignored),
            count(*) filter (where account_id is not null and {is_unknown})
        from customers group by system, _source order by system, _source
        """
    ).fetchall()
    return [SourceMatches(*row) for row in rows]


def unmatched(connection: duckdb.DuckDBPyConnection, limit: int) -> list[UnmatchedCustomer]:
    """Return the unmatched customers with the most rejected records, at most ``limit`` per source, with candidates."""
    if not table_exists(connection, ACCOUNT_MAP):
        return []
    _collect_customers(connection, limit)
    _collect_candidates(connection)
    candidates: dict[tuple[str, str, str], list[Candidate]] = {}
    for system, source, external_id, *rest in connection.execute(
        f"select system, _source, external_id, account_id, account_name, similarity, because from {_CANDIDATES} "
        "order by system, _source, external_id, place"
    ).fetchall():
        candidates.setdefault((system, source, external_id), []).append(Candidate(*rest))
    rows = connection.execute(
        f"select system, _source, external_id, external_name, external_domain, waiting from {_CUSTOMERS} "
        f"order by {_ORDER}"
    ).fetchall()
    return [
        UnmatchedCustomer(
            system, source, external_id, name, domain, waiting, candidates.get((system, source, external_id), [])
        )
        for system, source, external_id, name, domain, waiting in rows
    ]


def export_unmatched(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    """Export a line of the account map for every unmatched customer, to be completed; returns their number.

    ``account_id`` is ``?`` (undecided, without effect). Additional columns have name, domain, rejected records and
    candidates. The completed file can be used as (a part of) ``account_map``. Raises InputError like ``write_export``,
    and for an existing file, since it may contain decisions.
    """
    if path.exists():
        message = (
            f"{path}: the file already exists and may contain decisions, so it is not overwritten; choose another name"
        )
        raise InputError(message)
    if table_exists(connection, ACCOUNT_MAP):
        _collect_customers(connection)
    else:
        connection.execute(f"create or replace temp table {_CUSTOMERS} as {_NO_CUSTOMERS}")
    _collect_candidates(connection)
    columns = [
        *(("system", "system"), ("source", "_source"), ("external_id", "external_id")),
        ("account_id", literal(UNDECIDED)),
        *(("external_name", "external_name"), ("external_domain", "external_domain"), ("waiting_records", "records")),
    ]
    because = "one.account_name || ', ' || cast(one.similarity as varchar) || ' by ' || one.because"
    for place in range(1, CANDIDATES + 1):
        one = (
            f"from {_CANDIDATES} as one where one.place = {place} and (one.system, one._source, one.external_id) = "
            "(customers.system, customers._source, customers.external_id)"
        )
        columns.append((f"candidate_{place}", f"(select one.account_id {one})"))
        columns.append((f"candidate_{place}_because", f"(select {because} {one})"))
    if not {name for name, _ in columns} >= set(MAP_EXPORT_COLUMNS):
        raise AssertionError(columns)
    return write_export(connection, columns, f"{_CUSTOMERS} as customers order by {_ORDER}", path)


_NO_CUSTOMERS = (
    "select null::varchar as system, null::varchar as _source, null::varchar as external_id, "
    "null::varchar as external_name, null::varchar as external_domain, map{}::map(varchar, bigint) as waiting, "
    "0::bigint as records limit 0"
)


def _collect_customers(connection: duckdb.DuckDBPyConnection, limit: int | None = None) -> None:
    """Collect unmatched customers: from the map, and from records in quarantine."""
    limited = (
        ""
        if limit is None
        else (f"qualify row_number() over (partition by system, _source order by {_ORDER}) <= {limit}")
    )
    connection.execute(
        f"""
        create or replace temp table {_CUSTOMERS.partition(".")[2]} as
        with rejected as ({" union all ".join(_rejected(connection)) or _NO_REJECTED}),
        sources as ({" union all ".join(_sources_of_files(connection)) or _NO_FILES}),
        counted as (
            select rejected.system, coalesce(sources._source, rejected.system) as _source, rejected.external_id,
                rejected.entity, rejected.place, count(*) as records
            from rejected left join sources using (load_id, source_file) group by all
        ),
        waiting as (
            select system, _source, external_id, map_from_entries(list((entity, records) order by place)) as waiting,
                cast(sum(records) as bigint) as records
            from counted group by all
        ),
        listed as (
            select system, _source, external_id, external_name, external_domain, account_id, is_ignored
            from {ACCOUNT_MAP}
        )
        select system, _source, external_id, listed.external_name, listed.external_domain,
            coalesce(waiting.waiting, map{{}}::map(varchar, bigint)) as waiting,
            coalesce(waiting.records, 0) as records
        from listed full join waiting using (system, _source, external_id)
        where listed.account_id is null and not coalesce(listed.is_ignored, false)
        {limited}
        """
    )


_NO_REJECTED = (
    "select null::varchar as system, null::varchar as external_id, null::bigint as load_id, "
    "null::varchar as source_file, null::varchar as entity, null::bigint as place limit 0"
)
_NO_FILES = "select null::bigint as load_id, null::varchar as source_file, null::varchar as _source limit 0"


def _rejected(connection: duckdb.DuckDBPyConnection) -> list[str]:
    return [
        f"select system, value as external_id, load_id, source_file, {literal(entity.name)} as entity, "
        f"{place} as place from {entity.quarantine_table} where reason = {literal(str(Reason.UNMATCHED))}"
        for place, entity in enumerate(ENTITIES.values())
        if table_exists(connection, entity.quarantine_table)
    ]


def _sources_of_files(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return SELECTs of the source of each file with rejected records, from the raw tables."""
    rejected = " union all ".join(_rejected(connection))
    if not rejected:
        return []
    tables = connection.execute(
        f"select distinct raw_table from raw.loads where load_id in (select load_id from ({rejected})) order by 1"
    ).fetchall()
    return [
        f"select distinct _load_id as load_id, _source_file as source_file, {SOURCE} from {table} "
        f"where _load_id in (select load_id from rejected)"
        for (table,) in tables
        if table_exists(connection, table) and SOURCE in columns_of(connection, table)
    ]


def _collect_candidates(connection: duckdb.DuckDBPyConnection) -> None:
    accounts = ENTITIES["accounts"].table
    account_names = (
        f"select account_id, account_name from {accounts}"
        if table_exists(connection, accounts)
        else "select null::varchar as account_id, null::varchar as account_name limit 0"
    )
    listed = table_exists(connection, DOMAIN_TABLE.table)
    create_macros(connection)
    write_domain_forms(
        connection,
        f"select external_domain from {_CUSTOMERS}"
        + (f" union all select domain from {DOMAIN_TABLE.table}" if listed else ""),
    )
    domains = (
        f"select distinct identifier_text(cast(account_id as varchar)) as account_id, forms.domain as host "
        f"from {DOMAIN_TABLE.table} as listed "
        f"inner join {DOMAIN_FORMS} as forms on forms.written = cast(listed.domain as varchar)"
        if listed
        else "select null::varchar as account_id, null::varchar as host limit 0"
    )
    connection.execute(
        f"""
        create or replace temp table {_CANDIDATES.partition(".")[2]} as
        with accounts as (
            select account_id, account_name, {_name("account_name")} as name from ({account_names})
        ),
        account_domains as (
            select domains.account_id, domains.host, {_stem("domains.host")} as stem
            from ({domains}) as domains inner join accounts using (account_id)
            where {_is_specific("domains.host")}
        ),
        hosts as (
            select system, _source, external_id, {_name("external_name")} as name, forms.domain as host
            from {_CUSTOMERS} as customers
            left join {DOMAIN_FORMS} as forms on forms.written = customers.external_domain
        ),
        customers as (
            select system, _source, external_id, name, case when {_is_specific("host")} then host end as host,
                case when {_is_specific("host")} then {_stem("host")} end as stem
            from hosts
        ),
        account_words as (
            select distinct account_id, word from (
                select account_id, unnest({_words("name")}) as word from accounts union all
                select account_id, unnest({_words("stem")}) from account_domains union all
                select account_id, host from account_domains
            ) where word is not null
            qualify count(*) over (partition by word) <= {_COMMON_WORD_ACCOUNTS}
        ),
        customer_words as (
            select distinct system, _source, external_id, word from (
                select system, _source, external_id, unnest({_words("name")}) as word from customers union all
                select system, _source, external_id, unnest({_words("stem")}) from customers union all
                select system, _source, external_id, host from customers
            ) where word is not null
        ),
        pairs as (
            select distinct system, _source, external_id, account_id from customer_words
            inner join account_words using (word)
        ),
        compared as (
            select pairs.system, pairs._source, pairs.external_id, accounts.account_id, accounts.account_name,
                unnest([
                    {{'because': 'domain', 'rank': 1, 'similarity': case when exists (
                        select 1 from account_domains as own
                        where own.account_id = pairs.account_id and own.host = customers.host) then 1.0 end}},
                    {{'because': 'name', 'rank': 2,
                        'similarity': jaro_winkler_similarity(customers.name, accounts.name)}},
                    {{'because': 'domain like name', 'rank': 3,
                        'similarity': jaro_winkler_similarity(customers.stem, replace(accounts.name, ' ', ''))}}
                ]) as similarity
            from pairs
            inner join customers using (system, _source, external_id)
            inner join accounts using (account_id)
        ),
        best as (
            select system, _source, external_id, account_id, account_name,
                round(similarity.similarity, 2) as similarity, similarity.because as because
            from compared where similarity.similarity >= {MIN_SIMILARITY}
            qualify row_number() over (
                partition by system, _source, external_id, account_id
                order by similarity.similarity desc, similarity.rank
            ) = 1
        )
        select *, row_number() over (
            partition by system, _source, external_id order by similarity desc, account_id
        ) as place
        from best
        qualify place <= {CANDIDATES}
        """
    )


def _name(column: str) -> str:
    """Return an expression for a normalised company name."""
    plain = f"lower(strip_accents(replace(replace({column}, '.', ''), '''', '')))"
    spaced = rf"trim(regexp_replace(replace({plain}, '&', ' and '), '[^\p{{L}}\p{{N}}]+', ' ', 'g'))"
    return f"nullif(regexp_replace({spaced}, '( ({'|'.join(_LEGAL_FORMS)}))+$', ''), '')"


def _stem(host: str) -> str:
    """Return an expression for the main label of a domain: acme in shop.acme.co.uk."""
    second = ", ".join(literal(label) for label in _SECOND_LEVEL)
    labels = f"string_split({host}, '.')"
    ending = f"case when len({labels}) > 2 and {labels}[-2] in ({second}) then -3 else -2 end"
    return f"case when len({labels}) > 1 then {labels}[{ending}] end"


def _is_specific(host: str) -> str:
    return f"{host} not in ({', '.join(literal(domain) for domain in SHARED_DOMAINS)})"


def _words(text: str) -> str:
    """Return an expression for the words of a name, the whole name and its first letters; candidates share one."""
    whole = f"replace({text}, ' ', '')"
    return (
        f"list_concat(list_filter(string_split({text}, ' '), lambda one: length(one) > 2), "
        f"[{whole}, left({whole}, 3) || '…'])"
    )
