-- Grain: one row per account of the population and day of the run.
-- Definition: the subscriptions that are active at T: started before T and not ended before it.
-- Seats are summed; MRR is summed in one currency, the alphabetically first of the active ones,
-- because amounts in two currencies cannot be added. A subscription with a known term below
-- $min_term_months renews too often to count as the account's renewal. mrr_reporting is the MRR in
-- all currencies, converted with the rates of run.fx_rates: the sum in each currency is converted
-- and rounded to the cent, then the results are added. It is null if a currency with MRR has no
-- rate.
-- Worked example: 10 seats until 2026-06-30 and 15 seats from 2026-06-30 => 15 seats as of
-- 2026-06-30. 100 EUR and 50 USD, with EUR at 1.08 USD => mrr 100 EUR, mrr_reporting 158 USD.

with account_days as (
    select
        tenant_id,
        account_id,
        as_of_date
    from intermediate.int_account_days
    where as_of_date between $first_date and $last_date
),

subscriptions as (
    select
        account_id,
        seats,
        mrr,
        currency,
        cast(started_at as date) as started_date,
        case
            when term_months is null or term_months >= $min_term_months then cast(renews_at as date)
        end as renewal_date,
        cast(ended_at as date) as ended_date
    from staging.stg_subscriptions
    where cast(started_at as date) <= $last_date
),

live_subscriptions as (
    select
        account_days.account_id,
        account_days.as_of_date,
        subscriptions.seats,
        subscriptions.mrr,
        subscriptions.currency,
        subscriptions.renewal_date,
        min(subscriptions.currency) over (
            partition by account_days.account_id, account_days.as_of_date
        ) as leading_currency
    from account_days
    inner join subscriptions
        on
            account_days.account_id = subscriptions.account_id
            and subscriptions.started_date <= account_days.as_of_date
            and (
                subscriptions.ended_date is null
                or subscriptions.ended_date > account_days.as_of_date
            )
),

subscription_totals as (
    select
        account_id,
        as_of_date,
        cast(count(*) as bigint) as subscriptions,
        cast(sum(seats) as bigint) as seats,
        cast(
            sum(mrr) filter (where currency is not distinct from leading_currency) as decimal(38, 2)
        ) as mrr,
        min(leading_currency) as currency,
        min(renewal_date) as renewal_date
    from live_subscriptions
    group by account_id, as_of_date
),

reporting_currencies as (
    select min(reporting_currency) as reporting_currency
    from run.fx_rates
),

currency_totals as (
    select
        account_id,
        as_of_date,
        currency,
        cast(sum(mrr) as decimal(38, 2)) as mrr
    from live_subscriptions
    where mrr is not null
    group by account_id, as_of_date, currency
),

-- An amount of 0 is 0 in every currency, so it needs no rate.
converted_totals as (
    select
        currency_totals.account_id,
        currency_totals.as_of_date,
        case
            when currency_totals.mrr = 0 then cast(0 as decimal(38, 2))
            else cast(
                cast(currency_totals.mrr as decimal(23, 2))
                * cast(fx_rates.rate as decimal(14, 8))
                as decimal(38, 2)
            )
        end as mrr_reporting
    from currency_totals
    left join run.fx_rates as fx_rates
        on currency_totals.currency = fx_rates.currency
),

account_totals as (
    select
        account_id,
        as_of_date,
        case
            when count(*) = count(mrr_reporting)
                then cast(sum(mrr_reporting) as decimal(38, 2))
        end as mrr_reporting
    from converted_totals
    group by account_id, as_of_date
)

select
    account_days.tenant_id,
    account_days.account_id,
    account_days.as_of_date,
    coalesce(subscription_totals.subscriptions, 0) as subscriptions,
    subscription_totals.seats,
    subscription_totals.mrr,
    subscription_totals.currency,
    case
        when reporting_currencies.reporting_currency is not null then account_totals.mrr_reporting
    end as mrr_reporting,
    reporting_currencies.reporting_currency,
    subscription_totals.renewal_date,
    cast(date_diff('day', account_days.as_of_date, subscription_totals.renewal_date) as bigint)
        as days_to_renewal
from account_days
cross join reporting_currencies
left join subscription_totals
    on
        account_days.account_id = subscription_totals.account_id
        and account_days.as_of_date = subscription_totals.as_of_date
left join account_totals
    on
        account_days.account_id = account_totals.account_id
        and account_days.as_of_date = account_totals.as_of_date
order by account_days.as_of_date, account_days.tenant_id, account_days.account_id
