-- Grain: one row per record of a subscription, or of a period of it with the same seats and price.
-- Definition (signals.md, "Staged contract"): the columns of the contract; queries give them under their own names.
-- Queries that are read by increments have a table of their own, those that are read whole another.
-- Worked example: the query `select id as subscription_id, …` => its rows, text as PostgreSQL writes it.

with records as (
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
        updated_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.postgres__subscriptions
    union all
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
        updated_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.postgres__subscriptions_whole
)

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
from records
order by subscription_id, _load_id, _source_file, _source_line
