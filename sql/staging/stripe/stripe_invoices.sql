-- Grain: one row per invoice; amounts in minor units.
-- Definition: `ignored` is the rule that leaves an invoice out: `include_test_mode` (test mode, which the source
-- does not include), `draft` (not issued yet), `deleted` (only drafts can be deleted). The status transitions are an
-- object in Stripe's records and columns in tables that Fivetran lands. A record of an API version without statuses
-- is paid if its flag `paid` is set.
-- Worked example: status draft => ignored draft; status_transitions.finalized_at 1700000000 => 2023-11-14 22:13:20.

with records as (
    select
        records._source,
        records.record_id as invoice_id,
        records.record,
        case
            when
                json_valid(records.record ->> '$.status_transitions')
                then records.record ->> '$.status_transitions'
        end as transitions,
        lower(trim(records.record ->> '$.status')) as status,
        coalesce(flag(records.record ->> '$.livemode'), true) as is_live,
        coalesce(flag(sources.settings ->> '$.include_test_mode'), false) as includes_test_mode,
        records.is_deleted,
        records.version_at,
        records._source_file,
        records._source_line,
        records._loaded_at,
        records._load_id
    from staging.stripe_records as records
    inner join run.sources as sources
        on sources.system = 'stripe' and sources._source = records._source
    where records.kind = 'invoices'
),

invoices as (
    select
        _source,
        invoice_id,
        coalesce(reference_id(record ->> '$.customer'), reference_id(record ->> '$.customer_id'))
            as customer_id,
        coalesce(
            status,
            case
                when flag(record ->> '$.paid') then 'paid'
                when
                    flag(record ->> '$.forgiven') or flag(record ->> '$.closed')
                    then 'uncollectible'
            end
        ) as status,
        lower(trim(record ->> '$.currency')) as currency,
        whole_number(record ->> '$.amount_due') as amount_due,
        coalesce(whole_number(record ->> '$.pre_payment_credit_notes_amount'), 0) as credited,
        coalesce(vendor_time(record ->> '$.created'), vendor_time(record ->> '$.date'))
            as created_at,
        vendor_time(record ->> '$.due_date') as due_at,
        coalesce(
            vendor_time(record ->> '$.status_transitions_finalized_at'),
            vendor_time(transitions ->> '$.finalized_at'),
            vendor_time(record ->> '$.finalized_at')
        ) as finalized_at,
        coalesce(
            vendor_time(record ->> '$.status_transitions_paid_at'),
            vendor_time(transitions ->> '$.paid_at')
        ) as paid_at,
        coalesce(
            vendor_time(record ->> '$.status_transitions_voided_at'),
            vendor_time(transitions ->> '$.voided_at'),
            vendor_time(record ->> '$.voided_at')
        ) as voided_at,
        coalesce(
            vendor_time(record ->> '$.status_transitions_marked_uncollectible_at'),
            vendor_time(transitions ->> '$.marked_uncollectible_at')
        ) as uncollectible_at,
        case
            when not is_live and not includes_test_mode then 'include_test_mode'
            when is_deleted or status = 'deleted' then 'deleted'
            when status = 'draft' then 'draft'
        end as ignored,
        version_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from records
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
    ignored,
    version_at,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from invoices
order by _source, invoice_id
