"""`csm identity`: who is not matched, what waits for them, whom they are like, and the way back as an account map."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import structlog

from csm_core.accounts import account_map, account_suggestions
from csm_core.accounts.account_suggestions import Candidate, SourceMatches
from csm_core.config import Config, IdentitySettings
from csm_core.contract import ENTITIES
from csm_core.errors import InputError
from csm_core.ingest.loader import load_tables
from csm_core.ingest.raw_tables import RawTable
from csm_core.sources.settings import FilesSettings
from csm_core.staging.gate import UpstreamInputs, stage_entity
from tests.sources.test_stripe import invoice, subscription, write_company, write_lines

EVENTS = """
    select record ->> '$.id' as event_id, map.account_id, record ->> '$.customer' as external_account_id,
        'used' as event_name, '2026-06-01' as occurred_at, _source_file, _source_line, _loaded_at, _load_id
    from raw.files__orders as orders left join staging.account_map as map
        on map.system = 'files' and map._source = orders._source and map.external_id = record ->> '$.customer'
    where not coalesce(map.is_ignored, false)
"""
ACCOUNTS = (
    "account_id,account_name\na1,Ahlers GmbH\na2,Bolt & Sons Ltd.\na3,Café Zürich AG\na4,Ahlers Logistik\na5,Bolt\n"
    "a6,=Formula\n"
)


class Matching:
    """Customers of two sources of one system, their records, and what the files of identity say of them."""

    def __init__(self, source_loads: Any) -> None:
        self._source_loads = source_loads
        self.connection = source_loads.connection
        self.connection.execute(
            "create table staging.files_externals (_source varchar, external_id varchar, external_name varchar, "
            "external_domain varchar, claimed_account_id varchar)"
        )
        source_loads.write_company(accounts=ACCOUNTS)
        source_loads.run("accounts")
        self.connection.execute("delete from staging.stg_usage_events")
        self._load({})

    def customer(self, external_id: str, name: str | None = None, domain: str | None = None, **more: str) -> None:
        self.connection.execute(
            "insert into staging.files_externals values (?, ?, ?, ?, ?)",
            [more.get("source", "shop"), external_id, name, domain, more.get("account")],
        )

    def orders(self, source: str, *customers: str) -> None:
        source_loads = self._source_loads
        lines = "".join(json.dumps({"id": f"{source}{n}", "customer": one}) + "\n" for n, one in enumerate(customers))
        path = source_loads.write(f"{source}.jsonl", lines)
        self._load({path: source})

    def _load(self, files: dict[Path, str]) -> None:
        table = RawTable("files", "orders", "usage_events", ("id",), records=True)
        load_tables(self.connection, [(table, files)], loaded_at=self._source_loads.now, log=self._source_loads.log)

    def build(self, **files: str | Path) -> None:
        source_loads = self._source_loads
        paths = {
            name: content if isinstance(content, Path) else source_loads.write(f"{name}.csv", content)
            for name, content in files.items()
        }
        config = Config(
            sources=tuple(
                FilesSettings(system="files", name=name, path=source_loads.folder) for name in ("shop", "web")
            ),
            identity=IdentitySettings.model_validate(paths),
        )
        account_map.load(self.connection, config, loaded_at=source_loads.now, log=structlog.get_logger())
        account_map.build(self.connection, config, ["files"])
        stage_entity(
            self.connection,
            "usage_events",
            [("files", EVENTS)],
            staged_at=source_loads.now,
            max_rejected_percent=100,
            upstream={"files": UpstreamInputs(frozenset({account_map.MAP_TABLE.table}), "1")},
        )

    def likest(self) -> dict[str, list[tuple[str, float, str]]]:
        return {
            one.external_id: [(like.account_id, like.similarity, like.because) for like in one.candidates]
            for one in account_suggestions.unmatched(self.connection, 100)
        }


@pytest.fixture
def customers(source_loads) -> Matching:
    return Matching(source_loads)


def test_a_warehouse_without_customers_has_nobody_to_match(source_loads, tmp_path):
    assert account_suggestions.matches(source_loads.connection) == []
    assert account_suggestions.unmatched(source_loads.connection, 5) == []
    assert account_suggestions.export_unmatched(source_loads.connection, tmp_path / "map.csv") == 0


def test_how_customers_are_matched_is_counted_by_source(customers):
    customers.customer("c1", account="a1")
    customers.customer("c2", domain="bolt.example")
    customers.customer("c3")
    customers.customer("c4")
    customers.customer("c5", account="nobody")
    customers.customer("c1", source="web")
    customers.build(
        account_map="system,source,external_id,account_id\nfiles,shop,c3,a3\nfiles,shop,c4,\n",
        account_domains="account_id,domain\na2,bolt.example\n",
    )
    assert account_suggestions.matches(customers.connection) == [
        SourceMatches("files", "shop", 5, 1, 2, 1, 1, 0, unknown_account=1),
        SourceMatches("files", "web", 1, 0, 0, 0, 0, 1, unknown_account=0),
    ]


def test_waiting_records_are_those_of_the_customers_own_source(customers):
    customers.customer("c1", "One")
    customers.customer("c1", "Uno", source="web")
    customers.orders("shop", "c1", "c1", "c9")
    customers.orders("web", "c1")
    customers.build()
    found = [
        (one.source, one.external_id, one.name, dict(one.waiting))
        for one in account_suggestions.unmatched(customers.connection, 5)
    ]
    assert found == [
        ("shop", "c1", "One", {"usage_events": 2}),
        ("shop", "c9", None, {"usage_events": 1}),
        ("web", "c1", "Uno", {"usage_events": 1}),
    ]
    assert [one.external_id for one in account_suggestions.unmatched(customers.connection, 1)] == ["c1", "c1"]


def test_candidates_are_like_in_name_or_domain_and_say_so(customers):
    customers.customer("legal form", "AHLERS Holding Inc.")
    customers.customer("accents", "Cafe Zurich")
    customers.customer("address", "Jane Doe", "https://www.bolt-sons.co.uk/shop")
    customers.customer("shared domain", None, "ahlers.example")
    customers.customer("provider", None, "gmail.com")
    customers.customer("nobody", "Quite Other", "other.example")
    customers.customer("nothing")
    domains = (
        "account_id,domain\na1,ahlers.example\na4,www.ahlers.example\na1,gmail.com\na5,gmail.com\na9,other.example\n"
    )
    customers.build(account_domains=domains.replace("www.", ""))
    likest = customers.likest()
    assert likest["legal form"][0] == ("a1", 1.0, "name")
    assert likest["legal form"][1][0] == "a4"
    assert 0.8 <= likest["legal form"][1][1] < 1
    assert likest["accents"] == [("a3", 1.0, "name")]
    assert [(account, because) for account, _, because in likest["address"]] == [
        ("a2", "domain like name"),
        ("a5", "domain like name"),
    ]
    assert likest["shared domain"] == [("a1", 1.0, "domain"), ("a4", 1.0, "domain")]
    assert likest["provider"] == []
    assert likest["nothing"] == []


def test_nobody_is_matched_by_being_like_somebody(customers):
    customers.customer("c1", "Ahlers GmbH")
    customers.orders("shop", "c1")
    customers.build()
    (one,) = account_suggestions.unmatched(customers.connection, 5)
    assert one.candidates[0] == Candidate("a1", "Ahlers GmbH", 1.0, "name")
    assert customers.connection.execute("select count(*) from staging.stg_usage_events").fetchone() == (0,)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_what_is_written_decides_nothing_until_somebody_has_filled_it_in(customers, tmp_path, form):
    customers.customer("=c1", '=HYPERLINK("x")', "one.example")
    customers.customer("c2", "Bolt")
    customers.customer("c3", "Formula")
    customers.orders("shop", "=c1", "c2", "c3")
    customers.build()
    folder = tmp_path / "account_map"
    folder.mkdir()
    path = folder / f"new.{form}"
    assert account_suggestions.export_unmatched(customers.connection, path) == 3
    (folder / "old.csv").write_text("system,source,external_id,account_id\nfiles,shop,c9,a1\n")
    state = "select external_id, account_id, is_ignored from staging.account_map order by 1"
    customers.build(account_map=folder)
    assert customers.connection.execute(state).fetchall() == [
        ("=c1", None, False),
        ("c2", None, False),
        ("c3", None, False),
        ("c9", "a1", False),
    ]
    answers = "case external_id when 'c2' then 'a5' when 'c3' then '?' else '' end"
    if form == "csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["external_id"]: (row["external_name"], row["candidate_1"]) for row in rows} == {
            "'=c1": ('\'=HYPERLINK("x")', ""),
            "c2": ("Bolt", "a5"),
            "c3": ("Formula", "a6"),
        }
        assert [row["candidate_1_because"] for row in rows if row["external_id"] == "c3"] == ["'=Formula, 1.0 by name"]
        answers = answers.replace("else ''", "else null")
    changed = tmp_path / f"changed.{form}"
    customers.connection.execute(
        f"copy (select * replace ({answers} as account_id) from '{path}') to '{changed}' "
        f"(format {'json' if form == 'jsonl' else form})"
    )
    changed.replace(path)
    customers.build(account_map=folder)
    assert customers.connection.execute(state).fetchall() == [
        ("=c1", None, True),
        ("c2", "a5", False),
        ("c3", None, False),
        ("c9", "a1", False),
    ]
    assert customers.connection.execute("select account_id from staging.stg_usage_events").fetchall() == [("a5",)]


def test_a_file_that_cannot_be_written_is_an_error(customers, tmp_path):
    with pytest.raises(InputError, match=r"expected one of \.csv, \.jsonl, \.parquet"):
        account_suggestions.export_unmatched(customers.connection, tmp_path / "map.xlsx")
    decided = tmp_path / "map.csv"
    decided.write_text("system,external_id,account_id\nfiles,c1,a1\n")
    with pytest.raises(InputError, match="the file already exists"):
        account_suggestions.export_unmatched(customers.connection, decided)
    assert decided.read_text().endswith("files,c1,a1\n")


def test_every_entity_that_waits_is_counted(customers):
    customers.customer("c1")
    customers.build()
    for entity in ("usage_events", "tickets"):
        customers.connection.execute(
            f"create table if not exists {ENTITIES[entity].quarantine_table} as from quarantine.usage_events limit 0"
        )
        customers.connection.execute(
            f"insert into {ENTITIES[entity].quarantine_table} by name select 99 as load_id, 'files' as system, "
            "'f' as source_file, 1 as source_line, 'unmatched' as reason, 'x1' as value"
        )
    found = {one.external_id: dict(one.waiting) for one in account_suggestions.unmatched(customers.connection, 5)}
    assert found == {"c1": {}, "x1": {"usage_events": 1, "tickets": 1}}


@pytest.mark.slow
def test_who_is_unmatched_is_told_written_completed_and_taken(tmp_path, company):
    records = tmp_path / "stripe"
    customer = {"id": "cus_1", "name": "One Ltd", "email": "pay@one.example"}
    write_lines(records / "customers.jsonl", customer, {"id": "cus_2", "metadata": {"account_id": "a2"}})
    write_lines(records / "subscriptions.jsonl", subscription("s1", "cus_1", 2), subscription("s2", "cus_2", 2))
    write_lines(records / "invoices.jsonl", invoice("i1", "cus_1"))
    answers = tmp_path / "answers"
    answers.mkdir()
    made = company(
        write_company(tmp_path / "company"),
        sources=[
            {"system": "files", "path": str(tmp_path / "company")},
            {"system": "stripe", "path": str(records)},
        ],
        identity={"account_map": str(answers)},
        checks={"max_silent_days": 60},
        min_rejected=1,
    )
    nothing = made.csm("identity")
    assert nothing.returncode == 2
    assert "`csm run` creates it" in nothing.stderr
    day = ("run", "--as-of", "2026-06-30", "--no-publish")
    refused = made.csm(*day)
    assert refused.returncode == 2
    assert "unmatched" in refused.stdout + refused.stderr
    told = made.csm("identity")
    assert told.returncode == 0, told.stderr
    assert "stripe: 2 customers, 1 by column, 1 unmatched" in told.stdout
    assert "cus_1  One Ltd" in told.stdout
    assert "waiting: 1 subscription, 1 invoice" in told.stdout
    assert "1.00  a1  One  (name)" in told.stdout
    (one,) = json.loads(made.csm("identity", "--json").stdout)["unmatched"]
    assert (one["external_id"], one["candidates"][0]["account_id"]) == ("cus_1", "a1")
    assert made.csm("identity", "--out", str(answers / "new.xlsx")).returncode == 2
    written = made.csm("identity", "--out", str(answers / "new.csv"))
    assert written.stdout.startswith("1 unmatched customer written to ")
    path = answers / "new.csv"
    path.write_text(path.read_text().replace("?", "a1"))
    done = made.csm(*day)
    assert done.returncode == 0, done.stdout + done.stderr
    assert made.query("select account_id from staging.stg_invoices") == [("a1",)]
    assert "stripe: 2 customers, 1 by file, 1 by column, 0 unmatched" in made.csm("identity").stdout
