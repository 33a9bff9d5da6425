"""``memory_limit`` bounds what a run holds: events that come in no order, and so have to be sorted, spill to disk."""

import os
import re

import duckdb
import pytest

from csm_core.contract import ENTITIES
from csm_core.sample_company import generate

pytestmark = pytest.mark.slow

EVENTS = 3_000_000
LIMIT_MEGABYTES = 300
# Python, Dagster and what DuckDB does not count.
AROUND_MEGABYTES = 400
LOADED = (
    *(f"raw_files__{entity}" for entity in ENTITIES),
    *("stg_accounts", "stg_usage_events", "int_usage_daily", "int_usage_daily_accounts"),
)


def peak_megabytes(company) -> float:
    """Run up to the roll-ups of usage and give the most memory that the process held."""
    with company.start("run", "--as-of", "2026-09-30", "--no-publish", "--select", ",".join(LOADED)) as process:
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, re.sub(r"\s+", " ", said)
    return used.ru_maxrss * 1024 / 1e6


def test_a_load_of_unordered_events_stays_within_its_memory(company, tmp_path):
    made = generate(
        tmp_path / "records", accounts=200, days=275, events_per_account_day=EVENTS / 200 / 275, odd_records=False
    )
    usage = tmp_path / "records" / "usage_events"
    with duckdb.connect(config={"memory_limit": "1GB", "temp_directory": str(tmp_path / "spill")}) as connection:
        connection.execute(
            f"copy (from read_parquet('{usage}/*.parquet') order by hash(event_id)) to '{tmp_path}/all.parquet'"
        )
    for file in usage.iterdir():
        file.unlink()
    (tmp_path / "all.parquet").rename(usage / "all.parquet")
    bounded = company(tmp_path / "records", memory_limit=f"{LIMIT_MEGABYTES}MB")
    free = company(tmp_path / "records")
    peak = peak_megabytes(bounded)
    assert peak < LIMIT_MEGABYTES + AROUND_MEGABYTES
    assert peak < peak_megabytes(free)
    events = made.counts["usage_events"]
    for one in (bounded, free):
        assert one.query("select count(*) from staging.stg_usage_events") == [(events,)]
    rolled = "select count(*), sum(events), sum(hash(account_id, usage_date, user_id, feature, events, logins)) from "
    assert bounded.query(f"{rolled} intermediate.int_usage_daily") == free.query(
        f"{rolled} intermediate.int_usage_daily"
    )
