"""The vendor staging models: one SELECT each, in the contract's columns, portable; what RavenStack's records become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from csm_core.contract import BOOKKEEPING, ENTITIES, VERSION
from csm_core.sources.registry import get_system, record_kinds
from csm_core.staging.vendor_records import REJECTED_RECORDS, build_records
from csm_core.warehouse.migrations import upgrade
from csm_core.warehouse.models import SQL_ROOT, SqlModel, staging_models

RAVENSTACK = Path(__file__).parents[2] / "examples" / "ravenstack"
RAVENSTACK_RAW = ("accounts", "churn_events", "feature_usage", "subscriptions", "support_tickets")
STRAIGHT = ("files", "ravenstack", "postgres", "spark")
MODELS = [model for system in STRAIGHT for model in staging_models(system).values()]
STAGED_BY_RAVENSTACK = ["accounts", "features", "lifecycle_events", "subscriptions", "tickets", "usage_events"]


def named(model: SqlModel) -> str:
    return f"{system_of(model)}/{model.name}"


def columns_of(model: SqlModel) -> list[str]:
    """The contract's columns and bookkeeping; records in the contract's own format may state their version."""
    version = [] if system_of(model) == "ravenstack" else [VERSION]
    return [*ENTITIES[entity_of(model)].column_names, *version, *BOOKKEEPING]


def system_of(model: SqlModel) -> str:
    return model.layer.removeprefix("staging/")


def entity_of(model: SqlModel) -> str:
    return model.name.removeprefix("stg_")


def test_every_entity_has_a_model() -> None:
    found = {system: {entity_of(model) for model in MODELS if system_of(model) == system} for system in STRAIGHT}
    assert found == {
        "files": set(ENTITIES),
        "ravenstack": set(STAGED_BY_RAVENSTACK),
        "postgres": set(ENTITIES),
        "spark": set(ENTITIES) - {"usage_events"},
    }


@pytest.mark.parametrize("model", MODELS, ids=named)
def test_a_model_is_one_select_of_the_contracts_columns(model: SqlModel) -> None:
    (statement,) = sqlglot.parse(model.sql, read="duckdb")
    assert isinstance(statement, exp.Query)
    assert statement.named_selects == columns_of(model)
    assert "select *" not in model.sql.lower()


@pytest.mark.parametrize("model", MODELS, ids=named)
def test_a_model_is_described_column_for_column(model: SqlModel) -> None:
    assert list(model.columns) == columns_of(model)
    assert set(model.grain) <= set(model.columns)
    assert all(text.strip() for text in model.columns.values())
    own = {f"raw.{system_of(model)}", f"staging.{system_of(model)}_records"}
    assert {table.split("__")[0] for table in model.dependencies} <= own
    assert not model.parameters


@pytest.mark.parametrize("model", MODELS, ids=named)
def test_a_model_means_something_to_spark(model: SqlModel) -> None:
    (spark,) = sqlglot.transpile(model.sql, read="duckdb", write="spark", unsupported_level=sqlglot.ErrorLevel.RAISE)
    again = sqlglot.parse_one(spark, read="spark")
    assert again.named_selects == sqlglot.parse_one(model.sql, read="duckdb").named_selects


@pytest.mark.parametrize("model", [model for model in MODELS if system_of(model) != "ravenstack"], ids=named)
def test_the_contracts_own_format_is_passed_on_as_it_came(model: SqlModel) -> None:
    entity = ENTITIES[entity_of(model)]
    tables = sorted(model.dependencies)
    assert len(tables) == (2 if system_of(model) == "postgres" else 1)
    columns = [*entity.column_names, "updated_at", "something_more", *BOOKKEEPING]
    with duckdb.connect() as connection:
        connection.execute("create schema raw")
        declared = ", ".join(f"{column} {BOOKKEEPING.get(column, 'varchar')}" for column in columns)
        for table in tables:
            connection.execute(f"create table {table} ({declared})")
        values = [
            {"_source_file": "f.csv", "_source_line": 2, "_loaded_at": "2026-01-01 00:00:00", "_load_id": 1}.get(
                column, f"any text in {column}"
            )
            for column in columns
        ]
        marks = ", ".join("?" for _ in columns)
        for table in tables:
            connection.execute(f"insert into {table} values ({marks})", values)
        rows = connection.execute(model.sql).fetchall()
    assert [row[: len(entity.columns)] for row in rows] == [tuple(values[: len(entity.columns)])] * len(tables)
    assert rows[0][-4:-2] == ("f.csv", 2)


@cache
def header(table: str) -> list[str]:
    """The columns of one of the bundled files."""
    path = next(RAVENSTACK.glob(f"ravenstack_{table}.csv*"))
    with duckdb.connect() as connection:
        return connection.sql(f"from read_csv('{path}', all_varchar = true)").columns


@pytest.fixture
def raw() -> Iterator[duckdb.DuckDBPyConnection]:
    """Empty raw tables with the columns that RavenStack's files have."""
    with duckdb.connect() as connection:
        upgrade(connection)
        for table in RAVENSTACK_RAW:
            columns = [f"{column} varchar" for column in header(table)]
            columns += [f"{column} {kind}" for column, kind in BOOKKEEPING.items()]
            connection.execute(f"create table raw.ravenstack__{table} ({', '.join(columns)})")
        yield connection


def insert(
    connection: duckdb.DuckDBPyConnection, table: str, records: Sequence[Mapping[str, str | None]], load_id: int = 1
) -> None:
    for line, record in enumerate(records, start=2):
        row = {**record, "_source_file": f"{table}.csv", "_source_line": line, "_load_id": load_id}
        columns = ", ".join(row)
        marks = ", ".join("?" for _ in row)
        connection.execute(
            f"insert into raw.ravenstack__{table} ({columns}, _loaded_at) values ({marks}, timestamp '2025-01-01')",
            list(row.values()),
        )


def staged(connection: duckdb.DuckDBPyConnection, entity: str, *columns: str) -> list[tuple[object, ...]]:
    build_records(connection, "ravenstack", record_kinds("ravenstack"), get_system("ravenstack").raw_tables)
    text = (SQL_ROOT / "staging" / "ravenstack" / f"stg_{entity}.sql").read_text(encoding="utf-8")
    return connection.sql(f"select {', '.join(columns)} from ({text}) as staged order by all").fetchall()


def rejected(connection: duckdb.DuckDBPyConnection, entity: str) -> list[tuple[object, ...]]:
    """Field, reason and text of the records rejected before the models."""
    return connection.execute(
        f"select field, reason, value from {REJECTED_RECORDS} where entity = ? order by all", [entity]
    ).fetchall()


def subscription(subscription_id: str, **changed: str | None) -> dict[str, str | None]:
    record: dict[str, str | None] = {
        "subscription_id": subscription_id,
        "account_id": "A-1",
        "start_date": "2023-03-01",
        "end_date": None,
        "seats": "14",
        "mrr_amount": "2786",
        "is_trial": "False",
        "billing_frequency": "annual",
        "auto_renew_flag": "False",
    }
    return {**record, **changed}


@pytest.mark.parametrize(
    ("churn_dates", "start_dates", "churned_at"),
    [
        ([], ["2024-01-01"], None),
        (["2024-03-01"], ["2024-01-01"], "2024-03-01"),
        (["2024-03-01", "2024-05-01"], ["2024-04-10"], "2024-05-01"),
        (["2024-03-01", "2024-05-01"], ["2024-05-02"], None),
        (["2024-05-01"], ["2024-05-01"], "2024-05-01"),
        (["2024-05-01"], [], "2024-05-01"),
    ],
    ids=["never", "gone", "came back and gone", "came back", "the same day", "never subscribed"],
)
def test_an_accounts_life_ends_with_its_latest_churn_event_unless_it_came_back(
    raw: duckdb.DuckDBPyConnection, churn_dates: list[str], start_dates: list[str], churned_at: str | None
) -> None:
    account = {"account_id": "A-1", "account_name": "One", "industry": "EdTech", "plan_tier": "Pro"}
    insert(raw, "accounts", [{**account, "signup_date": "2023-01-01", "churn_flag": "True"}])
    insert(
        raw,
        "churn_events",
        [
            {"churn_event_id": f"C-{number}", "account_id": "A-1", "churn_date": day}
            for number, day in enumerate(churn_dates)
        ],
    )
    insert(
        raw, "subscriptions", [subscription(f"S-{number}", start_date=day) for number, day in enumerate(start_dates)]
    )
    churned = "cast(cast(churned_at as date) as varchar)"
    rows = staged(raw, "accounts", "account_id", "tenant_id", "segment", "plan", "created_at", churned)
    assert rows == [("A-1", None, "EdTech", "Pro", "2023-01-01", churned_at)]


def test_churn_events_and_the_subscriptions_after_them_are_lifecycle_events(raw: duckdb.DuckDBPyConnection) -> None:
    insert(raw, "accounts", [{"account_id": "A-1", "account_name": "One", "signup_date": "2023-01-01"}])
    churns = {"C-1": "2024-03-01", "C-2": "2024-05-01", "C-3": "2024-06-01"}
    insert(
        raw,
        "churn_events",
        [
            {"churn_event_id": event, "account_id": "A-1", "churn_date": day, "reason_code": "pricing"}
            for event, day in churns.items()
        ],
    )
    starts = ("2024-01-01", "2024-03-01", "2024-04-10", "2024-04-20", "2024-06-01", "2024-07-01")
    insert(raw, "subscriptions", [subscription(f"S-{number}", start_date=day) for number, day in enumerate(starts)])
    day = "cast(cast(occurred_at as date) as varchar)"
    assert staged(raw, "lifecycle_events", "event_id", "account_id", "kind", day, "reason") == [
        ("C-1", "A-1", "churned", "2024-03-01", "pricing"),
        ("C-2", "A-1", "churned", "2024-05-01", "pricing"),
        ("C-3", "A-1", "churned", "2024-06-01", "pricing"),
        ("S-2-returned", "A-1", "returned", "2024-04-10", None),
        ("S-5-returned", "A-1", "returned", "2024-07-01", None),
    ]


def test_a_churn_date_that_does_not_parse_is_rejected_with_its_text(raw: duckdb.DuckDBPyConnection) -> None:
    insert(raw, "accounts", [{"account_id": "A-1", "account_name": "One", "signup_date": "2023-01-01"}])
    event = {"churn_event_id": "C-1", "account_id": "A-1", "churn_date": "25-12-2024"}
    insert(raw, "churn_events", [event, {**event, "churn_event_id": "C-2", "churn_date": None}])
    assert staged(raw, "accounts", "account_id", "churned_at") == [("A-1", None)]
    found = raw.sql(f"select entity, field, reason, value, record_key from {REJECTED_RECORDS} order by record_key")
    assert found.fetchall() == [
        ("accounts", "churn_date", "invalid_timestamp", "25-12-2024", "C-1"),
        ("accounts", "churn_date", "missing_required", None, "C-2"),
    ]


def test_a_churn_event_is_of_the_account_whatever_blanks_surround_its_id(raw: duckdb.DuckDBPyConnection) -> None:
    account = {"account_name": "One", "signup_date": "2023-01-01"}
    insert(raw, "accounts", [{**account, "account_id": name} for name in ("A-1", "\tA-2 ", "3.0", "A-4")])
    churned = (" A-1", "A-2\u00a0", "3", "A-9", "a-4")
    insert(
        raw,
        "churn_events",
        [
            {"churn_event_id": f"C-{number}", "account_id": name, "churn_date": "2024-03-01"}
            for number, name in enumerate(churned)
        ],
    )
    insert(raw, "subscriptions", [subscription("S-1", account_id="A-1\ufeff", start_date="2024-04-01")])
    rows = staged(raw, "accounts", "account_id", "cast(cast(churned_at as date) as varchar)")
    assert rows == [("3", "2024-03-01"), ("A-1", None), ("A-2", "2024-03-01"), ("A-4", None)]
    assert rejected(raw, "accounts") == [
        ("account_id", "unknown_account", "A-9"),
        ("account_id", "unknown_account", "a-4"),
    ]


def test_usage_is_a_count_of_the_subscriptions_account_by_nobody(raw: duckdb.DuckDBPyConnection) -> None:
    usage = {"usage_date": "2024-07-28", "feature_name": "feature_40", "is_beta_feature": "True"}
    insert(
        raw,
        "feature_usage",
        [
            {**usage, "usage_id": "U-1", "subscription_id": "S-1", "usage_count": "5"},
            {**usage, "usage_id": "U-1", "subscription_id": "S-2", "usage_count": "9"},
            {**usage, "usage_id": "U-2", "subscription_id": "S-1", "usage_count": "0"},
            {**usage, "usage_id": "U-3", "subscription_id": "S-none", "usage_count": "1"},
            {**usage, "usage_id": " U-4", "subscription_id": "\u00a0S-2 ", "usage_count": "2"},
            {**usage, "usage_id": "U-5", "subscription_id": "S-3", "usage_count": "2"},
            {**usage, "usage_id": "U-6", "subscription_id": " ", "usage_count": "2"},
        ],
    )
    insert(
        raw,
        "subscriptions",
        [subscription("S-1"), subscription("S-2\t", account_id="A-2"), subscription("S-3", account_id=" ")],
    )
    # The subscriptions loaded once more must not double anything.
    insert(raw, "subscriptions", [subscription("S-1", account_id="A-9")], load_id=2)
    rows = staged(
        raw, "usage_events", "event_id", "account_id", "user_id", "event_name", "feature", "quantity", "occurred_at"
    )
    assert rows == [
        ("U-1/S-1", "A-9", None, "feature_used", "feature_40", "5", "2024-07-28"),
        ("U-1/S-2", "A-2", None, "feature_used", "feature_40", "9", "2024-07-28"),
        ("U-2/S-1", "A-9", None, "feature_used", "feature_40", "0", "2024-07-28"),
        ("U-4/S-2", "A-2", None, "feature_used", "feature_40", "2", "2024-07-28"),
    ]
    assert rejected(raw, "usage_events") == [
        ("subscription_id", "missing_required", None),
        ("subscription_id", "unknown_reference", "S-3"),
        ("subscription_id", "unknown_reference", "S-none"),
    ]


def test_features_are_those_that_usage_names(raw: duckdb.DuckDBPyConnection) -> None:
    names = ("feature_0", "feature_1", " feature_0", "feature_1\t", None, "", " ", "\u00a0")
    insert(raw, "feature_usage", [{"usage_id": f"U-{n}", "feature_name": name} for n, name in enumerate(names)])
    rows = staged(raw, "features", "feature", "module", "plan", "released_at", "_source_line")
    assert rows == [("feature_0", None, None, None, 2), ("feature_1", None, None, None, 3)]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"auto_renew_flag": "True"}, [("S-1", "2023-03-01", None, None)]),
        ({"billing_frequency": "monthly"}, [("S-1", "2023-03-01", None, None)]),
        ({"is_trial": "True"}, [("S-1", "2023-03-01", None, None)]),
        ({"end_date": "2023-05-01"}, [("S-1", "2023-03-01", "2024-02-29", "2023-05-01")]),
        ({"end_date": "2024-02-29"}, [("S-1", "2023-03-01", "2024-02-29", "2024-02-29")]),
        (
            {},
            [("S-1", "2023-03-01", "2024-02-29", "2024-02-29"), ("S-1/2", "2024-02-29", "2025-02-28", None)],
        ),
        (
            {"end_date": "2024-06-01"},
            [("S-1", "2023-03-01", "2024-02-29", "2024-02-29"), ("S-1/2", "2024-02-29", "2025-02-28", "2024-06-01")],
        ),
        ({"start_date": "2024-03-01"}, [("S-1", "2024-03-01", "2025-03-01", None)]),
    ],
    ids=[
        "renews itself",
        "monthly",
        "trial",
        "ended",
        "ended with its term",
        "runs on",
        "ended later",
        "first term",
    ],
)
def test_a_subscription_that_somebody_has_to_renew_is_a_row_per_term(
    raw: duckdb.DuckDBPyConnection, changed: dict[str, str], expected: list[tuple[str, str, str | None, str | None]]
) -> None:
    last_known = subscription("Z", start_date="2024-12-31", auto_renew_flag="True")
    insert(raw, "subscriptions", [subscription("S-1", **changed), last_known])
    rows = staged(raw, "subscriptions", "subscription_id", "started_at", "renews_at", "ended_at")
    assert [row for row in rows if row[0] != "Z"] == expected
    amounts = set(staged(raw, "subscriptions", "account_id", "seats", "mrr", "currency"))
    assert amounts == {("A-1", None, "2786", "USD")}


@pytest.mark.parametrize(
    ("score", "sentiment"),
    [
        ("1.0", "critical"),
        ("2", "negative"),
        ("3.0", "neutral"),
        ("4.0", "positive"),
        ("5.00", "positive"),
        (None, None),
    ],
)
@pytest.mark.parametrize(("flag", "escalated_at"), [("True", "2023-05-19"), ("False", None), (None, None)])
def test_satisfaction_is_sentiment_and_escalation_dates_from_the_opening(
    raw: duckdb.DuckDBPyConnection, score: str | None, sentiment: str | None, flag: str | None, escalated_at: str | None
) -> None:
    ticket = {"ticket_id": "T-1", "account_id": "A-1", "submitted_at": "2023-05-19", "priority": "high"}
    insert(
        raw,
        "support_tickets",
        [{**ticket, "closed_at": "2023-05-20 03:00:00", "satisfaction_score": score, "escalation_flag": flag}],
    )
    rows = staged(raw, "tickets", "opened_at", "solved_at", "priority", "sentiment", "escalated_at")
    assert rows == [("2023-05-19", "2023-05-20 03:00:00", "high", sentiment, escalated_at)]


@pytest.mark.parametrize(
    ("table", "field", "text", "reason"),
    [
        ("accounts", "signup_date", "someday", "invalid_timestamp"),
        ("subscriptions", "start_date", "soon", "invalid_timestamp"),
        ("subscriptions", "end_date", "25-12-2024", "invalid_timestamp"),
        ("subscriptions", "mrr_amount", "1,000", "invalid_number"),
        ("subscriptions", "billing_frequency", "anual", "invalid_level"),
        ("subscriptions", "auto_renew_flag", "perhaps", "invalid_level"),
        ("subscriptions", "is_trial", "?", "invalid_level"),
        ("support_tickets", "submitted_at", "x", "invalid_timestamp"),
        ("support_tickets", "closed_at", "x", "invalid_timestamp"),
        ("support_tickets", "satisfaction_score", "6.0", "invalid_level"),
        ("support_tickets", "satisfaction_score", "3.5", "invalid_level"),
        ("support_tickets", "escalation_flag", "maybe", "invalid_level"),
    ],
)
def test_a_value_that_does_not_parse_is_rejected_under_the_column_of_its_file(
    raw: duckdb.DuckDBPyConnection, table: str, field: str, text: str, reason: str
) -> None:
    valid = {
        "accounts": {"account_id": "A-1", "account_name": "One", "signup_date": "2023-01-01"},
        "subscriptions": subscription("S-1"),
        "support_tickets": {"ticket_id": "T-1", "account_id": "A-1", "submitted_at": "2023-05-19"},
    }[table]
    insert(raw, table, [{**valid, field: text}])
    entity = {"support_tickets": "tickets"}.get(table, table)
    assert staged(raw, entity, "*") == []
    assert rejected(raw, entity) == [(field, reason, text)]


@pytest.fixture(scope="module")
def ravenstack() -> Iterator[duckdb.DuckDBPyConnection]:
    """The bundled data set, loaded as it is."""
    with duckdb.connect() as connection:
        upgrade(connection)
        for table in RAVENSTACK_RAW:
            path = next(RAVENSTACK.glob(f"ravenstack_{table}.csv*"))
            connection.execute(
                f"create table raw.ravenstack__{table} as select *, 'f' as _source_file,"
                f" 1 + row_number() over () as _source_line, timestamp '2025-01-01' as _loaded_at, 1 as _load_id"
                f" from read_csv('{path}', all_varchar = true)"
            )
        yield connection


@pytest.mark.parametrize(
    ("entity", "rows"),
    [("accounts", 500), ("features", 40), ("usage_events", 25_000), ("subscriptions", 5_057), ("tickets", 2_000)],
)
def test_no_record_of_ravenstack_is_lost_and_no_key_is_twice(
    ravenstack: duckdb.DuckDBPyConnection, entity: str, rows: int
) -> None:
    key = ENTITIES[entity].key
    assert staged(ravenstack, entity, "count(*)", f"count(distinct {key})", f"count({key})") == [(rows, rows, rows)]


def test_what_the_documentation_says_of_ravenstack(ravenstack: duckdb.DuckDBPyConnection) -> None:
    assert staged(ravenstack, "accounts", "count(churned_at)") == [(68,)]
    churned, returned = "count(*) filter (where kind = 'churned')", "count(*) filter (where kind = 'returned')"
    assert staged(ravenstack, "lifecycle_events", churned, returned) == [(600, 475)]
    assert staged(ravenstack, "usage_events", "count(*) filter (quantity = '0')", "count(account_id)") == [(2, 25_000)]
    assert staged(ravenstack, "tickets", "count(sentiment)", "count(escalated_at)") == [(1_175, 95)]
