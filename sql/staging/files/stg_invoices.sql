-- Grain: one row per record of an invoice.
-- Definition (docs/sources/files.md, "Columns"): the columns of the contract under their own names. The state of an
-- invoice on a day is derived from its four times, never from a status.
-- Worked example: issued 2026-06-01, due 2026-07-01, paid 2026-07-05 => overdue on the days 2026-07-02 to
-- 2026-07-04.

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
from raw.files__invoices
order by invoice_id, _load_id, _source_file, _source_line
