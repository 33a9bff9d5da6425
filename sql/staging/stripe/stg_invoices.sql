-- Grain: one row per invoice.
-- Definition (docs/sources/files.md, "Columns"): issued when it was finalised. The amount due on issue is the current
-- amount due plus the credit notes before payment. Amounts are in minor units of the currency, see
-- stripe_currencies. An invoice is settled when it was paid or credited in full, and withdrawn when it was voided or
-- marked uncollectible, each at its own time. A paid invoice without a time of payment counts as paid on issue.
-- Worked example: amount_due 1500 in JPY => 1500; in USD => 15.00; in KWD => 1.50.

with invoices as (
    select
        invoices._source,
        invoices.invoice_id,
        invoices.customer_id,
        invoices.status,
        invoices.currency,
        invoices.amount_due as minor_due,
        invoices.credited as minor_credited,
        coalesce(currencies.minor_units, 100) as minor_units,
        coalesce(invoices.finalized_at, invoices.created_at) as issued_at,
        invoices.due_at,
        invoices.paid_at,
        invoices.voided_at,
        invoices.uncollectible_at,
        credits.credited as noted_credit,
        credits.last_credited_at,
        invoices.ignored,
        invoices.version_at,
        invoices._source_file,
        invoices._source_line,
        invoices._loaded_at,
        invoices._load_id
    from staging.stripe_invoices as invoices
    left join staging.stripe_currencies as currencies on currencies.currency = invoices.currency
    left join staging.stripe_credits as credits
        on credits._source = invoices._source and credits.invoice_id = invoices.invoice_id
)

select
    invoices.invoice_id,
    matched.account_id,
    invoices.customer_id as external_account_id,
    cast(
        (cast(invoices.minor_due as double) + cast(invoices.minor_credited as double))
        / invoices.minor_units
        as decimal(38, 2)
    ) as amount_due,
    upper(invoices.currency) as currency,
    invoices.issued_at,
    invoices.due_at,
    case
        when invoices.paid_at is not null then invoices.paid_at
        when invoices.minor_due <= 0 and invoices.noted_credit > 0 then invoices.last_credited_at
        when invoices.status = 'paid' then invoices.issued_at
    end as paid_at,
    coalesce(
        invoices.voided_at,
        invoices.uncollectible_at,
        case when invoices.status in ('void', 'uncollectible') then invoices.issued_at end
    ) as voided_at,
    invoices.version_at as _version,
    coalesce(invoices.ignored, case when matched.is_ignored then 'account_map' end) as _ignored,
    invoices._source_file,
    invoices._source_line,
    invoices._loaded_at,
    invoices._load_id
from invoices
left join staging.account_map as matched
    on
        matched.system = 'stripe'
        and matched._source = invoices._source
        and matched.external_id = invoices.customer_id
order by invoices.invoice_id, invoices._load_id, invoices._source_file, invoices._source_line
