-- Grain: one row per pulse that was set.
-- Definition (docs/pulse.md): a pulse counts from set_on until the day before ended_on, the earliest
-- of: the day after until_date; the day on which a newer pulse was set or the pulse was cleared; the
-- day on which the account has another owner at its end than at the end of the day before. Of
-- several records of a day, the last counts.
-- Worked example: 2 set on 2026-06-01 until 2026-07-01, 3 set on 2026-06-20 => the first ended on
-- 2026-06-20, replaced.

with ordered_records as (
    select
        pulse_id,
        account_id,
        set_on,
        pulse,
        note,
        until_date,
        author,
        origin,
        recorded_at,
        lead(set_on) over by_account as next_set_on,
        lead(pulse) over by_account as next_pulse
    from sync.pulses
    window by_account as (
        partition by account_id
        order by set_on, pulse_id
    )
),

ordered_versions as (
    select
        account_id,
        csm_owner,
        cast(valid_from as date) as first_date,
        cast(lead(valid_from) over (partition by account_id order by valid_from) as date)
            as next_date,
        row_number() over (partition by account_id order by valid_from) as position
    from staging.stg_account_versions
),

-- A later version that ends on its first day is never that of the end of a day.
owners as (
    select
        account_id,
        csm_owner,
        first_date,
        position,
        lag(csm_owner) over (partition by account_id order by position) as previous_owner
    from ordered_versions
    where position = 1 or next_date is null or next_date > first_date
),

owner_changes as (
    select
        account_id,
        first_date as changed_on
    from owners
    where position > 1 and csm_owner is distinct from previous_owner
),

next_owner_changes as (
    select
        ordered_records.pulse_id,
        min(owner_changes.changed_on) as changed_on
    from ordered_records
    inner join owner_changes
        on
            ordered_records.account_id = owner_changes.account_id
            and ordered_records.set_on < owner_changes.changed_on
    group by ordered_records.pulse_id
),

ends as (
    select
        ordered_records.pulse_id,
        next_owner_changes.changed_on,
        least(
            ordered_records.until_date + 1,
            coalesce(ordered_records.next_set_on, ordered_records.until_date + 1),
            coalesce(next_owner_changes.changed_on, ordered_records.until_date + 1)
        ) as ended_on
    from ordered_records
    left join next_owner_changes
        on ordered_records.pulse_id = next_owner_changes.pulse_id
    where ordered_records.pulse is not null
)

select
    records.pulse_id,
    records.account_id,
    records.set_on,
    records.pulse,
    records.note,
    records.until_date,
    records.author,
    records.origin,
    records.recorded_at,
    ends.ended_on,
    case
        when records.next_set_on = ends.ended_on and records.next_pulse is null then 'cleared'
        when records.next_set_on = ends.ended_on then 'replaced'
        when ends.changed_on = ends.ended_on then 'owner_changed'
        else 'expired'
    end as ended_by
from ordered_records as records
inner join ends
    on records.pulse_id = ends.pulse_id
order by records.pulse_id
