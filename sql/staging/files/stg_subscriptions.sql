-- Grain: one row per record of a subscription, or of a period of it with the same seats and price.
-- Definition (signals.md, "Staged contract"): the columns of the contract; files carry them under their own names.
-- A change ends one row and starts another; nothing is changed in place, so every past day can be told.
-- Worked example: ended_at 2026-03-20 of S0001-2 = started_at of S0001-3 => one of them counts on any day.

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
