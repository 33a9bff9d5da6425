"""Compares the scores of a replayed day with those that were known at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from csm_core.scoring.as_known import as_known_sql
from csm_core.scoring.known_scores import KEYS, OUTCOME, SCORES, SIGNALS, same_sql
from csm_core.system.text_table import counted
from csm_core.warehouse.catalog import columns_of
from csm_core.warehouse.models import literal

_REPLAYED = "replayed"
_SHOWN = 20


@dataclass(frozen=True)
class Difference:
    """A value of an account that differs: ``stored`` is what was known, ``replayed`` what the records give."""

    account_id: str
    column: str
    stored: Any
    replayed: Any


@dataclass(frozen=True)
class Replay:
    """The result of a replay: the compared accounts and every difference, by account and column.

    An account that only one side has differs in the column ``account_id``.
    """

    day: date
    known_at: datetime
    config_hash: str
    accounts: int
    equal: int
    differences: tuple[Difference, ...]

    @property
    def exit_status(self) -> int:
        """0 if all accounts are equal, otherwise 1."""
        return 1 if self.differences else 0

    def as_dict(self) -> dict[str, Any]:
        """The replay as JSON."""
        return {
            "day": str(self.day),
            "known_at": self.known_at.isoformat(sep=" "),
            "config_hash": self.config_hash,
            "accounts": self.accounts,
            "equal": self.equal,
            "differences": [vars(one) for one in self.differences],
        }

    def text(self) -> str:
        """The replay as text, with the first differences."""
        head = (
            f"{self.day} as known at {self.known_at:%Y-%m-%d %H:%M:%S} UTC: {counted(self.accounts, 'account')} "
            f"compared, {self.equal} equal (configuration {self.config_hash})"
        )
        lines = [
            f"  {one.account_id}: {one.column} was {one.stored}, the records give {one.replayed}"
            for one in self.differences[:_SHOWN]
        ]
        more = len(self.differences) - _SHOWN
        return "\n".join([head, *lines, *([f"  and {counted(more, 'other difference')}"] if more > 0 else [])])


def compare(
    connection: duckdb.DuckDBPyConnection, replayed: Path, day: date, known_at: datetime, config_hash: str
) -> Replay:
    """Compare the scores of a day as known at a UTC time with those in the warehouse file ``replayed``."""
    connection.execute(f"attach {literal(str(replayed))} as {_REPLAYED} (read_only)")
    try:
        inputs = [name for name in columns_of(connection, SIGNALS) if name not in (*KEYS, "known_from")]
        compared = [*inputs, *(name for name in OUTCOME if name not in KEYS)]
        accounts, differing = _compared(connection, compared, day, known_at)
    finally:
        connection.execute(f"detach {_REPLAYED}")
    found = [difference for row in differing for difference in _differences(row, compared)]
    return Replay(day, known_at, config_hash, accounts, accounts - len(differing), tuple(found))


def _compared(
    connection: duckdb.DuckDBPyConnection, compared: Sequence[str], day: date, known_at: datetime
) -> tuple[int, list[tuple[Any, ...]]]:
    """Return the number of accounts, and the rows of those that differ: both ids, then both values of each column."""
    names = [f"{side}.{name}" for name in compared for side in ("stored", "again")]
    signals = ", ".join(f"signals.{name}" for name in compared if name not in OUTCOME)
    scores = ", ".join(f"scores.{name}" for name in compared if name in OUTCOME)
    both_sides = f"""
        with stored as (from ({as_known_sql(connection, "$known_at")}) where as_of_date = $day),
        again as (
            select signals.account_id, {signals}, {scores}
            from {_REPLAYED}.{SIGNALS} as signals
            inner join {_REPLAYED}.{SCORES} as scores using (account_id, as_of_date)
            where signals.as_of_date = $day
        )
    """
    joined = "from stored full join again on stored.account_id = again.account_id"
    values = {"known_at": known_at, "day": day}
    same = same_sql(("account_id", *compared), "stored", "again")
    ((accounts,),) = connection.execute(f"{both_sides} select count(*) {joined}", values).fetchall()
    differing = (
        f"select stored.account_id, again.account_id, {', '.join(names)} {joined} where not ({same}) order by all"
    )
    return accounts, connection.execute(f"{both_sides} {differing}", values).fetchall()


def _differences(row: tuple[Any, ...], compared: Sequence[str]) -> list[Difference]:
    stored_id, again_id, *values = row
    account = stored_id if stored_id is not None else again_id
    if stored_id is None or again_id is None:
        return [Difference(account, "account_id", stored_id, again_id)]
    pairs = zip(values[::2], values[1::2], strict=True)
    return [
        Difference(account, name, stored, again)
        for name, (stored, again) in zip(compared, pairs, strict=True)
        if stored != again
    ]
