"""Back-up and restore by the command line: while a run is on, after losing everything, and onward from there."""

import shutil
import sqlite3
from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from csm_core.backup import back_up
from csm_core.warehouse import Warehouse
from tests.conftest import Company, make_company, tables
from tests.graph.test_sensors import FILES, WIDE


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
    assert "the last scored day is 2026-06-18" in said
    assert "what stood there is in" in said
    assert "2026-06-18" in run(company, "sql", "select max(as_of_date) from csm_health_scores")

    run(company, "run", "--as-of", "2026-06-19")
    assert tables(company.config.warehouse) == undisturbed
    assert pages(company) == published
    again = run(company, "restore", made)
    aside = company.config.warehouse.parent / again.split("what stood there is in ")[1].split(":")[0]
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
    warehouse = Warehouse.of(company.config)
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
    warehouse = Warehouse.of(company.config)
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


def test_what_cannot_be_backed_up_or_restored_is_said(company):
    nothing = company.csm("backup", "backups")
    assert (nothing.returncode, "nothing to back up" in nothing.stderr) == (2, True)
    (company.folder / "other").mkdir()
    wrong = company.csm("restore", "other")
    assert (wrong.returncode, "is no back-up" in wrong.stderr) == (2, True)
    (company.folder / "other" / "csm.duckdb").write_text("torn")
    torn = company.csm("restore", "other")
    assert (torn.returncode, "cannot be read" in torn.stderr) == (1, True)
    assert not company.config.warehouse.exists()
