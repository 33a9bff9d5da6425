"""What has to hold of a scored day before anybody reads it in Notion; a broken feed must not turn every account red."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb

from csm_core.config import CheckSettings, FreshnessSettings
from csm_core.contract import ENTITIES
from csm_core.errors import InputError
from csm_core.health_scorer import CSMHealthScorer
from csm_core.rubric import FIELDS, SIGNAL_NAMES
from csm_core.schemas import CSMHealthSignals
from csm_core.system.text_table import counted, is_or_are
from csm_core.warehouse import day_status
from csm_core.warehouse.catalog import has_rows
from csm_core.warehouse.model_checks import CheckOutcome
from csm_core.warehouse.rows import fetch_dicts

LOOK_BACK_DAYS = 28
POPULATION_TABLE = "intermediate.int_account_days"


@dataclass(frozen=True)
class PortfolioCheck:
    """A check of the whole day: its name in Dagster and on ``--accept``, and what it means."""

    name: str
    description: str


POPULATION = PortfolioCheck("population_scored", "Every account of the population has signals and a score.")
SWING = PortfolioCheck("portfolio_swing", "Neither the mean score nor the RAGs moved more than a portfolio does.")
SILENCE = PortfolioCheck("usage_delivered", "The usage source delivered events of the last days.")
SCALAR = PortfolioCheck("scalar_agrees", "The scalar scorer gives the same bits on a sample of the day's rows.")
# Usage has its own rule; accounts and features are lists of what there is, whose dates say nothing of deliveries.
FRESHNESS = {
    entity: PortfolioCheck(f"{entity}_delivered", f"{entity} that came regularly have not stopped coming.")
    for entity in FreshnessSettings.model_fields
}
ALL = (POPULATION, SWING, SILENCE, SCALAR, *FRESHNESS.values())
# A day has data if a record of an account is dated by then. A list of features does not show when accounts existed.
_RECORDS = tuple(entity for entity in ENTITIES.values() if entity.refers_to_accounts)
_HELD_FOR_USAGE = (
    "Publishing is held. Check that the source delivers usage; if there really is none, run again with --accept "
    f"{SILENCE.name}."
)
# Records on so many of so many days before the latest: then they come regularly, and silence means something.
REGULAR_DAYS, REGULAR_OF_DAYS = 10, 180


def run(
    connection: duckdb.DuckDBPyConnection, check: PortfolioCheck, settings: CheckSettings, day: date
) -> CheckOutcome:
    """One of ``ALL`` on the partition ``day``; the outcome says what, how far off, which rows and what to do."""
    if check is POPULATION:
        return population_scored(connection, day)
    if check is SWING:
        return portfolio_swing(connection, settings, day)
    if check is SILENCE:
        return usage_delivered(connection, settings, day)
    for entity, freshness in FRESHNESS.items():
        if check is freshness:
            return records_delivered(connection, settings, entity, day)
    return scalar_agrees(connection, settings, day)


@dataclass(frozen=True)
class CheckedDay:
    """What the checks found of a day: all outcomes, and which failed ones are accepted, by whom."""

    day: date
    outcomes: tuple[CheckOutcome, ...]
    accepted: frozenset[str] = frozenset()
    accepted_by: str = ""

    @property
    def failed(self) -> list[CheckOutcome]:
        """The failed checks, accepted ones included."""
        return [outcome for outcome in self.outcomes if not outcome.passed]

    @property
    def holding(self) -> list[CheckOutcome]:
        """The failed checks that nobody accepted."""
        return [outcome for outcome in self.failed if outcome.name not in self.accepted]

    def outcome(self, check: PortfolioCheck) -> CheckOutcome:
        """What one check found."""
        return next(outcome for outcome in self.outcomes if outcome.name == check.name)


def require_known(checks: Collection[str]) -> None:
    """Raise InputError for a name that is not the name of a check."""
    known = [check.name for check in ALL]
    unknown = sorted(set(checks) - set(known))
    if unknown:
        message = f"no check named {', '.join(unknown)} that can be accepted; there are: {', '.join(known)}"
        raise InputError(message)


def check_days(
    connection: duckdb.DuckDBPyConnection,
    settings: CheckSettings,
    run_id: str,
    last_day: date,
    accepted: Collection[str] = (),
    accepted_by: str = "",
    *,
    keep_accepted: bool = False,
) -> list[CheckedDay]:
    """Check the last day of a run, and the days before it that were held or accepted earlier; set their statuses.

    A day that passes may have what depends on its scores built; one that fails is held. ``accepted`` holds for the
    last day. A day before it, and with ``keep_accepted`` the last one, keeps what was accepted of it earlier, as long
    as no other check fails. The run's other days are not checked. Of a day that the run has not scored only the
    outcomes are given. The results are in the order of the days.
    """
    found = day_status.days_of_run(connection, run_id)
    checked = sorted({last_day, *(day for day, status in found.items() if status.failed_checks)})
    day_status.pass_days(connection, [day for day in found if day not in checked])
    results: list[CheckedDay] = []
    for day in checked:
        before = found.get(day)
        allowed, by = frozenset(accepted), accepted_by
        if before and before.accepted_by and (day != last_day or (keep_accepted and not accepted)):
            allowed, by = frozenset(before.failed_checks), before.accepted_by
        elif day != last_day:
            allowed = frozenset()
        result = CheckedDay(day, tuple(run(connection, check, settings, day) for check in ALL), allowed, by)
        results.append(result)
        failed = {outcome.name: outcome.message for outcome in result.failed}
        if before and result.holding:
            day_status.hold_day(connection, day, failed)
        elif before:
            day_status.pass_days(connection, [day], failed, by)
        if day == last_day and by == accepted_by:
            for outcome in result.failed:
                if outcome.name in allowed:
                    record_acceptance(connection, outcome, day, by)
    return results


def require_data_for(connection: duckdb.DuckDBPyConnection, span: tuple[date, date]) -> None:
    """Raise InputError for days before any data: no account was created and no record of an account is dated by then.

    An account without a creation date exists on every day, but does not by itself give a day data. Any record of an
    account that is dated by then does: usage, an invoice, a ticket and so on.
    """
    last = span[1]
    on_day = f"{POPULATION_TABLE} where as_of_date = date '{last}'"
    if has_rows(connection, f"{on_day} and created_at is not null"):
        return
    has_population = has_rows(connection, on_day)
    end = f"timestamp '{last + timedelta(days=1)}'"
    dated = (f"{entity.table} where {entity.dated_by.name} < {end}" for entity in _RECORDS)
    if has_population and any(has_rows(connection, records) for records in dated):
        return
    asked = str(span[0]) if span[0] == last else f"{span[0]} to {last}"
    lacking = _records_text(connection, last) if has_population else _accounts_text(connection, last)
    message = f"there is no data for {asked}: {lacking}"
    raise InputError(message)


def _accounts_text(connection: duckdb.DuckDBPyConnection, last: date) -> str:
    """Why no account is in the population of a day, and which days would have one."""
    row = connection.execute("select min(created_at), max(churned_at) from staging.stg_accounts").fetchone()
    created, churned = row or (None, None)
    parts = [f"no account is a customer at the end of {last}"]
    if created:
        parts.append(f"the earliest account was created on {created.date()}")
    if churned and churned.date() <= last:
        parts.append(f"the last account to churn churned on {churned.date()}")
    return f"{'; '.join(parts)}. Choose another day."


def _records_text(connection: duckdb.DuckDBPyConnection, last: date) -> str:
    """Why accounts without a creation date do not give a day data, and what does."""
    earliest = [
        (moment.date(), entity.name)
        for entity in _RECORDS
        for (moment,) in connection.execute(f"select min({entity.dated_by.name}) from {entity.table}").fetchall()
        if moment
    ]
    known = f"no account has a created_at on or before {last}, and no record of an account is dated on or before {last}"
    if not earliest:
        return f"{known}; accounts have no records. Give created_at in accounts, or records of {last} or earlier."
    day, name = min(earliest)
    known += f"; the earliest record is dated {day} ({name})"
    return f"{known}. Choose a day from {day} on, or give created_at in accounts."


def population_scored(connection: duckdb.DuckDBPyConnection, day: date) -> CheckOutcome:
    """As many rows in signals and scores as accounts in the population, and the same accounts."""
    sample = fetch_dicts(
        connection,
        "select account_id, bool_or(held = 'population') as in_population, bool_or(held = 'signals') as has_signals, "
        "bool_or(held = 'scores') as scored "
        f"from (select account_id, 'population' as held from {POPULATION_TABLE} where as_of_date = $day "
        "union all select account_id, 'signals' from marts.csm_health_signals where as_of_date = $day "
        "union all select account_id, 'scores' from marts.csm_health_scores where as_of_date = $day) "
        "group by account_id having count(distinct held) < 3 order by account_id",
        {"day": day},
    )
    if not sample:
        return CheckOutcome(POPULATION.name, True, 0, "every account of the population is scored")
    message = (
        f"{counted(len(sample), 'account')} of {day} {is_or_are(len(sample))} not in all of the population, "
        "the signals and the scores. Publishing "
        "is held: materialise the day again from int_account_days on."
    )
    return CheckOutcome(POPULATION.name, False, len(sample), message, tuple(sample[:10]))


def portfolio_swing(connection: duckdb.DuckDBPyConnection, settings: CheckSettings, day: date) -> CheckOutcome:
    """Mean score and share of changed RAGs against the latest day before that counts, over the accounts of both."""
    row = connection.execute(
        f"""
        with previous_day as (
            select max(as_of_date) as as_of_date from marts.csm_health_scores
            where as_of_date < $day and as_of_date >= $earliest and {day_status.buildable_sql(connection)}
        )
        select any_value(previous.as_of_date), count(*), avg(today.score), avg(previous.score),
            count(*) filter (where today.rag <> previous.rag)
        from marts.csm_health_scores as today
        inner join marts.csm_health_scores as previous
            on today.account_id = previous.account_id
        inner join previous_day on previous.as_of_date = previous_day.as_of_date
        where today.as_of_date = $day
        """,
        {"day": day, "earliest": day - timedelta(days=LOOK_BACK_DAYS)},
    ).fetchone()
    if not row or not row[1]:
        return CheckOutcome(SWING.name, True, 0, f"no complete day in the {LOOK_BACK_DAYS} days before to compare with")
    previous_day, accounts, mean, previous_mean, changed = row
    # A month without runs may move a portfolio as far as a month does: the allowance is per day between the two.
    days_between = (day - previous_day).days
    moved, changed_percent = abs(mean - previous_mean), 100 * changed / accounts
    moved_most = settings.max_mean_score_swing * days_between
    changed_most = min(100.0, settings.max_rag_changed_percent * days_between)
    facts = (
        f"mean score {previous_mean:.1f} on {previous_day} to {mean:.1f} on {day} (moved {moved:.1f}, at most "
        f"{moved_most:g}); {changed:,} of {counted(accounts, 'account')} changed RAG ({changed_percent:.1f} %, at most "
        f"{changed_most:g} %)"
    )
    if moved <= moved_most and changed_percent <= changed_most:
        return CheckOutcome(SWING.name, True, 0, facts)
    sample = fetch_dicts(
        connection,
        "select today.tenant_id, today.account_id, previous.score as score_before, today.score, previous.rag as "
        "rag_before, today.rag from marts.csm_health_scores as today inner join marts.csm_health_scores as previous "
        "on today.account_id = previous.account_id and previous.as_of_date = $previous_day "
        "where today.as_of_date = $day "
        "order by abs(today.score - previous.score) desc, today.account_id limit 10",
        {"day": day, "previous_day": previous_day},
    )
    message = (
        f"{facts}. Publishing is held: look for a feed that broke or came late; if the change is real, "
        f"run again with --accept {SWING.name}."
    )
    return CheckOutcome(SWING.name, False, int(changed), message, tuple(sample))


def usage_delivered(connection: duckdb.DuckDBPyConnection, settings: CheckSettings, day: date) -> CheckOutcome:
    """The latest usage event by the end of ``day`` is not older than the configured days.

    Without any event by then the check passes, since usage has not begun; ``missing_signals`` lists the signals of
    usage. The check fails if an earlier day was scored with events that no longer exist.
    """
    delivered = fetch_dicts(
        connection,
        "select usage_date, count(distinct account_id) as accounts from intermediate.int_usage_daily_accounts "
        "where usage_date <= $day group by usage_date order by usage_date desc limit 10",
        {"day": day},
    )
    if not delivered:
        return _usage_begun(connection, day)
    latest: date = delivered[0]["usage_date"]
    silent = (day - latest).days
    if silent <= settings.max_silent_days:
        return CheckOutcome(SILENCE.name, True, 0, f"latest usage event on {latest}")
    message = (
        f"usage events stopped: the latest usage event is dated {latest}, {counted(silent, 'day')} before {day} "
        f"(limit {counted(settings.max_silent_days, 'day')}). {_HELD_FOR_USAGE}"
    )
    return CheckOutcome(SILENCE.name, False, silent, message, tuple(delivered))


def _usage_begun(connection: duckdb.DuckDBPyConnection, day: date) -> CheckOutcome:
    sample = fetch_dicts(
        connection,
        "select as_of_date, count(*) as accounts from marts.csm_health_signals where as_of_date < $day "
        "and not list_contains(string_split(missing_signals, ','), 'usage_trend') "
        "group by as_of_date order by as_of_date desc limit 10",
        {"day": day},
    )
    if not sample:
        message = f"no usage event up to {day}: usage has not begun; missing_signals lists its signals"
        return CheckOutcome(SILENCE.name, True, 0, message)
    before = sample[0]
    message = (
        f"usage events disappeared: there are none up to {day}, but {before['as_of_date']} was scored with events of "
        f"{counted(int(before['accounts']), 'account')}. {_HELD_FOR_USAGE}"
    )
    return CheckOutcome(SILENCE.name, False, int(before["accounts"]), message, tuple(sample))


def records_delivered(
    connection: duckdb.DuckDBPyConnection, settings: CheckSettings, entity: str, day: date
) -> CheckOutcome:
    """The latest record of an entity by the end of ``day`` is not older than its days, if they came regularly."""
    name = FRESHNESS[entity].name
    allowed: int | None = getattr(settings.freshness, entity)
    if allowed is None:
        return CheckOutcome(name, True, 0, f"checks.freshness.{entity} is none: not looked at")
    dated_by = ENTITIES[entity].dated_by.name
    delivered = fetch_dicts(
        connection,
        f"select cast({dated_by} as date) as day, count(*) as records from {ENTITIES[entity].table} "
        f"where {dated_by} < $day + interval 1 day group by 1 order by 1 desc limit $days",
        {"day": day, "days": REGULAR_OF_DAYS},
    )
    if not delivered:
        return CheckOutcome(name, True, 0, f"no {entity} up to {day}: no source has any")
    latest: date = delivered[0]["day"]
    recent = [one for one in delivered if (latest - one["day"]).days < REGULAR_OF_DAYS]
    silent = (day - latest).days
    latest_record = (
        f"latest record of {entity}: {latest}, {counted(silent, 'day')} before {day} (limit {counted(allowed, 'day')})"
    )
    if silent <= allowed or len(recent) < REGULAR_DAYS:
        return CheckOutcome(name, True, 0, latest_record)
    message = (
        f"{entity} stopped: {latest_record}; before, there were some on {len(recent)} of {REGULAR_OF_DAYS} days. "
        f"Publishing is held: check that the source delivers; if the silence is real, run again with --accept {name}, "
        f"or set checks.freshness.{entity} in csm.yaml."
    )
    return CheckOutcome(name, False, silent, message, tuple(recent[:10]))


def scalar_agrees(connection: duckdb.DuckDBPyConnection, settings: CheckSettings, day: date) -> CheckOutcome:
    """A sample of the day's rows, chosen by a hash of the account, scored again by the scalar reference."""
    inputs = [field.name for field in FIELDS]
    scored = ["score", "raw_score", "rag", "churn_risk_level", "churn_triggered_by", "should_alert"]
    points = [f"{name}_points" for name in SIGNAL_NAMES]
    thresholds = ["green_threshold", "amber_threshold", "churn_window_days"]
    columns = ", ".join(
        [f"signals.{name}" for name in ("tenant_id", "account_id", *inputs)]
        + [f"scores.{name}" for name in (*scored, *points, *thresholds)]
    )
    sample = fetch_dicts(
        connection,
        f"select {columns} from marts.csm_health_signals as signals inner join marts.csm_health_scores as scores "
        "on signals.account_id = scores.account_id and signals.as_of_date = scores.as_of_date "
        "where signals.as_of_date = $day "
        "order by md5(signals.account_id), signals.account_id limit $rows",
        {"day": day, "rows": settings.scalar_sample_rows},
    )
    differing: list[dict[str, Any]] = []
    for row in sample:
        scorer = CSMHealthScorer(**{name: row[name] for name in thresholds})
        expected = scorer.score(CSMHealthSignals(**{name: row[name] for name in inputs}), row["account_id"])
        found = {name: row[name] for name in (*scored, *points)}
        reference = {name: getattr(expected, name) for name in scored}
        reference |= {f"{name}_points": expected.signal_breakdown[name] for name in SIGNAL_NAMES}
        if found != reference:
            differing.append({"account_id": row["account_id"], "score": row["score"], "scalar_score": expected.score})
    if not differing:
        return CheckOutcome(SCALAR.name, True, 0, f"the scalar scorer agrees on {len(sample):,} sampled rows")
    message = (
        f"{len(differing):,} of {len(sample):,} sampled rows of {day} differ from the scalar scorer. Publishing is "
        "held; this is a defect of csm-health, please report it with these rows."
    )
    return CheckOutcome(SCALAR.name, False, len(differing), message, tuple(differing[:10]))


def record_acceptance(
    connection: duckdb.DuckDBPyConnection, outcome: CheckOutcome, day: date, accepted_by: str
) -> None:
    """Write down who let a failed check pass for a day, and when, in ``run.accepted_checks``."""
    connection.execute(
        "insert into run.accepted_checks (check_name, as_of_date, message, accepted_by, accepted_at) "
        "values (?, ?, ?, ?, ?)",
        [outcome.name, day, outcome.message, accepted_by, datetime.now(UTC).replace(tzinfo=None)],
    )
