-- Grain: one row per ticket without a rating that has a score for its text.
-- Definition: only for sources with `sentiment: lexicon`; a later rating replaces the sentiment. A score of 0.5 or
-- more is positive, of -0.5 or less negative, else neutral: polite requests ("please", "thanks") score up to about
-- 0.4, and plain error reports down to about -0.4. No text is critical: only a customer's rating can be.
-- Worked example: compound -0.78, no rating => negative, lexicon.

with scored_texts as (
    select
        _source,
        identifier_text(record ->> '$.ticket_id') as ticket_id,
        plain_number(record ->> '$.compound') as compound,
        record ->> '$.method' as sentiment_source
    from staging.zendesk_records
    where kind = 'text_sentiments'
    qualify row_number() over (
        partition by _source, identifier_text(record ->> '$.ticket_id')
        order by _load_id, _source_file, _source_line
    ) = 1
),

rated_tickets as (
    select distinct
        _source,
        ticket_id
    from staging.zendesk_ratings
)

select
    scored_texts._source,
    scored_texts.ticket_id,
    case
        when scored_texts.compound >= 0.5 then 'positive'
        when scored_texts.compound <= -0.5 then 'negative'
        else 'neutral'
    end as sentiment,
    scored_texts.sentiment_source,
    scored_texts.compound
from scored_texts
inner join run.sources as sources
    on sources.system = 'zendesk' and sources._source = scored_texts._source
left join rated_tickets
    on
        rated_tickets._source = scored_texts._source
        and rated_tickets.ticket_id = scored_texts.ticket_id
where
    rated_tickets.ticket_id is null
    and scored_texts.compound is not null
    and sources.settings ->> '$.sentiment' = 'lexicon'
order by scored_texts._source, scored_texts.ticket_id
