"""The records that the signals of an account and day read, as SQL: entity, key and hash of each.

A record is hashed as of the day: a time at which its state changes, such as ``paid_at``, is null if it is after the
day, because the signals of that day do not see it. So paying an invoice later does not change earlier receipts.
docs/receipts.md, "Records", lists the records of each entity.
"""

from __future__ import annotations

from csm_core.contract import ENTITIES, USAGE_EVENTS, Column, Kind
from csm_core.receipts import canonical_sql as json_sql

ACCOUNT_DAYS = "intermediate.int_account_days"
USAGE_DAYS = "intermediate.int_usage_daily_accounts"
_ATTRIBUTES = ("account_name", "created_at", "csm_owner", "plan", "segment", "tenant_id", "account_id")

# A later interaction than the engagement window does not end: the signal counts the days since the latest one.
_INTERACTIONS = """(
    select interactions.*, spans.next_date
    from staging.stg_interactions as interactions
    inner join (
        select account_id, interaction_date, lead(interaction_date) over (
            partition by account_id order by interaction_date
        ) as next_date
        from (
            select distinct account_id, cast(occurred_at as date) as interaction_date
            from staging.stg_interactions
            where not list_contains($excluded_interaction_kinds, kind)
        ) as interaction_days
    ) as spans
        on interactions.account_id = spans.account_id
        and cast(interactions.occurred_at as date) = spans.interaction_date
    where not list_contains($excluded_interaction_kinds, interactions.kind)
)"""

# The records of each entity that the signals of a day read; the conditions are those of sql/intermediate.
_READS = {
    "interactions": "cast(records.occurred_at as date) <= days.as_of_date "
    "and (cast(records.occurred_at as date) > days.as_of_date - $engagement_window_days "
    "or records.next_date is null or records.next_date > days.as_of_date)",
    "invoices": "cast(records.issued_at as date) <= days.as_of_date "
    "and (records.paid_at is null or cast(records.paid_at as date) > days.as_of_date) "
    "and (records.voided_at is null or cast(records.voided_at as date) > days.as_of_date)",
    "nps_responses": "cast(records.responded_at as date) <= days.as_of_date "
    "and cast(records.responded_at as date) > days.as_of_date - $nps_window_days",
    "subscriptions": "cast(records.started_at as date) <= days.as_of_date "
    "and (records.ended_at is null or cast(records.ended_at as date) > days.as_of_date)",
    "tam_assessments": "cast(records.assessed_at as date) <= days.as_of_date "
    "and cast(records.assessed_at as date) > days.as_of_date - $tam_window_days",
    "tickets": "cast(records.opened_at as date) <= days.as_of_date "
    "and (records.solved_at is null or cast(records.solved_at as date) > days.as_of_date "
    "or cast(records.opened_at as date) > days.as_of_date - $sentiment_window_days "
    "or cast(records.escalated_at as date) > days.as_of_date - $escalation_window_days)",
}


def read_records_sql(days: str) -> str:
    """Return a SELECT of the records that the signals read: account_id, as_of_date, entity, key and hash.

    ``days`` is a relation with account_id and as_of_date; the windows are parameters, as in the models.
    """
    parts = [_accounts_sql(days), _features_sql(days), _usage_sql(days)]
    parts += [_entity_sql(name, condition, days) for name, condition in _READS.items()]
    return " union all ".join(parts)


def records_hash_sql(days: str) -> str:
    """Return a SELECT of account_id, as_of_date and records_hash, the common hash of the records."""
    entry = json_sql.document({"entity": json_sql.plain_text("entity"), "hash": "hash_text", "key": "key_text"})
    return (
        f"select account_id, as_of_date, sha256('[' || string_agg({entry}, ',' order by entity, key) || ']') "
        "as records_hash from (select account_id, as_of_date, entity, key, "
        f"{json_sql.plain_text('hash')} as hash_text, {json_sql.text('key')} as key_text "
        f"from ({read_records_sql(days)}) as records) as entries group by account_id, as_of_date"
    )


def _accounts_sql(days: str) -> str:
    """The account with its attributes as of the day."""
    values = {name: json_sql.text(f"attributes.{name}") for name in _ATTRIBUTES if name != "created_at"}
    values["created_at"] = json_sql.utc_time("attributes.created_at")
    return (
        "select days.account_id, days.as_of_date, 'accounts' as entity, days.account_id as key, "
        f"sha256({json_sql.document(values)}) as hash from {days} as days "
        f"inner join {ACCOUNT_DAYS} as attributes "
        "on days.account_id = attributes.account_id and days.as_of_date = attributes.as_of_date"
    )


def _features_sql(days: str) -> str:
    """The list of features is the same for all accounts, so it is one record."""
    entity = ENTITIES["features"]
    values = {column.name: _value(column, f"features.{column.name}") for column in entity.columns}
    return (
        "select days.account_id, days.as_of_date, 'features' as entity, 'all' as key, lists.hash "
        f"from {days} as days inner join (select run_days.as_of_date, sha256('[' || "
        f"string_agg({json_sql.document(values)}, ',' order by features.feature) || ']') as hash "
        f"from (select distinct as_of_date from {days}) as run_days inner join {entity.table} as features "
        "on (features.released_at is null or cast(features.released_at as date) <= run_days.as_of_date) "
        "and (features._closed_at is null or cast(features._closed_at as date) > run_days.as_of_date) "
        "group by run_days.as_of_date) as lists on days.as_of_date = lists.as_of_date"
    )


def _usage_sql(days: str) -> str:
    """The daily totals of the account's events in the longest window are one record: an account has many events."""
    row = " || ',' || ".join(
        (
            json_sql.plain_text("usage_date"),
            *(json_sql.number(name) for name in ("events", "logins", "names_feature", "names_user")),
        )
    )
    window = "greatest(2 * $trend_window_days, $login_window_days)"
    # A join of every day with the usage of its window would have a hundred rows for each account and day. Here each
    # account has one list, of which a day has a slice: the usage after its window began, up to the day.
    ranked = (
        "select account_id, usage_date, day_text, row_number() over (partition by account_id order by usage_date) "
        f"as place from (select account_id, usage_date, '[' || {row} || ']' as day_text from {USAGE_DAYS} "
        f"where usage_date > (select min(as_of_date) from {days}) - {window} "
        f"and usage_date <= (select max(as_of_date) from {days})) as usage"
    )
    return (
        f"select account_id, as_of_date, '{USAGE_EVENTS}' as entity, "
        f"cast(as_of_date + 1 - {window} as varchar) || '/' || cast(as_of_date as varchar) as key, "
        "sha256('[' || array_to_string(list_slice(day_texts, first_place, last_place), ',') || ']') as hash "
        "from (select days.account_id, days.as_of_date, lists.day_texts, latest.place as last_place, "
        "coalesce(before.place, 0) + 1 as first_place "
        f"from {days} as days "
        f"asof inner join ({ranked}) as latest "
        "on days.account_id = latest.account_id and days.as_of_date >= latest.usage_date "
        f"asof left join ({ranked}) as before "
        f"on days.account_id = before.account_id and days.as_of_date - {window} >= before.usage_date "
        f"inner join (select account_id, list(day_text order by place) as day_texts from ({ranked}) as texts "
        "group by account_id) as lists on days.account_id = lists.account_id) as places "
        "where last_place >= first_place"
    )


def _entity_sql(name: str, condition: str, days: str) -> str:
    entity = ENTITIES[name]
    values = {column.name: _value(column, f"records.{column.name}") for column in entity.columns}
    source = _INTERACTIONS if name == "interactions" else entity.table
    return (
        f"select days.account_id, days.as_of_date, '{name}' as entity, records.{entity.key} as key, "
        f"sha256({json_sql.document(values)}) as hash from {days} as days "
        f"inner join {source} as records on days.account_id = records.account_id and {condition}"
    )


def _value(column: Column, expression: str) -> str:
    if column.state:
        expression = f"case when cast({expression} as date) <= days.as_of_date then {expression} end"
    match column.kind:
        case Kind.TEXT:
            return json_sql.text(expression)
        case Kind.INTEGER:
            return json_sql.number(expression)
        case Kind.DECIMAL:
            # As text, since a JSON number would lose the cents of large amounts.
            return json_sql.plain_text(expression)
        case Kind.TIMESTAMP:
            return json_sql.utc_time(expression)
