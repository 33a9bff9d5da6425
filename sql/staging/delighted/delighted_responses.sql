-- Grain: one row per answer, the one that was changed last, whatever shape it came in.
-- Definition: names of columns are compared without regard to case, blanks as underscores; those that the settings
-- name come before the usual ones. Answers to other surveys than NPS are left out. Whose answer it is: the account
-- that the person's property `account_key` names, as account/<id>, else the person's address, else the person, as
-- person/<id>. Whoever answers is a person by id, else by address, else the answer itself.
-- Worked example: {"id": 1, "person": 10, "person_properties": {"account_id": "A"}} => external_id account/A, person
-- 10.

with response_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.delighted__survey_responses
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.delighted__airbyte_survey_responses
),

people_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.delighted__people
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.delighted__airbyte_people
),

people as (
    select
        _source,
        record ->> '$.id' as person_id,
        record ->> '$.email' as email
    from people_records
    qualify row_number() over (
        partition by _source, record ->> '$.id'
        order by _loaded_at desc, _load_id desc, _source_file desc, _source_line desc
    ) = 1
),

usual(field, name) as (
    values
    ('id', 'response_id'),
    ('id', 'survey_response_id'),
    ('person', 'person_id'),
    ('email', 'person_email'),
    ('email', 'email_address'),
    ('created_at', 'response_date'),
    ('created_at', 'responded_at')
),

named as (
    select
        sources._source,
        lower(replace(trim(json_extract_string(stated.value, '$')), ' ', '_')) as name,
        stated.key as field,
        1 as place
    from run.sources as sources, json_each(json_extract(sources.settings, '$.columns')) as stated
    where sources.system = 'delighted'
    union all
    select
        sources._source,
        usual.name,
        usual.field,
        2 as place
    from run.sources as sources
    cross join usual
    where sources.system = 'delighted'
    union all
    select
        sources._source,
        lower(replace(trim(sources.settings ->> '$.account_key'), ' ', '_')) as name,
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

told as (
    select
        response_records._source,
        response_records._source_file,
        response_records._source_line,
        response_records._load_id,
        named.field,
        arg_min(json_extract_string(entry.value, '$'), named.place) as value
    from response_records, json_each(response_records.record) as entry
    inner join named
        on named._source = response_records._source and named.name = lower(replace(trim(entry.key), ' ', '_'))
    where trim(json_extract_string(entry.value, '$')) <> ''
    group by all
),

opened as (
    select
        response_records._source,
        response_records._source_file,
        response_records._source_line,
        response_records._loaded_at,
        response_records._load_id,
        max(told.value) filter (where told.field = 'id') as response_id,
        max(told.value) filter (where told.field = 'person') as person,
        max(told.value) filter (where told.field = 'email') as email,
        max(told.value) filter (where told.field = 'score') as score,
        max(told.value) filter (where told.field = 'survey_type') as survey_type,
        max(told.value) filter (where told.field = 'created_at') as created,
        max(told.value) filter (where told.field = 'updated_at') as updated,
        max(told.value) filter (where told.field = 'account') as account_column,
        max(told.value) filter (where told.field = 'person_properties') as person_properties
    from response_records
    left join told
        on told._source = response_records._source
        and told._source_file = response_records._source_file
        and told._source_line = response_records._source_line
        and told._load_id = response_records._load_id
    group by all
),

whose as (
    select
        opened._source,
        opened.response_id,
        opened.score,
        opened.created,
        opened.updated,
        case
            when opened.person like '{%' and json_valid(opened.person) then json_extract_string(opened.person, '$.id')
            else opened.person
        end as person_id,
        lower(
            coalesce(
                opened.email,
                case
                    when opened.person like '{%' and json_valid(opened.person)
                        then json_extract_string(opened.person, '$.email')
                end
            )
        ) as email,
        coalesce(
            case
                when json_valid(opened.person_properties)
                    then json_extract_string(
                        opened.person_properties, '$."' || replace(sources.settings ->> '$.account_key', '"', '') || '"'
                    )
            end,
            opened.account_column
        ) as claimed_account_id,
        opened._source_file,
        opened._source_line,
        opened._loaded_at,
        opened._load_id
    from opened
    inner join run.sources as sources on sources.system = 'delighted' and sources._source = opened._source
    where lower(coalesce(opened.survey_type, 'nps')) = 'nps'
),

respondents as (
    select
        whose._source,
        whose.response_id,
        whose.score,
        case
            when regexp_matches(whose.created, '^[0-9]{9,11}$')
                then cast(make_timestamp(cast(whose.created as bigint) * 1000000) as varchar)
            else regexp_replace(whose.created, ' UTC$', '')
        end as responded_at,
        case
            when regexp_matches(whose.updated, '^[0-9]{9,11}$')
                then cast(make_timestamp(cast(whose.updated as bigint) * 1000000) as varchar)
            else regexp_replace(whose.updated, ' UTC$', '')
        end as changed_at,
        whose.person_id,
        coalesce(whose.email, lower(people.email)) as email,
        nullif(trim(whose.claimed_account_id), '') as claimed_account_id,
        whose._source_file,
        whose._source_line,
        whose._loaded_at,
        whose._load_id
    from whose
    left join people on people._source = whose._source and people.person_id = whose.person_id
)

select
    _source,
    coalesce(response_id, coalesce(person_id, email) || '/' || responded_at) as response_id,
    coalesce(person_id, email, response_id) as respondent_id,
    score,
    responded_at,
    coalesce('account/' || claimed_account_id, email, 'person/' || person_id, 'response/' || response_id)
        as external_id,
    case when email like '%@%' then split_part(email, '@', 2) end as external_domain,
    claimed_account_id,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from respondents
qualify row_number() over (
    partition by
        _source,
        coalesce(response_id, coalesce(person_id, email) || '/' || responded_at, _source_file || _source_line)
    order by
        try_cast(changed_at as timestamp) desc nulls last,
        _loaded_at desc,
        _load_id desc,
        _source_file desc,
        _source_line desc
) = 1
order by _source, response_id, _load_id, _source_file, _source_line
