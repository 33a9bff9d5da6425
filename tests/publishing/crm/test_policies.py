"""What is written to which record: nulls, accounts that left, missing records, changed mappings and hostile text."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from csm_core.errors import ConfigError, InputError
from csm_core.publishing.crm.publish import open_vendor, plan_destination
from csm_core.publishing.crm.targets import MAX_CHARACTERS, plain
from tests.publishing.crm.destination import DAY, ENVIRONMENT, destination_of, field, marts, publish, row, scores
from tests.publishing.crm.vendors import OTHERS, CrmServer


def values(server: CrmServer, column: str) -> dict[str, Any]:
    return {key: value or None for key, value in server.values(field(server, column)).items()}


def test_only_changed_records_are_written_and_fields_of_others_stay(
    warehouse: duckdb.DuckDBPyConnection, server: CrmServer
) -> None:
    marts(warehouse, {f"A{number}": row(float(number)) for number in range(450)})
    server.add("A1", "A2", "elsewhere")
    first = publish(warehouse, destination_of(server))
    assert (first.created, first.updated) == (448, 2)
    changed = {f"A{number}": row(99.0 if number < 3 else float(number)) for number in range(450)}
    marts(warehouse, changed)
    second = publish(warehouse, destination_of(server))
    assert (second.created, second.updated, dict(second.skipped)) == (0, 3, {"unchanged": 447})
    assert [scores(server)[key] for key in ("A0", "A1", "A2", "A3")] == [99.0, 99.0, 99.0, 3.0]
    assert all(server.records["A1"][name] == value for name, value in OTHERS.items())
    assert server.records["elsewhere"] == OTHERS
    runs = warehouse.execute("select created, updated, skipped, status from sync.crm_runs order by started_at")
    assert runs.fetchall() == [(448, 2, 0, "done"), (0, 3, 447, "done")]


@pytest.mark.parametrize(("nulls", "after"), [("keep", "GREEN"), ("clear", None)])
def test_nulls_are_kept_or_cleared(
    warehouse: duckdb.DuckDBPyConnection, server: CrmServer, nulls: str, after: str | None
) -> None:
    destination = destination_of(server, nulls=nulls)
    marts(warehouse, {"A1": row(50.0), "A2": row(60.0, rag=None)})
    publish(warehouse, destination)
    marts(warehouse, {"A1": row(51.0, rag=None), "A2": row(60.0, rag=None)})
    publish(warehouse, destination)
    assert values(server, "rag") == {"A1": after, "A2": None}
    assert scores(server) == {"A1": 51.0, "A2": 60.0}
    # Whether a null becomes a value and a null again, or not: what is already there is not written again.
    marts(warehouse, {"A1": row(51.0), "A2": row(60.0, rag=None)})
    report = publish(warehouse, destination)
    assert report.updated == (1 if nulls == "clear" else 0)
    assert values(server, "rag")["A1"] == "GREEN"


@pytest.mark.parametrize(
    ("churned", "after"),
    [("keep", (70.0, "GREEN")), ("update", (55.0, "RED")), ("clear", (None, None))],
)
def test_accounts_that_left(
    warehouse: duckdb.DuckDBPyConnection, server: CrmServer, churned: str, after: tuple[float | None, str | None]
) -> None:
    destination = destination_of(server, churned=churned)
    marts(warehouse, {"A1": row(70.0), "A2": row(80.0)})
    server.add("old")
    publish(warehouse, destination)
    left = {
        "A1": row(55.0, rag="RED", days_ago=1),
        "A2": row(80.0),
        "never": row(1.0, days_ago=400),
        "old": row(2.0, days_ago=400),
    }
    marts(warehouse, left)
    report = publish(warehouse, destination)
    assert (scores(server)["A1"], values(server, "rag")["A1"]) == after
    # An account that left before anything was written has no new record.
    assert "never" not in server.records
    assert report.absent == (1 if churned == "update" else 0)
    assert scores(server)["old"] == (2.0 if churned == "update" else None)
    writes = server.writes
    publish(warehouse, destination)
    assert server.writes == writes
    marts(warehouse, {"A1": row(60.0), "A2": row(80.0)})
    publish(warehouse, destination)
    assert scores(server)["A1"] == 60.0


def test_missing_records_are_skipped_and_never_created(warehouse: duckdb.DuckDBPyConnection, server: CrmServer) -> None:
    destination = destination_of(server, missing="skip")
    hostile = ["it's", 'a "quoted" one', "back\\slash", "x') OR Name LIKE ('%", "a\nb", "ümläut", "=cmd|' /C'!A0"]
    keys = [*hostile, *(f"A{number}" for number in range(500))]
    marts(warehouse, {key: row(50.0) for key in keys})
    server.add(*hostile[:4], "A7")
    report = publish(warehouse, destination)
    assert (report.created, report.updated, report.absent) == (0, 5, len(keys) - 5)
    assert server.records.keys() == {*hostile[:4], "A7"}
    assert set(scores(server).values()) == {50.0}
    writes = server.writes
    assert publish(warehouse, destination).is_complete
    assert server.writes == writes
    # A record that a person deletes is not created again, and one that a person adds gets its values.
    del server.records["A7"]
    server.add("A8")
    marts(warehouse, {key: row(51.0) for key in keys})
    publish(warehouse, destination)
    assert "A7" not in server.records
    assert scores(server)["A8"] == 51.0


def test_hostile_text_is_data(warehouse: duckdb.DuckDBPyConnection, server: CrmServer) -> None:
    texts = {
        "A1": '=HYPERLINK("http://evil.example")',
        "A2": 'O\'Brien "and" <b>sons</b> {{x}}',
        "A3": "bell\x07 null\x00 escape\x1b[31m\nline",
        "A4": "x" * 70_000,
        "A5": "🙂" * 10,
    }
    marts(warehouse, {key: row(50.0, account_name=text) for key, text in texts.items()})
    assert publish(warehouse, destination_of(server)).is_complete
    written = values(server, "account_name")
    assert written["A3"] == "bell null escape[31m\nline"
    assert written["A4"] == "x" * MAX_CHARACTERS
    assert {key: written[key] for key in ("A1", "A2", "A5")} == {key: texts[key] for key in ("A1", "A2", "A5")}


def test_a_changed_mapping_or_address_is_sent_again(warehouse: duckdb.DuckDBPyConnection, server: CrmServer) -> None:
    marts(warehouse, {"A1": row(50.0)})
    one = field(server, "score")
    publish(warehouse, destination_of(server, fields={one: "score"}))
    assert server.records["A1"].keys() == {one}
    report = publish(warehouse, destination_of(server))
    assert report.updated == 1
    assert values(server, "rag") == {"A1": "GREEN"}
    moved = destination_of(server, base_url=server.url.replace("127.0.0.1", "localhost"))
    assert plan_destination(warehouse, moved).count("create") == 1


def test_a_plan_sends_nothing_and_needs_no_token(warehouse: duckdb.DuckDBPyConnection, server: CrmServer) -> None:
    marts(warehouse, {"A1": row(50.0), "A2": row(None, rag=None, renewal_date=None, account_name=None)})
    plan = plan_destination(warehouse, destination_of(server))
    assert [(step.action, step.account_id) for step in plan.steps] == [("create", "A1")]
    assert plan.skipped == {"empty": 1}
    assert plan.as_dict()["steps"][0]["values"][field(server, "score")] == 50.0
    assert server.asked == []
    assert warehouse.execute("from sync.crm_records").fetchall() == []


def test_an_outdated_mart_is_an_error_and_nobody_has_left(
    warehouse: duckdb.DuckDBPyConnection, server: CrmServer
) -> None:
    marts(warehouse, {"A1": row(50.0)})
    warehouse.execute("insert into marts.csm_health_scores values (date '2026-07-01')")
    with pytest.raises(InputError, match="csm run --as-of 2026-07-01"):
        publish(warehouse, destination_of(server, churned="clear"))
    assert server.asked == []


def test_a_held_day_is_not_published(warehouse: duckdb.DuckDBPyConnection, server: CrmServer) -> None:
    marts(warehouse, {"A1": row(50.0)})
    warehouse.execute(
        "insert into run.days_status (as_of_date, status, failed_checks, message, checks_passed, changed_at) "
        "values (?, 'held', 'portfolio_swing', 'too large', false, now()::timestamp)",
        [DAY],
    )
    with pytest.raises(InputError, match="no day is complete yet"):
        publish(warehouse, destination_of(server))
    assert server.asked == []


def test_a_missing_variable_is_named(server: CrmServer) -> None:
    with pytest.raises(ConfigError, match=r"HUBSPOT_WRITE_TOKEN|SALESFORCE_CLIENT_ID"):
        open_vendor(destination_of(server), {})


def test_doctor_compares_the_settings_with_the_fields(server: CrmServer) -> None:
    vendor = open_vendor(destination_of(server), ENVIRONMENT, sleep=lambda _: None)
    assert list(vendor.examine().problems) == []
    wrong = destination_of(server, key=field(server, "rag"), fields={field(server, "score") + "s": "score"})
    first, second = open_vendor(wrong, ENVIRONMENT, sleep=lambda _: None).examine().problems
    assert "is not unique" in first
    assert f"did you mean {field(server, 'score')!r}?" in second
    assert server.writes == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", None, "b; c"], "a; b; c"),
        (float("nan"), None),
        (float("inf"), None),
        (82.64999999999999, 82.65),
        (True, True),
        (DAY, "2026-06-30"),
    ],
)
def test_values_of_json(value: Any, expected: Any) -> None:
    assert plain(value) == expected


def test_values_of_the_warehouse() -> None:
    with duckdb.connect() as connection:
        (found,) = connection.execute(
            "select 12.50::decimal(38, 2), 12::decimal(38, 2), timestamp '2026-06-30 12:00:00', true, 7::bigint, "
            "date '2026-06-30', 'GREEN'::enum('GREEN', 'RED')"
        ).fetchall()
    assert list(map(plain, found)) == [12.5, 12, "2026-06-30T12:00:00Z", True, 7, "2026-06-30", "GREEN"]
