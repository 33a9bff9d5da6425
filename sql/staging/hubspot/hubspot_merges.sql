-- Grain: one row per contact or company that was merged into another one.
-- Definition: from what the surviving record says of itself, and from the audits of merges that others land. Where
-- the surviving one was merged again, it is the last one that counts. In a circle all are there by themselves.
-- Worked example: contact 3 says hs_merged_object_ids 1;2, contact 4 says 3 => 1, 2 and 3 are 4.

with recursive records as (
    select
        _source,
        case kind when 'contacts' then 'contact' else 'company' end as object,
        record_id as surviving_id,
        record
    from staging.hubspot_records
    where kind in ('contacts', 'companies')
),

listed as (
    select
        _source,
        object,
        surviving_id,
        unnest(
            string_split(
                concat_ws(
                    ';',
                    record ->> '$.properties.hs_merged_object_ids',
                    case
                        when json_type(record, '$.properties') = 'VARCHAR' and json_valid(record ->> '$.properties')
                            then json_extract_string(record ->> '$.properties', '$.hs_merged_object_ids')
                    end,
                    record ->> '$.property_hs_merged_object_ids',
                    record ->> '$.property_hs_calculated_merged_vids',
                    record ->> '$.properties_hs_merged_object_ids'
                ),
                ';'
            )
        ) as merged_text
    from records
),

stated as (
    select
        _source,
        object,
        surviving_id,
        identifier_text(split_part(merged_text, ':', 1)) as merged_id
    from listed
    union all
    select
        _source,
        'contact' as object,
        identifier_text(
            coalesce(record ->> '$.canonical_vid', record ->> '$."canonical-vid"')
        ) as surviving_id,
        identifier_text(coalesce(record ->> '$.vid_to_merge', record ->> '$."vid-to-merge"')) as merged_id
    from staging.hubspot_records
    where kind = 'contact_merges'
),

steps as (
    select distinct
        _source,
        object,
        merged_id,
        surviving_id
    from stated
    where merged_id <> '' and surviving_id <> merged_id
),

ways as (
    select _source, object, merged_id, surviving_id
    from steps
    union
    select
        ways._source,
        ways.object,
        ways.merged_id,
        steps.surviving_id
    from ways
    inner join steps
        on steps._source = ways._source and steps.object = ways.object and steps.merged_id = ways.surviving_id
)

select
    ways._source,
    ways.object,
    ways.merged_id,
    min(ways.surviving_id) as surviving_id
from ways
left join steps
    on steps._source = ways._source and steps.object = ways.object and steps.merged_id = ways.surviving_id
where steps.merged_id is null
group by ways._source, ways.object, ways.merged_id
order by ways._source, ways.object, ways.merged_id
