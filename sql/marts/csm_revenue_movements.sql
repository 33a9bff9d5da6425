-- Grain: one row per account, month and currency in which the account has MRR at the month's start
-- or end.
-- Definition: the MRR of an account at the end of a month is the sum of its subscriptions that are
-- active on the last day: started on or before it, and neither ended nor left behind by an account
-- that is no customer then (see int_account_spells). The newest month ends on the newest day that
-- counts (see csm_days). The start of a month is the end of the month before. The difference is one
-- movement: new if the account had no MRR in the currency at any earlier month's end, reactivation
-- if it had some before but none at the start, churn if none is left, else expansion or
-- contraction. Changes within a month offset each other. With the rates of run.fx_rates, the two
-- balances of a row are converted and rounded to the cent, and the converted movements are
-- differences of the converted balances. A balance has the same converted amount at the end of a
-- month and at the start of the next. So the movements lead from mrr_start_reporting to
-- mrr_end_reporting to the cent, in every row and every sum, also over currencies. They are null
-- for a currency without a rate. The rates are the same for all months.
-- Worked example: 100 USD from 2026-04-10, 120 from 2026-05-20, paused from 2026-06-15, 90 from
-- 2026-08-01 => new 100 in April, expansion 20 in May, churn 120 in June, no row in July,
-- reactivation 90 in August. With USD at 0.92591 EUR => new 92.59, expansion 18.52 (111.11 -
-- 92.59), churn 111.11 and reactivation 83.33 EUR.

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

accounts as (
    select
        tenant_id,
        account_id
    from staging.stg_accounts
),

-- From the day on which an account left, until the day on which it returned.
absences as (
    select
        account_id,
        cast(ended_at as date) as left_date,
        cast(lead(started_at) over (partition by account_id order by spell) as date)
            as return_date
    from intermediate.int_account_spells
),

paid_subscriptions as (
    select
        accounts.tenant_id,
        stg_subscriptions.account_id,
        stg_subscriptions.currency,
        stg_subscriptions.mrr,
        cast(stg_subscriptions.started_at as date) as started_date,
        cast(stg_subscriptions.ended_at as date) as ended_date
    from staging.stg_subscriptions
    inner join accounts
        on stg_subscriptions.account_id = accounts.account_id
    where stg_subscriptions.mrr > 0
),

first_start as (
    select min(started_date) as started_date
    from paid_subscriptions
),

digits (digit) as (
    values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)
),

-- The newest month is 0. There are at most 1,000 months, which is 83 years.
months_back as (
    select hundreds.digit * 100 + tens.digit * 10 + ones.digit as months
    from digits as hundreds
    cross join digits as tens
    cross join digits as ones
),

-- A month's number is 12 times its year plus 0 for January to 11 for December.
month_numbers as (
    select
        newest_day.as_of_date as newest_date,
        cast(extract(year from newest_day.as_of_date) as integer) * 12
        + cast(extract(month from newest_day.as_of_date) as integer) - 1
        - months_back.months as month_number
    from newest_day
    cross join months_back
),

months as (
    select
        month_numbers.month_number,
        month_numbers.newest_date,
        make_date(
            cast(month_numbers.month_number // 12 as integer),
            cast(month_numbers.month_number % 12 + 1 as integer),
            1
        ) as first_date
    from month_numbers
    inner join first_start
        on
            month_numbers.month_number
            >= cast(extract(year from first_start.started_date) as integer) * 12
            + cast(extract(month from first_start.started_date) as integer) - 1
),

month_ends as (
    select
        month_number,
        first_date,
        least(last_day(first_date), newest_date) as last_date
    from months
),

end_balances as (
    select
        paid_subscriptions.tenant_id,
        paid_subscriptions.account_id,
        paid_subscriptions.currency,
        month_ends.month_number,
        cast(sum(paid_subscriptions.mrr) as decimal(38, 2)) as mrr
    from paid_subscriptions
    inner join month_ends
        on
            paid_subscriptions.started_date <= month_ends.last_date
            and (
                paid_subscriptions.ended_date is null
                or paid_subscriptions.ended_date > month_ends.last_date
            )
    left join absences
        on
            paid_subscriptions.account_id = absences.account_id
            and absences.left_date <= month_ends.last_date
            and (absences.return_date is null or absences.return_date > month_ends.last_date)
    where absences.account_id is null
    group by
        paid_subscriptions.tenant_id,
        paid_subscriptions.account_id,
        paid_subscriptions.currency,
        month_ends.month_number
),

-- A balance ends its month and starts the next one.
balances as (
    select
        tenant_id,
        account_id,
        currency,
        month_number,
        cast(0 as decimal(38, 2)) as mrr_start,
        mrr as mrr_end
    from end_balances
    union all
    select
        tenant_id,
        account_id,
        currency,
        month_number + 1 as month_number,
        mrr as mrr_start,
        cast(0 as decimal(38, 2)) as mrr_end
    from end_balances
),

account_months as (
    select
        tenant_id,
        account_id,
        currency,
        month_number,
        cast(sum(mrr_start) as decimal(38, 2)) as mrr_start,
        cast(sum(mrr_end) as decimal(38, 2)) as mrr_end
    from balances
    group by tenant_id, account_id, currency, month_number
),

reporting_currencies as (
    select min(reporting_currency) as reporting_currency
    from run.fx_rates
),

ordered_months as (
    select
        account_months.tenant_id,
        account_months.account_id,
        month_ends.first_date as month,
        account_months.currency,
        month_ends.last_date as month_end,
        account_months.mrr_start,
        account_months.mrr_end,
        cast(
            cast(account_months.mrr_start as decimal(23, 2))
            * cast(fx_rates.rate as decimal(14, 8))
            as decimal(38, 2)
        ) as mrr_start_reporting,
        cast(
            cast(account_months.mrr_end as decimal(23, 2)) * cast(fx_rates.rate as decimal(14, 8))
            as decimal(38, 2)
        ) as mrr_end_reporting,
        reporting_currencies.reporting_currency,
        row_number() over (
            partition by
                account_months.tenant_id,
                account_months.account_id,
                account_months.currency
            order by account_months.month_number
        ) as position
    from account_months
    inner join month_ends
        on account_months.month_number = month_ends.month_number
    cross join reporting_currencies
    left join run.fx_rates as fx_rates
        on account_months.currency = fx_rates.currency
),

-- A conversion never reverses the order of two amounts, so a movement has the same kind in both
-- currencies.
movements as (
    select
        tenant_id,
        account_id,
        month,
        currency,
        month_end,
        mrr_start,
        mrr_end,
        mrr_start_reporting,
        mrr_end_reporting,
        reporting_currency,
        case when mrr_end_reporting is not null then cast(0 as decimal(38, 2)) end
            as zero_reporting,
        case
            when position = 1 then 'new'
            when mrr_start = 0 then 'reactivation'
            when mrr_end = 0 then 'churn'
            when mrr_end > mrr_start then 'expansion'
            when mrr_end < mrr_start then 'contraction'
        end as movement
    from ordered_months
)

select
    tenant_id,
    account_id,
    month,
    currency,
    month_end,
    mrr_start,
    cast(case when movement = 'new' then mrr_end else 0 end as decimal(38, 2)) as new,
    cast(
        case when movement = 'expansion' then mrr_end - mrr_start else 0 end as decimal(38, 2)
    ) as expansion,
    cast(
        case when movement = 'contraction' then mrr_start - mrr_end else 0 end as decimal(38, 2)
    ) as contraction,
    cast(case when movement = 'churn' then mrr_start else 0 end as decimal(38, 2)) as churn,
    cast(
        case when movement = 'reactivation' then mrr_end else 0 end as decimal(38, 2)
    ) as reactivation,
    mrr_end,
    mrr_start_reporting,
    cast(
        case when movement = 'new' then mrr_end_reporting else zero_reporting end as decimal(38, 2)
    ) as new_reporting,
    cast(
        case
            when movement = 'expansion' then mrr_end_reporting - mrr_start_reporting
            else zero_reporting
        end
        as decimal(38, 2)
    ) as expansion_reporting,
    cast(
        case
            when movement = 'contraction' then mrr_start_reporting - mrr_end_reporting
            else zero_reporting
        end
        as decimal(38, 2)
    ) as contraction_reporting,
    cast(
        case when movement = 'churn' then mrr_start_reporting else zero_reporting end
        as decimal(38, 2)
    ) as churn_reporting,
    cast(
        case when movement = 'reactivation' then mrr_end_reporting else zero_reporting end
        as decimal(38, 2)
    ) as reactivation_reporting,
    mrr_end_reporting,
    reporting_currency
from movements
order by tenant_id, account_id, month, currency
