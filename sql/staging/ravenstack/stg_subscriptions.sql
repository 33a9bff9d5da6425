-- Grain: one row per term of a subscription.
-- Definition: a subscription that is billed annually, does not renew automatically and is not a trial has terms of
-- 365 days; if it continues after the end of a term, it was renewed, and the next term is a separate row. All others
-- have one term without a renewal date, because nobody decides about a renewal. Terms that would start after the
-- last start of any subscription are left out: the records do not show whether they happened. seats are null: the
-- data has no users, so seat utilisation is not known, while seats without users would give a utilisation of 0.
-- Amounts are in US dollars (as in the name of churn_events.refund_amount_usd).
-- Worked example: S-1, annual, no automatic renewal, from 2023-03-01 without an end => 'S-1' from 2023-03-01, renews
-- and ends 2024-02-29; 'S-1/2' from 2024-02-29, renews 2025-02-28, active.

with records as (
    select
        record_id as subscription_id,
        record ->> '$.account_id' as account_id,
        record ->> '$.mrr_amount' as mrr_amount,
        record ->> '$.start_date' as start_date,
        cast(vendor_time(record ->> '$.start_date') as date) as first_date,
        record ->> '$.end_date' as end_date,
        cast(vendor_time(record ->> '$.end_date') as date) as last_date,
        case lower(identifier_text(record ->> '$.billing_frequency'))
            when 'annual' then 12 when 'monthly' then 1
        end as term_months,
        lower(identifier_text(record ->> '$.billing_frequency')) = 'annual'
        and not flag(record ->> '$.auto_renew_flag')
        and not flag(record ->> '$.is_trial') as is_renewed_by_decision,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from staging.ravenstack_records
    where kind = 'subscriptions'
),

horizon as (
    select max(first_date) as last_start_date
    from records
),

-- The records cover two years, so ten yearly terms are enough.
terms (term) as (
    values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)
),

subscription_terms as (
    select
        records.subscription_id,
        records.account_id,
        records.mrr_amount,
        records.start_date,
        records.end_date,
        records.last_date,
        records.term_months,
        records._source_file,
        records._source_line,
        records._loaded_at,
        records._load_id,
        terms.term,
        coalesce(records.is_renewed_by_decision, false) as is_renewed_by_decision,
        records.first_date + 365 * terms.term as term_date,
        records.first_date + 365 * (terms.term + 1) as renewal_date,
        horizon.last_start_date
    from records
    cross join horizon
    inner join terms
        on
            terms.term = 0
            or (
                records.is_renewed_by_decision
                and records.first_date + 365 * terms.term <= horizon.last_start_date
                and (
                    records.last_date is null
                    or records.first_date + 365 * terms.term < records.last_date
                )
            )
)

select
    case
        when term = 0 then subscription_id else subscription_id || '/' || cast(term + 1 as varchar)
    end as subscription_id,
    account_id,
    cast(null as bigint) as seats,
    mrr_amount as mrr,
    'USD' as currency,
    case when term = 0 then start_date else cast(term_date as varchar) end as started_at,
    case when is_renewed_by_decision then cast(renewal_date as varchar) end as renews_at,
    case
        when
            is_renewed_by_decision
            and renewal_date <= last_start_date
            and (last_date is null or renewal_date < last_date)
            then cast(renewal_date as varchar)
        else end_date
    end as ended_at,
    term_months,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from subscription_terms
order by subscription_id
