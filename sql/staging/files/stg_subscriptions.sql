-- Grain: one row per record of a subscription period with the same seats and price.
-- Definition (docs/sources/files.md, "Columns"): the columns of the contract under their own names. A change ends one
-- row and starts another, so every past day can be reconstructed.
-- Worked example: ended_at 2026-03-20 of S0001-2 = started_at of S0001-3 => one of the two rows applies on any day.

select
    subscription_id,
    account_id,
    seats,
    mrr,
    currency,
    started_at,
    renews_at,
    ended_at,
    term_months,
    updated_at as _version,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from raw.files__subscriptions
order by subscription_id, _load_id, _source_file, _source_line
