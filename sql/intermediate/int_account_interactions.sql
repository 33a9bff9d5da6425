-- Grain: one row per account of the population and day of the run.
-- Definition (docs/signals.md, days_since_last_interaction, stakeholder_engagement): interactions without an excluded
-- kind ($excluded_interaction_kinds); the latest by the end of the day, and the contacts of the engagement window.
-- Worked example: calls with contact c1 (champion) on D - 10 and with no named contact on D - 2 => 2 days since,
-- contacts 1, key_contacts 1.

with account_days as (
    select
        tenant_id,
        account_id,
        as_of_date
    from intermediate.int_account_days
    where as_of_date between $first_date and $last_date
),

interactions as (
    select
        account_id,
        contact_id,
        list_contains($key_contact_roles, contact_role) as is_key_role,
        cast(occurred_at as date) as interaction_date
    from staging.stg_interactions
    where
        cast(occurred_at as date) <= $last_date
        and not list_contains($excluded_interaction_kinds, kind)
),

interaction_days as (
    select distinct
        account_id,
        interaction_date
    from interactions
),

interaction_spans as (
    select
        account_id,
        interaction_date,
        lead(interaction_date) over (
            partition by account_id
            order by interaction_date
        ) as next_interaction_date
    from interaction_days
),

latest_interactions as (
    select
        account_days.account_id,
        account_days.as_of_date,
        interaction_spans.interaction_date
    from account_days
    inner join interaction_spans
        on
            account_days.account_id = interaction_spans.account_id
            and interaction_spans.interaction_date <= account_days.as_of_date
            and (
                interaction_spans.next_interaction_date is null
                or interaction_spans.next_interaction_date > account_days.as_of_date
            )
),

engaged_contacts as (
    select
        account_days.account_id,
        account_days.as_of_date,
        count(distinct interactions.contact_id) as contacts,
        count(distinct case when interactions.is_key_role then interactions.contact_id end)
            as key_contacts
    from account_days
    inner join interactions
        on
            account_days.account_id = interactions.account_id
            and interactions.interaction_date <= account_days.as_of_date
            and interactions.interaction_date > account_days.as_of_date - $engagement_window_days
    where interactions.contact_id is not null
    group by account_days.account_id, account_days.as_of_date
)

select
    account_days.tenant_id,
    account_days.account_id,
    account_days.as_of_date,
    cast(date_diff('day', latest_interactions.interaction_date, account_days.as_of_date) as bigint)
        as days_since_last_interaction,
    coalesce(engaged_contacts.contacts, 0) as contacts,
    coalesce(engaged_contacts.key_contacts, 0) as key_contacts
from account_days
left join latest_interactions
    on
        account_days.account_id = latest_interactions.account_id
        and account_days.as_of_date = latest_interactions.as_of_date
left join engaged_contacts
    on
        account_days.account_id = engaged_contacts.account_id
        and account_days.as_of_date = engaged_contacts.as_of_date
order by account_days.as_of_date, account_days.tenant_id, account_days.account_id
