-- Grain: one row per Stripe customer.
-- Definition: input of the account map. The domain is that of the e-mail address. The claimed account is the value
-- of the metadata key `account_key` from the settings of the source. A deleted customer keeps its last values.
-- Customers in test mode are left out unless the settings of the source include them.
-- Worked example: metadata {"account_id": "A-1"} with account_key account_id => claimed_account_id A-1.

with customers as (
    select
        records._source,
        records.record_id as external_id,
        records.record ->> '$.name' as external_name,
        records.record ->> '$.email' as email,
        records.record ->> '$.metadata' as metadata,
        coalesce(flag(records.record ->> '$.livemode'), true) as is_live,
        sources.settings ->> '$.account_key' as account_key,
        coalesce(flag(sources.settings ->> '$.include_test_mode'), false) as includes_test_mode
    from staging.stripe_records as records
    inner join run.sources as sources
        on sources.system = 'stripe' and sources._source = records._source
    where records.kind = 'customers'
)

select
    _source,
    external_id,
    external_name,
    case when email like '%@%' then trim(split_part(email, '@', 2)) end as external_domain,
    case
        when
            json_valid(metadata)
            then identifier_text(json_extract_string(metadata, '$."' || account_key || '"'))
    end as claimed_account_id
from customers
where is_live or includes_test_mode
order by _source, external_id
