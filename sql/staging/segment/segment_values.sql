-- Grain: one row per rule in the settings and value of its property.
-- Definition: the feature for each value, from `values` of the rules under `features`.
-- Worked example: {event: Page Viewed, property: section, values: {bills: invoicing}} => 1, bills, invoicing.

with rules as (
    select
        _source,
        generate_subscripts(cast(json_extract(settings, '$.features') as json[]), 1) as rule,
        unnest(cast(json_extract(settings, '$.features') as json[])) as stated
    from run.sources
    where system = 'segment'
),

value_entries as (
    select
        _source,
        rule,
        unnest(map_entries(cast(json_extract(stated, '$.values') as map (varchar, varchar))))
            as entry
    from rules
)

select
    value_entries._source,
    value_entries.rule,
    entry.key as value,
    entry.value as feature
from value_entries
order by value_entries._source, value_entries.rule, value
