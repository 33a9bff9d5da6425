-- Grain: one row per tenant, segment, currency, month and window of 1 or 12 months, if any account
-- had MRR at the start.
-- Definition: the accounts with MRR at the end of the month that is window_months earlier, and what
-- is left of their MRR at the end of this month (see csm_revenue_movements). Of an account's MRR at
-- the start, at most that amount is retained; expansion counts only in mrr_end.
-- gross_revenue_retention is mrr_retained over mrr_start, net_revenue_retention is mrr_end over
-- mrr_start, and logo_retention is accounts_end over accounts_start. Accounts that are new since
-- the start do not count. An account is in its current segment for all months. The converted
-- amounts are sums of the converted balances in csm_revenue_movements, beside the amounts that they
-- are converted from, so that a sum over rows has each amount once. An account that changes its
-- currency is lost in one currency.
-- Worked example: 100, 50 and 50 at the start, 130, 20 and 0 at the end => gross (100 + 20 + 0) /
-- 200 = 0.6, net 150 / 200 = 0.75, logos 2 / 3.

with uncounted_days as (
    select as_of_date
    from run.days_status
    where status not in ('complete', 'accepted')
),

newest_day as (
    select max(as_of_date) as as_of_date
    from marts.csm_health_scores
    where
        not exists (
            select 1
            from uncounted_days
            where uncounted_days.as_of_date = csm_health_scores.as_of_date
        )
),

-- A month's number is 12 times its year plus 0 for January to 11 for December.
newest_month as (
    select
        as_of_date,
        cast(extract(year from as_of_date) as integer) * 12
        + cast(extract(month from as_of_date) as integer) - 1 as month_number
    from newest_day
),

balances as (
    select
        csm_revenue_movements.tenant_id,
        csm_revenue_movements.account_id,
        csm_revenue_movements.currency,
        coalesce(stg_accounts.segment, 'unsegmented') as segment,
        csm_revenue_movements.mrr_end as mrr,
        csm_revenue_movements.mrr_end_reporting as mrr_reporting,
        csm_revenue_movements.reporting_currency,
        cast(extract(year from csm_revenue_movements.month) as integer) * 12
        + cast(extract(month from csm_revenue_movements.month) as integer) - 1 as month_number
    from marts.csm_revenue_movements
    inner join staging.stg_accounts
        on csm_revenue_movements.account_id = stg_accounts.account_id
    where csm_revenue_movements.mrr_end > 0
),

windows (window_months) as (
    values (1), (12)
),

starts as (
    select
        balances.tenant_id,
        balances.account_id,
        balances.currency,
        balances.segment,
        balances.mrr,
        balances.mrr_reporting,
        balances.reporting_currency,
        windows.window_months,
        balances.month_number + windows.window_months as month_number,
        newest_month.as_of_date as newest_date
    from balances
    cross join windows
    inner join newest_month
        on balances.month_number + windows.window_months <= newest_month.month_number
),

starts_and_ends as (
    select
        starts.tenant_id,
        starts.segment,
        starts.currency,
        starts.month_number,
        starts.window_months,
        starts.newest_date,
        starts.mrr as mrr_start,
        coalesce(balances.mrr, cast(0 as decimal(38, 2))) as mrr_end,
        starts.mrr_reporting as mrr_start_reporting,
        case
            when starts.mrr_reporting is not null
                then coalesce(balances.mrr_reporting, cast(0 as decimal(38, 2)))
        end as mrr_end_reporting,
        starts.reporting_currency
    from starts
    left join balances
        on
            starts.account_id = balances.account_id
            and starts.currency is not distinct from balances.currency
            and starts.month_number = balances.month_number
),

segment_totals as (
    select
        tenant_id,
        segment,
        currency,
        make_date(
            cast(month_number // 12 as integer), cast(month_number % 12 + 1 as integer), 1
        ) as month,
        window_months,
        newest_date,
        count(*) as accounts_start,
        count(*) filter (where mrr_end > 0) as accounts_end,
        cast(sum(mrr_start) as decimal(38, 2)) as mrr_start,
        cast(sum(least(mrr_start, mrr_end)) as decimal(38, 2)) as mrr_retained,
        cast(sum(mrr_end) as decimal(38, 2)) as mrr_end,
        cast(sum(mrr_start_reporting) as decimal(38, 2)) as mrr_start_reporting,
        cast(
            sum(least(mrr_start_reporting, mrr_end_reporting)) as decimal(38, 2)
        ) as mrr_retained_reporting,
        cast(sum(mrr_end_reporting) as decimal(38, 2)) as mrr_end_reporting,
        min(reporting_currency) as reporting_currency
    from starts_and_ends
    group by tenant_id, segment, currency, month_number, window_months, newest_date
)

select
    tenant_id,
    segment,
    currency,
    month,
    window_months,
    least(last_day(month), newest_date) as month_end,
    accounts_start,
    accounts_end,
    mrr_start,
    mrr_retained,
    mrr_end,
    cast(mrr_retained as double) / cast(mrr_start as double) as gross_revenue_retention,
    cast(mrr_end as double) / cast(mrr_start as double) as net_revenue_retention,
    accounts_end / accounts_start as logo_retention,
    mrr_start_reporting,
    mrr_retained_reporting,
    mrr_end_reporting,
    reporting_currency
from segment_totals
order by tenant_id, segment, currency, month, window_months
