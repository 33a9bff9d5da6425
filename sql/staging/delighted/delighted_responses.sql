-- Grain: one row per record of a response.
-- Definition: column names are compared without regard to case, with blanks as underscores; names from the settings
-- come before the default names. The external id is the account in the person's property `account_key`, as
-- account/<id>; without it the person's e-mail address; without it the person, as person/<id>. The respondent is the
-- person's id, else the e-mail address, else the response itself. A time that does not parse is passed on as text.
-- Worked example: {"id": 1, "person": 10, "person_properties": {"account_id": "A"}} => external_id account/A, person
-- 10.

with people as (
    select
        _source,
        record_id as person_id,
        record ->> '$.email' as email
    from staging.delighted_records
    where kind = 'people'
),

response_records as (
    select
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from staging.delighted_records
    where kind = 'responses'
),

default_columns (field, name) as (
    values
    ('id', 'response_id'),
    ('id', 'survey_response_id'),
    ('person', 'person_id'),
    ('email', 'person_email'),
    ('email', 'email_address'),
    ('created_at', 'response_date'),
    ('created_at', 'responded_at')
),

column_names as (
    select
        sources._source,
        lower(replace(replace(trim(json_extract_string(stated.value, '$')), ' ', '_'), '-', '_'))
            as name,
        stated.key as field,
        1 as place
    from run.sources as sources, json_each(json_extract(sources.settings, '$.columns')) as stated
    where sources.system = 'delighted'
    union all
    select
        sources._source,
        default_columns.name,
        default_columns.field,
        2 as place
    from run.sources as sources
    cross join default_columns
    where sources.system = 'delighted'
    union all
    select
        sources._source,
        lower(replace(replace(trim(sources.settings ->> '$.account_key'), ' ', '_'), '-', '_'))
            as name,
        'account' as field,
        1 as place
    from run.sources as sources
    where sources.system = 'delighted'
    union all
    select
        sources._source,
        'person_properties' as name,
        'person_properties' as field,
        1 as place
    from run.sources as sources
    where sources.system = 'delighted'
),

column_values as (
    select
        response_records._source,
        response_records._source_file,
        response_records._source_line,
        response_records._load_id,
        column_names.field,
        arg_min(json_extract_string(entry.value, '$'), (column_names.place, column_names.name))
            as value
    from response_records, json_each(response_records.record) as entry
    inner join column_names
        on
            column_names._source = response_records._source
            and column_names.name = lower(replace(replace(trim(entry.key), ' ', '_'), '-', '_'))
    where is_given(json_extract_string(entry.value, '$'))
    group by all
),

response_columns as (
    select
        response_records._source,
        response_records._source_file,
        response_records._source_line,
        response_records._loaded_at,
        response_records._load_id,
        identifier_text(max(column_values.value) filter (where column_values.field = 'id'))
            as response_id,
        max(column_values.value) filter (where column_values.field = 'person') as person,
        max(column_values.value) filter (where column_values.field = 'email') as email,
        max(column_values.value) filter (where column_values.field = 'score') as score,
        max(column_values.value) filter (where column_values.field = 'survey_type') as survey_type,
        max(column_values.value) filter (where column_values.field = 'created_at') as created,
        max(column_values.value) filter (where column_values.field = 'updated_at') as updated,
        max(column_values.value) filter (where column_values.field = 'account') as account_column,
        max(column_values.value) filter (where column_values.field = 'person_properties')
            as person_properties
    from response_records
    left join column_values
        on
            column_values._source = response_records._source
            and column_values._source_file = response_records._source_file
            and column_values._source_line = response_records._source_line
            and column_values._load_id = response_records._load_id
    group by all
),

parsed_responses as (
    select
        response_columns._source,
        response_columns.response_id,
        response_columns.score,
        coalesce(cast(vendor_time(response_columns.created) as varchar), response_columns.created)
            as responded_at,
        coalesce(cast(vendor_time(response_columns.updated) as varchar), response_columns.updated)
            as updated_at,
        lower(trim(response_columns.survey_type)) as survey_type,
        reference_id(response_columns.person) as person_id,
        lower(trim(coalesce(
            response_columns.email,
            case
                when response_columns.person like '{%' and json_valid(response_columns.person)
                    then json_extract_string(response_columns.person, '$.email')
            end
        ))) as email,
        identifier_text(coalesce(
            case
                when json_valid(response_columns.person_properties)
                    then nullif(trim(json_extract_string(
                        response_columns.person_properties,
                        '$."' || replace(sources.settings ->> '$.account_key', '"', '') || '"'
                    )), '')
            end,
            response_columns.account_column
        )) as claimed_account_id,
        sources.settings ->> '$.without_account' as without_account,
        response_columns._source_file,
        response_columns._source_line,
        response_columns._loaded_at,
        response_columns._load_id
    from response_columns
    inner join run.sources as sources
        on sources.system = 'delighted' and sources._source = response_columns._source
),

respondents as (
    select
        parsed_responses._source,
        parsed_responses.response_id,
        parsed_responses.score,
        parsed_responses.responded_at,
        parsed_responses.updated_at,
        parsed_responses.person_id,
        coalesce(parsed_responses.email, lower(trim(people.email))) as email,
        parsed_responses.claimed_account_id,
        parsed_responses.without_account,
        case
            when
                parsed_responses.survey_type = 'nps' or parsed_responses.survey_type is null
                then null
            when
                parsed_responses.survey_type in (
                    'csat', 'ces', 'enps', 'pmf', 'smileys', 'thumbs', '5-star', 'five_star'
                )
                then 'survey_type ' || parsed_responses.survey_type
            else 'survey_type other'
        end as ignored,
        parsed_responses._source_file,
        parsed_responses._source_line,
        parsed_responses._loaded_at,
        parsed_responses._load_id
    from parsed_responses
    left join people
        on
            people._source = parsed_responses._source
            and people.person_id = parsed_responses.person_id
)

select
    _source,
    coalesce(response_id, coalesce(person_id, email) || '/' || responded_at) as response_id,
    coalesce(person_id, email, response_id) as respondent_id,
    score,
    responded_at,
    updated_at,
    coalesce(
        'account/' || claimed_account_id, email, 'person/' || person_id, 'response/' || response_id
    ) as external_id,
    case when email like '%@%' then email end as external_domain,
    claimed_account_id,
    without_account,
    ignored,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from respondents
order by _source, response_id, _load_id, _source_file, _source_line
