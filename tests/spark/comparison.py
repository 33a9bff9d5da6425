"""What two engines left behind: every table, page and file that must be equal."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from csm_core.publishing.pulses import PulseChange, record
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.remote_engine import KEPT_IN_ENGINE
from tests.conftest import Company
from tests.crash.kills import left_behind
from tests.in_process import Done, csm

# What only an engine outside the warehouse has.
_OF_ENGINE = ("run.engine_directories", "run.engine_days")
# Their records contain the time of the load.
_WITH_TIMES = ("staging.ravenstack_records",)


def run(company: Company, *arguments: str) -> Done:
    """Run a company in this process to its end."""
    done = csm("run", *arguments, "--config", str(company.config_file), folder=company.folder)
    assert done.status == 0, done.stdout + done.stderr
    return done


def with_pulses(company: Company, day: date) -> Company:
    """The company with pulses of some accounts from a day on, low and high ones in turns."""
    with Warehouse.from_config(company.config).connect() as connection:
        changes = [
            PulseChange(f"A{number:04}", day, 1 if number % 2 else 5, "a note", author="ann") for number in range(1, 60)
        ]
        record(connection, changes, datetime(2026, 6, 1))  # noqa: DTZ001  # times in the warehouse are UTC without a zone
    return company


def left_by(company: Company, *arguments: str) -> dict[str, Any]:
    """Run a company in this process; return everything that it then has."""
    run(company, *arguments)
    return everything(company)


def everything(company: Company) -> dict[str, Any]:
    """Every table, published table and page; tables that stay in Spark are read there."""
    found = {name: rows for name, rows in left_behind(company).items() if name not in (*_OF_ENGINE, *_WITH_TIMES)}
    warehouse = Warehouse.from_config(company.config)
    with warehouse.connect() as connection:
        engine = warehouse.engine(connection)
        for table in sorted(KEPT_IN_ENGINE):
            found[table] = engine.query(f"select * from {table} order by all")
    return found


def differences(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Name what differs, with the first difference of each."""
    alone = [f"only in one: {name}" for name in sorted(wanted.keys() ^ found.keys())]
    return alone + [
        f"{name}: {_first(wanted[name], found[name])}"
        for name in sorted(wanted.keys() & found.keys())
        if wanted[name] != found[name]
    ]


def _first(wanted: Any, found: Any) -> str:
    if len(wanted) != len(found):
        return f"{len(wanted)} and {len(found)} entries"
    if isinstance(wanted, dict):
        return str(next((key, wanted[key], found.get(key)) for key in wanted if wanted[key] != found.get(key)))
    return str(next((one, other) for one, other in zip(wanted, found, strict=True) if one != other))
