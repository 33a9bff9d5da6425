"""Who is who: the account map by file, column and domain, and what becomes of records of unmatched customers."""

from __future__ import annotations

import pytest
import structlog

from csm_core import identity
from csm_core.config import Config, IdentitySettings
from csm_core.errors import SourceError
from csm_core.sources.loading import load_tables
from csm_core.sources.raw_tables import RawTable
from csm_core.sources.settings import FilesSettings
from csm_core.staging_gate import Behind, stage_entity

MODEL = """
    select record ->> '$.id' as event_id, map.account_id, record ->> '$.customer' as external_account_id,
        'used' as event_name, record ->> '$.at' as occurred_at, _source_file, _source_line, _loaded_at, _load_id
    from raw.files__orders as orders left join staging.account_map as map
        on map.system = 'files' and map._source = orders._source and map.external_id = record ->> '$.customer'
    where not coalesce(map.is_ignored, false)
"""


@pytest.fixture
def mapped(way_in):
    def run(**files: str):
        paths = {name: way_in.write(f"{name}.csv", content) for name, content in files.items()}
        config = Config(
            sources=(FilesSettings(system="files", path=way_in.folder),),
            identity=IdentitySettings.model_validate(paths),
        )
        identity.load(way_in.connection, config, loaded_at=way_in.now, log=structlog.get_logger())
        identity.build(way_in.connection, config, ["files"])
        return way_in.rows(
            "select external_id, account_id, matched_by, is_ignored from staging.account_map order by external_id"
        )

    way_in.connection.execute(
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
    ("text", "said"),
    [
        ("files,c1,a1\nfiles,c1,a2\n", "'c1' is mapped to several accounts: a1, a2"),
        ("strype,c1,a1\n", "line 2 names system 'strype', which is not configured"),
        ("files,c1\n", "line 2 cannot be read"),
    ],
)
def test_a_map_that_contradicts_itself_is_refused(mapped, text, said):
    with pytest.raises(SourceError, match=said):
        mapped(account_map=f"system,external_id,account_id\n{text}")


def test_unmatched_records_are_refused_as_such_and_come_in_when_their_customer_is_matched(mapped, way_in):
    behind = {"files": Behind(frozenset({identity.MAP_TABLE.table}), "1")}

    def stage():
        return stage_entity(
            way_in.connection,
            "usage_events",
            [("files", MODEL)],
            staged_at=way_in.now,
            max_rejected_percent=100,
            behind=behind,
        )

    way_in.write_company()
    way_in.run("accounts")
    way_in.connection.execute("delete from staging.stg_usage_events")
    customers = ('"c1"', '"c2"', "null")
    lines = [f'{{"id": "o{n}", "customer": {c}, "at": "2026-06-01"}}\n' for n, c in enumerate(customers)]
    orders = way_in.write("orders.jsonl", "".join(lines))
    table = RawTable("files", "orders", "usage_events", ("id",), records=True)
    load_tables(way_in.connection, [(table, {orders: "files"})], loaded_at=way_in.now, log=way_in.log)
    mapped()
    assert stage().by_reason == {"unmatched": 1, "missing_required": 1}
    assert way_in.rows("select field, value, raw_text from quarantine.usage_events where reason = 'unmatched'") == [
        ("account_id", "c2", '{"id": "o1", "customer": "c2", "at": "2026-06-01"}')
    ]
    staged = "select event_id, account_id from staging.stg_usage_events order by 1"
    mapped(account_domains="account_id,domain\na2,two.example\n")
    stage()
    assert way_in.rows(staged) == [("o0", "a1"), ("o1", "a2")]
    # A customer who moves takes along what was staged before.
    mapped(
        account_map="system,external_id,account_id\nfiles,c1,a2\n",
        account_domains="account_id,domain\na2,two.example\n",
    )
    stage()
    assert way_in.rows(staged) == [("o0", "a2"), ("o1", "a2")]


def test_a_vendors_customer_that_is_matched_with_no_account_is_refused_as_an_account(way_in):
    way_in.write_company()
    way_in.load()
    model = (
        "select case when account_id = 'a1' then account_id end as account_id, 'c-' || account_id as "
        "external_account_id, account_name, _source_file, _source_line, _loaded_at, _load_id from raw.files__accounts"
    )
    staged = stage_entity(
        way_in.connection, "accounts", [("files", model)], staged_at=way_in.now, max_rejected_percent=100
    )
    assert (staged.loaded, staged.by_reason) == (1, {"unmatched": 1})
    assert [row[1:] for row in way_in.quarantined("accounts")] == [("account_id", "unmatched", "c-a2")]
