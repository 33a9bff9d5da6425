-- Grain: one row per invoice with credit notes that reduce the amount to pay.
-- Definition: issued credit notes from before payment. Refunds and credits after payment do not change the amount
-- that was due. A voided credit note has no effect. An invoice and its credit notes have the same currency.
-- Worked example: credit notes of 300 and 700 on one invoice => credited 1000, last credited on the later of their
-- days.

with credit_notes as (
    select
        _source,
        coalesce(reference_id(record ->> '$.invoice'), reference_id(record ->> '$.invoice_id'))
            as invoice_id,
        coalesce(lower(trim(record ->> '$.status')), 'issued') as status,
        case
            when
                is_given(record ->> '$.pre_payment_amount')
                then whole_number(record ->> '$.pre_payment_amount')
            when
                lower(trim(record ->> '$.type')) = 'pre_payment'
                then whole_number(record ->> '$.amount')
        end as credited,
        coalesce(vendor_time(record ->> '$.effective_at'), vendor_time(record ->> '$.created'))
            as credited_at
    from staging.stripe_records
    where kind = 'credit_notes' and not is_deleted
)

select
    _source,
    invoice_id,
    cast(sum(credited) as bigint) as credited,
    max(credited_at) as last_credited_at
from credit_notes
where status = 'issued' and credited > 0 and invoice_id is not null
group by _source, invoice_id
order by _source, invoice_id
