"""Blocking checks of a scored day before it is published, so that a broken feed does not turn every account red."""

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
from csm_core.warehouse.engine_usage_days import dates_of
from csm_core.warehouse.model_checks import CheckOutcome
from csm_core.warehouse.rows import fetch_dicts

LOOK_BACK_DAYS = 28
POPULATION_TABLE = "intermediate.int_account_days"


@dataclass(frozen=True)
class PortfolioCheck:
    """A check of a whole day: its name in Dagster and for ``--accept``, and its description."""

    name: str
    description: str


POPULATION = PortfolioCheck("population_scored", "Every account of the population has signals and a score.")
SWING = PortfolioCheck("portfolio_swing", "The mean score and the RAGs changed less than the configured limits.")
SILENCE = PortfolioCheck("usage_delivered", "The usage source delivered events for the latest days.")
SCALAR = PortfolioCheck(
    "scalar_agrees", "The scalar scorer returns bit-identical results for a sample of the day's rows."
)
# Usage has its own check; the dates of accounts and features do not show when they were delivered.
FRESHNESS = {
    entity: PortfolioCheck(f"{entity}_delivered", f"Regular deliveries of {entity} have not stopped.")
    for entity in FreshnessSettings.model_fields
}
ALL = (POPULATION, SWING, SILENCE, SCALAR, *FRESHNESS.values())
# A day has data if a record of an account is dated on or before it. Features do not show when accounts existed.
_RECORDS = tuple(entity for entity in ENTITIES.values() if entity.refers_to_accounts)
_HELD_FOR_USAGE = (
    "Publishing is held. Check that the source delivers usage; if no usage is expected, run again with --accept "
    f"{SILENCE.name}."
)
# Deliveries are regular if at least REGULAR_DAYS of the REGULAR_OF_DAYS days before the latest have records.
REGULAR_DAYS, REGULAR_OF_DAYS = 10, 180


def run(
    connection: duckdb.DuckDBPyConnection, check: PortfolioCheck, settings: CheckSettings, day: date
) -> CheckOutcome:
    """Run a check of ``ALL`` on the partition ``day``; the outcome states the deviation, the rows and what to do."""
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
    """The outcomes of all checks of a day, the accepted failed checks, and the user who accepted them."""

    day: date
    outcomes: tuple[CheckOutcome, ...]
    accepted: frozenset[str] = frozenset()
    accepted_by: str = ""

    @property
    def failed(self) -> list[CheckOutcome]:
        """Return the failed checks, including accepted ones."""
        return [outcome for outcome in self.outcomes if not outcome.passed]

    @property
    def holding(self) -> list[CheckOutcome]:
        """Return the failed checks that are not accepted."""
        return [outcome for outcome in self.failed if outcome.name not in self.accepted]

    def outcome(self, check: PortfolioCheck) -> CheckOutcome:
        """Return the outcome of a check."""
        return next(outcome for outcome in self.outcomes if outcome.name == check.name)


def require_known(checks: Collection[str]) -> None:
    """Raise InputError for an unknown check."""
    names = [check.name for check in ALL]
    unknown = sorted(set(checks) - set(names))
    if unknown:
        message = f"unknown check {', '.join(unknown)}; expected one of {', '.join(names)}"
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
    """Check the last day of a run, and its earlier days that were held or accepted before; set their statuses.

    Models that depend on the scores are built for a day that passes; a day that fails is held. ``accepted`` applies to
    the last day. Earlier days, and with ``keep_accepted`` also the last day, keep their accepted checks, as long as no
    other check fails. The other days of the run are not checked. For a day that the run has not scored, only the
    outcomes are returned. The results are in the order of the days.
    """
    statuses = day_status.days_of_run(connection, run_id)
    checked = sorted({last_day, *(day for day, status in statuses.items() if status.failed_checks)})
    day_status.pass_days(connection, [day for day in statuses if day not in checked])
    results: list[CheckedDay] = []
    for day in checked:
        before = statuses.get(day)
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

    An account without a creation date exists on every day, but a day also needs a record of an account (such as usage,
    an invoice or a ticket) on or before it.
    """
    last = span[1]
    on_day = f"{POPULATION_TABLE} where as_of_date = date '{last}'"
    if has_rows(connection, f"{on_day} and created_at is not null"):
        return
    has_population = has_rows(connection, on_day)
    end = f"timestamp '{last + timedelta(days=1)}'"
    dated = (f"{dates_of(connection, entity)} where {entity.dated_by.name} < {end}" for entity in _RECORDS)
    if has_population and any(has_rows(connection, records) for records in dated):
        return
    days = str(span[0]) if span[0] == last else f"{span[0]} to {last}"
    reason = _records_text(connection, last) if has_population else _accounts_text(connection, last)
    message = f"there is no data for {days}: {reason}"
    raise InputError(message)


def _accounts_text(connection: duckdb.DuckDBPyConnection, last: date) -> str:
    """Return why a day has no account in its population, and which days have one."""
    row = connection.execute("select min(created_at), max(churned_at) from staging.stg_accounts").fetchone()
    created, churned = row or (None, None)
    parts = [f"no account is a customer at the end of {last}"]
    if created:
        parts.append(f"the earliest account was created on {created.date()}")
    if churned and churned.date() <= last:
        parts.append(f"the latest churn was on {churned.date()}")
    return f"{'; '.join(parts)}. Choose another day."


def _records_text(connection: duckdb.DuckDBPyConnection, last: date) -> str:
    """Return why a day has no data although accounts without a creation date exist, and what to do."""
    earliest = [
        (moment.date(), entity.name)
        for entity in _RECORDS
        for (moment,) in connection.execute(
            f"select min({entity.dated_by.name}) from {dates_of(connection, entity)}"
        ).fetchall()
        if moment
    ]
    reason = (
        f"no account has a created_at on or before {last}, and no record of an account is dated on or before {last}"
    )
    if not earliest:
        return f"{reason}; accounts have no records. Add created_at to accounts, or records dated {last} or earlier."
    day, name = min(earliest)
    reason += f"; the earliest record is dated {day} ({name})"
    return f"{reason}. Choose {day} or a later day, or add created_at to accounts."


def population_scored(connection: duckdb.DuckDBPyConnection, day: date) -> CheckOutcome:
    """Check that population, signals and scores have the same accounts."""
    sample = fetch_dicts(
        connection,
        "select account_id, bool_or(origin = 'population') as in_population, "
        "bool_or(origin = 'signals') as has_signals, bool_or(origin = 'scores') as scored "
        f"from (select account_id, 'population' as origin from {POPULATION_TABLE} where as_of_date = $day "
        "union all select account_id, 'signals' from marts.csm_health_signals where as_of_date = $day "
        "union all select account_id, 'scores' from marts.csm_health_scores where as_of_date = $day) "
        "group by account_id having count(distinct origin) < 3 order by account_id",
        {"day": day},
    )
    if not sample:
        return CheckOutcome(POPULATION.name, True, 0, "every account of the population is scored")
    message = (
        f"{counted(len(sample), 'account')} of {day} {is_or_are(len(sample))} not in all of the population, "
        "the signals and the scores. Publishing "
        "is held: rerun the day from int_account_days."
    )
    return CheckOutcome(POPULATION.name, False, len(sample), message, tuple(sample[:10]))


def portfolio_swing(connection: duckdb.DuckDBPyConnection, settings: CheckSettings, day: date) -> CheckOutcome:
    """Compare mean score and changed RAGs with the latest earlier day that counts, for the accounts of both days."""
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
    # The limits are per day, so that a month without runs may change a portfolio as much as a month of runs.
    days_between = (day - previous_day).days
    moved, changed_percent = abs(mean - previous_mean), 100 * changed / accounts
    max_moved = settings.max_mean_score_swing * days_between
    max_changed = min(100.0, settings.max_rag_changed_percent * days_between)
    facts = (
        f"mean score {previous_mean:.1f} on {previous_day} to {mean:.1f} on {day} (moved {moved:.1f}, at most "
        f"{max_moved:g}); {changed:,} of {counted(accounts, 'account')} changed RAG ({changed_percent:.1f} %, at most "
        f"{max_changed:g} %)"
    )
    if moved <= max_moved and changed_percent <= max_changed:
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
        f"{facts}. Publishing is held: check for a broken or late feed; if the change is correct, "
        f"run again with --accept {SWING.name}."
    )
    return CheckOutcome(SWING.name, False, int(changed), message, tuple(sample))


def usage_delivered(connection: duckdb.DuckDBPyConnection, settings: CheckSettings, day: date) -> CheckOutcome:
    """Check that the latest usage event up to ``day`` is not older than the configured number of days.

    Without any event the check passes, since usage has not begun; ``missing_signals`` lists the usage signals. The
    check fails if an earlier day was scored with events that no longer exist.
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
    """Check that the latest record of a regularly delivered entity is not older than its limit in days."""
    name = FRESHNESS[entity].name
    allowed: int | None = getattr(settings.freshness, entity)
    if allowed is None:
        return CheckOutcome(name, True, 0, f"checks.freshness.{entity} is none: not checked")
    dated_by = ENTITIES[entity].dated_by.name
    delivered = fetch_dicts(
        connection,
        f"select cast({dated_by} as date) as day, count(*) as records from {ENTITIES[entity].table} "
        f"where {dated_by} < $day + interval 1 day group by 1 order by 1 desc limit $days",
        {"day": day, "days": REGULAR_OF_DAYS},
    )
    if not delivered:
        return CheckOutcome(name, True, 0, f"no source has {entity} up to {day}")
    latest: date = delivered[0]["day"]
    recent = [one for one in delivered if (latest - one["day"]).days < REGULAR_OF_DAYS]
    silent = (day - latest).days
    latest_record = (
        f"latest record of {entity}: {latest}, {counted(silent, 'day')} before {day} (limit {counted(allowed, 'day')})"
    )
    if silent <= allowed or len(recent) < REGULAR_DAYS:
        return CheckOutcome(name, True, 0, latest_record)
    message = (
        f"{entity} stopped: {latest_record}; there were records on {len(recent)} of the {REGULAR_OF_DAYS} days before. "
        f"Publishing is held: check that the source delivers; if no data is expected, run again with --accept {name}, "
        f"or set checks.freshness.{entity} in csm.yaml."
    )
    return CheckOutcome(name, False, silent, message, tuple(recent[:10]))


def scalar_agrees(connection: duckdb.DuckDBPyConnection, settings: CheckSettings, day: date) -> CheckOutcome:
    """Score a sample of the day's rows, selected by a hash of the account, with the scalar reference."""
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
        stored = {name: row[name] for name in (*scored, *points)}
        reference = {name: getattr(expected, name) for name in scored}
        reference |= {f"{name}_points": expected.signal_breakdown[name] for name in SIGNAL_NAMES}
        if stored != reference:
            differing.append({"account_id": row["account_id"], "score": row["score"], "scalar_score": expected.score})
    if not differing:
        return CheckOutcome(SCALAR.name, True, 0, f"the scalar scorer agrees on {len(sample):,} sampled rows")
    message = (
        f"{len(differing):,} of {len(sample):,} sampled rows of {day} differ from the scalar scorer. Publishing is "
        "held. This is a bug in csm-health; please report it with these rows."
    )
    return CheckOutcome(SCALAR.name, False, len(differing), message, tuple(differing[:10]))


def record_acceptance(
    connection: duckdb.DuckDBPyConnection, outcome: CheckOutcome, day: date, accepted_by: str
) -> None:
    """Record in ``run.accepted_checks`` who accepted a failed check for a day, and when."""
    connection.execute(
        "insert into run.accepted_checks (check_name, as_of_date, message, accepted_by, accepted_at) "
        "values (?, ?, ?, ?, ?)",
        [outcome.name, day, outcome.message, accepted_by, datetime.now(UTC).replace(tzinfo=None)],
    )
