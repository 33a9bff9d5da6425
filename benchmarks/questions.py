"""The duration of ``csm explain`` and ``csm whatif`` on one year of a large company.

10,000 accounts on 365 days (fewer with fewer ``rows``). Each command is a separate process, as a user starts it;
the floor is a plain Python process that opens the same file with DuckDB and averages the scores of the same days.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import duckdb
import yaml

from benchmarks.measure import Measure, timed
from benchmarks.scoring import signals_sql
from csm_core.config import load_config
from csm_core.scoring.sql import scoring_sql
from csm_core.thresholds import THRESHOLDS, Thresholds
from csm_core.warehouse.database import Warehouse

DAYS = 365
MOST_ACCOUNTS = 10_000
REPEATS = 3
KEYS = ("tenant_id", "account_id", "as_of_date")


def run(rows: int) -> list[Measure]:
    """Explain one account, with and without a comparison, and apply another policy to one day and to all days."""
    accounts = max(1, min(MOST_ACCOUNTS, rows // 100))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = folder / "csm.yaml"
        settings.write_text(
            yaml.safe_dump(
                {
                    "warehouse": str(folder / "csm.duckdb"),
                    "partitions_start": "2025-01-01",
                    "sources": [{"system": "files", "path": str(folder)}],
                }
            ),
            encoding="utf-8",
        )
        policy = folder / "policy.yaml"
        policy.write_text(yaml.safe_dump({"policies": [{"green_threshold": 75, "amber_threshold": 50}]}), "utf-8")
        warehouse = Warehouse(load_config(settings, {}).warehouse)
        published = warehouse.published_path
        published.parent.mkdir(parents=True, exist_ok=True)
        fill(published, accounts)
        # The commands may open either file: both have the same content.
        shutil.copyfile(published, warehouse.path)
        average = (
            f"import duckdb; c = duckdb.connect({str(published)!r}, read_only=True); "
            "print(c.execute('select avg(score), count(*) from marts.csm_health_scores').fetchall())"
        )
        csm = [sys.executable, "-m", "pipelines.main"]
        options = ["--config", str(settings)]
        ways = {
            "floor: an average in bare DuckDB": [sys.executable, "-c", average],
            "csm explain": [*csm, "explain", "account-1", *options],
            "csm explain --since": [*csm, "explain", "account-1", "--since", "2025-01-01", *options],
            "csm whatif, one day": [*csm, "whatif", "--policy", str(policy), *options],
            "csm whatif, every day": [
                *csm, "whatif", "--policy", str(policy), "--from", "2025-01-01", "--to", "2025-12-31", *options,
            ],
        }  # fmt: skip
        seconds = {way: min(timed(_process(command)) for _ in range(REPEATS)) for way, command in ways.items()}
        floor_seconds = seconds["floor: an average in bare DuckDB"]
        return [Measure("question", way, accounts * DAYS, took, took / floor_seconds) for way, took in seconds.items()]


def fill(path: Path, accounts: int) -> None:
    """Create a published copy with the tables that the commands read: signals that differ by day, and their scores."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("set enable_progress_bar = false")
        connection.execute("create schema marts")
        connection.execute("create schema intermediate")
        connection.execute(
            "create table marts.csm_health_signals as select 'default' as tenant_id, "
            f"'account-' || (number % {accounts}) as account_id, "
            f"date '2025-01-01' + cast(number // {accounts} as integer) as as_of_date, "
            "made.* exclude (account_id, number), '' as missing_signals, cast(1 as double) as signal_coverage "
            f"from ({signals_sql(accounts * DAYS, 'number, ')}) as made"
        )
        thresholds = ", ".join(
            f"cast({value} as {'bigint' if isinstance(value, int) else 'double'}) as {name}"
            for name, value in asdict(Thresholds()).items()
        )
        scored = scoring_sql(
            f"(select *, {thresholds} from marts.csm_health_signals)",
            green="green_threshold",
            amber="amber_threshold",
            churn_window_days="churn_window_days",
            keys=(*KEYS, *THRESHOLDS),
        )
        connection.execute(
            "create table marts.csm_health_scores as select *, 'made' as config_hash, "
            f"timestamp '2026-01-01' as scored_at from ({scored})"
        )
        connection.execute(
            "create table marts.csm_health_last as select tenant_id, account_id, 'Company ' || account_id as "
            "account_name, 'smb' as segment from marts.csm_health_signals where as_of_date = date '2025-12-31'"
        )
        connection.execute(
            "create table intermediate.int_account_days as select tenant_id, account_id, as_of_date, "
            "'smb' as segment from marts.csm_health_signals"
        )
        connection.execute(
            "create table intermediate.int_account_subscriptions as select tenant_id, account_id, as_of_date, "
            "cast(100 as decimal(18, 2)) as mrr, 'EUR' as currency from marts.csm_health_signals"
        )


def _process(command: list[str]) -> Callable[[], object]:
    def work() -> None:
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            message = f"{' '.join(command[:5])} … ended with {ended.returncode}: {ended.stderr or ended.stdout}"
            raise RuntimeError(message)

    return work
