-- Grain: one row per account of the population and day of the run with a pulse.
-- Definition (docs/pulse.md): the pulse that counts on the day: set on the day or before, and ended
-- after it (see int_account_pulses). An account without one has no row.
-- Worked example: 2 set on 2026-06-01 for 30 days => rows from 2026-06-01, with an age of 0 days, to
-- 2026-07-01, with an age of 30 days.

with account_days as (
    select
        tenant_id,
        account_id,
        as_of_date
    from intermediate.int_account_days
    where as_of_date between $first_date and $last_date
),

pulses as (
    select
        account_id,
        set_on,
        ended_on,
        pulse,
        note,
        until_date,
        author,
        recorded_at
    from intermediate.int_account_pulses
    where set_on <= $last_date and ended_on > $first_date
)

select
    account_days.tenant_id,
    account_days.account_id,
    account_days.as_of_date,
    pulses.pulse,
    cast(date_diff('day', pulses.set_on, account_days.as_of_date) as bigint) as pulse_age_days,
    pulses.note as pulse_note,
    pulses.author,
    pulses.set_on,
    pulses.until_date,
    pulses.recorded_at as known_from
from account_days
inner join pulses
    on
        account_days.account_id = pulses.account_id
        and account_days.as_of_date >= pulses.set_on
        and account_days.as_of_date < pulses.ended_on
order by account_days.as_of_date, account_days.tenant_id, account_days.account_id
