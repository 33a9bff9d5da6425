"""The result of ``csm explain``: an account's score on a day, and its change since another day, from the marts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, cast

import duckdb
from pydantic import ValidationError

from csm_core.analysts.account_facts import AccountFacts, facts_as_dict, load_account_facts, load_signal_facts
from csm_core.analysts.explain import (
    BandMoves,
    Change,
    Explanation,
    explain,
    explain_change,
    next_band_moves,
)
from csm_core.errors import InputError, WarehouseError
from csm_core.health_scorer import CSMHealthScorer, checked_signals
from csm_core.rubric import FIELDS, SIGNAL_NAMES
from csm_core.schemas import CSMHealthScore
from csm_core.scoring.as_known import as_known_sql, is_dated
from csm_core.scoring.known_scores import SUPERSEDED
from csm_core.thresholds import THRESHOLDS, Thresholds
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.day_status import counted_sql, require_counted, require_newest
from csm_core.warehouse.rows import fetch_dicts

SIGNALS = "marts.csm_health_signals"
SCORES = "marts.csm_health_scores"
# The pages in Notion, among them the health records.
RECORDS = "sync.notion_pages"
# The accounts by name. In tables of the previous version, the latter also has the accounts that left.
NAMES = ("marts.csm_health_last", "marts.csm_health_current")
_SHOWN_MATCHES = 10
_RESULTS = ("score", "raw_score", "rag", "churn_risk_level", "churn_triggered_by")
_SIGNAL_COLUMNS = (*(field.name for field in FIELDS), "missing_signals", "signal_coverage")
_SCORE_COLUMNS = (*_RESULTS, *(f"{name}_points" for name in SIGNAL_NAMES), *THRESHOLDS, "config_hash", "scored_at")


@dataclass(frozen=True)
class ScoredDay:
    """One account on one day: the explanation of its score, the thresholds that applied, and the missing signals."""

    tenant_id: str
    account_id: str
    as_of_date: date
    explanation: Explanation
    policy: Thresholds
    missing_signals: tuple[str, ...]
    signal_coverage: float
    config_hash: str
    known_from: datetime | None = None
    known_to: datetime | None = None

    @property
    def follows_the_rubric(self) -> bool:
        """Whether the current rubric computes the stored score; false for a day that another version scored."""
        scorer = CSMHealthScorer(**asdict(self.policy))
        stored = self.explanation.score
        again = scorer.score(self.explanation.signals, stored.account_id)
        return again.model_copy(update={"computed_at": stored.computed_at}) == stored


@dataclass(frozen=True)
class ExplainReport:
    """The report of ``csm explain``; ``facts`` are those of the explained day, None if they are unknown.

    ``signal_facts`` has the numbers behind each signal in words, without the signals that have none. ``record`` is the
    day of the account's last health record before the explained day, with the change since then. With ``known_at``
    (UTC), the day is as it was known then; a row that was revised later has no facts.
    """

    day: ScoredDay
    moves: BandMoves
    since: ScoredDay | None = None
    change: Change | None = None
    facts: AccountFacts | None = None
    signal_facts: Mapping[str, str] = field(default_factory=dict[str, str])
    record: date | None = None
    record_change: Change | None = None
    known_at: datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        """The report for ``--json``. With ``since``, ``change`` has the parts that add up to the difference."""
        day = self.day
        values: dict[str, Any] = {
            "tenant_id": day.tenant_id,
            "as_of_date": day.as_of_date.isoformat(),
            **facts_as_dict(self.facts),
            **day.explanation.as_dict(),
            "facts": dict(self.signal_facts),
            "missing_signals": list(day.missing_signals),
            "signal_coverage": day.signal_coverage,
            "policy": asdict(day.policy),
            "config_hash": day.config_hash,
            "follows_the_rubric": day.follows_the_rubric,
            "next_band": self.moves.as_dict(),
        }
        if self.known_at:
            values |= {"known_at": self.known_at, "known_from": day.known_from, "known_to": day.known_to}
        if self.change and self.since:
            values["since"] = {
                "as_of_date": self.since.as_of_date.isoformat(),
                "config_hash": self.since.config_hash,
                **self.change.as_dict(),
            }
        if self.record and self.record_change:
            values["last_record"] = {"as_of_date": self.record.isoformat(), **self.record_change.as_dict()}
        return values


def explain_account(
    connection: duckdb.DuckDBPyConnection,
    account: str,
    as_of: date | None = None,
    since: date | None = None,
    known_at: datetime | None = None,
) -> ExplainReport:
    """Explain an account's score on ``as_of`` (default: its latest complete day), and the change since ``since``.

    ``account`` is an account id, ``tenant/account`` if the id is not unique, or the account's name or a part of it.
    ``known_at``, a UTC time, explains the score of ``as_of`` as it was known then.
    Raises InputError for an unknown account or day, naming the existing ones, and for a held or unfinished day.
    """
    if not (table_exists(connection, SIGNALS) and table_exists(connection, SCORES)):
        message = f"no day has been scored: the table {SCORES} does not exist. Run `csm run` first."
        raise InputError(message)
    for asked in (as_of, since):
        if asked:
            require_counted(connection, asked)
    require_newest(connection)
    tenant_id, account_id = find_account(connection, account)
    if known_at:
        return _explain_as_known(connection, (tenant_id, account_id), as_of, since, known_at)
    first, last = _days_of(connection, tenant_id, account_id)
    day = load_day(connection, tenant_id, account_id, as_of or last, (first, last))
    moves = next_band_moves(day.explanation.signals, day.policy)
    facts = load_account_facts(connection, tenant_id, account_id, day.as_of_date)
    signal_facts = load_signal_facts(connection, tenant_id, account_id, day.as_of_date)
    if since is None:
        record, record_change = _change_since_record(connection, day, (first, last))
        return ExplainReport(
            day, moves, facts=facts, signal_facts=signal_facts, record=record, record_change=record_change
        )
    if since >= day.as_of_date:
        message = f"--since {since} must be before the explained day, {day.as_of_date}"
        raise InputError(message)
    earlier = load_day(connection, tenant_id, account_id, since, (first, last))
    change = explain_change(earlier.explanation, day.explanation, earlier.policy, day.policy)
    return ExplainReport(day, moves, earlier, change, facts, signal_facts)


def _explain_as_known(
    connection: duckdb.DuckDBPyConnection,
    account: tuple[str, str],
    as_of: date | None,
    since: date | None,
    known_at: datetime,
) -> ExplainReport:
    if as_of is None or since is not None:
        message = "--known-at needs --as-of, and cannot be combined with --since"
        raise InputError(message)
    day = load_known_day(connection, *account, as_of, known_at)
    moves = next_band_moves(day.explanation.signals, day.policy)
    if day.known_to:
        return ExplainReport(day, moves, known_at=known_at)
    facts = load_account_facts(connection, *account, as_of)
    signal_facts = load_signal_facts(connection, *account, as_of)
    return ExplainReport(day, moves, facts=facts, signal_facts=signal_facts, known_at=known_at)


def _change_since_record(
    connection: duckdb.DuckDBPyConnection, day: ScoredDay, bounds: tuple[date, date]
) -> tuple[date | None, Change | None]:
    """The day of the last health record in Notion before ``day``, and the change since; None without one.

    The day of the record must still be scored and count.
    """
    if not table_exists(connection, RECORDS):
        return None, None
    ((record,),) = connection.execute(
        f"select max(scores.as_of_date) from {RECORDS} as pages inner join {SCORES} as scores "
        "on pages.account_id = scores.account_id "
        "and try_cast(pages.facts ->> '$.as_of_date' as date) = scores.as_of_date "
        "where pages.kind = 'record' and scores.tenant_id = $tenant and scores.account_id = $account "
        f"and scores.as_of_date < $day and {counted_sql(connection, 'scores.as_of_date')}",
        {"tenant": day.tenant_id, "account": day.account_id, "day": day.as_of_date},
    ).fetchall()
    if record is None:
        return None, None
    earlier = load_day(connection, day.tenant_id, day.account_id, record, bounds)
    return record, explain_change(earlier.explanation, day.explanation, earlier.policy, day.policy)


def load_explanation(
    connection: duckdb.DuckDBPyConnection, account_id: str, as_of_date: date, tenant_id: str | None = None
) -> Explanation:
    """The explanation of an account's score on a day. Raises InputError for an unknown account or day."""
    require_counted(connection, as_of_date)
    tenant, account = (tenant_id, account_id) if tenant_id else find_account(connection, account_id)
    return load_day(connection, tenant, account, as_of_date, _days_of(connection, tenant, account)).explanation


def find_account(connection: duckdb.DuckDBPyConnection, account: str) -> tuple[str, str]:
    """Return tenant and id of an account, found by id, ``tenant/account``, name or part of a name, in this order.

    Case does not matter in names. Raises InputError if none or several match.
    """
    by_id = "account_id = $account or tenant_id || '/' || account_id = $account"
    matches = _matches(connection, SCORES, by_id, account)
    if not matches and table_exists(connection, SUPERSEDED):
        # An account that later builds removed from all days.
        matches = _matches(connection, SUPERSEDED, by_id, account)
    named = next((table for table in NAMES if table_exists(connection, table)), None)
    if not matches and named:
        matches = _matches(connection, named, "lower(account_name) = lower($account)", account) or _matches(
            connection, named, "contains(lower(account_name), lower($account)) and trim($account) <> ''", account
        )
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = _names(connection, named) if named else {}
        choices = ", ".join(
            "/".join(one) + (f" ({names[one]})" if names.get(one) else "") for one in matches[:_SHOWN_MATCHES]
        )
        more = f" (and {len(matches) - _SHOWN_MATCHES} more)" if len(matches) > _SHOWN_MATCHES else ""
        message = f"several accounts match {account!r}; use one of {choices}{more}"
        raise InputError(message)
    hint = ""
    if named:
        near = connection.execute(
            "select account_id from (select account_id, jaro_winkler_similarity(lower(account_id), lower($account)) "
            f"as similarity from {named}) where similarity > 0.75 order by similarity desc, account_id limit 3",
            {"account": account},
        ).fetchall()
        hint = f"; did you mean {', '.join(identifier for (identifier,) in near)}?" if near else ""
    message = f"no account {account!r} has been scored{hint}"
    raise InputError(message)


def load_day(
    connection: duckdb.DuckDBPyConnection, tenant_id: str, account_id: str, day: date, bounds: tuple[date, date]
) -> ScoredDay:
    """One account on one day. Raises InputError, with the first and last day (``bounds``), if it has no score then."""
    columns = [*(f"signals.{name}" for name in _SIGNAL_COLUMNS), *(f"scores.{name}" for name in _SCORE_COLUMNS)]
    rows = fetch_dicts(
        connection,
        f"select {', '.join(columns)} from {SCORES} as scores inner join {SIGNALS} as signals "
        "on scores.account_id = signals.account_id and scores.as_of_date = signals.as_of_date "
        "where scores.tenant_id = $tenant and scores.account_id = $account and scores.as_of_date = $day "
        "and signals.tenant_id = $tenant and signals.account_id = $account and signals.as_of_date = $day",
        {"tenant": tenant_id, "account": account_id, "day": day},
    )
    if not rows:
        message = f"account {account_id!r} has no score on {day}; it has scores from {bounds[0]} to {bounds[1]}"
        raise InputError(message)
    return _scored_day(tenant_id, account_id, day, rows[0])


def load_known_day(
    connection: duckdb.DuckDBPyConnection, tenant_id: str, account_id: str, day: date, known_at: datetime
) -> ScoredDay:
    """One account on one day, as it was known at a UTC time. Raises InputError if no score was known then."""
    if not is_dated(connection):
        message = "the published copy does not state since when scores are known: `csm run` replaces it"
        raise InputError(message)
    columns = (*_SIGNAL_COLUMNS, *_SCORE_COLUMNS, "as_of_date", "account_id", "known_from", "known_to")
    rows = fetch_dicts(
        connection,
        f"with known as ({as_known_sql(connection, 'cast($known_at as timestamp)')}) "
        f"select {', '.join(columns)} from known where account_id = $account and as_of_date = $day",
        {"known_at": known_at, "account": account_id, "day": day},
    )
    if not rows:
        ((first,),) = connection.execute(
            "select min(known_from) from ("
            f"select known_from from {SCORES} where account_id = $account and as_of_date = $day union all "
            f"select known_from from {SUPERSEDED} where account_id = $account and as_of_date = $day)",
            {"account": account_id, "day": day},
        ).fetchall()
        hint = f"its first score of that day is known from {first} UTC" if first else "it has no score on that day"
        if first and first <= known_at:
            hint = "a later run removed its score of that day"
        message = f"nothing was known about account {account_id!r} on {day} at {known_at} UTC; {hint}"
        raise InputError(message)
    known = _scored_day(tenant_id, account_id, day, rows[0])
    return replace(known, known_from=rows[0]["known_from"], known_to=rows[0]["known_to"])


def _scored_day(tenant_id: str, account_id: str, day: date, row: Mapping[str, Any]) -> ScoredDay:
    inputs = {field.name: row[field.name] for field in FIELDS}
    return ScoredDay(
        tenant_id,
        account_id,
        day,
        explain(checked_signals(inputs, account_id), _score(account_id, row)),
        Thresholds(*(row[name] for name in THRESHOLDS)),
        tuple(filter(None, str(row["missing_signals"] or "").split(","))),
        float(row["signal_coverage"]),
        str(row["config_hash"]),
    )


def _score(account_id: str, row: Mapping[str, Any]) -> CSMHealthScore:
    try:
        return CSMHealthScore(
            account_id=account_id,
            **{name: row[name] for name in _RESULTS},
            signal_breakdown={name: row[f"{name}_points"] for name in SIGNAL_NAMES},
            computed_at=row["scored_at"].replace(tzinfo=UTC),
        )
    except ValidationError as error:
        message = f"{SCORES} has an invalid row for account {account_id!r}: {error.errors()[0]['msg']}"
        raise WarehouseError(message) from None


def _matches(
    connection: duckdb.DuckDBPyConnection, table: str, condition: str, account: str
) -> Sequence[tuple[str, str]]:
    matches = connection.execute(
        f"select distinct tenant_id, account_id from {table} where {condition} order by tenant_id, account_id",
        {"account": account},
    ).fetchall()
    return cast("Sequence[tuple[str, str]]", matches)


def _names(connection: duckdb.DuckDBPyConnection, table: str) -> dict[tuple[str, str], str]:
    """Return the account names by tenant and id."""
    rows = connection.execute(f"select tenant_id, account_id, account_name from {table}").fetchall()
    return {(tenant, account): name for tenant, account, name in rows}


def _days_of(connection: duckdb.DuckDBPyConnection, tenant_id: str, account_id: str) -> tuple[date, date]:
    ((first, last),) = connection.execute(
        f"select min(as_of_date), max(as_of_date) from {SCORES} where tenant_id = $tenant and account_id = $account "
        f"and {counted_sql(connection)}",
        {"tenant": tenant_id, "account": account_id},
    ).fetchall()
    if first is None:
        message = f"no account {account_id!r} of tenant {tenant_id!r} has been scored"
        raise InputError(message)
    return first, last
