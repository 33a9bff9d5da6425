"""Every file of a source's folder is read as an entity's or named as not read, with the reason."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csm_core.contract import ENTITIES
from csm_core.errors import SourceError
from csm_core.ingest import text_files
from csm_core.ingest.found_files import DELTA_LOG, find_files
from csm_core.sources.registry import get_system
from csm_core.sources.settings import AnySource, FilesSettings, RavenStackSettings, ZendeskSettings
from csm_core.sources.settings_base import SeveralInputs
from csm_core.sources.spark_settings import SparkSettings
from csm_core.sources.unread_files import unread_below, unread_files
from tests.examples import examples

INVOICES = "invoice_id,account_id,amount_due,issued_at\ni{0},a1,10,2026-06-01\n"


def source(folder: Path) -> FilesSettings:
    return FilesSettings(system="files", path=folder)


def unread(folder: Path) -> dict[str, str]:
    return {str(one.path.relative_to(folder)): one.why for one in unread_files(source(folder))}


@pytest.mark.parametrize(
    "name",
    [
        *("invoices.csv", "Invoices.CSV", "INVOICES/2026.csv", "invoices/2026/06/a.csv", "invoices-2026-06.csv"),
        *("invoices.csv/part-00000-3f.csv", "Invoices.Parquet/a.csv"),
        *("invoices.2026-06.v2.csv", "Invoices_2026_Q2.csv", "invoices-2026-06-30T10-00-00Z.csv", "invoices_part3.csv"),
    ],
)
def test_a_file_of_an_entity_is_read(source_loads, name):
    source_loads.write_company()
    source_loads.write(name, INVOICES.format(1))
    assert source_loads.load()["raw.files__invoices"].loaded == 1
    assert unread(source_loads.folder) == {}


@pytest.mark.parametrize("name", ["Usage Events.csv", "usage-events.csv", "USAGE_EVENTS/1.csv"])
def test_blanks_and_dashes_of_a_name_are_underscores(source_loads, name):
    source_loads.write_company()
    (source_loads.folder / "usage_events.csv").rename(path := source_loads.folder / "x")
    source_loads.write(name, path.read_bytes())
    path.unlink()
    assert source_loads.load()["raw.files__usage_events"].loaded == 3


def test_tabs_and_zstd_are_read(source_loads):
    source_loads.write_company()
    text = INVOICES.format(1).replace(",", "\t").encode()
    source_loads.write("invoices/1.tsv", text)
    source_loads.write("invoices/2.tsv.gz", gzip.compress(text.replace(b"i1", b"i2")))
    with pa.CompressedOutputStream(str(source_loads.folder / "invoices" / "3.csv.zst"), "zstd") as stream:
        stream.write(INVOICES.format(3).encode())
    # An unclosed quote makes the careful reader read it.
    with pa.CompressedOutputStream(str(source_loads.folder / "invoices" / "4.CSV.ZST"), "zstd") as stream:
        stream.write(INVOICES.format(4).encode() + b'"i5,a1\n')
    with pa.CompressedOutputStream(str(source_loads.folder / "invoices" / "6.jsonl.zst"), "zstd") as stream:
        stream.write(b'{"invoice_id": "i6", "account_id": "a1", "issued_at": "2026-06-01"}\n')
    result = source_loads.load()["raw.files__invoices"]
    assert (result.read, result.unparseable) == (6, 1)
    assert source_loads.rows("select invoice_id from raw.files__invoices order by 1") == [
        (f"i{n}",) for n in (1, 2, 3, 4, 6)
    ]


@pytest.mark.parametrize("cut", [1, 3, 20])
def test_a_truncated_zstd_file_is_an_error(source_loads, cut):
    source_loads.write_company()
    path = source_loads.folder / "invoices.csv.zst"
    with pa.CompressedOutputStream(str(path), "zstd") as stream:
        stream.write(INVOICES.format(0).encode())
        stream.write(b"".join(f"i{n},a1,1,2026-06-01\n".encode() for n in range(1, 300_000)))
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(SourceError, match=r"invoices\.csv\.zst: the zstd file is damaged .*Transfer it again"):
        source_loads.load()


def test_zstd_without_its_library_is_named(source_loads, monkeypatch):
    monkeypatch.setattr(text_files, "find_spec", lambda _: None)
    source_loads.write_company()
    source_loads.write("invoices.csv.zst", b"")
    assert unread(source_loads.folder) == {
        "invoices.csv.zst": "compressed with zstd, which requires the package pyarrow. Install it "
        "(pip install pyarrow), or compress the file with gzip"
    }


def test_what_is_not_read_is_named_with_the_reason(source_loads):
    source_loads.write_company()
    for name in (
        "invoices_old.csv",
        "invoces.csv",
        "other.csv",
        "book.xlsx",
        "all.zip",
        "notes.txt",
        "usage_events/x.md",
    ):
        source_loads.write(name, "x")
    source_loads.write("ticket/1.csv", "x")
    source_loads.write("ticket/_2.csv", "x")
    assert unread(source_loads.folder) == {
        "invoices_old.csv": "its name does not match an entity. If it contains invoices, move it to a folder invoices/",
        "invoces.csv": "its name does not match an entity. Is it invoices?",
        "other.csv": "its name does not match an entity",
        "book.xlsx": "spreadsheets are not supported. Save each sheet as CSV",
        "all.zip": "the format .zip is not supported. Decompress the file, or compress it with gzip (.gz)",
        "notes.txt": "unsupported format. Expected one of .csv, .tsv, .jsonl, .ndjson, .json, .parquet "
        "(text also with .gz or .zst)",
        "usage_events/x.md": "unsupported format. Expected one of .csv, .tsv, .jsonl, .ndjson, .json, .parquet "
        "(text also with .gz or .zst)",
        "ticket": "a folder with 1 file; its name does not match an entity. Is it tickets?",
    }


def test_names_of_writers_are_no_data_at_any_depth(source_loads):
    source_loads.write_company()
    for name in ("_SUCCESS", "_temporary/0/1.csv", "2026/_temporary/0/1.csv", "2026/.1.csv.crc", "2026/_started_1"):
        source_loads.write(f"usage_events/{name}", "rubbish")
    source_loads.write("_invoices.csv", "rubbish")
    assert source_loads.load()["raw.files__usage_events"].read == 3
    assert unread(source_loads.folder) == {}


def test_the_log_of_a_delta_table_is_named_once(source_loads):
    source_loads.write_company()
    for name in ("usage_events/_delta_log/0.json", "usage_events/_delta_log/1.json", "invoices/a/_delta_log/0.json"):
        source_loads.write(name, "{}")
    assert sorted(unread(source_loads.folder)) == ["invoices/a/_delta_log", "usage_events/_delta_log"]
    assert unread(source_loads.folder)["usage_events/_delta_log"].startswith("a Delta table: ")


def test_a_landed_table_is_read_as_a_whole(tmp_path):
    for name in ("Ticket.csv", "ticket-2026.csv", "ORGANIZATION/1.csv", "custom_role.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("ID,CREATED_AT,STATUS,REQUESTER_ID\n1,2026-06-01,open,5\n")
    landed = ZendeskSettings.model_validate({"system": "zendesk", "tables": {"by": "fivetran", "path": tmp_path}})
    assert get_system("zendesk").check(landed) == f"{tmp_path}: tables ticket, organization"
    assert {one.path.name: one.why for one in unread_files(landed)} == {
        "ticket-2026.csv": "its name does not match a table. If it contains ticket, move it to a folder ticket/",
        "custom_role.csv": "its name does not match a table",
    }


VENDORS = [one for one in get_args(get_args(AnySource)[0]) if issubclass(one, SeveralInputs)]


@pytest.mark.parametrize("settings_type", VENDORS, ids=lambda settings_type: settings_type.__name__)
def test_every_system_with_a_folder_names_what_it_does_not_read(tmp_path, settings_type):
    (tmp_path / "customers.csv").write_text("id\n1\n")
    (tmp_path / "what.csv").write_text("id\n1\n")
    (system,) = get_args(settings_type.model_fields["system"].annotation)
    found = unread_files(settings_type.model_validate({"system": system, "path": tmp_path}))
    assert "what.csv" in {one.path.name for one in found}


def test_every_file_of_ravenstack_is_read_and_a_workbook_is_not(tmp_path):
    (tmp_path / "what.csv").write_text("id\n1\n")
    assert unread_files(RavenStackSettings(system="ravenstack", path=tmp_path)) == []
    assert {one.path.name for one in unread_below(tmp_path)} == set()
    (tmp_path / "map.xlsx").write_text("")
    assert [one.path.name for one in unread_below(tmp_path)] == ["map.xlsx"]


def test_what_another_source_reads_is_read(source_loads):
    source_loads.write_company()
    source_loads.write("zendesk/tickets.jsonl", "{}")
    source_loads.write("account_map.csv", "x")
    source_loads.write("lost.csv", "x")
    zendesk = ZendeskSettings(system="zendesk", path=source_loads.folder / "zendesk")
    own = source(source_loads.folder)
    found = unread_files(own, [own, zendesk], [source_loads.folder / "account_map.csv", None])
    assert [one.path.name for one in found] == ["lost.csv"]


def test_a_source_that_spark_reads_has_no_folder(tmp_path):
    (tmp_path / "what.csv").write_text("x")
    spark = SparkSettings.model_validate({"system": "spark", "entity": "tickets", "path": str(tmp_path)})
    assert unread_files(spark, [spark]) == []


PART = st.sampled_from(["invoices", "tickets", "nps_responses", "2026", "06", "v2", "old", "_", ".", "-", "A", "csv"])


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(PART, min_size=1, max_size=6),
    suffix=st.sampled_from([".csv", ".CSV", ".tsv.gz", ".jsonl", ".xlsx", ".parquet.gz", ""]),
    folder=st.sampled_from(["", "invoices", "Tickets/a", "other", "_temporary"]),
)
def test_a_file_is_read_once_or_named_or_never_data(tmp_path_factory, parts, suffix, folder):
    base = tmp_path_factory.mktemp("found")
    name = "".join(parts) + suffix
    if name in (".", ".."):
        return
    path = base / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    found = find_files(base, ENTITIES, called="an entity", numbered=True)
    read = [one for paths in found.read.values() for one in paths]
    hidden = any(part.startswith(("_", ".")) for part in path.relative_to(base).parts)
    named = [one for one in found.unread if one.path == path or one.path in path.parents]
    assert len(read) + len(named) == (0 if hidden else 1)
    assert DELTA_LOG not in str(path)
