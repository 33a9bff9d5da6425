"""A scored history of a few accounts, written to the tables of a real warehouse and published: for exact backtests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from csm_core.analysts.published_copy import publish_copy
from csm_core.config import load_config
from csm_core.contract import ENTITIES
from csm_core.rubric import SIGNAL_NAMES
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.version_tables import VERSION_TABLES
from tests.conftest import Company
from tests.sql.harness import run_model, table
from tests.sql.test_model_cases import prepare

LAST_DAY = date(2026, 9, 30)
INPUTS: dict[str, Any] = {"usage_trend": "stable", "invoice_payment_status": "current", "days_to_renewal": 100}
POINTS = {f"{name}_points": 0.0 for name in SIGNAL_NAMES}


@dataclass
class ScoredHistory:
    """Spells and scored days, each as a row; columns that a row leaves out have a default."""

    spells: list[dict[str, Any]] = field(default_factory=list)
    days: list[dict[str, Any]] = field(default_factory=list)
    pulses: list[dict[str, Any]] = field(default_factory=list)

    def spell(self, account: str, ended: str | None = None, started: str | None = None, **more: Any) -> None:
        """Add a spell; an account with several has them in order."""
        number = 1 + sum(row["account_id"] == account for row in self.spells)
        row = {"tenant_id": "t", "account_id": account, "spell": number, "started_at": started, "ended_at": ended}
        self.spells.append(row | more)

    def day(self, account: str, day: str, score: float, **more: Any) -> None:
        """Add a scored day. The band follows from the score, and RED alerts."""
        rag = "GREEN" if score >= 70 else "AMBER" if score >= 40 else "RED"
        row = {"tenant_id": "t", "account_id": account, "as_of_date": day, "score": score, "rag": rag}
        risk = {"GREEN": "low", "AMBER": "medium", "RED": "high"}[rag]
        self.days.append(row | {"churn_risk_level": risk, "should_alert": rag == "RED", "mrr": 100} | more)

    def pulse(self, account: str, day: str, pulse: int, known_from: str | None = None) -> None:
        """Add the pulse of an account on a day; it was recorded on that day unless another time is given."""
        row = {"tenant_id": "t", "account_id": account, "as_of_date": day, "pulse": pulse}
        self.pulses.append(row | {"known_from": known_from or f"{day} 12:00:00"})

    def company(self, folder: Path, *, threads: int = 2) -> Company:
        """Write everything to a warehouse below ``folder`` and publish it."""
        sources = [{"system": "files", "path": "."}]
        stated = {"warehouse": "data/csm.duckdb", "threads": threads, "sources": sources}
        (folder / "csm.yaml").write_text(yaml.safe_dump(stated), encoding="utf-8")
        company = Company(folder, folder / "csm.yaml")
        warehouse = Warehouse.from_config(load_config(company.config_file, {}))
        self._write(warehouse)
        publish_copy(warehouse)
        return company

    def _write(self, warehouse: Warehouse) -> None:
        with warehouse.connect() as connection:
            for entity in ENTITIES.values():
                connection.execute(f"create table {entity.table} ({entity.definition})")
            for versions in VERSION_TABLES.values():
                connection.execute(f"create table if not exists {versions.table} ({versions.definition})")
            for name in ("marts.csm_outcomes", "marts.csm_health_signals", "marts.csm_accounts_daily"):
                prepare(connection, name)
            table(connection, "intermediate.int_account_spells", self.spells)
            for row in [*self.days, _last_day()]:
                for name, columns in _TABLES.items():
                    table(connection, f"marts.{name}", [_columns(_DEFAULTS | row, columns)])
            if self.pulses:
                prepare(connection, "marts.csm_pulses_daily")
                table(connection, "marts.csm_pulses_daily", self.pulses)
            run_model(connection, "marts/csm_outcomes")


def _last_day() -> dict[str, Any]:
    """A scored day of an account without a spell: the last scored day, and no observation."""
    return {"tenant_id": "t", "account_id": "nobody", "as_of_date": LAST_DAY, "score": 50.0}


def _columns(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: row[name] for name in names if name in row}


_KEY = ("tenant_id", "account_id", "as_of_date")
_DEFAULTS: dict[str, Any] = {
    **INPUTS,
    **POINTS,
    "rag": "AMBER",
    "churn_risk_level": "medium",
    "should_alert": False,
    "green_threshold": 70.0,
    "amber_threshold": 40.0,
    "churn_window_days": 60,
    "basis": "as_known",
    "currency": "USD",
    "is_customer": True,
}
_TABLES: dict[str, tuple[str, ...]] = {
    "csm_health_scores": (
        *_KEY,
        *("score", "rag", "churn_risk_level", "churn_triggered_by", "should_alert", "basis"),
        *("green_threshold", "amber_threshold", "churn_window_days"),
        *POINTS,
    ),
    "csm_health_signals": (*_KEY, *INPUTS),
    "csm_accounts_daily": (
        *_KEY,
        *("account_name", "segment", "mrr", "currency", "mrr_reporting", "reporting_currency", "is_customer"),
    ),
}


def twenty_five_observations() -> ScoredHistory:
    """Twenty-five observations, to be worked out by hand: with a lead of 7 and a horizon of 90 days, on three dates.

    On 30 April an account churns if it ends from 8 May (t + 8) to 5 August (t + 97), on 31 May from 8 June to
    5 September; on 31 August the horizon ends after the last scored day, 30 September.
    """
    history = ScoredHistory()
    for account, ended in _ENDS.items():
        for number, end in enumerate(ended.split()):
            # The account that returns does so ten days after its end.
            started = "2026-05-20" if number else "2025-01-01"
            history.spell(account, None if end == "-" else end, started)
    for day, scores in _SCORES.items():
        for account, score in scores.items():
            history.day(account, day, score)
    # A day between the dates of the grid counts only for the alerts before an end.
    history.day("c1", "2026-04-28", 30)
    history.day("c1", "2026-04-29", 60)
    history.day("c1", "2026-05-07", 20)
    history.day("c3", "2026-05-01", 35)
    history.day("c3", "2026-05-02", 45)
    return history


_ENDS = {
    "c1": "2026-05-08",
    "c2": "2026-08-05T23:59:59",
    "c3": "2026-06-15",
    "c4": "2026-07-01",
    "r": "2026-05-10 -",
    "c6": "2026-06-08",
    "c7": "2026-09-05",
    "c8": "2026-08-20",
    "c9": "2026-06-20",
    "c10": "2026-07-15",
    "s1": "-",
    "s2": "-",
    "s3": "2026-08-06",
    "s4": "-",
    "s5": "-",
    "s6": "2026-09-06",
    "x1": "2026-05-01",
    "x2": "2026-06-07",
    "x4": "2026-09-15",
    "y": "2026-05-15",
}
_SCORES: dict[str, dict[str, float]] = {
    # x1 ends on the next day: too late to act on.
    "2026-04-30": {"c1": 20, "c2": 30, "c3": 50, "c4": 60, "r": 70}
    | {"s1": 30, "s2": 60, "s3": 80, "s4": 90, "s5": 95}
    | {"x1": 10},
    # x2 ends on t + 7. y has a score after its end, as a record that arrived later says: no observation.
    "2026-05-31": {"c6": 40, "c7": 40, "c8": 85, "c9": 10, "c10": 55}
    | {"s1": 40, "s2": 70, "s6": 85, "s4": 99, "r": 35}
    | {"x2": 15, "y": 12},
    # Of two accounts that have not left, it is not known yet whether they will. x4 ends within the horizon.
    "2026-08-31": {"s1": 45, "s5": 75, "x4": 50},
}
