"""Days that are run one by one while records change, and are then rebuilt: what was known stays known.

``python -m tests.history [--days 60] [--seed 1]`` runs sixty days; a shorter version is in the tests. Between two runs,
accounts change plan, segment or owner, leave the list and return; tickets arrive late, invoices are corrected, and
lifecycle events say that accounts churned and returned.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from csm_core.sample_company.generator import generate
from pipelines.replay import replay_day
from pipelines.run import run_days
from tests.conftest import Company, make_company
from tests.scored import scored_assets

Row = dict[str, str]
ACCOUNTS = 12
LAST_DAY = date(2026, 9, 30)
# The time by which a record is known, by entity.
TIMES = {
    "interactions": "occurred_at",
    "invoices": "issued_at",
    "nps_responses": "responded_at",
    "tam_assessments": "assessed_at",
    "tickets": "opened_at",
    "usage_events": "occurred_at",
}
# Which run computed a row, and with which configuration, is not part of what was known.
_VOLATILE = ("scored_at", "config_hash", "known_to")
WIDE_LIMITS: dict[str, Any] = {
    "checks": {"max_mean_score_swing": 100, "max_rag_changed_percent": 100, "max_silent_days": 1000},
    "max_closed_percent": 100,
    "max_rejected_percent": 100,
}
"""Settings with which no check holds a day, and no load is rejected."""


@dataclass
class Records:
    """The records of a company, and what of them its source files have so far."""

    folder: Path
    rows: dict[str, list[Row]]
    dice: random.Random
    away: dict[str, int] = field(default_factory=dict)
    held_back: dict[str, int] = field(default_factory=dict)
    events: list[Row] = field(default_factory=list)

    @classmethod
    def generated(cls, folder: Path, days: int, seed: int, *, accounts: int = ACCOUNTS) -> Records:
        """Generate the records of a company; its source files are below ``folder``."""
        whole = folder / "whole"
        generate(whole, accounts=accounts, days=days + 60, format="csv")
        rows: dict[str, list[Row]] = {}
        for file in sorted(whole.rglob("*.csv")):
            entity = file.stem if file.parent == whole else file.parent.name
            with file.open(encoding="utf-8", newline="") as stream:
                rows.setdefault(entity, []).extend(csv.DictReader(stream))
        (folder / "records").mkdir()
        return cls(folder / "records", rows, random.Random(seed))

    def change(self, day: date) -> None:
        """Change some records before the run of a day."""
        accounts = self.rows["accounts"]
        if self.dice.random() < 0.5:
            column = self.dice.choice(("plan", "segment", "csm_owner"))
            self.dice.choice(accounts)[column] = self.dice.choice([row[column] for row in accounts])
        self.away = {account: left - 1 for account, left in self.away.items() if left > 1}
        if self.dice.random() < 0.1:
            self.away[self.dice.choice(accounts)["account_id"]] = self.dice.randint(1, 6)
        if self.dice.random() < 0.3:
            invoice = self.dice.choice([row for row in self.rows["invoices"] if row["issued_at"][:10] <= str(day)])
            invoice["paid_at"] = "" if invoice["paid_at"] else str(day)
        for ticket in self.rows["tickets"]:
            if ticket["opened_at"][:10] == str(day) and self.dice.random() < 0.5:
                self.held_back[ticket["ticket_id"]] = self.dice.randint(1, 6)
        self.held_back = {ticket: left - 1 for ticket, left in self.held_back.items() if left > 0}
        if self.dice.random() < 0.1:
            account = self.dice.choice(accounts)["account_id"]
            kind = "returned" if any(row["account_id"] == account for row in self.events) else "churned"
            at = f"{day - timedelta(days=self.dice.randint(0, 3))}T12:00:00Z"
            number = str(len(self.events))
            self.events.append({"event_id": number, "account_id": account, "kind": kind, "occurred_at": at})

    def write(self, day: date) -> None:
        """Write the files of the evening of a day: without what had not happened, is late or has left the list."""
        for entity, rows in self.rows.items():
            known = [row for row in rows if row.get(TIMES.get(entity, ""), "")[:10] <= str(day)]
            if entity == "accounts":
                known = [row for row in known if row["account_id"] not in self.away]
            if entity == "tickets":
                known = [row for row in known if row["ticket_id"] not in self.held_back]
            self._write(entity, list(rows[0]), known)
        if self.events:
            self._write("lifecycle_events", list(self.events[0]), self.events)

    def _write(self, entity: str, columns: list[str], rows: list[Row]) -> None:
        with (self.folder / f"{entity}.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows(rows)


@dataclass(frozen=True)
class Evening:
    """A run, and what the warehouse had after it: the scores of all days, and the attributes of the day."""

    day: date
    at: datetime
    scores: list[tuple[Any, ...]]
    attributes: dict[str, tuple[Any, ...]]


def problems(folder: Path, days: int, seed: int, replays: int, *, whole: bool = True) -> list[str]:
    """Run the days one by one, rebuild them at once, and return what is not as it was known.

    Unless ``whole``, runs leave out the assets that are not compared here.
    """
    os.environ["DAGSTER_HOME"] = str(folder / "dagster_home")
    records = Records.generated(folder, days, seed)
    company = make_company(
        folder,
        records.folder,
        **WIDE_LIMITS,
        partitions_start=str(LAST_DAY - timedelta(days=days + 1)),
    )
    select = () if whole else scored_assets(company, "csm_accounts_daily", "csm_days", "csm_analytics")
    first = LAST_DAY - timedelta(days=days - 1)
    evenings = [_evening(company, records, first + timedelta(days=number), select) for number in range(days)]
    _run(company, (first, LAST_DAY), evenings[-1].at + timedelta(days=10), select)
    return [
        *_not_as_known(company, evenings),
        *_other_attributes(company, evenings),
        *_not_replayed(company, records.dice.sample(evenings, min(replays, days))),
    ]


def _evening(company: Company, records: Records, day: date, select: Sequence[str]) -> Evening:
    records.change(day)
    records.write(day)
    at = datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC) + timedelta(hours=7)
    _run(company, (day, day), at, select)
    scores = company.query(f"select {_columns(company)} from {_JOINED} order by all")
    return Evening(day, at, scores, _attributes(company, day))


_JOINED = (
    "(select signals.* exclude (known_from), scores.* exclude (tenant_id, account_id, as_of_date) "
    "from marts.csm_health_signals as signals "
    "inner join marts.csm_health_scores as scores using (account_id, as_of_date))"
)


def _columns(company: Company) -> str:
    names = company.query(f"select column_name from (describe select * from {_JOINED})")
    return ", ".join(sorted(name for (name,) in names if name not in _VOLATILE))


def _attributes(company: Company, day: date) -> dict[str, tuple[Any, ...]]:
    rows = company.query(
        "select account_id, account_name, segment, plan, csm_owner from marts.csm_accounts_daily "
        f"where as_of_date = date '{day}'"
    )
    return {account: tuple(values) for account, *values in rows}


def _run(company: Company, days: tuple[date, date], at: datetime, select: Sequence[str]) -> None:
    outcome = run_days(company.config, days, select=select, publish=False, clock=lambda: at)
    assert outcome.succeeded, outcome


def _not_as_known(company: Company, evenings: list[Evening]) -> list[str]:
    found: list[str] = []
    columns = _columns(company)
    copy = company.config.warehouse.parent / "published" / "csm_analytics.duckdb"
    with duckdb.connect(str(copy), read_only=True) as connection:
        for evening in evenings:
            moment = f"timestamp '{evening.at.replace(tzinfo=None) + timedelta(hours=1)}'"
            known = connection.execute(f"select {columns} from csm_health_as_known({moment}) order by all").fetchall()
            if known != evening.scores:
                differing = len(set(known) ^ set(evening.scores))
                found.append(f"{differing} rows differ from those of the evening after {evening.day}")
    return found


def _other_attributes(company: Company, evenings: list[Evening]) -> list[str]:
    found: list[str] = []
    for evening in evenings:
        after = _attributes(company, evening.day)
        both = evening.attributes.keys() & after.keys()
        found += [
            f"{account} on {evening.day} was {evening.attributes[account]} and is {after[account]}"
            for account in sorted(both)
            if after[account] != evening.attributes[account]
        ]
    return found


def _not_replayed(company: Company, evenings: list[Evening]) -> list[str]:
    found: list[str] = []
    for evening in evenings:
        replay = replay_day(company.config, evening.day, evening.at + timedelta(hours=1))
        found += [f"replay of {evening.day}: {one}" for one in replay.differences]
        if replay.accounts == 0:
            found.append(f"replay of {evening.day}: no accounts")
    return found


def main() -> int:
    """Run the days, and print what was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.history", description=__doc__)
    parser.add_argument("--days", type=int, default=60, help="days that are run one by one (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the changes (default: %(default)s)")
    parser.add_argument("--replays", type=int, default=10, help="evenings to replay (default: %(default)s)")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        found = problems(Path(name), options.days, options.seed, options.replays)
    print(
        "\n".join(
            [*found[:50], f"{options.days} days, rebuilt: {len(found)} problems, {time.monotonic() - started:.0f} s"]
        )
    )
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
