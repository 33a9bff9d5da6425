-- Grain: one row per account, day and feature released by that day and still listed.
-- Definition: what the account did with the feature in the adoption window, beside the share of the tenant's accounts
-- with the feature in their plan that adopted it.
-- Worked example: 8 accounts have reports in their plan, 6 adopted it => portfolio_adoption_rate 0.75 on every row.

with account_features as (
    select
        tenant_id,
        account_id,
        as_of_date,
        feature,
        module,
        display_name,
        in_plan,
        users_in_window,
        events_in_window,
        adopted
    from intermediate.int_account_features
    where as_of_date between $first_date and $last_date
),

portfolio as (
    select
        tenant_id,
        as_of_date,
        feature,
        count(*) filter (where in_plan) as accounts_with_feature,
        count(*) filter (where in_plan and adopted) as accounts_adopted
    from account_features
    group by tenant_id, as_of_date, feature
)

select
    account_features.tenant_id,
    account_features.account_id,
    account_features.as_of_date,
    account_features.feature,
    account_features.module,
    coalesce(account_features.display_name, account_features.feature) as display_name,
    account_features.in_plan,
    cast($adoption_window_days as integer) as window_days,
    account_features.users_in_window,
    account_features.events_in_window,
    account_features.adopted,
    cast(portfolio.accounts_adopted as double)
    / nullif(portfolio.accounts_with_feature, 0) as portfolio_adoption_rate
from account_features
inner join portfolio
    on
        account_features.tenant_id = portfolio.tenant_id
        and account_features.as_of_date = portfolio.as_of_date
        and account_features.feature = portfolio.feature
order by
    account_features.as_of_date,
    account_features.tenant_id,
    account_features.account_id,
    account_features.feature
