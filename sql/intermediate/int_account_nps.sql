-- Grain: one row per account of the population and day of the run.
-- Definition (docs/signals.md, nps_score): each respondent's latest response of the last $nps_window_days days; their
-- mean, halves rounded up, in whole-number arithmetic.
-- Worked example: latest responses 8 and 9 => mean 8.5 => 9.

with account_days as (
    select
        tenant_id,
        account_id,
        as_of_date
    from intermediate.int_account_days
    where as_of_date between $first_date and $last_date
),

responses as (
    select
        account_id,
        score,
        cast(responded_at as date) as responded_date,
        lead(cast(responded_at as date)) over (
            partition by account_id, respondent_id
            order by responded_at, response_id
        ) as next_responded_date
    from staging.stg_nps_responses
    where
        cast(responded_at as date) <= $last_date
        and cast(responded_at as date) > $first_date - $nps_window_days
),

score_sums as (
    select
        account_days.account_id,
        account_days.as_of_date,
        count(*) as respondents,
        cast(sum(responses.score) as bigint) as score_sum
    from account_days
    inner join responses
        on
            account_days.account_id = responses.account_id
            and responses.responded_date <= account_days.as_of_date
            and responses.responded_date > account_days.as_of_date - $nps_window_days
            and (
                responses.next_responded_date is null
                or responses.next_responded_date > account_days.as_of_date
            )
    group by account_days.account_id, account_days.as_of_date
)

select
    account_days.tenant_id,
    account_days.account_id,
    account_days.as_of_date,
    coalesce(score_sums.respondents, 0) as respondents,
    cast(
        (2 * score_sums.score_sum + score_sums.respondents) // (2 * score_sums.respondents)
        as bigint
    ) as nps_score
from account_days
left join score_sums
    on
        account_days.account_id = score_sums.account_id
        and account_days.as_of_date = score_sums.as_of_date
order by account_days.as_of_date, account_days.tenant_id, account_days.account_id
