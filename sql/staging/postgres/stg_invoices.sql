-- Grain: one row per invoice and record of it, as it came.
-- Definition (signals.md, "Staged contract"): the columns of the contract; queries give them under their own names.
-- Queries that are read by increments have a table of their own, those that are read whole another.
-- Worked example: the query `select id as invoice_id, …` => its rows, text as PostgreSQL writes it.

with records as (
    select
        invoice_id,
        account_id,
        amount_due,
        currency,
        issued_at,
        due_at,
        paid_at,
        voided_at,
        updated_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.postgres__invoices
    union all
    select
        invoice_id,
        account_id,
        amount_due,
        currency,
        issued_at,
        due_at,
        paid_at,
        voided_at,
        updated_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.postgres__invoices_whole
)

select
    invoice_id,
    account_id,
    amount_due,
    currency,
    issued_at,
    due_at,
    paid_at,
    voided_at,
    updated_at as _version,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from records
order by invoice_id, _load_id, _source_file, _source_line
