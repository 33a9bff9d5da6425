-- Grain: one row per account of the population and day of the run.
-- Definition (docs/signals.md, "Time and population"): accounts created before T (or with no date) that had not churned
-- before T, where T is the first instant after as_of_date. A timestamp is before T exactly when its UTC date is not
-- after D.
-- Worked example: created 2026-06-01 15:00, churned 2026-06-03 00:00 => in the days 2026-06-01 and 2026-06-02.

with run_days as (
    select as_of_date
    from run.days
),

accounts as (
    select
        tenant_id,
        account_id,
        account_name,
        segment,
        plan,
        csm_owner,
        created_at,
        churned_at
    from staging.stg_accounts
)

select
    accounts.tenant_id,
    accounts.account_id,
    run_days.as_of_date,
    accounts.account_name,
    accounts.segment,
    accounts.plan,
    accounts.csm_owner,
    accounts.created_at
from accounts
inner join run_days
    on
        (accounts.created_at is null or cast(accounts.created_at as date) <= run_days.as_of_date)
        and (accounts.churned_at is null or cast(accounts.churned_at as date) > run_days.as_of_date)
order by run_days.as_of_date, accounts.tenant_id, accounts.account_id
