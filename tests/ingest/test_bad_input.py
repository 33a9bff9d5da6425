"""Broken files: each ends in a clear SourceError with nothing half written, or in a quarantined record. Never else."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import duckdb
import pytest

from csm_core.errors import ConfigError, SourceError
from csm_core.ingest.column_names import column_key
from csm_core.sources.registry import get_system
from csm_core.sources.settings import FilesSettings
from csm_core.sources.unread_files import unread_files
from tests.source_loads import SYSTEMS, new_source_loads

HEADER = "event_id,account_id,user_id,event_name,feature,quantity,occurred_at"


def event(number: int, **changes: str) -> str:
    values = {
        "event_id": f"e{number}",
        "account_id": "a1",
        "user_id": "u1",
        "event_name": "used",
        "feature": "reports",
        "quantity": "1",
        "occurred_at": "2026-06-01T10:00:00Z",
    }
    return ",".join((values | changes).values())


def events(*lines: str) -> str:
    return "\n".join((HEADER, *lines)) + "\n"


# -- refused as a whole ------------------------------------------------------------------------------------------


def parquet(sql: str, tmp_path: Path) -> bytes:
    target = tmp_path / "made.parquet"
    duckdb.connect().execute(f"copy ({sql}) to '{target}'")
    return target.read_bytes()


def _cases(tmp_path: Path) -> dict[str, tuple[str, bytes, list[str]]]:
    good = events(*(event(number) for number in range(2000))).encode()
    whole_parquet = parquet("select range::varchar as event_id from range(5000)", tmp_path)
    return {
        "semicolons": ("usage_events.csv", good.replace(b",", b";"), ["only one column", "semicolon"]),
        "tabs": ("usage_events.csv", good.replace(b",", b"\t"), ["only one column", "tab"]),
        "no such column": (
            "usage_events.csv",
            good.replace(b"occurred_at", b"occured_at"),
            ["required column missing: occurred_at (is it 'occured_at'?)", "Found: event_id, account_id"],
        ),
        "no header": ("usage_events.csv", good.split(b"\n", 1)[1], ["required columns missing", "event_id"]),
        "duplicate header": (
            "usage_events.csv",
            good.replace(b"user_id", b" Event_ID "),
            ["the columns 'event_id' and 'Event_ID' are both read as 'event_id'"],
        ),
        "empty": ("usage_events.csv", b"", ["the file is empty"]),
        "blank first line": ("usage_events.csv", b"\n" + good, ["first line is blank"]),
        "latin-1 header": ("usage_events.csv", "event_id,müller\n".encode("latin-1"), ["not UTF-8"]),
        "utf-16": ("usage_events.csv", good.decode().encode("utf-16"), ["UTF-16", "UTF-8"]),
        "binary": ("usage_events.csv", b"PK\x03\x04\x00\x00a,b", ["not a CSV file"]),
        "quote in header": ("usage_events.csv", b'"event_id,account_id\n', ["the header line cannot be parsed"]),
        "truncated gzip": ("usage_events.csv.gz", gzip.compress(good)[:200], ["the gzip file is damaged"]),
        "gzip without its end": ("usage_events.csv.gz", gzip.compress(good)[:-4], ["the gzip file is damaged"]),
        "not gzip": ("usage_events.csv.gz", good, ["gzip"]),
        "gzip with rubbish behind": ("usage_events.csv.gz", gzip.compress(good) + b"xx", ["gzip"]),
        "truncated json gzip": ("usage_events.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 9)[:20], ["gzip"]),
        "empty json": ("usage_events.jsonl", b"", ["the file is empty"]),
        "json array": ("usage_events.json", b'[{"event_id": "e1"}]', ["JSON array", "one object on each line"]),
        "json without column": (
            "usage_events.jsonl",
            b'{"event_id": "e1", "account": "a1", "event_name": "x", "occurred_at": "2026-06-01"}\n',
            ["required column missing: account_id (is it 'account'?)"],
        ),
        "not parquet": ("usage_events.parquet", good, ["not a readable Parquet file"]),
        "empty parquet": ("usage_events.parquet", b"", ["not a readable Parquet file"]),
        "truncated parquet": ("usage_events.parquet", whole_parquet[:-100], ["not a readable Parquet file"]),
        "parquet without columns": ("usage_events.parquet", whole_parquet, ["required columns missing: account_id"]),
        "unknown format": ("usage_events.xlsx", b"PK", ["no records for usage_events", "Found: usage_events.xlsx"]),
        "empty folder": ("usage_events/.DS_Store", b"\0\1", ["no records for usage_events", "usage_events"]),
    }


NAMES = [
    *("semicolons", "tabs", "no such column", "no header", "duplicate header", "empty", "blank first line"),
    *("latin-1 header", "utf-16", "binary", "quote in header", "truncated gzip", "gzip without its end", "not gzip"),
    *("gzip with rubbish behind", "truncated json gzip", "empty json", "json array", "json without column"),
    *("not parquet", "empty parquet", "truncated parquet", "parquet without columns", "unknown format"),
    "empty folder",
]


def test_every_broken_file_is_tried(tmp_path):
    assert sorted(NAMES) == sorted(_cases(tmp_path))


@pytest.fixture(scope="module")
def loaded_company(tmp_path_factory):
    """A company that was loaded before; no case may leave a trace, so that all can use the same."""
    base = tmp_path_factory.mktemp("loaded")
    with new_source_loads(base) as source_loads:
        source_loads.write_company()
        source_loads.run()
        yield source_loads, source_loads.state(), _cases(base)


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_file_is_an_error_that_says_what_and_where(loaded_company, name):
    source_loads, before, cases = loaded_company
    shutil.rmtree(source_loads.folder)
    source_loads.folder.mkdir()
    source_loads.write_company()
    (source_loads.folder / "usage_events.csv").unlink()
    file, content, expected = cases[name]
    source_loads.write(file, content)
    # A good file that comes first in the same load must not stay behind either.
    source_loads.write("accounts.csv", "account_id,account_name\na9,New\n")

    with pytest.raises(SourceError) as caught:
        source_loads.load()

    message = str(caught.value)
    assert str(source_loads.folder) in message
    for part in expected:
        assert part in message
    assert caught.value.exit_status == 2
    assert source_loads.state() == before


def test_a_parquet_file_with_broken_pages_is_an_error(source_loads, tmp_path):
    source_loads.write_company()
    source_loads.run()
    before = source_loads.state()
    content = bytearray(
        parquet(
            "select range::varchar as event_id, 'a1' as account_id, 'x' as event_name, "
            "timestamp '2026-06-01' as occurred_at from range(50000)",
            tmp_path,
        )
    )
    content[100:4000] = b"\xff" * 3900
    source_loads.write("usage_events/more.parquet", bytes(content))
    with pytest.raises(SourceError, match=r"more\.parquet: "):
        source_loads.load()
    assert source_loads.state() == before


@pytest.mark.parametrize("entity", ["accounts", "features", "usage_events"])
def test_a_missing_mandatory_entity_is_an_error(source_loads, entity):
    source_loads.write_company()
    (source_loads.folder / f"{entity}.csv").rename(source_loads.folder / f"{entity}_old.csv")
    with pytest.raises(SourceError, match=rf"no records for {entity}, .*Found: .*{entity}_old\.csv"):
        source_loads.load()


@pytest.mark.parametrize("system", ["files", "ravenstack"])
def test_a_missing_folder_is_an_error(source_loads, system):
    source_loads.folder = source_loads.folder / "nowhere"
    with pytest.raises(SourceError, match=r"does not exist: .*nowhere.*csm\.yaml"):
        source_loads.load(system)
    with pytest.raises(SourceError, match=r"does not exist: .*nowhere.*csm\.yaml"):
        get_system(system).check(SYSTEMS[system](system=system, path=source_loads.folder))


def test_a_file_instead_of_the_folder_is_an_error(source_loads):
    path = source_loads.write("accounts.csv", "account_id,account_name\n")
    with pytest.raises(SourceError, match="is a file, not a folder"):
        get_system("files").check(FilesSettings(system="files", path=path))


def test_an_unknown_system_names_the_nearest():
    with pytest.raises(ConfigError, match="unknown system 'file'; did you mean 'files'"):
        get_system("file")
    with pytest.raises(ConfigError, match="known systems: files, ravenstack"):
        get_system("salesforce")


def test_a_missing_file_of_ravenstack_is_an_error(source_loads):
    with pytest.raises(SourceError, match=r"ravenstack_accounts\.csv: file not found, with or without \.gz"):
        source_loads.load("ravenstack")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser reads everything")
def test_an_unreadable_file_is_an_error(source_loads):
    source_loads.write_company()
    (source_loads.folder / "accounts.csv").chmod(0)
    with pytest.raises(SourceError, match=r"accounts\.csv: cannot be read: Permission denied"):
        source_loads.load()


# -- broken rows are kept apart, the good ones go in ---------------------------------------------------------------

GOOD = (event(1), event(2))
ROWS = {
    "too few values": (["x,a1"], [(3, "unparseable_row", "x,a1")]),
    "too many values": ([event(3) + ",more"], [(3, "unparseable_row", event(3) + ",more")]),
    "text after a quote": (['"x"y,a1,,e,,,'], [(3, "unparseable_row", '"x"y,a1,,e,,,')]),
    "a quote never closed": (['"x,a1,,e,,,'], [(3, "unparseable_row", '"x,a1,,e,,,')]),
    "two quotes that would swallow a row": (
        [f'"x{event(3)}', event(4), f'"y{event(5)}'],
        [(3, "unparseable_row", f'"x{event(3)}'), (5, "unparseable_row", f'"y{event(5)}')],
    ),
    "not UTF-8": (["\udce9,a1,,e,,,"], [(3, "invalid_encoding", "\\xe9,a1,,e,,,")]),
    "blank lines": (["", event(3), "", ""], []),
    "a quoted line break": ([event(3, feature='"one\ntwo"'), event(4), "x"], [(6, "unparseable_row", "x")]),
    "carriage returns here and there": ([event(3) + "\r", event(4)], []),
    "a lone quote inside": ([event(3, feature='5" disk')], []),
    "a zero byte": ([event(3, feature="a\0b")], []),
}


@pytest.mark.parametrize("name", list(ROWS))
def test_a_broken_row_is_quarantined_with_its_text_and_the_others_load(source_loads, name):
    lines, expected = ROWS[name]
    content = events(GOOD[0], *lines, GOOD[1]).encode("utf-8", errors="surrogateescape")
    source_loads.write_company()
    # Half of the cases compressed: the way is the same from the first byte on.
    zipped = len(name) % 2 == 0
    (source_loads.folder / "usage_events.csv").unlink()
    source_loads.write(f"usage_events.csv{'.gz' * zipped}", gzip.compress(content) if zipped else content)

    report = source_loads.run()["usage_events"]

    assert (
        source_loads.rows("select source_line, reason, raw_text from quarantine.usage_events order by source_line")
        == expected
    )
    text = "\n".join(lines)
    whole = [
        number
        for number in (3, 4, 5)
        if f"e{number},a1" in text and not any(f"e{number}," in row[2] for row in expected)
    ]
    assert source_loads.rows("select event_id from staging.stg_usage_events order by 1") == [
        (f"e{number}",) for number in (1, 2, *whole)
    ]
    assert report.read == report.loaded + report.rejected
    assert report.by_reason == ({expected[0][1]: len(expected)} if expected else {})


def test_one_stray_quote_costs_one_line_of_a_large_file(source_loads):
    rows = 60_000
    lines = [event(number) for number in range(rows)]
    lines[20_000] = '"' + lines[20_000]
    source_loads.write_company(usage_events=events(*lines))
    report = source_loads.run(percent=1)["usage_events"]
    assert (report.read, report.loaded, report.rejected) == (rows, rows - 1, 1)
    assert source_loads.rows("select source_line, raw_text from quarantine.usage_events") == [(20_002, lines[20_000])]
    lines_of = "select event_id, _source_line from raw.files__usage_events where event_id in ('e19999', 'e20001')"
    assert source_loads.rows(f"{lines_of} order by 1") == [("e19999", 20_001), ("e20001", 20_003)]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_value_of_ten_megabytes_is_a_value(source_loads, form):
    long = "x" * 10_000_000
    source_loads.write_company()
    if form == "csv":
        source_loads.write("usage_events/long.csv", events(event(7, feature=long)))
    else:
        source_loads.write(
            "usage_events/long.jsonl",
            f'{{"event_id": "e7", "account_id": "a1", "event_name": "x", "feature": "{long}", '
            '"occurred_at": "2026-06-01"}\n',
        )
    source_loads.run()
    assert source_loads.rows("select length(feature) from staging.stg_usage_events where event_id = 'e7'") == [
        (10_000_000,)
    ]


@pytest.mark.slow
def test_a_line_beyond_all_measure_is_quarantined(source_loads):
    source_loads.write_company()
    source_loads.write("usage_events/long.csv", events(event(7, feature="x" * 70_000_000), event(8)))
    report = source_loads.run()["usage_events"]
    assert report.by_reason == {"row_too_long": 1}
    assert source_loads.rows("select event_id from staging.stg_usage_events where event_id > 'e3'") == [("e8",)]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("\ufeff" + events(*GOOD), id="byte-order mark"),
        pytest.param(events(*GOOD).replace("\n", "\r\n"), id="Windows line ends"),
        pytest.param(events(*GOOD).replace("\n", "\r"), id="old Macintosh line ends"),
        pytest.param(events(*GOOD).rstrip("\n"), id="no line end at the close"),
        pytest.param(events(*GOOD).replace(",account_id", ", Account_ID "), id="blanks and capitals in the header"),
        pytest.param(
            "\n".join(f'"{line.replace(",", chr(34) + "," + chr(34))}"' for line in events(*GOOD).split()),
            id="all quoted",
        ),
    ],
)
def test_what_other_programs_write_is_read(source_loads, content):
    source_loads.write_company(usage_events=content)
    report = source_loads.run()["usage_events"]
    assert (report.read, report.loaded) == (2, 2)
    assert source_loads.rows("select distinct account_id from staging.stg_usage_events") == [("a1",)]


def test_a_file_of_column_names_only_has_no_records(source_loads):
    source_loads.write_company(usage_events=HEADER)
    assert source_loads.run()["usage_events"].read == 0


def test_broken_json_lines_are_quarantined(source_loads):
    source_loads.write_company()
    good = '{"event_id": "%s", "account_id": "a1", "event_name": "x", "occurred_at": "2026-06-01"}'
    lines = [good % "j1", "{broken", "[1, 2]", "", '"text"', good % "j2", "null", good % "j3" + " }"]
    source_loads.write("usage_events/a.jsonl", "\n".join(lines).encode() + b'\n{"event_id": "\xe9"}\n')
    report = source_loads.run()["usage_events"]
    assert source_loads.rows("select source_line, reason, raw_text from quarantine.usage_events order by 1") == [
        (2, "unparseable_row", "{broken"),
        (3, "unparseable_row", "[1, 2]"),
        (5, "unparseable_row", '"text"'),
        (7, "unparseable_row", "null"),
        (8, "unparseable_row", lines[-1]),
        (9, "invalid_encoding", '{"event_id": "\\xe9"}'),
    ]
    assert (report.read, report.loaded, report.rejected) == (11, 5, 6)


def test_json_may_change_its_types_half_way(source_loads):
    source_loads.write_company()
    lines = [
        '{"event_id": 1, "account_id": "a1", "event_name": "x", "quantity": 2, "occurred_at": "2026-06-01"}',
        '{"event_id": "2", "account_id": "a1", "event_name": "x", "quantity": "3", "occurred_at": "2026-06-01"}',
        '{"event_id": "3", "account_id": "a1", "event_name": {"a": 1}, "quantity": null, "occurred_at": "2026-06-01"}',
        '{"event_id": "4", "account_id": "a1", "event_name": "x", "quantity": [1], "occurred_at": "2026-06-01"}',
        '{"event_id": "5", "account_id": "a1", "event_name": "x", "quantity": true, "occurred_at": 1767225600}',
        '{"Event_ID": "6", "account_id": "a1", "event_name": "x", "a/b~c\\"d": 1, "occurred_at": "2026-06-01"}',
    ]
    source_loads.write("usage_events/a.jsonl", "\n".join(lines))
    source_loads.run()
    assert source_loads.rows(
        "select event_id, event_name, quantity from staging.stg_usage_events where event_id < 'a' order by 1"
    ) == [("1", "x", 2), ("2", "x", 3), ("3", '{"a":1}', 1), ("6", "x", 1)]
    assert source_loads.quarantined("usage_events") == [
        (4, "quantity", "invalid_number", "[1]"),
        (5, "quantity", "invalid_number", "true"),
    ]
    assert source_loads.rows('select "a/b~c""d" from raw.files__usage_events where event_id = \'6\'') == [("1",)]


def test_strays_are_left_alone(source_loads):
    source_loads.write_company()
    for name in (".DS_Store", "._accounts.csv", "~$accounts.csv", "notes.txt", "usage_events.csv.bak", "Thumbs.db"):
        source_loads.write(name, b"\0\1rubbish")
    for name in (".DS_Store", "._2026.csv", ".hidden/2026.csv", "_SUCCESS", "readme.md", "2026.parquet.gz"):
        source_loads.write(f"usage_events/{name}", b"\0\1rubbish")
    (source_loads.folder / "usage_events" / "gone.csv").symlink_to(source_loads.folder / "nowhere.csv")
    (source_loads.folder / "usage_events" / "loop").symlink_to(source_loads.folder, target_is_directory=True)
    assert source_loads.run()["usage_events"].read == 3
    unread = {one.path.name: one.why for one in unread_files(FilesSettings(system="files", path=source_loads.folder))}
    named = {"notes.txt", "usage_events.csv.bak", "Thumbs.db", "readme.md", "2026.parquet.gz", "gone.csv", "loop"}
    assert set(unread) == named
    assert (
        unread["2026.parquet.gz"] == "Parquet in .gz is not supported: Parquet has its own compression. Decompress it"
    )
    assert unread["loop"] == "a symbolic link to a folder, which is not followed. Copy the files"


HOSTILE = [
    "'; drop table staging.stg_accounts; --",
    '"quoted"',
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "=cmd|' /C calc'!A0",
    "@SUM(1)",
    "$as_of_date",
    "{0} %s {{x}}",
    "a\nb",
    "名前 \u202e\u200b",
]


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def test_names_made_to_be_something_else_stay_names(source_loads):
    columns = [name.replace("\n", " ") for name in HOSTILE]
    header = ",".join(("account_id", "account_name", *map(quoted, columns)))
    lines = [",".join((quoted(name), quoted(name), *map(quoted, HOSTILE))) for name in HOSTILE]
    source_loads.write_company(accounts="\n".join((header, *lines)) + "\n")
    known = [event(number, account_id=quoted(name)) for number, name in enumerate(HOSTILE)]
    unknown = [event(100 + number, account_id=quoted(f"{name}?")) for number, name in enumerate(HOSTILE)]
    source_loads.write("usage_events.csv", events(*known, *unknown))
    report = source_loads.run()["usage_events"]
    accounts = source_loads.rows("select account_id, account_name from staging.stg_accounts")
    assert sorted(accounts) == sorted((name, name) for name in HOSTILE)
    assert report.by_reason == {"unknown_account": len(HOSTILE)}
    assert {row[3] for row in source_loads.quarantined("usage_events")} == {f"{name}?" for name in HOSTILE}
    stored = source_loads.rows("select column_name from duckdb_columns() where table_name = 'files__accounts'")
    assert {(column_key(name),) for name in columns if name.isprintable()} <= set(stored)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_files_may_have_any_name(source_loads, tmp_path, form):
    source_loads.write_company()
    line = "'e9' as event_id, 'a1' as account_id, 'x' as event_name, timestamp '2026-06-01' as occurred_at"
    made = {
        "csv": events(event(9)).encode(),
        "jsonl": b'{"event_id": "e9", "account_id": "a1", "event_name": "x", "occurred_at": "2026-06-01"}\n',
        "parquet": parquet(f"select {line}", tmp_path),
    }
    # The second is what a pattern of the first would match as well.
    names = ["we[i]rd", "weird", "a*b?", "axb1", "it's", 'say "hi"', "{a,b}", "$x ?1", "läßt", "a;b -- c", "a b%20c"]
    files = [str(source_loads.write(f"usage_events/{name}.{form}", made[form])) for name in names]
    report = source_loads.run()["usage_events"]
    assert (report.read, report.superseded) == (3 + len(names), len(names) - 1)
    assert source_loads.rows("select _source_file from raw.files__usage_events where event_id = 'e9' order by 1") == [
        (file,) for file in sorted(files)
    ]


def test_two_parquet_files_of_other_types_and_a_csv_meet_as_text(source_loads, tmp_path):
    source_loads.write_company()
    line = "'a1' as account_id, 'x' as event_name, timestamp '2026-06-01 10:00:00' as occurred_at"
    source_loads.write(
        "usage_events/1.parquet", parquet(f"select 11 as event_id, 2.0::double as quantity, {line}", tmp_path)
    )
    source_loads.write(
        "usage_events/2.parquet", parquet(f"select 12::bigint as event_id, 3 as quantity, {line}", tmp_path)
    )
    source_loads.write(
        "usage_events/3.parquet",
        parquet(f"select 'e13' as event_id, 'many' as quantity, [1, 2] as extra, {line}", tmp_path),
    )
    source_loads.run()
    assert source_loads.rows(
        "select event_id, quantity, cast(occurred_at as varchar) from staging.stg_usage_events "
        "where event_id like '1_' order by 1"
    ) == [("11", 2, "2026-06-01 10:00:00"), ("12", 3, "2026-06-01 10:00:00")]
    assert source_loads.quarantined("usage_events") == [(1, "quantity", "invalid_number", "many")]
    assert source_loads.rows("select extra from raw.files__usage_events where event_id = 'e13'") == [("[1,2]",)]


def test_a_file_that_changes_while_it_is_read_is_an_error(source_loads, monkeypatch):
    source_loads.write_company()
    from csm_core.ingest import text_loader

    scanned = text_loader.scanned

    def growing(path, texts):
        found = scanned(path, texts)
        if path.name == "usage_events.csv":
            with path.open("a") as file:
                file.write(event(9) + "\n")
        return found

    monkeypatch.setattr(text_loader, "scanned", growing)
    with pytest.raises(SourceError, match=r"usage_events\.csv: the file changed while it was read"):
        source_loads.load()
    assert source_loads.rows("select count(*) from raw.loads") == [(0,)]
