-- Grain: one row per contact or company that was merged into another one.
-- Definition: from the properties of the surviving record, and from landed tables of merge audits. If the surviving
-- record was merged again, the last one counts. Records that were merged in a circle are not merged.
-- Worked example: contact 3 has hs_merged_object_ids 1;2, contact 4 has 3 => contacts 1, 2 and 3 are replaced by 4.

with recursive records as (
    select
        _source,
        case kind when 'contacts' then 'contact' else 'company' end as object,
        record_id as surviving_id,
        record
    from staging.hubspot_records
    where kind in ('contacts', 'companies')
),

merged_id_lists as (
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
                        when
                            json_type(record, '$.properties') = 'VARCHAR'
                            and json_valid(record ->> '$.properties')
                            then
                                json_extract_string(
                                    record ->> '$.properties', '$.hs_merged_object_ids'
                                )
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

stated_merges as (
    select
        _source,
        object,
        surviving_id,
        identifier_text(split_part(merged_text, ':', 1)) as merged_id
    from merged_id_lists
    union all
    select
        _source,
        'contact' as object,
        identifier_text(
            coalesce(record ->> '$.canonical_vid', record ->> '$."canonical-vid"')
        ) as surviving_id,
        identifier_text(coalesce(record ->> '$.vid_to_merge', record ->> '$."vid-to-merge"'))
            as merged_id
    from staging.hubspot_records
    where kind = 'contact_merges'
),

direct_merges as (
    select distinct
        _source,
        object,
        merged_id,
        surviving_id
    from stated_merges
    where merged_id <> '' and surviving_id <> merged_id
),

merge_paths as (
    select
        _source,
        object,
        merged_id,
        surviving_id
    from direct_merges
    union
    select
        merge_paths._source,
        merge_paths.object,
        merge_paths.merged_id,
        direct_merges.surviving_id
    from merge_paths
    inner join direct_merges
        on
            direct_merges._source = merge_paths._source
            and direct_merges.object = merge_paths.object
            and direct_merges.merged_id = merge_paths.surviving_id
)

select
    merge_paths._source,
    merge_paths.object,
    merge_paths.merged_id,
    min(merge_paths.surviving_id) as surviving_id
from merge_paths
left join direct_merges
    on
        direct_merges._source = merge_paths._source
        and direct_merges.object = merge_paths.object
        and direct_merges.merged_id = merge_paths.surviving_id
where direct_merges.merged_id is null
group by merge_paths._source, merge_paths.object, merge_paths.merged_id
order by merge_paths._source, merge_paths.object, merge_paths.merged_id
