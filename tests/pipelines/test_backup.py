"""Backup and restore by the command line: while a run is on, after losing everything, and onward from there."""

import os
import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csm_core.errors import CSMError, InputError
from csm_core.operations.backup import back_up
from csm_core.operations.restore import restore
from csm_core.warehouse.database import Warehouse
from tests.conftest import Company, make_company, tables
from tests.examples import examples
from tests.pipelines.test_sensors import FILES, WIDE


@pytest.fixture
def company(tmp_path) -> Company:
    (tmp_path / "records").mkdir()
    for name, content in FILES.items():
        (tmp_path / "records" / name).write_text(content, encoding="utf-8")
    return make_company(tmp_path, tmp_path / "records", checks=WIDE)


def run(company: Company, *arguments: str) -> str:
    done = company.csm(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pages(company: Company) -> dict[int, int]:
    """How many pages each database of the sandbox holds: one written twice would count twice."""
    with sqlite3.connect(company.config.warehouse.parent / "notion_sandbox.sqlite") as workspace:
        return dict(
            workspace.execute("select source, count(*) from pages where source is not null group by 1").fetchall()
        )


@pytest.mark.slow
def test_a_restored_warehouse_goes_on_and_writes_no_page_twice(company):
    backups = company.folder / "backups"
    run(company, "run", "--as-of", "2026-06-18")
    made = run(company, "backup", str(backups)).strip()
    run(company, "run", "--as-of", "2026-06-19")
    undisturbed, published = tables(company.config.warehouse), pages(company)

    company.config.warehouse.write_text("torn by a disk that was full")
    shutil.rmtree(company.config.warehouse.parent / "published")
    said = run(company, "restore", made)
    assert "the newest complete day is 2026-06-18" in said
    assert "the previous files were moved to" in said
    assert "2026-06-18" in run(company, "sql", "select max(as_of_date) from csm_health_scores")

    run(company, "run", "--as-of", "2026-06-19")
    assert tables(company.config.warehouse) == undisturbed
    assert pages(company) == published
    again = run(company, "restore", made)
    aside = company.config.warehouse.parent / again.split("the previous files were moved to ")[1].split(";")[0]
    assert tables(aside / "csm.duckdb") == undisturbed


@pytest.mark.slow
def test_a_back_up_of_a_run_that_is_on_is_whole(company):
    run(company, "run", "--as-of", "2026-06-18", "--no-publish")
    before = tables(company.config.warehouse)
    running = company.start("run", "--as-of", "2026-06-18", "--no-publish")
    assert running.stdout is not None
    assert any("staging" in line for line in running.stdout)
    made = run(company, "backup", str(company.folder / "backups")).strip()
    said, _ = running.communicate(timeout=300)
    assert running.returncode == 0, said
    # The same day again holds the same rows, at every instant.
    assert tables(company.folder / made / "csm.duckdb") == before


def test_a_back_up_waits_for_the_step_that_is_writing(company):
    warehouse = Warehouse.from_config(company.config)
    with warehouse.connect() as writer:
        writer.execute("create table marts.half (n integer)")
        copying = company.start("backup", str(company.folder / "backups"))
        assert copying.stdout is not None
        # Either the message that it waits, or the end of a copy that should have waited.
        said = copying.stdout.readline()
        writer.execute("insert into marts.half values (1)")
    rest, _ = copying.communicate(timeout=60)
    assert copying.returncode == 0, rest
    assert "waiting for the warehouse" in said
    (made,) = (company.folder / "backups").glob("csm-backup-*")
    with duckdb.connect(str(made / "csm.duckdb"), read_only=True) as copy:
        assert copy.execute("select n from marts.half").fetchall() == [(1,)]


def test_only_the_newest_are_kept_and_nothing_unfinished(company):
    warehouse = Warehouse.from_config(company.config)
    with warehouse.connect():
        pass
    (warehouse.path.parent / "sources" / "stripe").mkdir(parents=True)
    (warehouse.path.parent / "sources" / "stripe" / "cursor").write_text("7")
    target = company.folder / "backups"
    first = datetime(2026, 6, 1, 6, tzinfo=UTC)
    for number in range(4):
        made = back_up(warehouse, target, keep=2, now=first + timedelta(days=number))
    assert sorted(path.name for path in target.iterdir()) == [
        "csm-backup-20260603T060000Z",
        "csm-backup-20260604T060000Z",
    ]
    assert (made / "sources" / "stripe" / "cursor").read_text() == "7"


def test_what_cannot_be_backed_up_or_restored_is_an_error(company):
    nothing = company.csm("backup", "backups")
    assert (nothing.returncode, "nothing to back up" in nothing.stderr) == (2, True)
    absent = company.csm("restore", "nowhere")
    assert (absent.returncode, "the folder does not exist" in absent.stderr) == (2, True)
    (company.folder / "other").mkdir()
    wrong = company.csm("restore", "other")
    assert (wrong.returncode, "is not a backup" in wrong.stderr) == (2, True)
    (company.folder / "other" / "csm.duckdb").write_text("torn")
    torn = company.csm("restore", "other")
    assert (torn.returncode, "cannot be read" in torn.stderr) == (2, True)
    assert not company.config.warehouse.exists()


@pytest.fixture
def place(tmp_path) -> Warehouse:
    """A warehouse with a number and a cursor of a source, both 1."""
    warehouse = Warehouse(tmp_path / "home" / "w.duckdb")
    (tmp_path / "home" / "sources" / "stripe").mkdir(parents=True)
    change(warehouse, 1)
    return warehouse


def change(warehouse: Warehouse, number: int) -> None:
    with warehouse.connect() as connection:
        connection.execute("create or replace table raw.numbers as select ? as n from range(50000)", [number])
    (warehouse.path.parent / "sources" / "stripe" / "cursor").write_text(str(number))


def state(warehouse: Warehouse) -> tuple[int, str]:
    with duckdb.connect(str(warehouse.path), read_only=True) as connection:
        ((number,),) = connection.execute("select distinct n from raw.numbers").fetchall()
    return number, (warehouse.path.parent / "sources" / "stripe" / "cursor").read_text()


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_new_backup_stays_and_only_backups_count(place, tmp_path):
    target = tmp_path / "backups"
    ahead = back_up(place, target, now=datetime(2099, 1, 1, tzinfo=UTC))
    before = back_up(place, target, now=datetime(2026, 1, 1, tzinfo=UTC))
    # A backup of a version that wrote no manifest.
    (before / "backup.json").unlink()
    foreign = ["csm-backup-notes", "csm-backup-20980101T000000Z", "csm-backup-20970101T000000Z.old", "elsewhere"]
    for name in foreign:
        (target / name).mkdir()
        (target / name / "notes.txt").write_text("mine")
    shutil.copyfile(place.path, target / "csm-backup-notes" / "csm.duckdb")
    (target / "csm-backup-2025.tar.gz").write_text("packed")
    (target / "csm-backup-20960101T000000Z").symlink_to(before)
    (target / "csm-backup-20950101T000000Z").symlink_to(tmp_path / "nowhere")
    others = [*foreign, "csm-backup-2025.tar.gz", "csm-backup-20960101T000000Z", "csm-backup-20950101T000000Z"]

    made = back_up(place, target, keep=2)
    assert names(target) == sorted([*others, made.name, ahead.name])
    made = back_up(place, target, keep=1)
    assert names(target) == sorted([*others, made.name])
    assert not (made / "backup.json").is_symlink()


def test_two_backups_of_the_same_second_have_different_names(place, tmp_path):
    now = datetime(2026, 6, 1, tzinfo=UTC)
    assert len({back_up(place, tmp_path / "backups", now=now).name for _ in range(3)}) == 3


def test_leftovers_of_killed_backups_and_restores_are_removed(place, tmp_path):
    target, home = tmp_path / "backups", place.path.parent
    left = [
        target / ".csm-backup-20260601T000000Z.unfinished",
        target / ".csm-backup-20260601T000000Z.removed",
        home / ".restored-20260601T000000Z",
    ]
    kept = [target / ".csm-backup-mine.unfinished", home / ".restored-mine", home / "replaced-20260601T000000Z"]
    for folder in (*left, *kept):
        folder.mkdir(parents=True)
        (folder / "csm.duckdb").write_text("part")
    restore(place, back_up(place, target))
    assert not any(folder.exists() for folder in left)
    assert all((folder / "csm.duckdb").is_file() for folder in kept)


def test_a_backup_in_progress_keeps_its_unfinished_folder(company):
    warehouse, target = Warehouse.from_config(company.config), company.folder / "backups"
    with warehouse.connect():
        first, second = (company.start("backup", str(target)) for _ in range(2))
        assert first.stdout is not None
        assert second.stdout is not None
        said = first.stdout.readline() + second.stdout.readline()
    rest = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), rest
    assert "another backup is in progress" in said
    assert len(names(target)) == 2
    assert all(name.startswith("csm-backup-") for name in names(target))


def test_a_backup_that_is_terminated_leaves_nothing(company):
    warehouse, target = Warehouse.from_config(company.config), company.folder / "backups"
    with warehouse.connect():
        waiting = company.start("backup", str(target))
        assert waiting.stdout is not None
        waiting.stdout.readline()
        assert len(names(target)) == 1
        waiting.terminate()
        waiting.communicate(timeout=60)
    assert waiting.returncode == 143
    assert names(target) == []


DAMAGES = {
    "garbage": (lambda made: (made / "csm.duckdb").write_bytes(b"garbage" * 9999), "damaged"),
    "truncated": (lambda made: os.truncate(made / "csm.duckdb", 200_000), "damaged"),
    "empty": (lambda made: (made / "csm.duckdb").write_bytes(b""), "damaged"),
    "a source's file is missing": (lambda made: (made / "sources/stripe/cursor").unlink(), "cursor is missing"),
    "a source's file is damaged": (lambda made: (made / "sources/stripe/cursor").write_text("9"), "damaged"),
    "no manifest, garbage": (
        lambda made: [(made / "backup.json").unlink(), (made / "csm.duckdb").write_bytes(b"garbage" * 9999)],
        "cannot be read",
    ),
    "no manifest, truncated": (
        lambda made: [(made / "backup.json").unlink(), os.truncate(made / "csm.duckdb", 200_000)],
        "cannot be read",
    ),
    "no manifest, empty": (
        lambda made: [(made / "backup.json").unlink(), (made / "csm.duckdb").write_bytes(b"")],
        r"^(?!.*\.restored-).*csm-backup-\w+/csm\.duckdb: cannot be read",
    ),
    "the manifest is garbage": (lambda made: (made / "backup.json").write_bytes(b"\xff{"), "not the manifest"),
    "the manifest is a list": (lambda made: (made / "backup.json").write_text("[1]"), "not the manifest"),
    "the manifest leads elsewhere": (
        lambda made: (made / "backup.json").write_text(
            (made / "backup.json").read_text().replace("sources/stripe/cursor", "sources/../../cursor")
        ),
        "not the manifest",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_backup_leaves_the_warehouse_as_it_was(place, tmp_path, damage):
    made = back_up(place, tmp_path / "backups")
    change(place, 2)
    before = names(place.path.parent)
    spoil, message = DAMAGES[damage]
    spoil(made)
    with pytest.raises(InputError, match=message):
        restore(place, made)
    assert state(place) == (2, "2")
    assert names(place.path.parent) == before


def test_another_database_is_not_restored(place, tmp_path):
    (tmp_path / "other").mkdir()
    with duckdb.connect(str(tmp_path / "other" / "csm.duckdb")) as other:
        other.execute("create table anything as select 1 as n")
    with pytest.raises(InputError, match="is not a warehouse of csm-health"):
        restore(place, tmp_path / "other")
    assert state(place) == (1, "1")


@settings(max_examples=examples(10), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=8))
def test_any_flipped_byte_of_a_backup_is_noticed(place, tmp_path, flips):
    made = back_up(place, tmp_path / "backups")
    content = bytearray((made / "csm.duckdb").read_bytes())
    original = bytes(content)
    for where, mask in flips:
        content[int(where * len(content))] ^= mask
    if bytes(content) == original:
        return
    (made / "csm.duckdb").write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        restore(place, made)
    assert state(place) == (1, "1")


def test_a_damaged_warehouse_is_not_backed_up(place, tmp_path):
    content = bytearray(place.path.read_bytes())
    for at in range(12_288, len(content), 4096):
        content[at + 50] ^= 255
    place.path.write_bytes(content)
    with pytest.raises(CSMError, match=r"damaged|cannot be read|cannot be opened"):
        back_up(place, tmp_path / "backups")
    assert names(tmp_path / "backups") == []


LIMITED = """
import resource, sys
from pathlib import Path
from csm_core.operations.backup import back_up
from csm_core.errors import CSMError
from csm_core.operations.restore import restore
from csm_core.warehouse.database import Warehouse
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    {"backup": back_up, "restore": restore}[sys.argv[4]](Warehouse(Path(sys.argv[1])), Path(sys.argv[2]))
except CSMError as error:
    sys.exit(f"{error.exit_status} {error}")
"""


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_file_that_cannot_be_written_completely_changes_nothing(place, tmp_path, command):
    made = back_up(place, tmp_path / "backups")
    change(place, 2)
    before = names(place.path.parent), names(tmp_path / "backups")
    folder = made if command == "restore" else tmp_path / "backups"
    arguments = [sys.executable, "-c", LIMITED, str(place.path), str(folder), "100000", command]
    full = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (full.returncode, full.stderr[:2]) == (1, "1 "), full.stderr
    assert (names(place.path.parent), names(tmp_path / "backups")) == before
    assert state(place) == (2, "2")


def test_a_backup_without_sources_moves_those_that_are_there(place, tmp_path):
    sources = place.path.parent / "sources"
    sources.rename(tmp_path / "away")
    made = back_up(place, tmp_path / "backups")
    (tmp_path / "away").rename(sources)
    _, replaced = restore(place, made)
    assert replaced is not None
    assert names(replaced) == ["sources", "w.duckdb"]
    assert names(place.path.parent) == sorted(["published", replaced.name, "w.duckdb"])


@pytest.mark.slow
def test_backups_and_restores_that_are_killed_lose_nothing():
    command = [sys.executable, "-m", "tests.attack.kills", "--kills", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
