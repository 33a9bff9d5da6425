"""Selects the observations of a backtest and classifies them, in SQL, as a temporary table of the connection.

An observation is an account on a date of the grid on which it has a score. With ``t`` the date, ``E`` the last scored
day, ``L`` the lead and ``H`` the horizon, the outcome is

- ``churned`` if the spell that covers ``t`` ends in (t + L, t + L + H];
- ``dead_zone`` if it ends in (t, t + L];
- ``censored`` if it has not ended by ``E``, and t + L + H is after ``E``;
- ``stayed`` otherwise.

An end after ``E`` is not known, so such a spell is open. A score on or after the end of its spell is no observation.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import duckdb

from csm_core.analysts.backtest.options import ALL, AS_KNOWN, BacktestOptions, grid_dates
from csm_core.errors import InputError
from csm_core.rubric import RUBRIC, Levels, Rate
from csm_core.system.paths import shown
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.day_status import counted_sql, no_complete_day
from csm_core.warehouse.models import literal

SCORES = "marts.csm_health_scores"
SIGNALS = "marts.csm_health_signals"
ACCOUNTS = "marts.csm_accounts_daily"
OUTCOMES = "marts.csm_outcomes"
PULSES = "marts.csm_pulses_daily"
OBSERVATIONS = "temp.backtest_observations"
CHURNED, STAYED, DEAD_ZONE, CENSORED = "churned", "stayed", "dead_zone", "censored"

UNSEGMENTED = "unsegmented"
MRR_CHANGE_DAYS = 90
WITHOUT_RENEWAL_AND_PAYMENT = ("days_to_renewal", "invoice_payment_status")
_LEVELS = {signal.name: signal.rule for signal in RUBRIC if isinstance(signal.rule, Levels)}


@dataclass(frozen=True)
class Scope:
    """What a backtest reads, after its defaults: the range, the last scored day, and the basis.

    :ivar end: the last scored day; what happens after it is not known.
    """

    options: BacktestOptions
    first: date
    last: date
    end: date
    basis: str

    def within(self, connection: duckdb.DuckDBPyConnection, scores: str) -> str:
        """Return a SQL condition: a row of scores counts, and has the basis and the tenant of the backtest."""
        conditions = [counted_sql(connection, f"{scores}.as_of_date")]
        if self.basis != ALL:
            conditions.append(f"{scores}.basis = {literal(self.basis)}")
        if self.options.tenant is not None:
            conditions.append(f"{scores}.tenant_id = {literal(self.options.tenant)}")
        return " and ".join(conditions)


def create_observations(connection: duckdb.DuckDBPyConnection, options: BacktestOptions) -> Scope:
    """Write the observations of a backtest, with their outcomes, to the temporary table ``OBSERVATIONS``.

    The connection may be read-only. Raises InputError if no day is scored, for a tenant or segment that no account has,
    and if no account has a score on a date of the grid.
    """
    scope = _scope(connection, options)
    dates = grid_dates(scope.first, min(scope.last, scope.end), options.every)
    connection.execute(
        f"create or replace temp table {OBSERVATIONS.partition('.')[2]} as {_sql(connection, scope)}",
        {
            "dates": dates,
            "end": scope.end,
            "lead": options.lead_days,
            "horizon": options.horizon_days,
            "segment": options.segment,
        },
    )
    if not connection.execute(f"select 1 from {OBSERVATIONS} limit 1").fetchone():
        raise _no_observation(scope)
    return scope


def mrr_sql(daily: str) -> str:
    """Return the SQL of an account's MRR on a day: converted if rates are configured."""
    return (
        f"cast(case when {daily}.reporting_currency is null then {daily}.mrr else {daily}.mrr_reporting end as double)"
    )


def currency_sql(daily: str) -> str:
    """Return the SQL of the currency of ``mrr_sql``."""
    return f"coalesce({daily}.reporting_currency, {daily}.currency)"


def _scope(connection: duckdb.DuckDBPyConnection, options: BacktestOptions) -> Scope:
    if not table_exists(connection, OUTCOMES):
        message = f"no day has been scored with outcomes: the table {OUTCOMES} does not exist. Run `csm run` first."
        raise InputError(message)
    row = connection.execute(
        f"select min(as_of_date), max(as_of_date) from {SCORES} where {counted_sql(connection)}"
    ).fetchone()
    if row is None or row[0] is None:
        raise no_complete_day(connection)
    first, last = options.first or row[0], options.last or row[1]
    if first > min(last, row[1]) or last < row[0]:
        message = f"there is no scored day from {first} to {last}: the scored days are {row[0]} to {row[1]}"
        raise InputError(message)
    # Without the days before the first scored one, a range has no more days than the history.
    first = max(first, row[0])
    _require_accounts(connection, options)
    scope = Scope(options, first, last, row[1], options.basis or AS_KNOWN)
    if options.basis is None and not _has_rows(connection, scope):
        return Scope(options, first, last, row[1], ALL)
    return scope


def _has_rows(connection: duckdb.DuckDBPyConnection, scope: Scope) -> bool:
    found = connection.execute(
        f"select 1 from {SCORES} as scores where scores.as_of_date between $first and $last "
        f"and {scope.within(connection, 'scores')} limit 1",
        {"first": scope.first, "last": scope.last},
    )
    return found.fetchone() is not None


def _require_accounts(connection: duckdb.DuckDBPyConnection, options: BacktestOptions) -> None:
    """Raise InputError for a tenant or segment that no account has, and list those that there are."""
    for option, wanted, column in (
        ("tenant", options.tenant, "tenant_id"),
        ("segment", options.segment, f"coalesce(segment, '{UNSEGMENTED}')"),
    ):
        if wanted is None:
            continue
        known = [
            name
            for (name,) in connection.execute(
                f"select distinct {column} from {ACCOUNTS} where is_customer order by all"
            ).fetchall()
        ]
        if wanted not in known:
            listed = ", ".join(shown(name) for name in known) or "none"
            message = f"--{option}: no account has the {option} {shown(wanted)}. There are {listed}."
            raise InputError(message)


def _no_observation(scope: Scope) -> InputError:
    grid = "Sunday" if scope.options.every == "week" else "last day of a month"
    of_basis = "" if scope.basis == ALL else f" with the basis {scope.basis}"
    message = (
        f"no account has a score{of_basis} on a {grid} from {scope.first} to {scope.last}. Choose another range, "
        "--every week or --basis all, or score these days: csm run --from DAY --to DAY"
    )
    return InputError(message)


def _sql(connection: duckdb.DuckDBPyConnection, scope: Scope) -> str:
    counted = counted_sql(connection, "earlier.as_of_date")
    points = ",\n    ".join(f"scores.{signal.name}_points" for signal in RUBRIC)
    return f"""
with grid as (
    select cast(unnest($dates) as date) as as_of_date
),

spells as (
    select
        account_id,
        spell,
        started_on,
        case when ended_on <= $end then ended_on end as ended_on
    from {OUTCOMES}
)

select
    scores.tenant_id,
    scores.account_id,
    scores.as_of_date,
    spells.spell,
    case
        when spells.ended_on > scores.as_of_date + ($lead + $horizon)::integer then '{STAYED}'
        when spells.ended_on > scores.as_of_date + $lead::integer then '{CHURNED}'
        when spells.ended_on is not null then '{DEAD_ZONE}'
        when scores.as_of_date + ($lead + $horizon)::integer > $end then '{CENSORED}'
        else '{STAYED}'
    end as outcome,
    spells.ended_on,
    daily.account_name,
    scores.score,
    cast(scores.rag as varchar) as rag,
    cast(scores.churn_risk_level as varchar) as churn_risk_level,
    cast(scores.churn_triggered_by as varchar) as churn_triggered_by,
    scores.should_alert,
    {mrr_sql("daily")} as mrr,
    {currency_sql("daily")} as currency,
    cast(scores.basis as varchar) as basis,
    scores.green_threshold,
    scores.amber_threshold,
    scores.churn_window_days,
    {points},
    cast(signals.days_to_renewal as double) as days_to_renewal,
    {_level_sql("usage_trend")} as usage_trend,
    {_level_sql("invoice_payment_status")} as invoice_payment_status,
    case
        when {mrr_sql("earlier")} > 0 and {currency_sql("daily")} is not distinct from {currency_sql("earlier")}
            then {mrr_sql("daily")} / {mrr_sql("earlier")} - 1
    end as mrr_change_90d,
    {_points_without(WITHOUT_RENEWAL_AND_PAYMENT)} as score_without_renewal_and_payment,
    cast(pulses.pulse as double) as pulse,
    case when pulses.pulse is not null then scores.score end as score_with_pulse
from {SCORES} as scores
inner join grid on scores.as_of_date = grid.as_of_date
inner join {SIGNALS} as signals
    on scores.account_id = signals.account_id and scores.as_of_date = signals.as_of_date
inner join spells
    on scores.account_id = spells.account_id
    and (spells.started_on is null or spells.started_on <= scores.as_of_date)
    and (spells.ended_on is null or spells.ended_on > scores.as_of_date)
left join {ACCOUNTS} as daily
    on scores.account_id = daily.account_id and scores.as_of_date = daily.as_of_date
left join {ACCOUNTS} as earlier
    on scores.account_id = earlier.account_id
    and scores.as_of_date - {MRR_CHANGE_DAYS} = earlier.as_of_date
    and {counted}
left join {_pulses(connection)} as pulses
    on scores.account_id = pulses.account_id and scores.as_of_date = pulses.as_of_date
where
    {scope.within(connection, "scores")}
    and ($segment is null or coalesce(daily.segment, '{UNSEGMENTED}') = $segment)
"""


def _pulses(connection: duckdb.DuckDBPyConnection) -> str:
    """The pulses that were known by the end of the day after the date, when it is scored; later ones may know more."""
    if not table_exists(connection, PULSES):
        return "(select null::varchar as account_id, null::date as as_of_date, null::bigint as pulse where false)"
    known = "cast(known_from as date) <= as_of_date + 1"
    return f"(select account_id, as_of_date, pulse from {PULSES} where {known})"


def _level_sql(signal: str) -> str:
    """The level of a signal as a number: 0 for the worst."""
    levels = [level for level, _ in _LEVELS[signal].points]
    whens = " ".join(f"when '{level}' then {place}" for place, level in enumerate(reversed(levels)))
    return f"cast(case cast(signals.{signal} as varchar) {whens} end as double)"


def _points_without(left_out: tuple[str, ...]) -> str:
    """The sum of the points of the other signals: the one with a fraction last, for equal sums of equal points."""
    others = [signal for signal in RUBRIC if signal.name not in left_out]
    whole = " + ".join(f"scores.{signal.name}_points" for signal in others if not isinstance(signal.rule, Rate))
    rates = "".join(f" + scores.{signal.name}_points" for signal in others if isinstance(signal.rule, Rate))
    return f"cast(({whole}){rates} as double)"
