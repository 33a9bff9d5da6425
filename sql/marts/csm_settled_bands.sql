-- Grain: one row per account and day that counts (see csm_days).
-- Definition (docs/signals.md, "Settled changes"): a band decides from the day on which it has lasted
-- $transition_settle_days days, or from its first day if it skips a band or if the account has no
-- scored day in the 28 days before. The settled band is that of the latest day with a band that
-- decides; without one in the last 92 days, the worst band of these days. The churn risk follows the
-- same rule; a risk that becomes critical decides from its first day.
-- Worked example: GREEN until 1 June, AMBER from 2 June to 4 June => settled GREEN until 3 June, and
-- settled AMBER on 4 June, changed on 2 June.

-- A settled band needs 92 days, and 28 more for the one before. Whether a day decides depends on up
-- to 28 days of its band, the longest $transition_settle_days, and on a scored day 28 days before.
with scored_days as (
    select
        tenant_id,
        account_id,
        as_of_date,
        date_diff('day', cast('2000-01-01' as date), as_of_date) as day_number,
        case rag when 'GREEN' then 1 when 'AMBER' then 2 else 3 end as rag_rank,
        case churn_risk_level
            when 'low' then 1 when 'medium' then 2 when 'high' then 3 else 4
        end as risk_rank
    from marts.csm_health_scores
    where
        as_of_date >= $first_date - 176
        and as_of_date <= $last_date
        and not exists (
            select 1
            from run.uncounted_days as uncounted
            where uncounted.as_of_date = csm_health_scores.as_of_date
        )
),

-- The days before are only those that may be compared: a longer gap starts over.
days_with_previous as (
    select
        tenant_id,
        account_id,
        as_of_date,
        day_number,
        rag_rank,
        risk_rank,
        lag(as_of_date) over by_account as previous_date,
        coalesce(day_number - lag(day_number) over by_account > 28, true) as starts_over,
        coalesce(lag(rag_rank) over by_account, 0) as previous_rag_rank,
        coalesce(lag(risk_rank) over by_account, 0) as previous_risk_rank
    from scored_days
    window by_account as (
        partition by account_id
        order by as_of_date
    )
),

-- Dates only increase, so the largest of the days so far is the latest.
spells as (
    select
        tenant_id,
        account_id,
        as_of_date,
        day_number,
        rag_rank,
        risk_rank,
        previous_date,
        starts_over,
        max(case when starts_over or rag_rank <> previous_rag_rank then as_of_date end)
            over by_account as rag_since,
        max(case when starts_over or abs(rag_rank - previous_rag_rank) > 1 then as_of_date end)
            over by_account as rag_decided_at_once_on,
        max(case when starts_over or risk_rank <> previous_risk_rank then as_of_date end)
            over by_account as risk_since,
        max(
            case
                when
                    starts_over
                    or abs(risk_rank - previous_risk_rank) > 1
                    or (risk_rank = 4 and previous_risk_rank < 4)
                    then as_of_date
            end
        ) over by_account as risk_decided_at_once_on
    from days_with_previous
    window by_account as (
        partition by account_id
        order by as_of_date
    )
),

deciding_days as (
    select
        tenant_id,
        account_id,
        as_of_date,
        day_number,
        rag_rank,
        risk_rank,
        previous_date,
        starts_over,
        rag_since,
        risk_since,
        rag_decided_at_once_on = rag_since
        or date_diff('day', rag_since, as_of_date) + 1 >= $transition_settle_days
            as rag_decides,
        risk_decided_at_once_on = risk_since
        or date_diff('day', risk_since, as_of_date) + 1 >= $transition_settle_days
            as risk_decides,
        -- The first day of a spell, or a day before which the spell was too short.
        as_of_date = rag_since
        or (
            rag_decided_at_once_on <> rag_since
            and date_diff('day', rag_since, previous_date) + 1 < $transition_settle_days
        ) as rag_is_undecided_before,
        as_of_date = risk_since
        or (
            risk_decided_at_once_on <> risk_since
            and date_diff('day', risk_since, previous_date) + 1 < $transition_settle_days
        ) as risk_is_undecided_before
    from spells
),

decisions as (
    select
        tenant_id,
        account_id,
        as_of_date,
        day_number,
        starts_over,
        last_value(case when rag_decides then rag_rank end ignore nulls)
            over by_account as decided_rag_rank,
        max(case when rag_decides then as_of_date end) over by_account as rag_decided_on,
        max(case when rag_decides then rag_since end) over by_account as rag_changed_on,
        max(case when rag_decides and rag_is_undecided_before then as_of_date end)
            over by_account as rag_settled_on,
        max(rag_rank) over last_days as worst_rag_rank,
        last_value(case when risk_decides then risk_rank end ignore nulls)
            over by_account as decided_risk_rank,
        max(case when risk_decides then as_of_date end) over by_account as risk_decided_on,
        max(case when risk_decides then risk_since end) over by_account as risk_changed_on,
        max(case when risk_decides and risk_is_undecided_before then as_of_date end)
            over by_account as risk_settled_on,
        max(risk_rank) over last_days as worst_risk_rank
    from deciding_days
    window
        by_account as (
            partition by account_id
            order by as_of_date
        ),
        last_days as (
            partition by account_id
            order by day_number
            range between 92 preceding and current row
        )
),

settled_ranks as (
    select
        tenant_id,
        account_id,
        as_of_date,
        starts_over,
        rag_decided_on,
        rag_changed_on,
        rag_settled_on,
        risk_decided_on,
        risk_changed_on,
        risk_settled_on,
        case when rag_decided_on >= as_of_date - 92 then decided_rag_rank else worst_rag_rank end
            as rag_rank,
        case
            when risk_decided_on >= as_of_date - 92 then decided_risk_rank else worst_risk_rank
        end as risk_rank
    from decisions
),

ranks_with_previous as (
    select
        tenant_id,
        account_id,
        as_of_date,
        rag_rank,
        risk_rank,
        case when not starts_over then lag(rag_rank) over by_account end as previous_rag_rank,
        case when not starts_over then lag(risk_rank) over by_account end as previous_risk_rank,
        case
            when rag_decided_on >= as_of_date - 92 and rag_changed_on >= as_of_date - 92
                then rag_changed_on
        end as rag_changed_on,
        case
            when rag_decided_on >= as_of_date - 92 and rag_settled_on >= as_of_date - 92
                then rag_settled_on
        end as rag_settled_on,
        case
            when risk_decided_on >= as_of_date - 92 and risk_changed_on >= as_of_date - 92
                then risk_changed_on
        end as risk_changed_on,
        case
            when risk_decided_on >= as_of_date - 92 and risk_settled_on >= as_of_date - 92
                then risk_settled_on
        end as risk_settled_on
    from settled_ranks
    window by_account as (
        partition by account_id
        order by as_of_date
    )
)

select
    tenant_id,
    account_id,
    as_of_date,
    case rag_rank when 1 then 'GREEN' when 2 then 'AMBER' else 'RED' end as settled_rag,
    case previous_rag_rank when 1 then 'GREEN' when 2 then 'AMBER' when 3 then 'RED' end
        as previous_settled_rag,
    rag_changed_on,
    rag_settled_on,
    case risk_rank when 1 then 'low' when 2 then 'medium' when 3 then 'high' else 'critical' end
        as settled_churn_risk_level,
    case previous_risk_rank
        when 1 then 'low' when 2 then 'medium' when 3 then 'high' when 4 then 'critical'
    end as previous_settled_churn_risk_level,
    risk_changed_on,
    risk_settled_on
from ranks_with_previous
where as_of_date >= $first_date
order by as_of_date, tenant_id, account_id
