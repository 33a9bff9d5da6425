"""Verifies receipts against the roots and scores of a warehouse or of its published copy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from csm_core.errors import InputError
from csm_core.receipts.issue import states_of
from csm_core.receipts.standalone import lines_of, problems_of
from csm_core.rubric import FIELDS, SIGNAL_NAMES
from csm_core.scoring.known_scores import SCORES, SIGNALS
from csm_core.thresholds import THRESHOLDS
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.rows import fetch_dicts

_RESULTS = ("raw_score", "score", "rag", "churn_risk_level", "churn_triggered_by", "should_alert")


@dataclass(frozen=True)
class Verification:
    """The outcome for one receipt: it is right without ``problems``. ``note`` says that a later state is stored."""

    file: str
    line: int
    account_id: str
    as_of_date: str
    problems: tuple[str, ...]
    note: str = ""

    @property
    def text(self) -> str:
        """The outcome as a line of text."""
        where = f"{self.file}, line {self.line}"
        if self.problems:
            return "\n".join(f"{where}: {problem}" for problem in self.problems)
        right = f"{where}: the receipt of {self.account_id} on {self.as_of_date} is right"
        return f"{right} ({self.note})" if self.note else right


def verify_file(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[Verification]:
    """Verify each receipt of a file. Raises InputError if the file cannot be read or has none."""
    try:
        lines = lines_of(path)
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror or error}"
        raise InputError(message) from None
    except UnicodeDecodeError as error:
        problem = f"the file was altered: it is not UTF-8 at byte {error.start + 1}"
        yield Verification(str(path), 1, "", "", (problem,))
        return
    if not lines:
        message = f"{path} has no receipt; `csm receipt` prints one"
        raise InputError(message)
    for number, line in enumerate(lines, 1):
        yield _verify(connection, str(path), number, line)


def _verify(connection: duckdb.DuckDBPyConnection, file: str, number: int, line: str) -> Verification:
    try:
        statement = json.loads(line)["statement"]
        tenant, account, day = str(statement["tenant_id"]), str(statement["account_id"]), str(statement["as_of_date"])
        states = states_of(connection, tenant, date.fromisoformat(day))
    except (ValueError, KeyError, TypeError, RecursionError):
        return Verification(file, number, "", "", tuple(problems_of(line, ())))
    problems = problems_of(line, {state.root for state in states})
    if not states:
        problems.append(f"marts.csm_day_roots has no root of {day} and tenant {tenant!r}")
    if problems:
        return Verification(file, number, account, day, tuple(problems))
    root = json.loads(line)["proof"]["root"]
    if root != states[-1].root:
        revised = states[-1].known_from.isoformat(" ", "seconds")
        return Verification(file, number, account, day, (), f"the day was revised, last at {revised} UTC")
    return Verification(file, number, account, day, tuple(_differences(connection, statement)))


def _differences(connection: duckdb.DuckDBPyConnection, statement: dict[str, Any]) -> Iterator[str]:
    """Compare the statement with the stored signals and scores, whose root is the one of the receipt."""
    if not (table_exists(connection, SCORES) and table_exists(connection, SIGNALS)):
        yield f"{SCORES} does not exist, so the values cannot be compared"
        return
    rows = fetch_dicts(
        connection,
        f"select signals.*, scores.* from {SCORES} as scores inner join {SIGNALS} as signals "
        "on scores.account_id = signals.account_id and scores.as_of_date = signals.as_of_date "
        "where scores.tenant_id = $tenant and scores.account_id = $account and scores.as_of_date = $day",
        {"tenant": statement["tenant_id"], "account": statement["account_id"], "day": statement["as_of_date"]},
    )
    if not rows:
        yield "the account has no stored score on this day"
        return
    stored = rows[0]
    stated = {
        **{field.name: statement["inputs"][field.name] for field in FIELDS},
        **{f"{name}_points": statement["points"][name] for name in SIGNAL_NAMES},
        **{name: statement["result"][name] for name in _RESULTS},
        **{name: statement["thresholds"][name] for name in THRESHOLDS},
        "config_hash": statement["config_hash"],
    }
    for name, value in stated.items():
        if stored[name] != value:
            yield f"{name} is {value} in the receipt and {stored[name]} in the warehouse, which was altered"
