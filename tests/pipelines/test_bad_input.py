"""Whatever is wrong with the input: a clear message, exit status 2, and nothing half written."""

import shutil
from pathlib import Path

import pytest

from csm_core.config import PROJECT_ROOT
from tests.conftest import Company
from tests.in_process import Done, csm

ACME = PROJECT_ROOT / "examples" / "acme"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    folder = tmp_path / "records"
    shutil.copytree(ACME, folder)
    return folder


def command(one: Company, *arguments: str) -> Done:
    return csm(*arguments, folder=one.folder, environment=one.environment)


def run(one: Company) -> Done:
    return command(one, "run", "--as-of", "2026-09-30", "--no-publish")


def expect_refused(result: Done, *said: str, status: int = 2) -> None:
    assert result.returncode == status, result.stdout + result.stderr
    text = result.stdout + result.stderr
    for part in said:
        assert part in text
    assert "Traceback" not in text


def test_a_missing_folder(company, tmp_path):
    one = company(tmp_path / "nowhere")
    expect_refused(run(one), "nowhere", "does not exist", "csm.yaml")


def test_a_missing_entity_that_is_needed(company, records):
    (records / "features.csv").unlink()
    expect_refused(run(company(records)), "features", "required")


def test_a_missing_column_is_named_with_what_was_found_instead(company, records):
    file = records / "accounts.csv"
    file.write_text(file.read_text(encoding="utf-8").replace("account_name", "acount_name", 1), encoding="utf-8")
    one = company(records)
    expect_refused(run(one), "accounts.csv", "account_name", "acount_name")
    assert one.query("select count(*) from duckdb_tables() where schema_name = 'marts'") == [(0,)]


def test_too_many_refused_records_fail_the_run_and_nothing_is_scored(company, records):
    file = records / "nps_responses.csv"
    lines = file.read_text(encoding="utf-8").splitlines()
    score = lines[0].split(",").index("score")
    broken = [
        ",".join("11" if at == score else value for at, value in enumerate(line.split(","))) for line in lines[1:]
    ]
    file.write_text("\n".join([lines[0], *broken]) + "\n", encoding="utf-8")
    one = company(records)
    expect_refused(run(one), "nps_responses", "out_of_range")
    assert one.query("select count(*) from duckdb_tables() where table_name = 'csm_health_scores'") == [(0,)]


def test_an_unknown_key(company):
    one = company("acme")
    one.config_file.write_text(one.config_file.read_text() + "\nwharehouse: x\n")
    expect_refused(command(one, "run"), "unknown key 'wharehouse'", "did you mean 'warehouse'?", str(one.config_file))


def test_an_unknown_system(company):
    one = company(ACME, system="fyles")
    expect_refused(run(one), "unknown system 'fyles'", "'files'")


def test_a_warehouse_that_is_none(company):
    one = company("acme")
    one.config.warehouse.parent.mkdir()
    one.config.warehouse.write_text("no database " * 1000)
    expect_refused(run(one), "csm.duckdb", "cannot be opened")


def test_a_day_before_any_account(company):
    one = company("acme", partitions_start="2020-01-01")
    expect_refused(command(one, "run", "--as-of", "2020-02-01", "--no-publish"), "2020-02-01", "no account", "earliest")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--as-of", "2025-12-31"], "before the first partition, 2026-01-01"),
        (["--as-of", "2999-01-01"], "has not ended yet"),
        (["--from", "2026-09-30", "--to", "2026-09-01"], "is after"),
        (["--from", "2026-09-30"], "must be given together"),
        (["--as-of", "2026-09-30", "--from", "2026-09-01", "--to", "2026-09-02"], "not both"),
        (["--as-of", "yesterday"], "does not match the format"),
        (["--as-of", "2026-09-30", "--select", "csm_helth_scores"], "csm_helth_scores"),
        (["--as-of", "2026-09-30", "--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_arguments(company, arguments, said):
    expect_refused(command(company("acme"), "run", "--no-publish", *arguments), said)


def test_queries(company, acme):
    expect_refused(command(company("acme"), "sql", "select 1"), "there is no published copy")
    for query, said in (
        ("select * from nothing_here", "nothing_here"),
        ("drop table csm_health_scores", "only a SELECT is allowed"),
    ):
        expect_refused(command(acme, "sql", query), said)
    counted = command(acme, "sql", "select count(*) as n from csm_health_scores", "--format", "csv")
    assert counted.stdout == f"n\n{acme.query('select count(*) from marts.csm_health_scores')[0][0]}\n"
