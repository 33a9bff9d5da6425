-- Grain: one row per invoice that has credit notes which lower what is to be paid.
-- Definition: issued credit notes written before payment; refunds and credits after payment change nothing of what was
-- owed. A voided credit note counts for nothing.
-- Worked example: credit notes of 300 and 700 on one invoice => credited 1000, last on the later of their days.

with credit_note_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.stripe__credit_notes
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.stripe__airbyte_credit_notes
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.stripe__fivetran_credit_note
),

credit_notes as (
    select
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from credit_note_records
    qualify row_number() over (
        partition by _source, record ->> '$.id'
        order by _loaded_at desc, _load_id desc, _source_file desc, _source_line desc
    ) = 1
),

opened as (
    select
        _source,
        coalesce(record ->> '$.invoice', record ->> '$.invoice_id') as invoice_id,
        lower(record ->> '$.status') as status,
        record ->> '$.type' as kind,
        try_cast(record ->> '$.pre_payment_amount' as bigint) as before_payment,
        try_cast(record ->> '$.amount' as bigint) as amount,
        coalesce(record ->> '$.effective_at', record ->> '$.created') as created
    from credit_notes
),

amounts as (
    select
        _source,
        invoice_id,
        coalesce(before_payment, case when kind = 'pre_payment' then amount end, 0) as credited,
        try_cast(coalesce(cast(make_timestamp(try_cast(created as bigint) * 1000000) as varchar), created) as timestamp) as credited_at
    from opened
    where coalesce(status, 'issued') = 'issued' and invoice_id is not null
)

select
    _source,
    invoice_id,
    cast(sum(credited) as bigint) as credited,
    max(credited_at) as last_credited_at
from amounts
where credited > 0
group by _source, invoice_id
order by _source, invoice_id
