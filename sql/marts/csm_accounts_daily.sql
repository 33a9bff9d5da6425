-- Grain: one row per account and day of the run: every customer of the day, and every account that
-- left before.
-- Definition: the account's attributes (the version that is valid at the end of the day, see
-- int_account_days), and its contract at the end of the day (see int_account_subscriptions).
-- is_customer is whether the account is in the population of the day: only such accounts have a
-- score. An account that left keeps a row without seats, MRR and renewal.
-- Worked example: created 2026-06-01, churned 2026-06-11 => on 2026-06-10 a customer with a tenure
-- of 9 days, on 2026-06-11 and later no customer, with a tenure of 10 days.

with customers as (
    select
        tenant_id,
        account_id,
        as_of_date,
        account_name,
        segment,
        plan,
        csm_owner,
        cast(created_at as date) as created_date
    from intermediate.int_account_days
    where as_of_date between $first_date and $last_date
),

subscriptions as (
    select
        account_id,
        as_of_date,
        seats,
        mrr,
        currency,
        mrr_reporting,
        reporting_currency,
        renewal_date
    from intermediate.int_account_subscriptions
    where as_of_date between $first_date and $last_date
),

run_days as (
    select as_of_date
    from run.days
),

-- An account that left on or before the day on which it was created was never a customer.
absences as (
    select
        spells.tenant_id,
        spells.account_id,
        cast(accounts.created_at as date) as created_date,
        cast(spells.ended_at as date) as left_date,
        cast(
            lead(spells.started_at) over (partition by spells.account_id order by spells.spell)
            as date
        ) as return_date
    from intermediate.int_account_spells as spells
    inner join staging.stg_accounts as accounts
        on spells.account_id = accounts.account_id
    where
        spells.ended_at is null
        or accounts.created_at is null
        or cast(accounts.created_at as date) < cast(spells.ended_at as date)
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
    customers.tenant_id,
    customers.account_id,
    customers.as_of_date,
    customers.account_name,
    customers.segment,
    customers.plan,
    customers.csm_owner,
    subscriptions.seats,
    subscriptions.mrr,
    subscriptions.currency,
    subscriptions.mrr_reporting,
    subscriptions.reporting_currency,
    subscriptions.renewal_date,
    cast(date_diff('day', customers.created_date, customers.as_of_date) as bigint) as tenure_days,
    true as is_customer
from customers
inner join subscriptions
    on
        customers.account_id = subscriptions.account_id
        and customers.as_of_date = subscriptions.as_of_date
union all
select
    absences.tenant_id,
    absences.account_id,
    run_days.as_of_date,
    ordered_versions.account_name,
    ordered_versions.segment,
    ordered_versions.plan,
    ordered_versions.csm_owner,
    cast(null as bigint) as seats,
    cast(null as decimal(38, 2)) as mrr,
    cast(null as varchar) as currency,
    cast(null as decimal(38, 2)) as mrr_reporting,
    cast(null as varchar) as reporting_currency,
    cast(null as date) as renewal_date,
    cast(
        date_diff('day', absences.created_date, absences.left_date) as bigint
    ) as tenure_days,
    false as is_customer
from absences
inner join run_days
    on
        absences.left_date <= run_days.as_of_date
        and (absences.return_date is null or absences.return_date > run_days.as_of_date)
left join ordered_versions
    on
        absences.account_id = ordered_versions.account_id
        and (
            ordered_versions.position = 1
            or ordered_versions.first_date <= run_days.as_of_date
        )
        and (
            ordered_versions.next_date is null
            or ordered_versions.next_date > run_days.as_of_date
        )
order by as_of_date, tenant_id, account_id
