-- Grain: one row per subscription and period with the same seats, price and renewal.
-- Definition (docs/sources/files.md, "Columns"): seats are the sum of the quantities of all items, mrr the sum of their
-- monthly prices before discounts. The first period starts with the subscription; later ones are named after their
-- start. Short billing periods, such as monthly ones, renew automatically: only periods of at least `renewal_months`
-- have a renewal date, which is the earliest end of the period of such an item. If an end of the subscription was
-- requested, that end is the renewal date from the time of the request on; a term shorter than `renewal_months` is
-- then null, as it does not renew.
-- Worked example: sub_1 from 1 January with 5 seats, 8 from 15 January => 'sub_1' with 5, ended 15 January, and
-- 'sub_1/2026-01-15 00:00:00' with 8.

with statement_times as (
    select
        _source,
        subscription_id,
        stated_at
    from staging.stripe_item_spans
    group by _source, subscription_id, stated_at
),

end_requests as (
    select
        subscriptions._source,
        subscriptions.subscription_id,
        max(coalesce(subscriptions.end_asked_at, statement_times.stated_at)) as asked_at
    from staging.stripe_subscriptions as subscriptions
    inner join statement_times
        on
            statement_times._source = subscriptions._source
            and statement_times.subscription_id = subscriptions.subscription_id
    where subscriptions.ends_at is not null
    group by subscriptions._source, subscriptions.subscription_id
),

change_points as (
    select
        _source,
        subscription_id,
        stated_at
    from statement_times
    union
    select
        end_requests._source,
        end_requests.subscription_id,
        greatest(end_requests.asked_at, subscriptions.started_at) as stated_at
    from end_requests
    inner join staging.stripe_subscriptions as subscriptions
        on
            subscriptions._source = end_requests._source
            and subscriptions.subscription_id = end_requests.subscription_id
),

states_at_change as (
    select
        change_points._source,
        change_points.subscription_id,
        change_points.stated_at,
        spans.seats,
        spans.mrr,
        spans.currency,
        spans.billing_months,
        spans.period_end
    from change_points
    inner join staging.stripe_item_spans as spans
        on
            spans._source = change_points._source
            and spans.subscription_id = change_points.subscription_id
            and spans.stated_at <= change_points.stated_at
    qualify row_number() over (
        partition by
            change_points._source,
            change_points.subscription_id,
            change_points.stated_at,
            spans.item_id
        order by spans.stated_at desc
    ) = 1
),

totals as (
    select
        states_at_change._source,
        states_at_change.subscription_id,
        states_at_change.stated_at,
        cast(sum(states_at_change.seats) as bigint) as seats,
        case
            when
                count(*) filter (where states_at_change.mrr is null) = 0
                and count(distinct states_at_change.currency) <= 1
                then cast(sum(states_at_change.mrr) as decimal(38, 2))
        end as mrr,
        case
            when count(distinct states_at_change.currency) = 1 then max(states_at_change.currency)
        end as currency,
        min(states_at_change.billing_months) filter (
            where states_at_change.billing_months >= subscriptions.renewal_months
        ) as renewing_months,
        max(states_at_change.billing_months) as billing_months,
        min(states_at_change.period_end) filter (
            where states_at_change.billing_months >= subscriptions.renewal_months
        ) as period_end,
        max(
            case
                when end_requests.asked_at <= states_at_change.stated_at then subscriptions.ends_at
            end
        ) as ends_at
    from states_at_change
    inner join staging.stripe_subscriptions as subscriptions
        on
            subscriptions._source = states_at_change._source
            and subscriptions.subscription_id = states_at_change.subscription_id
    left join end_requests
        on
            end_requests._source = states_at_change._source
            and end_requests.subscription_id = states_at_change.subscription_id
    group by states_at_change._source, states_at_change.subscription_id, states_at_change.stated_at
),

subscription_terms as (
    select
        _source,
        subscription_id,
        stated_at,
        seats,
        mrr,
        currency,
        coalesce(ends_at, period_end) as renews_at,
        coalesce(renewing_months, case when ends_at is null then billing_months end) as term_months
    from totals
),

terms_with_previous as (
    select
        _source,
        subscription_id,
        stated_at,
        seats,
        mrr,
        currency,
        renews_at,
        term_months,
        lag(seats) over (partition by _source, subscription_id order by stated_at) as seats_before,
        lag(mrr) over (partition by _source, subscription_id order by stated_at) as mrr_before,
        lag(currency)
            over (partition by _source, subscription_id order by stated_at)
            as currency_before,
        lag(renews_at)
            over (partition by _source, subscription_id order by stated_at)
            as renews_before,
        lag(term_months)
            over (partition by _source, subscription_id order by stated_at)
            as term_before,
        row_number() over (partition by _source, subscription_id order by stated_at) as place
    from subscription_terms
),

span_starts as (
    select
        _source,
        subscription_id,
        stated_at,
        seats,
        mrr,
        currency,
        renews_at,
        term_months,
        place,
        lead(stated_at)
            over (partition by _source, subscription_id order by stated_at)
            as changed_at
    from terms_with_previous
    where
        place = 1
        or seats is distinct from seats_before
        or mrr is distinct from mrr_before
        or (currency is not null and currency is distinct from currency_before)
        or renews_at is distinct from renews_before
        or term_months is distinct from term_before
),

spans as (
    select
        subscriptions._source,
        subscriptions.subscription_id,
        subscriptions.customer_id,
        coalesce(span_starts.place, 1) as place,
        span_starts.seats,
        span_starts.mrr,
        coalesce(span_starts.currency, subscriptions.currency) as currency,
        case
            when span_starts.place > 1 then span_starts.stated_at else subscriptions.started_at
        end as started_at,
        case
            when span_starts.place is null then subscriptions.ends_at else span_starts.renews_at
        end as renews_at,
        span_starts.changed_at,
        subscriptions.ended_at as subscription_ended_at,
        span_starts.term_months,
        subscriptions.version_at,
        subscriptions.ignored,
        subscriptions._source_file,
        subscriptions._source_line,
        subscriptions._loaded_at,
        subscriptions._load_id
    from staging.stripe_subscriptions as subscriptions
    left join span_starts
        on
            span_starts._source = subscriptions._source
            and span_starts.subscription_id = subscriptions.subscription_id
)

select
    case
        when spans.place = 1 then spans.subscription_id
        else spans.subscription_id || '/' || cast(spans.started_at as varchar)
    end as subscription_id,
    matched.account_id,
    spans.customer_id as external_account_id,
    spans.seats,
    spans.mrr,
    upper(spans.currency) as currency,
    spans.started_at,
    spans.renews_at,
    case
        when spans.changed_at is null then spans.subscription_ended_at
        when spans.subscription_ended_at < spans.changed_at then spans.subscription_ended_at
        else spans.changed_at
    end as ended_at,
    spans.term_months,
    spans.version_at as _version,
    coalesce(spans.ignored, case when matched.is_ignored then 'account_map' end) as _ignored,
    spans._source_file,
    spans._source_line,
    spans._loaded_at,
    spans._load_id
from spans
left join staging.account_map as matched
    on
        matched.system = 'stripe'
        and matched._source = spans._source
        and matched.external_id = spans.customer_id
where
    spans.place = 1
    or spans.subscription_ended_at is null
    or spans.started_at < spans.subscription_ended_at
order by subscription_id, spans._load_id, spans._source_file, spans._source_line
