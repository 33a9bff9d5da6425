"""The late records by key: which records changed materialised days, and the loads that they came with.

``run.late_record_keys`` has the records that ``run.late_records`` counts. Usage events are counted per account, day and
load instead of listed. Rows are kept, since they explain revisions of scores (``csm revisions``).
"""

from __future__ import annotations

from csm_core.contract import ACCOUNT_COLUMN, ACCOUNTS, ENTITIES, USAGE_EVENTS, Entity

LATE_RECORD_KEYS = "run.late_record_keys"
_LIFECYCLE_EVENTS = "lifecycle_events"


def changed_records_sql(entity: Entity, differing: str, before: str, after: str) -> str:
    """Return a SELECT of records that touch a day up to $last: key, account, day, load, and their number.

    ``differing`` is the FROM clause of the differing pairs of ``earlier`` and ``later``, from the tables ``before`` and
    ``after``. A record that was removed or closed has the newest load of its entity, which no longer lists it.
    """
    of_accounts = any(column.name == ACCOUNT_COLUMN for column in entity.columns)
    account = f"coalesce(later.{ACCOUNT_COLUMN}, earlier.{ACCOUNT_COLUMN})" if of_accounts else "cast(null as varchar)"
    listed = f"cast(coalesce(later.{entity.key}, earlier.{entity.key}) as varchar)"
    key = "cast(null as varchar)" if entity.name == USAGE_EVENTS else listed
    moments = _moments(entity)
    if entity.name == _LIFECYCLE_EVENTS:
        moments.append(_start_of_record(account, before, after))
    return f"""
        select record_key, account_id, touched_day, load_id, count(*) as records
        from (
            select {key} as record_key, {account} as account_id,
                cast(least({", ".join(moments)}) as date) as touched_day,
                case when later._load_id is not null and later._load_id is distinct from earlier._load_id
                    then later._load_id else (select max(_load_id) from {after}) end as load_id
            {differing}
        )
        where touched_day <= $last
        group by all
    """


def _moments(entity: Entity) -> list[str]:
    """Return SQL expressions for the times from which two versions of a record differ. The earliest counts."""
    dated = entity.dated_by
    moments = [
        f"case when earlier.{name} is distinct from later.{name} then least(earlier.{name}, later.{name}) end"
        for name in (dated.name, *entity.state_columns)
    ]
    others = [name for name in entity.column_names if name not in (dated.name, *entity.state_columns)]
    if dated.required:
        texts = [", ".join(f"{version}.{name}" for name in others) for version in ("earlier", "later")]
        moments.append(
            f"case when ({texts[0]}) is distinct from ({texts[1]}) "
            f"then least(earlier.{dated.name}, later.{dated.name}) end"
        )
    return moments


def _start_of_record(account: str, before: str, after: str) -> str:
    """Return SQL for the start of an account's record, if its first event begins or ceases to be ``started``.

    ``created_at`` starts the first spell unless the first event is ``started``: the days from ``created_at`` differ.
    """
    is_started = (
        f"{account} in (select {ACCOUNT_COLUMN} from {{}} group by {ACCOUNT_COLUMN} "
        "having arg_min(kind, (occurred_at, kind, event_id)) = 'started')"
    )
    created_at = (
        f"select max(created_at) from {ENTITIES[ACCOUNTS].table} as accounts where accounts.{ACCOUNT_COLUMN} = "
    )
    return (
        f"case when {is_started.format(before)} <> {is_started.format(after)} then greatest(({created_at} {account}), "
        "(select cast(min(as_of_date) as timestamp) from run.model_marks)) end"
    )


def causing_loads_sql(rows: str, model: str) -> str:
    """Return a SELECT of the accounts and days in ``rows`` with the loads of the late records that changed them.

    These are the records of the account, or of no account, that touch the day or an earlier one and that the last build
    of the day of ``model`` did not include.
    """
    missing = (
        "inner join run.model_marks as marks on "
        f"marks.model = '{model}' and marks.as_of_date = changed.as_of_date "
        f"inner join {LATE_RECORD_KEYS} as late on late.touched_day <= changed.as_of_date "
        "and late.change_id > marks.change_id and late.load_id is not null and "
    )
    pairs = " union all ".join(
        f"select changed.account_id, changed.as_of_date, late.load_id from {rows} as changed {missing} {condition}"
        for condition in ("late.account_id = changed.account_id", "late.account_id is null")
    )
    return (
        "select account_id, as_of_date, list(distinct load_id order by load_id) as load_ids "
        f"from ({pairs}) group by account_id, as_of_date"
    )
