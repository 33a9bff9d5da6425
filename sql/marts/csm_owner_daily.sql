-- Grain: one row per tenant, customer-success manager, currency and day that counts (see csm_days).
-- Definition: the scored accounts of each owner, counted and their MRR summed by RAG. An account
-- belongs to the currency in which its MRR is summed (see int_account_subscriptions), and to a null
-- currency if it has none, so that the rows of an owner have each account once. Renewals within 90
-- days are those that are due on the day or up to 90 days later; a renewal that has passed is not
-- counted. The converted sums have the MRR of each account in all currencies (see
-- int_account_subscriptions); an account with MRR in a currency without a rate is left out and
-- counted.
-- Worked example: Anna has a GREEN account with 100 USD and a RED one with 20 USD that renews in 30
-- days => 2 accounts, mrr 120, green_mrr 100, red_mrr 20, renewals_within_90_days 1.

with scored_accounts as (
    select
        csm_health_scores.tenant_id,
        csm_health_scores.as_of_date,
        coalesce(account_days.csm_owner, 'unassigned') as csm_owner,
        csm_health_scores.rag,
        csm_health_scores.should_alert,
        coalesce(subscriptions.mrr, cast(0 as decimal(38, 2))) as mrr,
        subscriptions.currency,
        subscriptions.mrr_reporting,
        subscriptions.reporting_currency,
        coalesce(
            subscriptions.reporting_currency is not null
            and subscriptions.mrr > 0
            and subscriptions.mrr_reporting is null,
            false
        ) as lacks_rate,
        coalesce(subscriptions.days_to_renewal between 0 and 90, false) as renews_within_90_days
    from marts.csm_health_scores
    inner join intermediate.int_account_days as account_days
        on
            csm_health_scores.account_id = account_days.account_id
            and csm_health_scores.as_of_date = account_days.as_of_date
    inner join intermediate.int_account_subscriptions as subscriptions
        on
            csm_health_scores.account_id = subscriptions.account_id
            and csm_health_scores.as_of_date = subscriptions.as_of_date
    where
        csm_health_scores.as_of_date between $first_date and $last_date
        and account_days.as_of_date between $first_date and $last_date
        and subscriptions.as_of_date between $first_date and $last_date
        and not exists (
            select 1
            from run.uncounted_days as uncounted
            where uncounted.as_of_date = csm_health_scores.as_of_date
        )
),

owner_totals as (
    select
        tenant_id,
        csm_owner,
        currency,
        as_of_date,
        count(*) as accounts,
        count(*) filter (where rag = 'GREEN') as green_accounts,
        count(*) filter (where rag = 'AMBER') as amber_accounts,
        count(*) filter (where rag = 'RED') as red_accounts,
        cast(sum(mrr) as decimal(38, 2)) as mrr,
        cast(sum(case when rag = 'GREEN' then mrr else 0 end) as decimal(38, 2)) as green_mrr,
        cast(sum(case when rag = 'AMBER' then mrr else 0 end) as decimal(38, 2)) as amber_mrr,
        cast(sum(case when rag = 'RED' then mrr else 0 end) as decimal(38, 2)) as red_mrr,
        count(*) filter (where should_alert) as alerts,
        count(*) filter (where renews_within_90_days) as renewals_within_90_days,
        cast(sum(mrr_reporting) as decimal(38, 2)) as mrr_reporting,
        cast(sum(mrr_reporting) filter (where rag = 'GREEN') as decimal(38, 2))
            as green_mrr_reporting,
        cast(sum(mrr_reporting) filter (where rag = 'AMBER') as decimal(38, 2))
            as amber_mrr_reporting,
        cast(sum(mrr_reporting) filter (where rag = 'RED') as decimal(38, 2)) as red_mrr_reporting,
        count(*) filter (where lacks_rate) as accounts_without_rate,
        min(reporting_currency) as reporting_currency
    from scored_accounts
    group by tenant_id, csm_owner, currency, as_of_date
)

select
    tenant_id,
    csm_owner,
    currency,
    as_of_date,
    accounts,
    green_accounts,
    amber_accounts,
    red_accounts,
    mrr,
    green_mrr,
    amber_mrr,
    red_mrr,
    alerts,
    renewals_within_90_days,
    case
        when reporting_currency is not null
            then coalesce(mrr_reporting, cast(0 as decimal(38, 2)))
    end as mrr_reporting,
    case
        when reporting_currency is not null
            then coalesce(green_mrr_reporting, cast(0 as decimal(38, 2)))
    end as green_mrr_reporting,
    case
        when reporting_currency is not null
            then coalesce(amber_mrr_reporting, cast(0 as decimal(38, 2)))
    end as amber_mrr_reporting,
    case
        when reporting_currency is not null
            then coalesce(red_mrr_reporting, cast(0 as decimal(38, 2)))
    end as red_mrr_reporting,
    accounts_without_rate,
    reporting_currency
from owner_totals
order by as_of_date, tenant_id, csm_owner, currency
