-- Grain: one row per invoice, for the 200 latest invoices of each account.
-- Definition: the invoices behind invoice_payment_status. Whether an invoice was open on a day
-- follows from its dates: issued on or before it, neither paid nor voided on or before it.
-- Worked example: issued_on 2026-06-01, paid_on 2026-07-05 => open on 2026-07-04.

with latest_invoices as (
    select
        account_id,
        invoice_id,
        amount_due,
        currency,
        cast(issued_at as date) as issued_on,
        cast(due_at as date) as due_on,
        cast(paid_at as date) as paid_on,
        cast(voided_at as date) as voided_on
    from staging.stg_invoices
    -- More than an account page shows, so that pages of earlier days have theirs.
    qualify
        row_number() over (partition by account_id order by issued_at desc, invoice_id desc) <= 200
)

select
    stg_accounts.tenant_id,
    latest_invoices.account_id,
    latest_invoices.invoice_id,
    latest_invoices.issued_on,
    latest_invoices.due_on,
    latest_invoices.paid_on,
    latest_invoices.voided_on,
    latest_invoices.amount_due,
    latest_invoices.currency
from latest_invoices
inner join staging.stg_accounts
    on latest_invoices.account_id = stg_accounts.account_id
order by stg_accounts.tenant_id, latest_invoices.account_id, latest_invoices.invoice_id
