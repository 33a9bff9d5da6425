-- Grain: one row per feature name that any usage row has.
-- Definition: there is no catalogue, so the features are those ever used; they count as part of every plan and as
-- released before the records begin (each is used within their first days). is_beta_feature is no property of a
-- feature: every feature has rows of both kinds. A usage row without a feature name makes no feature.
-- Worked example: feature_20 in 600 usage rows => one feature, with the file and line of the first of them.

with usage_rows as (
    select
        identifier_text(feature_name) as feature_name,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.ravenstack__feature_usage
    where is_given(feature_name)
    qualify
        row_number() over (
            partition by identifier_text(feature_name) order by _load_id, _source_file, _source_line
        ) = 1
)

select
    feature_name as feature,
    cast(null as varchar) as module,
    cast(null as varchar) as plan,
    cast(null as varchar) as released_at,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from usage_rows
order by feature_name
