-- Grain: one row per Stripe customer, latest record of it.
-- Definition: the step that the account map is made of. The domain is that of the e-mail address; what the customer's
-- metadata say under the key `account_key` of the source's settings is the account that Stripe itself names.
-- Worked example: metadata {"account_id": "A-1"} with account_key account_id => claimed_account_id A-1.

with customer_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.stripe__customers
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.stripe__airbyte_customers
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.stripe__fivetran_customer
),

customers as (
    select
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from customer_records
    qualify row_number() over (
        partition by _source, record ->> '$.id'
        order by _loaded_at desc, _load_id desc, _source_file desc, _source_line desc
    ) = 1
),

opened as (
    select
        customers._source,
        customers.record ->> '$.id' as external_id,
        customers.record ->> '$.name' as external_name,
        customers.record ->> '$.email' as email,
        coalesce(customers.record ->> '$.metadata', '{}') as metadata,
        coalesce(customers.record ->> '$.livemode', 'true') as livemode,
        sources.settings ->> '$.account_key' as account_key,
        sources.settings ->> '$.include_test_mode' as include_test_mode
    from customers
    inner join run.sources as sources on sources.system = 'stripe' and sources._source = customers._source
)

select
    _source,
    external_id,
    external_name,
    case when email like '%@%' then split_part(email, '@', 2) end as external_domain,
    case when json_valid(metadata) then json_extract_string(metadata, '$."' || account_key || '"') end
        as claimed_account_id
from opened
where external_id is not null and (lower(livemode) = 'true' or include_test_mode = 'true')
order by _source, external_id
