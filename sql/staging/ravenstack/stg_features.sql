-- Grain: one row per feature name in the usage rows.
-- Definition: the data set has no catalogue, so the features are those that were used. They are part of every plan
-- and were released before the first record (each is used within the first days). is_beta_feature is not a property
-- of a feature: every feature has rows of both kinds. A usage row without a feature name creates no feature.
-- Worked example: feature_20 in 600 usage rows => one feature, with file and line of its first row.

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
    cast(null as varchar) as display_name,
    cast(null as varchar) as valid_from,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from usage_rows
order by feature_name
