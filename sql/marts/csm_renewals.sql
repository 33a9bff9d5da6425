-- Grain: one row per account that is a customer on the newest day that counts (see csm_days), and
-- renewal date.
-- Definition: the renewals of the subscriptions that are active at the end of that day. A
-- subscription with a known term below $min_term_months renews too often to count as a renewal. MRR
-- is that of the subscriptions that renew on the date, summed in one currency, the alphabetically
-- first of theirs. mrr_reporting is their MRR in all currencies, converted as in
-- int_account_subscriptions. A renewal that has passed while its subscription is still active has
-- negative days_to_renewal.
-- Worked example: as of 2026-06-30, 100 USD and 20 USD renew on 2026-09-28, 50 USD on 2026-12-31 =>
-- 120 USD in 90 days, and 50 USD in 184 days.

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

scores as (
    select
        csm_health_scores.tenant_id,
        csm_health_scores.account_id,
        csm_health_scores.as_of_date,
        csm_health_scores.score,
        csm_health_scores.rag,
        csm_health_scores.churn_risk_level
    from marts.csm_health_scores
    inner join newest_day
        on csm_health_scores.as_of_date = newest_day.as_of_date
),

account_days as (
    select
        int_account_days.account_id,
        int_account_days.account_name,
        int_account_days.csm_owner
    from intermediate.int_account_days
    inner join newest_day
        on int_account_days.as_of_date = newest_day.as_of_date
),

subscriptions as (
    select
        stg_subscriptions.account_id,
        cast(stg_subscriptions.renews_at as date) as renewal_date,
        stg_subscriptions.mrr,
        stg_subscriptions.currency,
        min(stg_subscriptions.currency) over (
            partition by
                stg_subscriptions.account_id,
                cast(stg_subscriptions.renews_at as date)
        ) as leading_currency
    from staging.stg_subscriptions
    inner join newest_day
        on
            cast(stg_subscriptions.started_at as date) <= newest_day.as_of_date
            and (
                stg_subscriptions.ended_at is null
                or cast(stg_subscriptions.ended_at as date) > newest_day.as_of_date
            )
    where
        stg_subscriptions.renews_at is not null
        and (
            stg_subscriptions.term_months is null
            or stg_subscriptions.term_months >= $min_term_months
        )
),

renewals as (
    select
        account_id,
        renewal_date,
        cast(
            sum(mrr) filter (where currency is not distinct from leading_currency) as decimal(38, 2)
        ) as mrr,
        min(leading_currency) as currency
    from subscriptions
    group by account_id, renewal_date
),

reporting_currencies as (
    select min(reporting_currency) as reporting_currency
    from run.fx_rates
),

currency_totals as (
    select
        account_id,
        renewal_date,
        currency,
        cast(sum(mrr) as decimal(38, 2)) as mrr
    from subscriptions
    where mrr is not null
    group by account_id, renewal_date, currency
),

-- An amount of 0 is 0 in every currency, so it needs no rate.
converted_totals as (
    select
        currency_totals.account_id,
        currency_totals.renewal_date,
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

converted_renewals as (
    select
        account_id,
        renewal_date,
        case
            when count(*) = count(mrr_reporting)
                then cast(sum(mrr_reporting) as decimal(38, 2))
        end as mrr_reporting
    from converted_totals
    group by account_id, renewal_date
)

select
    scores.tenant_id,
    scores.account_id,
    renewals.renewal_date,
    scores.as_of_date,
    account_days.account_name,
    account_days.csm_owner,
    renewals.mrr,
    renewals.currency,
    case
        when reporting_currencies.reporting_currency is not null
            then converted_renewals.mrr_reporting
    end as mrr_reporting,
    reporting_currencies.reporting_currency,
    cast(date_diff('day', scores.as_of_date, renewals.renewal_date) as bigint) as days_to_renewal,
    scores.score,
    scores.rag,
    scores.churn_risk_level
from scores
cross join reporting_currencies
inner join account_days
    on scores.account_id = account_days.account_id
inner join renewals
    on scores.account_id = renewals.account_id
left join converted_renewals
    on
        renewals.account_id = converted_renewals.account_id
        and renewals.renewal_date = converted_renewals.renewal_date
order by scores.tenant_id, scores.account_id, renewals.renewal_date
