-- Grain: one row per invoice that was issued.
-- Definition (signals.md, "Staged contract"): issued when it was finalised. What was due on issue is what is due now
-- and what credit notes took off before payment. Amounts are in minor units of the currency: Stripe has currencies of
-- none and of three decimals. An invoice is settled when it was paid or credited in full, withdrawn when it was voided or
-- given up as uncollectible; each by its own time. A paid one without a time of payment counts as paid on issue.
-- Worked example: amount_due 1500 in JPY => 1500; in USD => 15.00; in KWD => 1.50.

with invoices as (
    select
        invoices._source,
        invoices.invoice_id,
        invoices.customer_id,
        invoices.status,
        invoices.currency,
        invoices.amount_due,
        case when regexp_matches(invoices.amount_due, '^-?[0-9]+$') then cast(invoices.amount_due as bigint) end
            as minor_due,
        case when regexp_matches(invoices.credited, '^[0-9]+$') then cast(invoices.credited as bigint) else 0 end
            as minor_credited,
        case
            when
                invoices.currency in (
                    'bif', 'clp', 'djf', 'gnf', 'jpy', 'kmf', 'krw', 'mga', 'pyg', 'rwf', 'vnd', 'vuv', 'xaf', 'xof', 'xpf'
                )
                then 1
            when invoices.currency in ('bhd', 'iqd', 'jod', 'kwd', 'lyd', 'omr', 'tnd') then 1000
            else 100
        end as units,
        coalesce(invoices.finalized_at, invoices.created_at) as issued_at,
        invoices.due_at,
        invoices.paid_at,
        invoices.voided_at,
        invoices.uncollectible_at,
        credits.credited as noted_credit,
        credits.last_credited_at,
        invoices._source_file,
        invoices._source_line,
        invoices._loaded_at,
        invoices._load_id
    from staging.stripe_invoices as invoices
    left join staging.stripe_credits as credits
        on credits._source = invoices._source and credits.invoice_id = invoices.invoice_id
)

select
    invoices.invoice_id,
    matched.account_id,
    invoices.customer_id as external_account_id,
    case
        when invoices.minor_due is null then invoices.amount_due
        else cast(
            cast(cast(invoices.minor_due + invoices.minor_credited as double) / invoices.units as decimal(18, 2)) as varchar
        )
    end as amount_due,
    upper(invoices.currency) as currency,
    invoices.issued_at,
    invoices.due_at,
    case
        when invoices.paid_at is not null then invoices.paid_at
        when invoices.minor_due <= 0 and invoices.noted_credit > 0 then invoices.last_credited_at
        when invoices.status = 'paid' then invoices.issued_at
    end as paid_at,
    coalesce(invoices.voided_at, invoices.uncollectible_at) as voided_at,
    invoices._source_file,
    invoices._source_line,
    invoices._loaded_at,
    invoices._load_id
from invoices
left join staging.account_map as matched
    on matched.system = 'stripe' and matched._source = invoices._source and matched.external_id = invoices.customer_id
where not coalesce(matched.is_ignored, false)
order by invoices.invoice_id, invoices._load_id, invoices._source_file, invoices._source_line
