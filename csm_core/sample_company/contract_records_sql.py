"""The accounts, features, subscriptions and invoices of the fictional company: one query per entity.

Each ends in ``part`` and ``sort_key``, by which the file is sorted; both are left out of it.
"""

from __future__ import annotations

ENTITIES: dict[str, str] = {}

ENTITIES["accounts"] = """
select
    account.account_id,
    coalesce(
        odd_name.account_name,
        pick(string_split(getvariable('adjectives'), ' '), 'name1' || account.i)
            || ' ' || pick(string_split(getvariable('nouns'), ' '), 'name2' || account.i)
            || ' ' || pick(string_split(getvariable('trades'), '|'), 'name3' || account.i)
    ) as account_name,
    account.tenant_id,
    account.segment,
    if(account.archetype = 'no_subscription' and account.v % 2 = 1, null, account.plan) as plan,
    case when draw('owner' || account.i, 40) > 0
        then pick(string_split(getvariable('owners'), '|'), 'owner' || account.i) end as csm_owner,
    case
        when getvariable('odd') and account.i = 12 then null
        when account.i % 3 = 0 then cast(account.created_date as varchar)
        else iso_text(at_second(account.created_date, 3600 * draw('hour' || account.i, 23)), account.i % 7)
    end as created_at,
    iso_text(account.churned_at, 0) as churned_at,
    pick(['US', 'DE', 'JP', 'BR', 'GB', 'SE', 'PL', 'IN'], 'country' || account.i) as country,
    0 as part,
    account.i as sort_key
from account
left join odd_name on account.i = odd_name.i and getvariable('odd')
"""

ENTITIES["features"] = """
select
    feature,
    module,
    plan,
    cast(getvariable('start_date') + cast(released_after_start as integer) as varchar) as released_at,
    display_name,
    description,
    0 as part,
    position as sort_key
from feature
"""

# A renewal, a change of seats or a change of price ends one row and starts the next.
ENTITIES["subscriptions"] = """
with terms as (
    select
        *,
        case
            when archetype = 'brand_new' then created_date + 365
            when archetype = 'trial' then if(v % 3 = 2, null, created_date + 30)
            when archetype = 'churned' and churned_at is not null then cast(churned_at as date)
            else getvariable('end_date') + cast(renews_in_days as integer)
        end as renewal_date
    from account
    where archetype <> 'no_subscription'
),

starts as (
    select i, created_date as start_date from terms
    union
    select i, renewal_date - 365 from terms where renewal_date - 365 > created_date
    union
    -- For half of the accounts, seats or price change once, 20 to 260 days before the end.
    select i, getvariable('end_date') - cast(20 + draw('change' || i, 240) as integer)
    from terms
    where archetype in ('thriving', 'stable', 'sinking', 'recovering') and draw('changes' || i, 2) = 0
        and getvariable('end_date') - cast(20 + draw('change' || i, 240) as integer) > created_date + 10
),

chained as (
    select
        terms.*,
        starts.start_date,
        row_number() over (partition by starts.i order by starts.start_date) as position,
        count(*) over (partition by starts.i) as chain_length,
        lead(starts.start_date) over (partition by starts.i order by starts.start_date) as next_date
    from starts
    inner join terms on starts.i = terms.i
),

-- Earlier rows are derived from the latest one: thriving accounts had fewer seats, sinking ones more.
priced as (
    select
        *,
        case
            when archetype = 'thriving' then greatest(1, seats * (10 - 2 * (chain_length - position)) // 10)
            when archetype = 'sinking' then seats * (10 + 3 * (chain_length - position)) // 10
            else seats
        end as row_seats,
        if(archetype in ('stable', 'recovering'), 100 - 6 * (chain_length - position), 100) as price_percent
    from chained
)

select
    'S' || substr(account_id, 2) || '-' || position as subscription_id,
    account_id,
    cast(row_seats as varchar) as seats,
    money_text(
        if(archetype = 'trial', 0,
            if(currency = 'JPY', row_seats * seat_price_cents * price_percent // 10000 * 100,
                row_seats * seat_price_cents * price_percent // 100)),
        currency
    ) as mrr,
    currency,
    cast(start_date as varchar) as started_at,
    cast(if(start_date < renewal_date - 365 and archetype <> 'churned', renewal_date - 365, renewal_date) as varchar)
        as renews_at,
    coalesce(cast(next_date as varchar), iso_text(churned_at, 0)) as ended_at,
    plan,
    0 as part,
    i * 10 + position as sort_key
from priced
union all
-- Add-ons to the main subscription, without seats, some of them in another currency.
select
    'S' || substr(account_id, 2) || '-x',
    account_id,
    null,
    money_text(49900, if(i % 2 = 0, 'EUR', 'USD')),
    if(i % 2 = 0, 'EUR', 'USD'),
    cast(greatest(created_date, getvariable('end_date') - 200) as varchar),
    null,
    null,
    'add_on',
    0,
    i * 10 + 9
from account
where archetype in ('thriving', 'stable') and v % 11 = 5 and currency <> 'JPY'
"""

ENTITIES["invoices"] = """
with months as (
    select cast(unnest(generate_series(
        date_trunc('month', getvariable('start_date')) - interval 2 month, getvariable('end_date'), interval 1 month
    )) as date) as month
),

billed as (
    select
        account.*,
        months.month + cast(account.billing_day - 1 as integer) as issued_date,
        strftime(months.month, '%y%m') as month_text,
        account.i || '/' || months.month as invoice_key
    from account
    inner join months
        on
            months.month + cast(account.billing_day - 1 as integer) >= account.created_date
            and months.month + cast(account.billing_day - 1 as integer) <= getvariable('end_date')
            and (account.churned_at is null
                or months.month + cast(account.billing_day - 1 as integer) < cast(account.churned_at as date))
    where account.pay_style <> 'none'
),

kinds as (
    select
        *,
        issued_date + 30 as due_date,
        draw('void' || invoice_key, 1000) < 25 as is_void,
        draw('zero' || invoice_key, 1000) < 15 as is_zero,
        draw('no_due' || invoice_key, 1000) < 7 as has_no_due_date,
        -- Invoices that fall due within this number of days before the end are not paid.
        case pay_style when 'overdue_30' then 29 when 'overdue_60' then 84 when 'overdue_90' then 200 else -1000 end
            as stopped_days
    from billed
),

settled as (
    select
        *,
        case
            when is_void or due_date >= getvariable('end_date') - cast(stopped_days as integer) then null
            when pay_style = 'late' then due_date + cast(4 + draw('paid' || invoice_key, 22) as integer)
            else issued_date + cast(3 + draw('paid' || invoice_key, 24) as integer)
        end as paid_date
    from kinds
)

select
    'I' || substr(account_id, 2) || '-' || month_text as invoice_id,
    account_id,
    money_text(if(is_zero, 0, if(currency = 'JPY', seats * seat_price_cents // 100 * 100, seats * seat_price_cents)),
        currency) as amount_due,
    currency,
    iso_text(at_second(issued_date, 21600), cast(draw('shape' || invoice_key, 7) as bigint)) as issued_at,
    case when not has_no_due_date then cast(due_date as varchar) end as due_at,
    case when not is_zero and paid_date <= getvariable('end_date')
        then iso_text(at_second(paid_date, 43200 + draw('paid_s' || invoice_key, 20000)), 0) end as paid_at,
    case when is_void
        then iso_text(at_second(least(issued_date + 2, getvariable('end_date')), 50000), 5) end as voided_at,
    0 as part,
    month_text || '/' || wide_id('', i) as sort_key
from settled
"""
