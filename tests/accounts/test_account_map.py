"""Who is who: the account map by file, column and domain, and what becomes of records of unmatched customers."""

from __future__ import annotations

import duckdb
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.accounts import account_map
from csm_core.accounts.domains import DOMAIN_FORMS, write_domain_forms
from csm_core.config import Config, IdentitySettings
from csm_core.errors import SourceError
from csm_core.ingest.loader import load_tables
from csm_core.ingest.raw_tables import RawTable
from csm_core.sources.settings import FilesSettings
from csm_core.staging.gate import UpstreamInputs, stage_entity
from csm_core.warehouse.models import literal
from tests.examples import examples

MODEL = """
    select record ->> '$.id' as event_id, map.account_id, record ->> '$.customer' as external_account_id,
        'used' as event_name, record ->> '$.at' as occurred_at, _source_file, _source_line, _loaded_at, _load_id
    from raw.files__orders as orders left join staging.account_map as map
        on map.system = 'files' and map._source = orders._source and map.external_id = record ->> '$.customer'
    where not coalesce(map.is_ignored, false)
"""


@pytest.fixture
def mapped(source_loads):
    def run(**files: str):
        paths = {name: source_loads.write(f"{name}.csv", content) for name, content in files.items()}
        config = Config(
            sources=(FilesSettings(system="files", path=source_loads.folder),),
            identity=IdentitySettings.model_validate(paths),
        )
        account_map.load(source_loads.connection, config, loaded_at=source_loads.now, log=structlog.get_logger())
        account_map.build(source_loads.connection, config, ["files"])
        return source_loads.rows(
            "select external_id, account_id, matched_by, is_ignored from staging.account_map order by external_id"
        )

    source_loads.connection.execute(
        "create table staging.files_externals as select 'files' as _source, * from (values "
        "('c1', 'One', 'one.example', 'a1'), ('c2', 'Two', 'Two.example', null), ('c3', 'Three', 'gmail.com', null), "
        "('c4', 'Four', 'both.example', null), ('c5', 'Five', 'one.example', null)) "
        "as t(external_id, external_name, external_domain, claimed_account_id)"
    )
    return run


def test_the_file_speaks_first_then_the_column_then_the_domain(mapped):
    domains = ("a1,one.example", "a2,two.example", "a1,gmail.com", "a1,both.example", "a2,both.example")
    assert mapped(
        account_map="system,external_id,account_id\nfiles,c5,a2\nfiles,c9,a9\nfiles,c4,\n",
        account_domains="\n".join(("account_id,domain", *domains)),
    ) == [
        ("c1", "a1", "column", False),
        ("c2", "a2", "domain", False),
        ("c3", None, None, False),
        ("c4", None, "file", True),
        ("c5", "a2", "file", False),
        ("c9", "a9", "file", False),
    ]


def test_without_files_only_the_column_speaks(mapped):
    assert [account for _, account, *_ in mapped()] == ["a1", None, None, None, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("files,c1,a1\nfiles,c1,a2\n", "'c1' is mapped to several accounts: a1, a2"),
        ("files,c1,a1\nfiles,c1,\n", "'c1' is mapped to several accounts: a1, no account"),
        ("files,7,a1\nfiles,7.0,a2\n", "'7' is mapped to several accounts: a1, a2"),
        ("strype,c1,a1\n", "line 2: the system 'strype' is not configured"),
        ("files,c1\n", "line 2 cannot be read"),
        ("files,c1,a1\n ,c2,a1\n", r"account_map\.csv: line 3: system is missing"),
        ("files,c1,a1\nfiles,,a1\n", r"account_map\.csv: line 3: external_id is missing"),
    ],
)
def test_a_line_of_the_map_that_is_wrong_is_an_error_that_names_it(mapped, text, message):
    with pytest.raises(SourceError, match=message):
        mapped(account_map=f"system,external_id,account_id\n{text}")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a1,Alpha Inc", r"account_domains\.csv: line 3: domain 'Alpha Inc' is not a domain"),
        ("a1,localhost", "line 3: domain 'localhost' is not a domain"),
        ("a1,10.0.0.1", "line 3: domain '10.0.0.1' is not a domain"),
        ('a1,"one.example, two.example"', "line 3: domain 'one.example, two.example' is not a domain"),
        ("a1,xn--zz.example", "line 3: domain 'xn--zz.example' is not a domain"),
        ("a1, ", "line 3: domain is missing"),
        (",one.example", "line 3: account_id is missing"),
    ],
)
def test_a_line_of_the_list_that_is_no_domain_is_an_error_that_names_it(mapped, line, message):
    with pytest.raises(SourceError, match=message):
        mapped(account_domains=f"account_id,domain\na2,two.example\n{line}\n")


FORMS = (
    *("https://www.{0}/path?q#f", "http://{0}", "{0}.", "www.{0}", "user@{0}", "{0}:8080", "{0}/", "  {0} "),
    *(
        "https://user:secret@{0}:443/a@b",
        "Name <user@{0}>",
        "mailto:user@{0}",
        "//{0}/x",
        "u_x.example#EXT#@{0}",
        "{0}",
    ),
)


@given(
    label=st.sampled_from(("beta", "a-b", "x1.shop", "münchen", "straße", "例え", "xn--mnchen-3ya")),
    forms=st.tuples(st.sampled_from(FORMS), st.sampled_from(FORMS)),
    upper=st.tuples(st.booleans(), st.booleans()),
)
@settings(max_examples=examples(60), deadline=None)
def test_a_domain_matches_in_whatever_form_either_side_writes_it(label, forms, upper):
    unicode = label.replace("xn--mnchen-3ya", "münchen")
    other = {"münchen": "xn--mnchen-3ya", "straße": "xn--strae-oqa"}.get(unicode, label)
    # In upper case ß is SS, which is another domain.
    written = [
        form.format(domain.upper() if loud and "ß" not in domain else domain)
        for form, loud, domain in zip(forms, upper, (f"{label}.example", f"{other}.example"), strict=True)
    ]
    with duckdb.connect() as connection:
        values = ", ".join(f"({literal(text)})" for text in written)
        write_domain_forms(connection, f"select written from (values {values}) as texts(written)")
        found = connection.execute(f"select distinct domain from {DOMAIN_FORMS}").fetchall()
    assert len(found) == 1, (written, found)
    assert found[0][0] is not None
    assert found[0][0].isascii()


def test_identifiers_and_domains_of_any_form_meet(mapped, source_loads):
    source_loads.connection.execute(
        "insert into staging.files_externals values ('files', '360001234567', 'Six', 'www.Six.example', null), "
        "('files', 'c7', 'Seven', 'mail@münchen.example', null), ('files', 'c8', 'Eight', null, '42.0'), "
        "('files', 'c9', 'Nine', 'not a site', null)"
    )
    found = mapped(
        account_map="system,external_id,account_id\nfiles,360001234567.0,7.0\n",
        account_domains="account_id,domain\n8.0,https://www.xn--mnchen-3ya.example/\na2,TWO.example.\n",
    )
    assert {external: account for external, account, *_ in found if account} == {
        "360001234567": "7",
        "c1": "a1",
        "c2": "a2",
        "c7": "8",
        "c8": "42",
    }
    assert source_loads.rows(
        "select external_domain from staging.account_map where external_id in ('c7', 'c9') order by 1"
    ) == [
        ("xn--mnchen-3ya.example",),
        (None,),
    ]


def test_unmatched_records_are_refused_as_such_and_come_in_when_their_customer_is_matched(mapped, source_loads):
    upstream = {"files": UpstreamInputs(frozenset({account_map.MAP_TABLE.table}), "1")}

    def stage():
        return stage_entity(
            source_loads.connection,
            "usage_events",
            [("files", MODEL)],
            staged_at=source_loads.now,
            max_rejected_percent=100,
            upstream=upstream,
        )

    source_loads.write_company()
    source_loads.run("accounts")
    source_loads.connection.execute("delete from staging.stg_usage_events")
    customers = ('"c1"', '"c2"', "null")
    lines = [f'{{"id": "o{n}", "customer": {c}, "at": "2026-06-01"}}\n' for n, c in enumerate(customers)]
    orders = source_loads.write("orders.jsonl", "".join(lines))
    table = RawTable("files", "orders", "usage_events", ("id",), records=True)
    load_tables(source_loads.connection, [(table, {orders: "files"})], loaded_at=source_loads.now, log=source_loads.log)
    mapped()
    assert stage().by_reason == {"unmatched": 1, "missing_required": 1}
    assert source_loads.rows(
        "select field, value, raw_text from quarantine.usage_events where reason = 'unmatched'"
    ) == [("account_id", "c2", '{"id": "o1", "customer": "c2", "at": "2026-06-01"}')]
    staged = "select event_id, account_id from staging.stg_usage_events order by 1"
    mapped(account_domains="account_id,domain\na2,two.example\n")
    stage()
    assert source_loads.rows(staged) == [("o0", "a1"), ("o1", "a2")]
    # A customer who moves takes along what was staged before.
    mapped(
        account_map="system,external_id,account_id\nfiles,c1,a2\n",
        account_domains="account_id,domain\na2,two.example\n",
    )
    stage()
    assert source_loads.rows(staged) == [("o0", "a2"), ("o1", "a2")]


def test_a_vendors_customer_that_is_matched_with_no_account_is_refused_as_an_account(source_loads):
    source_loads.write_company()
    source_loads.load()
    model = (
        "select case when account_id = 'a1' then account_id end as account_id, 'c-' || account_id as "
        "external_account_id, account_name, _source_file, _source_line, _loaded_at, _load_id from raw.files__accounts"
    )
    staged = stage_entity(
        source_loads.connection, "accounts", [("files", model)], staged_at=source_loads.now, max_rejected_percent=100
    )
    assert (staged.loaded, staged.by_reason) == (1, {"unmatched": 1})
    assert [row[1:] for row in source_loads.quarantined("accounts")] == [("account_id", "unmatched", "c-a2")]
