"""The figures of the portfolio report about the data: signals without data, days that a check held, revised days."""

from __future__ import annotations

from csm_core.publishing.report.figures import Figure, Scope


def missing(scope: Scope) -> Figure:
    """Accounts without data, per signal."""
    return Figure(
        key="coverage",
        title="Signals without data",
        note="Accounts for which a signal had no data. Such a signal has its neutral or lowest value.",
        sql=f"""with {scope.accounts},

missing as (
    select unnest(string_split(signals.missing_signals, ',')) as signal
    from csm_health_signals as signals
    inner join accounts on signals.account_id = accounts.account_id
    where signals.as_of_date = {scope.on_day} and signals.missing_signals <> ''
)

select
    trim(signal) as signal,
    count(*) as accounts
from missing
group by trim(signal)
order by accounts desc, signal""",
        empty="Every signal has data for every account.",
    )


def days(scope: Scope) -> Figure:
    """Days that a check held or a person accepted."""
    return Figure(
        key="days",
        title="Held and accepted days",
        note="Days of the last 90 that a check held or a person accepted.",
        sql=f"""select
    as_of_date,
    status,
    failed_checks,
    accepted_by
from csm_days
where as_of_date between {scope.on_day} - 89 and {scope.on_day} and status <> 'complete'
order by as_of_date desc""",
        empty="None: every day is complete.",
    )


def revisions(scope: Scope) -> Figure:
    """Scores that were revised, per day and reason."""
    return Figure(
        key="revisions",
        title="Revised days",
        note="Scores of the last 90 days that were revised after they were known, by reason.",
        sql=f"""select
    as_of_date,
    revised_by,
    count(distinct account_id) as accounts
from csm_health_superseded
where as_of_date between {scope.on_day} - 89 and {scope.on_day}
group by as_of_date, revised_by
order by as_of_date desc, revised_by""",
        empty="No score was revised.",
    )
