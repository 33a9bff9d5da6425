-- Grain: one row per invoice, latest record of it, whatever shape it came in; amounts in minor units.
-- Definition: drafts are no invoices yet and are left out, and so are those that were deleted, which only drafts can be,
-- and records of the test mode unless the source's settings include them. The status transitions are an object in Stripe's own records, columns of their own where Fivetran
-- landed them.
-- Worked example: status draft => no row; status_transitions.finalized_at 1700000000 => 2023-11-14 22:13:20.

with invoice_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.stripe__invoices
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.stripe__airbyte_invoices
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.stripe__fivetran_invoice
),

invoices as (
    select
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from invoice_records
    qualify row_number() over (
        partition by _source, record ->> '$.id'
        order by _loaded_at desc, _load_id desc, _source_file desc, _source_line desc
    ) = 1
),

opened as (
    select
        invoices._source,
        invoices.record ->> '$.id' as invoice_id,
        coalesce(invoices.record ->> '$.customer', invoices.record ->> '$.customer_id') as customer_id,
        lower(invoices.record ->> '$.status') as status,
        lower(coalesce(invoices.record ->> '$.livemode', 'true')) as livemode,
        lower(invoices.record ->> '$.currency') as currency,
        invoices.record ->> '$.amount_due' as amount_due,
        coalesce(invoices.record ->> '$.pre_payment_credit_notes_amount', '0') as credited,
        coalesce(invoices.record ->> '$.created', invoices.record ->> '$.date') as created,
        invoices.record ->> '$.due_date' as due_date,
        coalesce(invoices.record ->> '$.status_transitions', '{}') as transitions,
        invoices.record ->> '$.status_transitions_finalized_at' as finalized_at,
        invoices.record ->> '$.status_transitions_paid_at' as paid_at,
        invoices.record ->> '$.status_transitions_voided_at' as voided_at,
        invoices.record ->> '$.status_transitions_marked_uncollectible_at' as uncollectible_at,
        coalesce(invoices.record ->> '$.paid', 'false') as is_paid,
        lower(coalesce(invoices.record ->> '$.is_deleted', invoices.record ->> '$.deleted', 'false')) as is_deleted,
        sources.settings ->> '$.include_test_mode' as include_test_mode,
        invoices._source_file,
        invoices._source_line,
        invoices._loaded_at,
        invoices._load_id
    from invoices
    inner join run.sources as sources on sources.system = 'stripe' and sources._source = invoices._source
),

dated as (
    select
        _source,
        invoice_id,
        customer_id,
        coalesce(status, case when lower(is_paid) = 'true' then 'paid' end) as status,
        currency,
        amount_due,
        credited,
        try_cast(coalesce(cast(make_timestamp(try_cast(created as bigint) * 1000000) as varchar), created) as timestamp) as created_at,
        try_cast(coalesce(cast(make_timestamp(try_cast(due_date as bigint) * 1000000) as varchar), due_date) as timestamp) as due_at,
        try_cast(coalesce(cast(make_timestamp(try_cast(coalesce(finalized_at, transitions ->> '$.finalized_at') as bigint) * 1000000) as varchar), coalesce(finalized_at, transitions ->> '$.finalized_at')) as timestamp) as finalized_at,
        try_cast(coalesce(cast(make_timestamp(try_cast(coalesce(paid_at, transitions ->> '$.paid_at') as bigint) * 1000000) as varchar), coalesce(paid_at, transitions ->> '$.paid_at')) as timestamp) as paid_at,
        try_cast(coalesce(cast(make_timestamp(try_cast(coalesce(voided_at, transitions ->> '$.voided_at') as bigint) * 1000000) as varchar), coalesce(voided_at, transitions ->> '$.voided_at')) as timestamp) as voided_at,
        try_cast(coalesce(cast(make_timestamp(try_cast(coalesce(uncollectible_at, transitions ->> '$.marked_uncollectible_at') as bigint) * 1000000) as varchar), coalesce(uncollectible_at, transitions ->> '$.marked_uncollectible_at')) as timestamp) as uncollectible_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from opened
    where coalesce(status, '') not in ('draft', 'deleted') and is_deleted <> 'true' and (livemode = 'true' or include_test_mode = 'true')
)

select
    _source,
    invoice_id,
    customer_id,
    status,
    currency,
    amount_due,
    credited,
    created_at,
    due_at,
    finalized_at,
    paid_at,
    voided_at,
    uncollectible_at,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from dated
order by _source, invoice_id
