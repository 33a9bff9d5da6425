-- Grain: one row per account of the population and day of the run.
-- Definition (docs/signals.md, tam_health_rag): the latest technical-account assessment of the last $tam_window_days
-- days; of several at the same instant the worse.
-- Worked example: GREEN and RED, both at 2026-06-01 09:00 => RED as of 2026-06-01 to 2026-08-29.

with account_days as (
    select
        tenant_id,
        account_id,
        as_of_date
    from intermediate.int_account_days
    where as_of_date between $first_date and $last_date
),

assessments as (
    select
        account_id,
        rag,
        cast(assessed_at as date) as assessed_date,
        lead(cast(assessed_at as date)) over (
            partition by account_id
            order by
                assessed_at,
                case rag when 'GREEN' then 1 when 'AMBER' then 2 else 3 end,
                assessment_id
        ) as next_assessed_date
    from staging.stg_tam_assessments
    where
        cast(assessed_at as date) <= $last_date
        and cast(assessed_at as date) > $first_date - $tam_window_days
),

latest_assessments as (
    select
        account_days.account_id,
        account_days.as_of_date,
        assessments.rag
    from account_days
    inner join assessments
        on
            account_days.account_id = assessments.account_id
            and assessments.assessed_date <= account_days.as_of_date
            and assessments.assessed_date > account_days.as_of_date - $tam_window_days
            and (
                assessments.next_assessed_date is null
                or assessments.next_assessed_date > account_days.as_of_date
            )
)

select
    account_days.tenant_id,
    account_days.account_id,
    account_days.as_of_date,
    latest_assessments.rag as tam_health_rag
from account_days
left join latest_assessments
    on
        account_days.account_id = latest_assessments.account_id
        and account_days.as_of_date = latest_assessments.as_of_date
order by account_days.as_of_date, account_days.tenant_id, account_days.account_id
