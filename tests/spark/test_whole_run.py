"""A company with usage events on Spark has the marts, counts and reports of the same company in DuckDB.

Also after an account is erased: no table of Spark has it then.
"""

import json
import shutil
from concurrent.futures import Executor
from pathlib import Path

import duckdb
import pytest
import yaml

from csm_core.config import PROJECT_ROOT
from tests.conftest import VOLATILE, tables
from tests.in_process import csm

pytestmark = pytest.mark.slow

ACME = PROJECT_ROOT / "examples" / "acme"
# The tables of which the warehouse has no rows.
OF_ENGINE = ("staging.stg_usage_events", "intermediate.int_usage_daily", "intermediate.int_account_features")
DAYS = ("2026-06-30", "2026-07-01")
# Bad values, an unknown account, a repeated and a changed key, and a quantity of 0, beside the events of the example.
ODD = """
    select * replace ('bad' as event_id, 'many' as quantity) from events where number = 1
    union all select * replace ('unknown' as event_id, 'nobody' as account_id) from events where number = 2
    union all select * replace ('zero' as event_id, '0' as quantity) from events where number = 3
    union all select * from events where number between 4 and 9
    union all select * replace ('7' as quantity) from events where number between 10 and 19
    union all select * replace ('no time' as event_id, 'soon' as occurred_at) from events where number = 20
"""


def company(folder: Path, **settings: object) -> Path:
    """The example with its usage events, and odd ones, in one Parquet file."""
    folder.mkdir()
    records = folder / "records"
    shutil.copytree(ACME, records, ignore=shutil.ignore_patterns("usage_events", "csm.yaml", "README.md"))
    stated = yaml.safe_load((ACME / "csm.yaml").read_text(encoding="utf-8"))
    stated |= {"warehouse": "data/csm.duckdb", **settings}
    (folder / "csm.yaml").write_text(yaml.safe_dump(stated), encoding="utf-8")
    return folder


def write_events(file: Path, more: str = "") -> None:
    with duckdb.connect() as connection:
        connection.execute(
            "create table events as select *, row_number() over (order by event_id) as number "
            f"from (select cast(columns(*) as varchar) from '{ACME}/usage_events/*.parquet')"
        )
        connection.execute(
            f"copy (select * exclude (number) from (from events union all by name {ODD} {more})) to '{file}' "
            "(format parquet)"
        )


def command(folder: Path, *arguments: str) -> dict:
    done = csm(
        *arguments,
        "--json",
        folder=folder,
        environment={"CSM_CONFIG": str(folder / "csm.yaml"), "DAGSTER_HOME": str(folder / "dagster_home")},
    )
    assert done.status == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(done.stdout)


def by_both(beside: Executor, duck: Path, remote: Path, *arguments: str) -> list[dict]:
    """The answers to the same command: with DuckDB, in a process beside this one, and with Spark."""
    wanted = beside.submit(command, duck, *arguments)
    found = command(remote, *arguments)
    return [wanted.result(), found]


def counted(folder: Path) -> list[tuple]:
    with duckdb.connect(str(folder / "data" / "csm.duckdb"), read_only=True) as connection:
        return connection.execute(
            "select reason, field, count(*) from quarantine.usage_events group by all order by all"
        ).fetchall()


def test_marts_and_counts_equal_those_of_duckdb_also_without_an_erased_account(spark, spark_location, beside, tmp_path):
    duck = company(tmp_path / "duckdb", sources=[{"system": "files", "path": "records"}])
    events = tmp_path / "events.parquet"
    remote = company(
        tmp_path / "spark",
        engine={"kind": "spark", "master": "local[2]", "location": str(spark_location)},
        sources=[
            {"system": "files", "path": "records", "entities": ["accounts", "features"]},
            {"system": "spark", "entity": "usage_events", "path": str(events)},
        ],
    )
    write_events(events)
    shutil.copy(events, duck / "records" / "usage_events.parquet")
    summaries = by_both(beside, duck, remote, "run", "--from", DAYS[0], "--to", DAYS[1], "--no-publish")
    assert differences(duck, remote, summaries) == []
    assert counted(duck)

    # A late event of a day that was built, and a new one.
    late = (
        "union all select * replace ('late' as event_id, '2026-06-30T23:00:00Z' as occurred_at) from events "
        "where number = 30 union all select * replace ('new' as event_id, '2026-07-02T01:00:00Z' as occurred_at) "
        "from events where number = 31"
    )
    write_events(events, late)
    shutil.copy(events, duck / "records" / "usage_events.parquet")
    summaries = by_both(beside, duck, remote, "run", "--as-of", "2026-07-02", "--no-publish")
    assert differences(duck, remote, summaries) == []

    account = most_active(duck)
    assert tables_with(remote, account) >= {*OF_ENGINE, "marts.csm_health_scores"}
    planned = command(remote, "forget", account, "--dry-run")["rows"]
    erased = [one["rows"] for one in by_both(beside, duck, remote, "forget", account, "--yes")]
    assert planned == erased[1]
    assert {name: erased[0].get(name) for name in OF_ENGINE} == {name: erased[1].get(name) for name in OF_ENGINE}
    assert differing_marts(duck, remote) == []
    assert tables_with(remote, account) == set()


def most_active(folder: Path) -> str:
    """The account with the most usage events."""
    with duckdb.connect(str(folder / "data" / "csm.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            "select account_id from staging.stg_usage_events group by all order by count(*) desc, account_id limit 1"
        ).fetchall()
        return str(rows[0][0])


def tables_with(folder: Path, account: str) -> set[str]:
    """The tables of Spark of which any directory, live or not, has an account."""
    found: set[str] = set()
    with duckdb.connect(str(folder / "data" / "csm.duckdb"), read_only=True) as connection:
        for table, directory in connection.execute(
            "select table_name, directory from run.engine_directories order by all"
        ).fetchall():
            for file in Path(directory).glob("*.parquet"):
                rows = connection.execute(
                    f"select 1 from '{file}' as every where contains(cast(every as varchar), ?) limit 1", [account]
                ).fetchall()
                found |= {table} if rows else set()
    return found


def differing_marts(duck: Path, remote: Path) -> list[str]:
    wanted, found = (
        tables(one / "data" / "csm.duckdb", schemas=("marts",), without={*VOLATILE, "config_hash"})
        for one in (duck, remote)
    )
    return [name for name in sorted(wanted.keys() | found.keys()) if wanted.get(name) != found.get(name)]


def differences(duck: Path, remote: Path, summaries: list[dict]) -> list[str]:
    """Name the marts, the counts of the quarantine and the counts of events that differ."""
    staged = [one for summary in summaries for one in summary["records"] if one["entity"] == "usage_events"]
    differing = differing_marts(duck, remote)
    differing += ["quarantine.usage_events"] if counted(duck) != counted(remote) else []
    return differing + (["the counts of events"] if len(staged) != 2 or staged[0] != staged[1] else [])
