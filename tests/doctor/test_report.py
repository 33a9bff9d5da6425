"""`csm doctor`: the first records of every source are read, and all problems of all sources are reported at once."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.config import Config, IdentitySettings
from csm_core.contract import ENTITIES
from csm_core.doctor.examination import Finding, examine, exit_status
from csm_core.doctor.report import report
from csm_core.doctor.sample_problems import Problem
from csm_core.sources.settings import FilesSettings, PostgresSettings, SegmentSettings, ZendeskSettings
from csm_core.sources.settings_base import LandedTables
from tests.examples import examples
from tests.source_loads import ACCOUNTS, EVENTS, FEATURES, new_source_loads

COMPANY = {"accounts.csv": ACCOUNTS, "features.csv": FEATURES, "usage_events.csv": EVENTS}


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def examined(folder: Path, files: dict[str, str | bytes], **source: Any) -> list[Finding]:
    """What doctor finds in a company with these files in place of, or beside, the usual ones."""
    write(folder, {**COMPANY, **files})
    config = Config(sources=(FilesSettings(system="files", path=folder, **source),), warehouse=folder / "csm.duckdb")
    found = examine(config)
    assert not config.warehouse.exists()
    return found


def of_kind(findings: Sequence[Finding], kind: str) -> list[Problem]:
    return [problem for finding in findings for problem in finding.problems if problem.kind == kind]


def test_a_note_says_that_only_some_files_of_a_full_list_have_a_date(tmp_path):
    dated: dict[str, str | bytes] = {f"accounts-2026-06-{day}.csv": ACCOUNTS for day in (28, 29)}
    found = examined(tmp_path / "some", dated)
    (note,) = of_kind(found, "mixed_list")
    assert (note.level, note.entity, Path(str(note.file)).name) == ("note", "accounts", "accounts.csv")
    assert "with accounts-2026-06-29.csv, the file with the latest date" in note.message
    assert exit_status(found) == 0
    assert not of_kind(examined(tmp_path / "none", {}), "mixed_list")
    assert not of_kind(examined(tmp_path / "batch", dated, incremental=("accounts",)), "mixed_list")


def test_every_source_is_reached(company, tmp_path):
    made = company("acme")
    done = made.csm("doctor", "--json")
    assert (done.returncode, [one["status"] for one in json.loads(done.stdout)]) == (0, [0])
    api = {"base_url": "http://127.0.0.1:9", "attempts": 1}
    made = company(
        tmp_path,
        sources=[{"system": "files", "path": str(tmp_path / "nowhere")}, {"system": "stripe", "api": api}],
    )
    done = made.csm("doctor", environment={"STRIPE_API_KEY": ""})
    assert done.returncode == 2
    assert "does not exist" in done.stdout
    assert "STRIPE_API_KEY is not set" in done.stdout
    done = made.csm("doctor", environment={"STRIPE_API_KEY": "sk_live_secret"})
    # The missing folder must be fixed; the server may answer later.
    assert done.returncode == 2
    assert "cannot be reached" in done.stdout
    assert "sk_live_secret" not in done.stdout + done.stderr


def test_a_source_that_cannot_be_reached_now_is_status_1(company, tmp_path):
    write(tmp_path / "company", dict(COMPANY))
    api = {"base_url": "http://127.0.0.1:9", "attempts": 1}
    sources = [{"system": "files", "path": str(tmp_path / "company")}, {"system": "stripe", "api": api}]
    made = company(tmp_path, sources=sources)
    assert made.csm("doctor", environment={"STRIPE_API_KEY": "sk_live_secret"}).returncode == 1


def test_every_wrong_column_of_all_files_is_named(tmp_path):
    found = examined(
        tmp_path,
        {
            "accounts.csv": "account_id,name,created_at\na1,Ahlers,31.12.2025\na2,Bolt,01.02.2026\n",
            "tickets.jsonl": '{"ticket_id": "t1", "account_id": "a1", "opened_at": "last week", '
            '"sentiment": "angry"}\n',
            "invoices.csv": 'invoice_id,account_id,amount_due,issued_at\ni1,a1,"$1,000.00",2026-06-01\n',
        },
    )
    assert exit_status(found) == 2
    (missing,) = of_kind(found, "missing_columns")
    assert missing.message.startswith(
        f"{tmp_path}/accounts.csv: required column missing: account_name (is it 'name'?)."
    )
    rejected = {(one.entity, one.column): one for one in of_kind(found, "rejected_values")}
    assert {key: (one.level, one.reason, one.records, one.value, one.line) for key, one in rejected.items()} == {
        ("accounts", "created_at"): ("error", "invalid_timestamp", 2, "31.12.2025", 2),
        ("tickets", "opened_at"): ("error", "invalid_timestamp", 1, "last week", 1),
        ("tickets", "sentiment"): ("error", "invalid_level", 1, "angry", 1),
        ("invoices", "amount_due"): ("error", "invalid_number", 1, "$1,000.00", 2),
    }
    assert rejected["accounts", "created_at"].file == f"{tmp_path}/accounts.csv"
    assert 'Set `dates: "%d.%m.%Y"`' in rejected["accounts", "created_at"].message
    assert 'Set `decimal: "."`' in rejected["invoices", "amount_due"].message
    (suggested,) = of_kind(found, "settings")
    for line in ("account_name: name", "dates: '%d.%m.%Y'", "decimal: ."):
        assert line in suggested.message


def test_a_first_line_of_excel_is_no_line_of_column_names(tmp_path):
    good = "sep=;\naccount_id;account_name\na1;Ahlers\na2;Bolt\n"
    assert not [one for one in examined(tmp_path / "a", {"accounts.csv": good}) if one.problems]
    found = examined(tmp_path / "b", {"accounts.csv": good.replace("account_name", "name") + "a3;x;y\n"})
    (missing,) = of_kind(found, "missing_columns")
    assert "account_name (is it 'name'?)" in missing.message
    (suggested,) = of_kind(found, "settings")
    assert "account_name: name" in suggested.message
    assert "delimiter" not in suggested.message
    broken = [one for finding in found for one in finding.problems if one.line == 5]
    assert [one.reason for one in broken] == ["unparseable_row"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        *((text, None) for text in ("1899-01-01", "1899-12-31 00:00:00", "01/01/1899", "2026-02-31", "0001-01-01")),
        ("2026-06-30 1:05 PM", 'Set `dates: "%Y-%m-%d %I:%M %p"`'),
        ("30/06/2026", 'Set `dates: "%d/%m/%Y"`'),
    ],
)
def test_only_formats_that_the_gate_accepts_are_suggested(tmp_path, text, hint):
    found = examined(tmp_path, {"accounts.csv": f"account_id,account_name,created_at\na1,Ahlers,{text}\na2,Bolt,\n"})
    (rejected,) = of_kind(found, "rejected_values")
    assert rejected.value == text
    assert (hint in rejected.message) if hint else ("dates" not in rejected.message)
    assert bool(of_kind(found, "settings")) == bool(hint)


def test_a_number_with_the_other_separator_suggests_that_separator(tmp_path):
    files = {"invoices.csv": "invoice_id,account_id,amount_due,issued_at\ni1,a1,12.50,2026-06-01\n"}
    (rejected,) = of_kind(examined(tmp_path, files, decimal=","), "rejected_values")
    assert (rejected.reason, rejected.value) == ("invalid_number", '12.50 [decimal: ","]')
    assert 'Set `decimal: "."`' in rejected.message


def test_a_few_rejected_records_are_a_warning_and_too_many_an_error(tmp_path):
    rows = [f"i{number},a1,10.00,2026-06-01" for number in range(99)]
    header = "invoice_id,account_id,amount_due,issued_at"
    found = examined(tmp_path, {"invoices.csv": "\n".join([header, *rows, "i99,a1,ten,2026-06-01", ""])})
    (problem,) = of_kind(found, "rejected_values")
    assert (exit_status(found), problem.level, problem.line) == (0, "warning", 101)
    more = [f"j{number},a1,ten,2026-06-01" for number in range(25)]
    found = examined(tmp_path, {"invoices.csv": "\n".join([header, *rows, *more, ""])})
    (problem,) = of_kind(found, "rejected_values")
    assert (exit_status(found), problem.level, problem.records) == (2, "error", 25)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tickets.jsonl", b"", "is empty"),
        ("tickets.csv", b"", "is empty"),
        ("tickets.csv", "ticket_id,account_id,opened_at\n".encode("utf-16"), "UTF-16"),
        ("tickets.parquet", b"PAR1 and nothing more", "not a readable Parquet file"),
        (
            "tickets.csv.gz",
            gzip.compress(b"ticket_id,account_id,opened_at\nt1,a1,2026-06-01\n" * 9, mtime=0)[:40],
            "gzip",
        ),
        ("tickets.csv", b"ticket_id,ticket_id,account_id,opened_at\n", "ticket_id"),
    ],
)
def test_a_file_that_cannot_be_read_does_not_hide_the_others(tmp_path, name, content, said):
    found = examined(tmp_path, {name: content, "invoices.csv": "invoice_id,account_id,issued_at\ni1,a1,yesterday\n"})
    (unreadable,) = of_kind(found, "unreadable")
    assert exit_status(found) == 2
    assert str(tmp_path / name) in unreadable.message
    assert said in unreadable.message
    assert "csm-doctor-" not in report(found)
    assert [one.value for one in of_kind(found, "rejected_values")] == ["yesterday"]


def test_a_large_compressed_file_that_is_cut_short_is_named(tmp_path):
    chosen = random.Random(1)
    rows = "".join(f"t{number},a1,2026-06-01,{chosen.random()}\n" for number in range(100_000))
    packed = gzip.compress(f"ticket_id,account_id,opened_at,noise\n{rows}".encode(), compresslevel=1)
    assert len(packed) > 512 * 1024
    found = examined(tmp_path, {"tickets.csv.gz": packed[:-1000]})
    assert "the gzip file is damaged" in of_kind(found, "unreadable")[0].message
    found = examined(tmp_path, {"tickets.csv.gz": packed})
    assert exit_status(found) == 0


@pytest.mark.parametrize(("delimiter", "setting"), [(";", ";"), ("\t", "tab"), ("|", "|")])
def test_another_delimiter_is_named_and_the_values_are_examined_all_the_same(tmp_path, delimiter, setting):
    text = 'invoice_id,account_id,amount_due,issued_at\ni1,a1,"1.250,00",2026-06-01\n'
    rows = [line.replace('"1.250,00"', "1.250x00").replace(",", delimiter) for line in text.splitlines()]
    found = examined(tmp_path, {"invoices.csv": "\n".join(rows).replace("1.250x00", '"1.250,00"') + "\n"})
    (problem,) = of_kind(found, "delimiter")
    assert (problem.level, problem.value, problem.file) == ("error", setting, str(tmp_path / "invoices.csv"))
    assert [(one.column, one.value) for one in of_kind(found, "rejected_values")] == [("amount_due", "1.250,00")]
    assert "decimal: ','" in of_kind(found, "settings")[0].message


@pytest.mark.parametrize("wrapped", [lambda records: records, lambda records: {"count": 1, "tickets": records}])
def test_a_json_document_is_named_and_its_records_are_examined(tmp_path, wrapped):
    records = [{"ticket_id": "t1", "account_id": "a1", "opened_at": "yesterday"}]
    for indent in (None, 2):
        found = examined(tmp_path, {"tickets.json": json.dumps(wrapped(records), indent=indent)})
        (problem,) = of_kind(found, "not_json_lines")
        assert "jq -c" in problem.message
        assert exit_status(found) == 2
        assert [one.value for one in of_kind(found, "rejected_values")] == ["yesterday"]


def test_columns_that_are_not_used_are_listed_with_what_they_may_be(tmp_path):
    found = examined(
        tmp_path, {"accounts.csv": "account_id,account_name,Region,plann\na1,Ahlers,EU,pro\na2,Bolt,US,pro\n"}
    )
    (unused,) = of_kind(found, "unused_columns")
    assert exit_status(found) == 0
    assert unused.message == f"{tmp_path}/accounts.csv: columns not used: Region, plann (is it plan?)"


def test_a_column_whose_name_is_mapped_to_another_column_is_not_used(tmp_path):
    files = {
        "accounts.csv": "account_id,account_name,Segmnt,note\na1,x,EU,y\n",
        "invoices.jsonl": '{"Id": 1, "account_id": "a1", "issued_at": "2026-06-01", "invoice_id": 2, "paid": 3}\n',
    }
    columns = {"accounts": {"segment": "segmnt"}, "invoices": {"invoice_id": "id"}}
    found = examined(tmp_path, files, columns=columns)
    assert [one.message.removeprefix(f"{tmp_path}/") for one in of_kind(found, "unused_columns")] == [
        "accounts.csv: columns not used: note",
        "invoices.jsonl: columns not used: invoice_id, paid (is it paid_at?)",
    ]


def test_unknown_accounts_are_named_when_all_accounts_were_read(tmp_path):
    invoice = {"invoices.csv": "invoice_id,account_id,issued_at\ni1,nobody,2026-06-01\ni2,nobody,bad\n"}
    found = examined(tmp_path, dict(invoice))
    # One wrong column of a record does not hide another one.
    assert {(one.column, one.reason, one.records) for one in of_kind(found, "rejected_values")} == {
        ("account_id", "unknown_account", 2),
        ("issued_at", "invalid_timestamp", 1),
    }
    many = "".join(f"b{number},{'x' * 300}\n" for number in range(2000))
    found = examined(tmp_path, {**invoice, "accounts.csv": f"account_id,account_name\n{many}"})
    assert {one.reason for one in of_kind(found, "rejected_values")} == {"invalid_timestamp"}


def test_a_list_of_domains_that_names_an_unknown_account_is_a_warning(tmp_path):
    write(tmp_path, {**COMPANY, "lists/domains.csv": "account_id,domain\na1,one.example\n a9 ,nine.example\n"})
    domains = tmp_path / "lists" / "domains.csv"
    config = Config(
        sources=(FilesSettings(system="files", path=tmp_path),),
        warehouse=tmp_path / "csm.duckdb",
        identity=IdentitySettings(account_domains=domains),
    )
    (unknown,) = of_kind(examine(config), "unknown_account")
    assert (unknown.file, unknown.line, unknown.value) == (str(domains), 3, "a9")
    assert unknown.message == (
        f"{domains}: 1 line with an unknown account_id. "
        "First: line 3, 'a9'. Correct the account_id, or remove the line."
    )


def test_only_the_first_records_of_a_large_file_are_read(tmp_path):
    rows = "".join(f"t{number},a1,2026-06-01,{'x' * 200}\n" for number in range(5000))
    late = "t-late,a1,yesterday,\n"
    found = examined(tmp_path, {"tickets.csv": f"ticket_id,account_id,opened_at,note\n{rows}{late}"})
    assert of_kind(found, "rejected_values") == []
    early = "t-early,a1,yesterday,\n"
    found = examined(tmp_path, {"tickets.csv": f"ticket_id,account_id,opened_at,note\n{early}{rows}"})
    assert [one.line for one in of_kind(found, "rejected_values")] == [2]


def test_a_quoted_line_break_is_not_cut(tmp_path):
    rows = "".join(f't{number},a1,2026-06-01,"{"x" * 300}\nmore"\n' for number in range(2000))
    found = examined(tmp_path, {"tickets.csv": f"ticket_id,account_id,opened_at,note\n{rows}"})
    assert (exit_status(found), of_kind(found, "unparseable_rows")) == (0, [])


def test_broken_lines_are_counted_with_the_first(tmp_path):
    found = examined(tmp_path, {"tickets.csv": "ticket_id,account_id,opened_at\nt1,a1,2026-06-01\nt2,a1\n"})
    (broken,) = of_kind(found, "unparseable_rows")
    assert (broken.file, broken.line, broken.records, broken.level) == (str(tmp_path / "tickets.csv"), 3, 1, "warning")


def test_parquet_files_are_examined_under_the_names_that_they_have(tmp_path):
    write(tmp_path, {})
    duckdb.sql(
        "select 't' || range as ticket_id, 'a1' as account, date '2026-06-01' as opened_at, 'nice' as sentiment "
        "from range(50000)"
    ).write_parquet(str(tmp_path / "tickets.parquet"))
    found = examined(tmp_path, {})
    assert "account_id (is it 'account'?)" in of_kind(found, "missing_columns")[0].message
    assert {(one.column, one.reason, one.level) for one in of_kind(found, "rejected_values")} == {
        ("sentiment", "invalid_level", "error")
    }


def test_files_that_are_not_read_are_named(tmp_path):
    found = examined(tmp_path, {"tickets.xlsx": b"PK", "ticket.csv": "x\n", "_SUCCESS": ""})
    assert exit_status(found) == 0
    assert {Path(str(one.file)).name for one in of_kind(found, "file_not_read")} == {"tickets.xlsx", "ticket.csv"}
    assert all(one.message.startswith("not read: ") for one in of_kind(found, "file_not_read"))


def test_a_file_is_not_overwritten_and_text_of_files_is_shown_without_control_characters(tmp_path):
    content = "invoice_id,account_id,issued_at,\x1b[31mred\ni1,a1,\x1b[2Jnow,\n"
    found = examined(tmp_path, {"invoices.csv": content})
    assert "\x1b" not in report(found)
    assert (tmp_path / "invoices.csv").read_text() == content


def test_records_of_a_vendor_are_staged_and_judged(tmp_path):
    write(tmp_path / "company", dict(COMPANY))
    call = {"type": "track", "messageId": "m1", "event": "Login", "userId": "u1", "timestamp": "2026-06-01T10:00:00Z"}
    lines = [json.dumps(call), json.dumps({**call, "messageId": "m2", "timestamp": "yesterday"})]
    write(tmp_path / "calls", {"events.jsonl": "\n".join([*lines, ""])})
    write(
        tmp_path / "help", {"tickets.json": json.dumps({"tickets": [{"id": 1, "created_at": "2026-06-01T10:00:00Z"}]})}
    )
    with duckdb.connect(str(tmp_path / "landed.duckdb")) as connection:
        connection.execute(
            "create table ticket as select 1 as id, '2026-06-01' as created_at, 'open' as status, 5 as organization_id"
        )
    config = Config(
        warehouse=tmp_path / "csm.duckdb",
        sources=(
            FilesSettings(system="files", path=tmp_path / "company"),
            SegmentSettings(system="segment", path=tmp_path / "calls"),
            ZendeskSettings(system="zendesk", path=tmp_path / "help"),
            ZendeskSettings(
                system="zendesk", name="landed", tables=LandedTables(path=tmp_path / "landed.duckdb", by="fivetran")
            ),
        ),
    )
    found = {finding.source: finding for finding in examine(config)}
    (rejected,) = of_kind([found["segment"]], "rejected_values")
    assert (rejected.entity, rejected.column, rejected.value) == ("usage_events", "occurred_at", "yesterday")
    (document,) = of_kind([found["zendesk"]], "not_json_lines")
    assert "jq -c '.tickets[]' tickets.json > tickets.jsonl" in document.message.replace("jq -c .", "jq -c '.")
    assert found["files"].status == found["landed"].status == 0


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
CELLS = st.one_of(
    st.sampled_from(["", "a1", "2026-06-01", "01/06/2026", "1,5", "$1,000.00", "-3", "11", "GREEN", "usd", "NULL"]),
    TEXTS,
)


@settings(max_examples=examples(12))
@given(entity=st.sampled_from(sorted(set(ENTITIES) - {"accounts"})), data=st.data())
def test_doctor_names_the_column_of_every_record_that_the_gate_rejects(tmp_path_factory, entity, data):
    """Of each record that a run rejects, doctor names the column and reason; it names no value that a run accepts."""
    columns = ENTITIES[entity].columns
    rows = data.draw(st.lists(st.tuples(*(CELLS for _ in columns[1:])), min_size=1, max_size=6))
    text = io.StringIO(newline="")
    written = csv.writer(text, lineterminator="\n")
    written.writerow([column.name for column in columns])
    # Of two records with one key the gate judges the one that counts, doctor both.
    written.writerows([f"k{number}", *row] for number, row in enumerate(rows))
    base = tmp_path_factory.mktemp("company")
    with new_source_loads(base) as source_loads:
        source_loads.write_company(**{entity: text.getvalue()})
        source_loads.run(entity)
        gate = {
            (field, reason)
            for field, reason in source_loads.rows(f"select distinct field, reason from quarantine.{entity}")
            if field is not None
        }
        broken = source_loads.rows(f"select count(*) from quarantine.{entity} where field is null")[0][0]
    config = Config(sources=(FilesSettings(system="files", path=base / "company"),), warehouse=base / "other.duckdb")
    found = examine(config)
    named = {(one.column, one.reason) for one in of_kind(found, "rejected_values") if one.entity == entity}
    assert gate <= named
    assert bool(named) == bool(gate)
    assert bool(broken) == any(one.entity == entity for one in of_kind(found, "unparseable_rows"))


def test_of_many_files_some_are_examined_and_the_number_of_the_others_is_said(tmp_path):
    head = "ticket_id,account_id,opened_at\n"
    files: dict[str, str | bytes] = {
        f"tickets/{n:03}.csv": f"{head}t{n},a1,{'yesterday' if n == 149 else '2026-06-01'}\n" for n in range(150)
    }
    found = examined(tmp_path, files)
    (note,) = of_kind(found, "files_not_examined")
    assert note.message == f"{tmp_path}/tickets: 50 of 150 files are not examined"
    assert [Path(str(one.file)).name for one in of_kind(found, "rejected_values")] == ["149.csv"]


def test_the_first_rows_of_queries_are_judged(postgres_url: str, tmp_path, monkeypatch):
    monkeypatch.setenv("CSM_POSTGRES_DSN", postgres_url)
    queries = {
        "accounts": {"sql": "select 'a1' as account_id, 'Ahlers' as account_name -- one"},
        "invoices": {
            "sql": "select 'i' || n as invoice_id, 'a1' as account_id, 'ten' as amount_due, timestamp '2026-06-01' "
            "as issued_at from generate_series(1, 5000) as n;",
            "incremental_by": "issued_at",
        },
    }
    source = PostgresSettings.model_validate({"system": "postgres", "name": "product_db", "queries": queries})
    found = examine(Config(sources=(source,), warehouse=tmp_path / "csm.duckdb"))
    (rejected,) = of_kind(found, "rejected_values")
    assert (rejected.level, rejected.column, rejected.value, rejected.records) == ("error", "amount_due", "ten", 1000)
    assert rejected.file == "product_db: query invoices"
