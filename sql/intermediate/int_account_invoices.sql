-- Grain: one row per account of the population and day of the run.
-- Definition (docs/signals.md, invoice_payment_status): the most days past due among invoices issued before T with an
-- amount due, neither paid nor voided before T; without a due date, days since issue.
-- Worked example: due 2026-06-01, paid 2026-07-05 12:00 => 33 days past due as of 2026-07-04, none as of 2026-07-05.

with account_days as (
    select
        tenant_id,
        account_id,
        as_of_date
    from intermediate.int_account_days
    where as_of_date between $first_date and $last_date
),

invoices as (
    select
        account_id,
        amount_due,
        cast(issued_at as date) as issued_date,
        cast(coalesce(due_at, issued_at) as date) as due_date,
        cast(paid_at as date) as paid_date,
        cast(voided_at as date) as voided_date
    from staging.stg_invoices
    where cast(issued_at as date) <= $last_date
),

first_issue_dates as (
    select
        account_id,
        min(issued_date) as first_issued_date
    from invoices
    group by account_id
),

unpaid_totals as (
    select
        account_days.account_id,
        account_days.as_of_date,
        count(*) as unpaid_invoices,
        min(invoices.due_date) as oldest_due_date
    from account_days
    inner join invoices
        on
            account_days.account_id = invoices.account_id
            and invoices.issued_date <= account_days.as_of_date
            and (invoices.paid_date is null or invoices.paid_date > account_days.as_of_date)
            and (invoices.voided_date is null or invoices.voided_date > account_days.as_of_date)
            and invoices.amount_due > 0
    group by account_days.account_id, account_days.as_of_date
)

select
    account_days.tenant_id,
    account_days.account_id,
    account_days.as_of_date,
    coalesce(unpaid_totals.unpaid_invoices, 0) as unpaid_invoices,
    cast(date_diff('day', unpaid_totals.oldest_due_date, account_days.as_of_date) as bigint)
        as days_past_due,
    coalesce(first_issue_dates.first_issued_date <= account_days.as_of_date, false) as ever_invoiced
from account_days
left join unpaid_totals
    on
        account_days.account_id = unpaid_totals.account_id
        and account_days.as_of_date = unpaid_totals.as_of_date
left join first_issue_dates
    on account_days.account_id = first_issue_dates.account_id
order by account_days.as_of_date, account_days.tenant_id, account_days.account_id
