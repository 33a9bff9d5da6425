-- Grain: one row per account of the population and day of the run.
-- Definition (docs/signals.md, "Time and population"): accounts with a spell (int_account_spells)
-- that started before T (or always was) and had not ended before T, where T is the first instant
-- after as_of_date. A timestamp is before T exactly when its UTC date is not after D. Name,
-- segment, plan and owner are those of the version that is valid at T: the latest with valid_from
-- before T, otherwise the first.
-- Worked example: created 2026-06-01 15:00, churned 2026-06-03 00:00 => in the days 2026-06-01 and
-- 2026-06-02; plan starter, then growth from 2026-06-02 07:00 => starter on 2026-06-01, growth on
-- 2026-06-02.

with run_days as (
    select as_of_date
    from run.days
),

spells as (
    select
        account_id,
        cast(started_at as date) as start_date,
        cast(ended_at as date) as end_date
    from intermediate.int_account_spells
),

accounts as (
    select
        tenant_id,
        account_id,
        created_at
    from staging.stg_accounts
),

ordered_versions as (
    select
        account_id,
        account_name,
        segment,
        plan,
        csm_owner,
        cast(valid_from as date) as first_date,
        cast(lead(valid_from) over (partition by account_id order by valid_from) as date)
            as next_date,
        row_number() over (partition by account_id order by valid_from) as position
    from staging.stg_account_versions
)

select
    accounts.tenant_id,
    accounts.account_id,
    run_days.as_of_date,
    ordered_versions.account_name,
    ordered_versions.segment,
    ordered_versions.plan,
    ordered_versions.csm_owner,
    accounts.created_at
from accounts
inner join spells
    on accounts.account_id = spells.account_id
inner join run_days
    on
        (spells.start_date is null or spells.start_date <= run_days.as_of_date)
        and (spells.end_date is null or spells.end_date > run_days.as_of_date)
left join ordered_versions
    on
        accounts.account_id = ordered_versions.account_id
        and (
            ordered_versions.position = 1
            or ordered_versions.first_date <= run_days.as_of_date
        )
        and (
            ordered_versions.next_date is null
            or ordered_versions.next_date > run_days.as_of_date
        )
order by run_days.as_of_date, accounts.tenant_id, accounts.account_id
