"""`csm forget`: nothing of the account is left in any file, others keep everything, and it does not come back."""

import json
import random
import shutil
import time
from pathlib import Path

import duckdb
import pytest

from csm_core.publishing.notion.publish import sandbox_file
from tests.conftest import Company, make_company
from tests.publishing.notion.publication import held

DAY = "2026-06-30"
# Nothing but this account has these texts.
TEXTS = ("zebra-7", "Zebra Quarterly", "zebra-ticket", "zebra-event", "zebra.user", "zebra said", "zebra-broken")
WIDE = {"max_mean_score_swing": 100, "max_rag_changed_percent": 100, "max_silent_days": 1000}


def write_records(folder: Path) -> None:
    folder.mkdir()
    accounts = [("zebra-7", "Zebra Quarterly"), *((f"a{number}", f"Account {number}") for number in range(4))]
    tables = {
        "accounts.csv": ["account_id,account_name,plan,created_at"]
        + [f"{one},{name},pro,2025-01-01" for one, name in accounts],
        "features.csv": ["feature,module", "reports,core"],
        "tickets.csv": ["ticket_id,account_id,opened_at,sentiment,subject"]
        + [f"{one[:5]}-ticket,{one},2026-06-20,neutral,{one[:5]} said" for one, _ in accounts]
        + ["zebra-broken,zebra-7,not a time,neutral,zebra said"],
        "usage_events.csv": ["event_id,account_id,user_id,event_name,feature,occurred_at"]
        + [
            f"{one[:5]}-event-{day},{one},{one[:5]}.user,login,reports,2026-06-{day}T00:10:00Z"
            for one, _ in accounts
            for day in range(10, 30)
        ],
    }
    for name, lines in tables.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Company:
    folder = tmp_path_factory.mktemp("forget")
    write_records(folder / "records")
    company = make_company(folder, folder / "records", checks=WIDE, max_rejected_percent=50)
    # The first run has tickets and events that the second one replaces.
    final = {name: folder / "records" / name for name in ("tickets.csv", "usage_events.csv")}
    texts = {name: file.read_text(encoding="utf-8") for name, file in final.items()}
    for name, file in final.items():
        file.write_text(texts[name].replace("neutral", "negative").replace(",login,", ",opened,"), encoding="utf-8")
    for day in ("2026-06-29", DAY):
        done = company.csm("run", "--as-of", day)
        assert done.returncode == 0, done.stdout + done.stderr
        for name, file in final.items():
            file.write_text(texts[name], encoding="utf-8")
    assert company.query("select count(*) from replaced.files__tickets") == [(6,)]
    return company


@pytest.fixture
def company(published: Company, tmp_path: Path) -> Company:
    """A copy of the published company; its source files are its own."""
    shutil.copytree(published.folder, tmp_path / "company")
    shutil.copytree(published.folder.parent / "records", tmp_path / "records")
    config = tmp_path / "company" / "csm.yaml"
    config.write_text(
        config.read_text(encoding="utf-8").replace(str(published.folder.parent), str(tmp_path)), encoding="utf-8"
    )
    return Company(tmp_path / "company", config)


def files_with_texts(company: Company, *more: Path) -> list[str]:
    """The files (warehouse, published copy, more) with a text of the account, byte by byte and row by row."""
    files = [company.config.warehouse, company.folder / "data" / "published" / "csm_analytics.duckdb", *more]
    found = [
        f"{file.name}: {text}" for file in files for text in TEXTS if text.lower().encode() in file.read_bytes().lower()
    ]
    for file in files:
        with duckdb.connect(str(file), read_only=True) as connection:
            for schema, table in connection.execute(
                "select schema_name, table_name from duckdb_tables() where not internal"
            ).fetchall():
                for text in TEXTS:
                    rows = connection.execute(
                        f"select count(*) from {schema}.{table} as every "
                        "where contains(lower(cast(every as varchar)), lower(?))",
                        [text],
                    ).fetchone()
                    found += [f"{file.name} {schema}.{table}: {text}"] if rows and rows[0] else []
    return found


def test_what_would_be_erased_is_shown_and_nothing_is_changed(company: Company):
    before = company.config.warehouse.read_bytes()
    done = company.csm("forget", "zebra-7", "--dry-run", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert report["rows"]["raw.files__tickets"] == 2
    assert report["rows"]["quarantine.tickets"] == 1
    assert report["rows"]["staging.stg_usage_events"] == 20
    assert report["rows"]["run.receipt_leaves"] == 3
    assert [page["kind"] for page in report["pages"]] == ["health", "record"]
    assert company.config.warehouse.read_bytes() == before
    assert len(files_with_texts(company)) > len(TEXTS)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nobody", "--yes"), "there is no account 'nobody'"),
        (("Zebra Quarterly", "--yes"), "needs the account's id"),
        (("zebra-7",), "confirm it with --yes"),
    ],
)
def test_nothing_is_erased_without_an_id_and_a_confirmation(company: Company, arguments, text):
    done = company.csm("forget", *arguments)
    assert (done.returncode, text in done.stderr) == (2, True)
    assert company.query("select count(*) from staging.stg_accounts") == [(5,)]


def test_no_text_of_the_account_is_left_and_others_keep_everything(company: Company):
    lines = company.csm("receipt", "--all").stdout
    (company.folder / "before.jsonl").write_text(lines, encoding="utf-8")
    others = "select * from marts.csm_health_scores where account_id <> 'zebra-7' order by all"
    events = "select * from staging.stg_usage_events where account_id <> 'zebra-7' order by all"
    before = company.query(others), company.query(events)
    reports = company.folder / "data" / "reports"
    about, other = reports / "portfolio-2026-01-01.html", reports / "portfolio-2026-01-02.html"
    reports.mkdir(exist_ok=True)
    about.write_text("<td><bdi>Zebra&#32;Quarterly</bdi></td>", encoding="utf-8")
    other.write_text("<td>Zebra-77</td>", encoding="utf-8")
    done = company.csm("forget", "zebra-7", "--yes", "--trash-pages")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (about.exists(), other.exists()) == (False, True)
    assert f"{about}: deleted" in done.stdout
    assert not [text for text in TEXTS for path in reports.iterdir() if text in path.read_text(encoding="utf-8")]
    backup = Path(company.csm("backup", str(company.folder / "backups")).stdout.strip())
    assert files_with_texts(company, backup / "csm.duckdb") == []
    assert (company.query(others), company.query(events)) == before
    pages = held(sandbox_file(company.config))["Customer accounts"]
    assert [page["account_id"] for page in pages if page["in_trash"]] == ["zebra-7"]
    ((digest, counts, complete),) = company.query("select account_hash, counts, is_complete from run.erasures")
    assert (len(digest), complete, json.loads(counts)["staging.stg_usage_events"]) == (64, True, 20)
    # Each day has another root; receipts that were printed before are right, those of today have one account less.
    assert company.query("select accounts from marts.csm_day_roots order by root_id") == [(5,), (5,), (5,), (4,), (4,)]
    assert company.csm("verify", "before.jsonl").returncode == 0
    after = company.csm("receipt", "--all").stdout
    (company.folder / "after.jsonl").write_text(after, encoding="utf-8")
    assert (len(after.splitlines()), company.csm("verify", "after.jsonl").returncode) == (4, 0)


@pytest.mark.slow
def test_later_loads_are_rejected_and_a_rebuilt_day_brings_nothing_back(company: Company):
    assert company.csm("forget", "zebra-7", "--yes").returncode == 0
    records = company.folder.parent / "records"
    for name, line in (
        ("accounts.csv", "a9,Account 9,pro,2025-01-01"),
        ("tickets.csv", "zebra-ticket-2,zebra-7,2026-06-25,negative,zebra said"),
        ("usage_events.csv", "zebra-event-99,zebra-7,zebra.user,login,reports,2026-06-29T00:10:00Z"),
    ):
        with (records / name).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    done = company.csm("run", "--from", "2026-06-29", "--to", DAY, "--no-publish", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert company.query(
        "select (select count(*) from quarantine.accounts where reason = 'erased'), "
        "(select count(*) from quarantine.tickets where reason = 'erased'), "
        "(select count(*) from quarantine.usage_events where reason = 'erased')"
    ) == [(1, 3, 21)]
    assert company.query(f"select account_id from marts.csm_health_scores where as_of_date = '{DAY}' order by all") == [
        ("a0",),
        ("a1",),
        ("a2",),
        ("a3",),
        ("a9",),
    ]
    rows = [one for one in files_with_texts(company) if " " in one.split(":")[0]]
    assert rows == []


def test_an_erasure_that_is_killed_is_completed_by_the_same_command(company: Company):
    chosen = random.Random(5)
    for _ in range(4):
        process = company.start("forget", "zebra-7", "--yes")
        time.sleep(chosen.uniform(0.6, 2.2))
        process.kill()
        process.communicate()
    done = company.csm("forget", "zebra-7", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert files_with_texts(company) == []
    assert company.query("select is_complete from run.erasures") == [(True,)]
    assert company.query("select count(distinct account_id) from marts.csm_health_scores") == [(4,)]
    left = [path.name for path in (company.folder / "data").iterdir() if path.name.startswith(".csm")]
    assert left == []
