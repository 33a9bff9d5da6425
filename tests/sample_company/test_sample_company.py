"""The fictional company: repeatable for the same arguments, any size and format, and every level of every signal."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import structlog

from csm_core.contract import ENTITIES
from csm_core.errors import InputError
from csm_core.sample_company import BROKEN_FROM_ACCOUNTS, ENTITY_NAMES, GeneratedCompany, generate
from csm_core.sample_company.__main__ import main
from csm_core.sources.registry import get_system
from csm_core.sources.settings import FilesSettings
from csm_core.staging.gate import stage_entity
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.models import staging_models

ACME = Path(__file__).parents[2] / "examples" / "acme"

TIMES = {
    "accounts": ("created_at", "churned_at"),
    "features": ("released_at",),
    "usage_events": ("occurred_at",),
    "subscriptions": ("started_at", "renews_at", "ended_at"),
    "invoices": ("issued_at", "due_at", "paid_at", "voided_at"),
    "tickets": ("opened_at", "solved_at", "escalated_at"),
    "nps_responses": ("responded_at",),
    "interactions": ("occurred_at",),
    "tam_assessments": ("assessed_at",),
}
# The example company has no lifecycle events.
KEYS = {name: entity.key for name, entity in ENTITIES.items() if name in TIMES}


def read_folder(folder: Path) -> duckdb.DuckDBPyConnection:
    """A table per entity with the records as they stand in the files, text as text, in their order."""
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    for entity in ENTITY_NAMES:
        (path,) = folder.glob(f"{entity}*")
        first = min(path.iterdir()) if path.is_dir() else path
        if first.suffix == ".csv":
            reader = "read_csv($files, all_varchar = true, header = true, delim = ',', quote = '\"', escape = '\"')"
        elif first.suffix == ".jsonl":
            names = json.loads(first.read_text(encoding="utf-8").partition("\n")[0])
            columns = ", ".join(f"{name}: 'varchar'" for name in names)
            reader = f"read_json($files, format = 'newline_delimited', columns = {{{columns}}})"
        else:
            reader = "read_parquet($files)"
        files = str(path / "*" if path.is_dir() else path)
        connection.execute(f"create table {entity} as select * from {reader}", {"files": files})
    return connection


def stage(connection: duckdb.DuckDBPyConnection) -> None:
    """Roughly what the pipeline does at its door: the last record of a key, times in UTC, no broken records."""
    for entity, key in KEYS.items():
        times = ", ".join(
            f"cast(try_cast({column} as timestamptz) at time zone 'UTC' as timestamp) as {column}"
            for column in TIMES[entity]
        )
        known = "" if entity == "features" else "and account_id in (select account_id from accounts)"
        connection.execute(
            f"create table stg_{entity} as select * replace ({times}) from {entity} where {key} is not null {known}"
            f" qualify row_number() over (partition by {key} order by rowid desc) = 1"
        )


@pytest.fixture(scope="module")
def acme() -> duckdb.DuckDBPyConnection:
    connection = read_folder(ACME)
    stage(connection)
    return connection


LEVELS = """
with population as (
    select account_id, plan, created_at from stg_accounts
    where account_name is not null and coalesce(created_at < $t, true) and coalesce(churned_at >= $t, true)
),
usage as (
    select
        account_id,
        sum(coalesce(quantity, 1)) filter (where occurred_at >= $t - interval 28 day) as n,
        sum(coalesce(quantity, 1)) filter (
            where occurred_at >= $t - interval 56 day and occurred_at < $t - interval 28 day) as p,
        count(distinct user_id) filter (where occurred_at >= $t - interval 28 day) as users,
        count(distinct cast(occurred_at as date)) filter (
            where event_name = 'login' and occurred_at >= $t - interval 90 day) as l,
        count(*) filter (where event_name = 'login') as ever
    from stg_usage_events where occurred_at < $t group by account_id
),
adoption as (
    select
        population.account_id,
        count(distinct stg_usage_events.feature) / count(distinct stg_features.feature) as rate
    from population
    inner join stg_features
        on (stg_features.plan is null or stg_features.plan = population.plan) and stg_features.released_at < $t
    left join stg_usage_events
        on stg_usage_events.account_id = population.account_id and stg_usage_events.feature = stg_features.feature
        and stg_usage_events.occurred_at < $t and stg_usage_events.occurred_at >= $t - interval 28 day
    group by population.account_id
),
contracts as (
    select account_id, sum(cast(seats as bigint)) as seats,
        min(date_diff('day', $d, cast(renews_at as date))) as renewal
    from stg_subscriptions where started_at < $t and coalesce(ended_at >= $t, true) group by account_id
),
debts as (
    select account_id, max(date_diff('day', cast(coalesce(due_at, issued_at) as date), $d)) as past_due
    from stg_invoices
    where issued_at < $t and coalesce(voided_at >= $t, true) and coalesce(paid_at >= $t, true)
        and try_cast(amount_due as decimal(18, 2)) > 0
    group by account_id
),
support as (
    select
        account_id,
        count(*) filter (where coalesce(solved_at >= $t, true)) as open_tickets,
        count(*) filter (where escalated_at >= $t - interval 90 day and escalated_at < $t) as escalations,
        sum(case sentiment when 'positive' then 1 when 'neutral' then 0 when 'negative' then -1 else -2 end) filter (
            where sentiment is not null
            and (opened_at >= $t - interval 90 day or coalesce(solved_at >= $t, true))) as s,
        count(sentiment) filter (
            where opened_at >= $t - interval 90 day or coalesce(solved_at >= $t, true)) as m
    from stg_tickets where opened_at < $t group by account_id
),
touches as (
    select
        account_id,
        date_diff('day', cast(max(occurred_at) as date), $d) as days,
        count(distinct contact_id) filter (where occurred_at >= $t - interval 90 day) as c,
        count(distinct contact_id) filter (
            where occurred_at >= $t - interval 90 day
            and contact_role in ('executive_sponsor', 'champion', 'decision_maker')) as k
    from stg_interactions where occurred_at < $t and kind not in ('automated', 'internal') group by account_id
),
nps as (
    select account_id, floor(avg(score) + 0.5) as score
    from (
        select account_id, cast(score as bigint) as score from stg_nps_responses
        where responded_at < $t and responded_at >= $t - interval 180 day
            and respondent_id is not null and cast(score as bigint) <= 10
        qualify row_number() over (partition by account_id, respondent_id order by responded_at desc) = 1
    ) group by account_id
),
tam as (
    select account_id, arg_max(rag, assessed_at) as rag from stg_tam_assessments
    where assessed_at < $t and assessed_at >= $t - interval 90 day group by account_id
),
signals as (
    select
        case when rate is null or rate = 0 then 'zero' when rate < 0.3 then 'low' when rate < 0.7 then 'middle'
            when rate < 1 then 'high' else 'all' end as feature_adoption_rate,
        case when coalesce(n, 0) = 0 then 'inactive' when created_at >= $t - interval 56 day then 'stable'
            when 100 * n >= 110 * coalesce(p, 0) then 'growing' when 100 * n <= 90 * p then 'declining' else 'stable'
            end as usage_trend,
        case when coalesce(ever, 0) = 0 then 'null' when l = 0 then 'more' when 90 // l <= 7 then '7'
            when 90 // l <= 30 then '30' when 90 // l <= 60 then '60' else 'more' end as login_frequency_days,
        case when days is null then 'null' when days <= 30 then '30' when days <= 60 then '60' when days <= 90 then '90'
            else 'more' end as days_since_last_interaction,
        case when c >= 3 and k >= 1 then 'high' when c >= 1 then 'medium' else 'low' end as stakeholder_engagement,
        case when coalesce(past_due, 0) <= 0 then 'current' when past_due <= 30 then 'overdue_30'
            when past_due < 90 then 'overdue_60' else 'overdue_90_plus' end as invoice_payment_status,
        case when coalesce(m, 0) = 0 then 'neutral' when 4 * s > m then 'positive' when 4 * s >= -m then 'neutral'
            when 4 * s >= -5 * m then 'negative' else 'critical' end as support_sentiment,
        least(coalesce(open_tickets, 0), 3) as open_tickets,
        case when renewal is null then 'null' when renewal < 0 then 'past' when renewal <= 30 then '30'
            when renewal <= 60 then '60' when renewal <= 90 then '90' when renewal <= 180 then '180' else 'more' end
            as days_to_renewal,
        case when coalesce(seats, 0) = 0 then 'unknown' when users / seats > 1 then 'over'
            when users / seats >= 0.8 then '0.8'
            when users / seats >= 0.5 then '0.5' else 'less' end as seats_utilization_rate,
        case when score is null then 'null' when score >= 9 then '9' when score >= 7 then '7' when score >= 5 then '5'
            else 'less' end as nps_score,
        least(coalesce(escalations, 0), 2) as escalation_count_90_days,
        coalesce(rag, 'null') as tam_health_rag
    from population
    left join usage using (account_id) left join adoption using (account_id) left join contracts using (account_id)
    left join debts using (account_id) left join support using (account_id) left join touches using (account_id)
    left join nps using (account_id) left join tam using (account_id)
),
named as (unpivot (select columns(*)::varchar from signals) on columns(*) into name signal value level)
select signal, level, count(*) as accounts from named group by all order by all
"""

EVERY_LEVEL = {
    "feature_adoption_rate": {"zero", "low", "middle", "high", "all"},
    "usage_trend": {"growing", "stable", "declining", "inactive"},
    "login_frequency_days": {"null", "7", "30", "60", "more"},
    "days_since_last_interaction": {"null", "30", "60", "90", "more"},
    "stakeholder_engagement": {"high", "medium", "low"},
    "invoice_payment_status": {"current", "overdue_30", "overdue_60", "overdue_90_plus"},
    "support_sentiment": {"positive", "neutral", "negative", "critical"},
    "open_tickets": {"0", "1", "2", "3"},
    "days_to_renewal": {"null", "past", "30", "60", "90", "180", "more"},
    "seats_utilization_rate": {"unknown", "over", "0.8", "0.5", "less"},
    "nps_score": {"null", "9", "7", "5", "less"},
    "escalation_count_90_days": {"0", "1", "2"},
    "tam_health_rag": {"null", "GREEN", "AMBER", "RED"},
}


@pytest.mark.parametrize("as_of", [date(2026, 9, 29), date(2026, 9, 30)])
def test_the_example_has_accounts_at_every_level_of_every_signal(acme: duckdb.DuckDBPyConnection, as_of: date) -> None:
    found: dict[str, set[str]] = {}
    for signal, level, _ in acme.execute(LEVELS, {"d": as_of, "t": as_of + timedelta(days=1)}).fetchall():
        found.setdefault(signal, set()).add(level)
    assert found == EVERY_LEVEL


def contents(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every record of a folder as text, per entity, in the order of the files."""
    with read_folder(folder) as connection:
        return {
            entity: connection.execute(f"select columns(*)::varchar from {entity} order by rowid").fetchall()
            for entity in ENTITY_NAMES
        }


def test_the_example_is_what_the_generator_writes(tmp_path: Path) -> None:
    company = generate(tmp_path, format="mixed", threads=1)
    written = contents(tmp_path)
    assert written == contents(ACME)
    assert company.counts == {entity: len(rows) for entity, rows in written.items()}
    for path in ACME.glob("*.*"):
        if path.suffix in (".csv", ".jsonl"):
            assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_example_stays_small() -> None:
    sizes = [path.stat().st_size for path in ACME.rglob("*") if path.is_file()]
    assert max(sizes) < 1_000_000
    assert sum(sizes) < 2_500_000


def small(folder: Path, **changed: Any) -> GeneratedCompany:
    arguments: dict[str, Any] = {"accounts": 60, "days": 70, "events_per_account_day": 2.5}
    return generate(folder, **{**arguments, **changed})


def test_threads_do_not_matter_and_the_seed_does(tmp_path: Path) -> None:
    small(tmp_path / "one", threads=1)
    small(tmp_path / "four", threads=4)
    small(tmp_path / "other", seed=8)
    one = contents(tmp_path / "one")
    assert contents(tmp_path / "four") == one
    other = contents(tmp_path / "other")
    assert all(other[entity] != rows for entity, rows in one.items() if entity != "features")


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "mixed"])
def test_every_format_has_the_same_records(tmp_path: Path, file_format: str) -> None:
    small(tmp_path / "parquet")
    small(tmp_path / "other", format=file_format)
    with read_folder(tmp_path / "parquet") as parquet, read_folder(tmp_path / "other") as other:
        for entity in ENTITY_NAMES:
            times = TIMES[entity] if entity == "usage_events" else ()
            columns = ", ".join(
                f"cast({name} as timestamp)::varchar" if name in times else f"{name}::varchar"
                for name in ENTITIES[entity].column_names
                if name in parquet.sql(f"from {entity} limit 0").columns
            )
            query = f"select {columns} from {entity} order by all"
            assert other.sql(query).fetchall() == parquet.sql(query).fetchall(), entity


@pytest.mark.parametrize(
    ("accounts", "days", "rate"), [(1, 1, 3.0), (3, 400, 1.0), (1_000, 10, 5.0), (50, 60, 40.0), (40, 30, 0.0)]
)
def test_it_has_the_size_asked_for(tmp_path: Path, accounts: int, days: int, rate: float) -> None:
    company = generate(tmp_path, accounts=accounts, days=days, events_per_account_day=rate, odd_records=False)
    assert company.counts["accounts"] == accounts
    wanted = accounts * days * rate
    # A company of one account on one day may have none of its lives active; logins come on top of few events.
    if accounts >= 40 and rate:
        assert 0.97 * wanted <= company.counts["usage_events"] <= 1.03 * wanted
    assert (company.last_date - company.first_date).days == days - 1
    with read_folder(tmp_path) as connection:
        outside = connection.execute(
            "select count(*) from usage_events where occurred_at::date not between ? and ?",
            [company.first_date, company.last_date],
        ).fetchone()
    assert outside == (0,)


@pytest.mark.parametrize(("per_day", "files"), [(True, 70), (False, 3)])
def test_usage_is_sorted_by_time_within_and_across_files(tmp_path: Path, per_day: bool, files: int) -> None:
    small(tmp_path, end=date(2026, 9, 20), per_day_files=per_day)
    paths = sorted((tmp_path / "usage_events").iterdir())
    assert len(paths) == files
    times: list[datetime] = []
    for path in paths:
        rows = duckdb.sql(f"select occurred_at from '{path}'").fetchall()
        assert {f"{moment:%Y-%m-%d}" if per_day else f"{moment:%Y-%m}" for (moment,) in rows} == {path.stem}
        times += [moment for (moment,) in rows]
    assert times == sorted(times)


def test_the_day_files_hold_the_same_events_as_the_month_files(tmp_path: Path) -> None:
    small(tmp_path / "months")
    small(tmp_path / "days", per_day_files=True)
    assert contents(tmp_path / "months")["usage_events"] == contents(tmp_path / "days")["usage_events"]


def test_without_odd_records_every_key_is_unique_and_every_account_known(tmp_path: Path) -> None:
    small(tmp_path, accounts=BROKEN_FROM_ACCOUNTS, odd_records=False)
    with read_folder(tmp_path) as connection:
        for entity, key in KEYS.items():
            assert connection.sql(f"select count(*) - count(distinct {key}) from {entity}").fetchall() == [(0,)], entity
            if entity != "features":
                unknown = f"select count(*) from {entity} where account_id not in (select account_id from accounts)"
                assert connection.sql(unknown).fetchall() == [(0,)], entity


@pytest.mark.parametrize(("accounts", "broken"), [(BROKEN_FROM_ACCOUNTS - 1, 0), (BROKEN_FROM_ACCOUNTS, 22)])
def test_a_handful_of_records_is_broken_in_a_company_large_enough(tmp_path: Path, accounts: int, broken: int) -> None:
    small(tmp_path / "company", accounts=accounts)
    with Warehouse(tmp_path / "warehouse.duckdb").connect() as connection:
        get_system("files").load(
            connection,
            [FilesSettings(system="files", path=tmp_path / "company")],
            folder=tmp_path / "sources",
            loaded_at=datetime(2026, 10, 1, tzinfo=UTC),
            log=structlog.get_logger(),
        )
        reports = [
            stage_entity(connection, entity, [("files", model.sql)], staged_at=datetime(2026, 10, 1, tzinfo=UTC))
            for entity, model in sorted(staging_models("files").items(), key=lambda item: list(ENTITIES).index(item[0]))
        ]
    assert sum(report.rejected + report.ignored for report in reports) == broken
    assert all(report.superseded > 0 for report in reports if report.entity in ("accounts", "usage_events"))


def test_an_earlier_company_in_the_folder_makes_way(tmp_path: Path) -> None:
    small(tmp_path, format="csv", days=100)
    (tmp_path / "notes.txt").write_text("mine")
    small(tmp_path, format="parquet")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".parquet", ".txt"}
    assert len(list((tmp_path / "usage_events").iterdir())) == 3


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"accounts": 0}, "accounts and days must be at least 1"),
        ({"days": 0}, "accounts and days must be at least 1"),
        ({"format": "xlsx"}, "'xlsx'"),
        ({"events_per_account_day": -1.0}, "-1.0"),
    ],
)
def test_arguments_outside_their_range_are_refused(tmp_path: Path, wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        small(tmp_path / "never", **wrong)
    assert not (tmp_path / "never").exists()


def test_the_command_line_writes_a_company_and_counts_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--accounts", "5", "--days", "3", "--format", "csv"]) == 0
    assert "accounts" in capsys.readouterr().out
    assert main([str(tmp_path), "--accounts", "0"]) == 2
    assert "accounts and days must be at least 1" in capsys.readouterr().err


@pytest.mark.slow
def test_ten_million_events_fit_in_little_memory(tmp_path: Path) -> None:
    company = generate(
        tmp_path, accounts=2_000, events_per_account_day=18.0, memory_limit="700MB", threads=2, odd_records=False
    )
    assert company.counts["usage_events"] == pytest.approx(2_000 * 275 * 18, rel=0.01)
