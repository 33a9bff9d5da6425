"""Bad input through the command line, on top of a good published day: told with its file, kept, and never published."""

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from csm_core.notion_sandbox.address import SANDBOX_FILE
from tests.conftest import Company, make_company
from tests.in_process import csm

EVENTS = "event_id,account_id,user_id,event_name,feature,quantity,occurred_at\n"
GOOD = EVENTS + "".join(f"e{day},a1,u1,login,reports,1,2026-06-{day:02}T10:00:00Z\n" for day in range(1, 31))
NEW = "n1,a1,u1,login,reports,{quantity},{occurred_at}\n"


def row(quantity: str = "1", occurred_at: str = "2026-06-30T10:00:00Z") -> bytes:
    return (EVENTS + NEW.format(quantity=quantity, occurred_at=occurred_at)).encode()


def line(**values: object) -> bytes:
    event = {"event_id": "n1", "account_id": "a1", "event_name": "x", "occurred_at": "2026-06-30T10:00:00Z"}
    return json.dumps(event | values).encode() + b"\n"


def parquet(select: str) -> bytes:
    with duckdb.connect() as connection:
        target = Path(connection.execute("select current_setting('temp_directory')").fetchone()[0] or ".")
        target.mkdir(exist_ok=True)
        file = target / "made.parquet"
        connection.execute(f"copy ({select}) to '{file}' (format parquet)")
        content = file.read_bytes()
        file.unlink()
    return content


TYPED = "select 'n1' as event_id, 'a1' as account_id, 'x' as event_name, {} as quantity, {} as occurred_at"
INSTANT = "timestamp '2026-06-30 10:00:00'"

# The whole file is refused: its name, its bytes, what is said.
FILES: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "csv: empty": ("new.csv", lambda: b"", "the file is empty"),
    "csv: semicolons": ("new.csv", lambda: row().replace(b",", b";"), "separated by semicolon"),
    "csv: the same name twice": ("new.csv", lambda: row().replace(b"user_id", b"event_id"), "appears twice"),
    "csv: UTF-16": ("new.csv", lambda: row().decode().encode("utf-16"), "UTF-16"),
    "csv: gzip cut short": ("new.csv.gz", lambda: gzip.compress(row())[:-4], "the gzip file is damaged"),
    "json: empty": ("new.jsonl", lambda: b"", "the file is empty"),
    "json: an array": ("new.json", lambda: b"[" + line().strip() + b"]", "JSON array"),
    "json: gzip cut short": ("new.jsonl.gz", lambda: gzip.compress(line())[:-4], "the gzip file is damaged"),
    "parquet: another format": ("new.parquet", row, "not a readable Parquet file"),
    "parquet: empty": ("new.parquet", lambda: b"", "not a readable Parquet file"),
    "parquet: cut short": (
        "new.parquet",
        lambda: parquet(TYPED.format("1", INSTANT))[:-20],
        "not a readable Parquet file",
    ),
}
# The load is refused for its one record: the file's name, its bytes, the reason, and what is kept of the record.
RECORDS: dict[str, tuple[str, Callable[[], bytes], str, str]] = {
    "csv: cut short": ("new.csv", lambda: row()[:-30], "unparseable_row", "n1,a1,u1"),
    "csv: Latin-1": ("new.csv", lambda: row("ü").decode().encode("latin-1"), "invalid_encoding", "\\xfc"),
    "csv: a quote never closed": ("new.csv", lambda: row('"1'), "unparseable_row", '"1'),
    "csv: another form of date": ("new.csv", lambda: row(occurred_at="30/06/2026"), "invalid_timestamp", "30/06/2026"),
    "csv: thousands": ("new.csv", lambda: row('"1,000"'), "invalid_number", "1,000"),
    "csv: not a number": ("new.csv", lambda: row("NaN"), "invalid_number", "NaN"),
    "csv: infinity": ("new.csv", lambda: row("-inf"), "invalid_number", "-inf"),
    "json: cut short": ("new.jsonl", lambda: line()[:-9], "unparseable_row", '"event_id": "n1"'),
    "json: another type": ("new.jsonl", lambda: line(quantity=[1]), "invalid_number", "[1]"),
    "json: not a number": ("new.jsonl", lambda: line(quantity="NaN"), "invalid_number", "NaN"),
    "parquet: not a number": (
        "new.parquet",
        lambda: parquet(TYPED.format("'nan'::double", INSTANT)),
        "invalid_number",
        "nan",
    ),
    "parquet: infinity": (
        "new.parquet",
        lambda: parquet(TYPED.format("'inf'::double", INSTANT)),
        "invalid_number",
        "inf",
    ),
    "parquet: another form of date": (
        "new.parquet",
        lambda: parquet(TYPED.format("1", "'30.6.2026'")),
        "invalid_timestamp",
        "30.6.2026",
    ),
}
# One of each kind in every run of the suite, the others with it in `make test-all`.
ALWAYS = {"csv: semicolons", "json: another type"}


def cases(names: dict[str, object]) -> list[object]:
    return [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> tuple[Company, Path]:
    """A company whose day 2026-06-29 is published, and a copy of everything as it was then."""
    base = tmp_path_factory.mktemp("refused") / "base"
    events = base / "records" / "usage_events"
    events.mkdir(parents=True)
    (base / "records" / "accounts.csv").write_text("account_id,account_name,created_at\na1,Ahlers,2025-01-01\n")
    (base / "records" / "features.csv").write_text("feature,module\nreports,core\n")
    (events / "good.csv").write_text(GOOD)
    company = make_company(base, base / "records")
    result = csm("run", "--as-of", "2026-06-29", folder=company.folder, environment=company.environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return company, Path(shutil.copytree(base, base.with_name("copy")))


@pytest.fixture
def company(published) -> Company:
    one, copy = published
    shutil.rmtree(one.folder.parent)
    shutil.copytree(copy, one.folder.parent)
    return one


def untouched(one: Company) -> tuple[object, ...]:
    """What may not move when a load is refused: the sandbox's pages and requests, the published copy, staged events."""
    folder = one.config.warehouse.parent
    files = (folder / SANDBOX_FILE, folder / "published" / "csm_analytics.duckdb")
    return (
        *(hashlib.sha256(file.read_bytes()).hexdigest() for file in files),
        one.query("select count(*) from sync.notion_runs"),
        one.query("select * from staging.stg_usage_events order by event_id"),
        one.query("select max(as_of_date) from marts.csm_health_scores"),
    )


def refused(one: Company, name: str, content: bytes) -> str:
    file = one.folder.parent / "records" / "usage_events" / name
    before = untouched(one)
    file.write_bytes(content)
    result = csm("run", "--as-of", "2026-06-30", folder=one.folder, environment=one.environment)
    said = result.stdout + result.stderr
    assert result.returncode == 2, said
    assert "Traceback" not in said
    assert str(file) in said.replace("\n           ", "")
    assert untouched(one) == before
    return said


@pytest.mark.parametrize("case", cases(FILES))
def test_a_file_that_is_not_what_it_says_stops_the_run(company, case):
    name, content, expected = FILES[case]
    assert expected in refused(company, name, content())


@pytest.mark.parametrize("case", cases(RECORDS))
def test_a_load_of_bad_records_stops_the_run_and_keeps_their_text(company, case):
    name, content, reason, kept = RECORDS[case]
    said = refused(company, name, content())
    assert f"1 of 1 new records rejected (100.0 %, limit 5 %): {reason} 1" in said
    assert "csm quarantine usage_events" in said
    ((found, raw_text),) = company.query("select reason, raw_text from quarantine.usage_events")
    assert found == reason
    assert kept in raw_text


@pytest.mark.slow
def test_odd_but_good_input_is_taken_and_every_record_accounted_for(company):
    records = company.folder.parent / "records"
    names = ["'; drop table staging.stg_accounts; --", "<script>alert(1)</script>", "../../etc/passwd", "=1+1"]
    with (records / "accounts.csv").open("a", encoding="utf-8") as stream:
        stream.writelines(f'b{number},"{name}",2025-01-01\n' for number, name in enumerate(names))
        stream.write('b8,"two\nlines",2025-01-01\n')
    events = records / "usage_events"
    (events / ".DS_Store").write_bytes(b"\0\1")
    (events / "marked.csv").write_bytes(b"\xef\xbb\xbf" + row().replace(b"n1,", b"m1,"))
    (events / "large.jsonl").write_bytes(line(event_id="l1", note="x" * 10_000_000) + line(event_id="l2", quantity="2"))
    (events / "packed.csv.gz").write_bytes(
        gzip.compress(row().replace(b"n1,", b"p1,") + b"p2,nobody,,x,,1,2026-06-30\n")
    )
    (events / "typed.parquet").write_bytes(parquet(TYPED.format("1", INSTANT)))
    result = company.csm("run", "--as-of", "2026-06-30", "--json", environment={"CSM_MAX_REJECTED_PERCENT": "20"})
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    counted = {one["entity"]: one for one in json.loads(result.stdout)["records"]}
    assert all(one["read"] == one["loaded"] + one["rejected"] + one["superseded"] for one in counted.values())
    assert (counted["usage_events"]["read"], counted["usage_events"]["rejected"]) == (6, 1)
    assert company.query(
        "select account_name from staging.stg_accounts where account_id like 'b%' order by account_id"
    ) == [(name,) for name in (*names, "two\nlines")]
