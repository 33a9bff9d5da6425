"""The figures of the portfolio report about the data: signals, sources, rejected records, held and revised days."""

from __future__ import annotations

from csm_core.days.portfolio_checks import REGULAR_DAYS, REGULAR_OF_DAYS
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


def sources(scope: Scope) -> Figure:
    """The latest record of each entity, and whether its sources are silent, as the checks before publishing have it."""
    limits = ", ".join(
        f"('{entity}', {'null' if days is None else days})" for entity, days in scope.silence_limits.items()
    )
    return Figure(
        key="sources",
        title="Latest records of the sources",
        note="The latest record of each entity up to the day. An entity is silent if it has had no record for more "
        f"days than its limit, and, except usage, had records on at least {REGULAR_DAYS} of the {REGULAR_OF_DAYS} "
        "days up to the latest one.",
        sql=f"""with limits (entity, limit_days) as (
    values {limits}
),

latest as (
    select
        entity,
        max(record_date) as latest_record
    from csm_record_days
    where record_date <= {scope.on_day}
    group by entity
),

regularity as (
    select
        latest.entity,
        latest.latest_record,
        date_diff('day', latest.latest_record, {scope.on_day}) as days_without_records,
        count(*) as days_with_records
    from latest
    inner join csm_record_days
        on
            latest.entity = csm_record_days.entity
            and csm_record_days.record_date <= latest.latest_record
            and csm_record_days.record_date > latest.latest_record - {REGULAR_OF_DAYS}
    group by latest.entity, latest.latest_record
)

select
    regularity.entity,
    regularity.latest_record,
    regularity.days_without_records,
    limits.limit_days,
    coalesce(
        regularity.days_without_records > limits.limit_days
        and (regularity.entity = 'usage_events' or regularity.days_with_records >= {REGULAR_DAYS}),
        false
    ) as is_silent
from regularity
left join limits on regularity.entity = limits.entity
order by is_silent desc, regularity.days_without_records desc, regularity.entity""",
        empty="No source has records up to the day.",
    )


def rejected(scope: Scope) -> Figure:
    """Rejected records by entity and reason. They have no day, so every report of a copy has the same ones."""
    del scope
    return Figure(
        key="rejected",
        title="Rejected records",
        note="Records that do not follow the contract, as of the published copy, whichever day they are about. "
        "The command csm quarantine lists them.",
        sql="""select
    entity,
    system,
    field,
    reason,
    records,
    last_rejected_on
from csm_rejected_records
order by records desc, entity, system, reason, field nulls last""",
        empty="No record is rejected.",
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
