"""Which of two records with one key counts, which records count for nothing, and how many rejected ones fail a load."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csm_core.contract import BOOKKEEPING, ENTITIES
from csm_core.errors import SourceError
from csm_core.staging.gate import stage_entity
from tests.examples import examples
from tests.source_loads import new_source_loads, straight

HEADER = "event_id,account_id,event_name,quantity,occurred_at\n"


def stage_versions(source_loads, entity: str):
    """Stage an entity by the model of ``files`` with its version."""
    columns = ", ".join((*ENTITIES[entity].column_names, "updated_at as _version", *BOOKKEEPING))
    return stage_entity(
        source_loads.connection,
        entity,
        [("files", f"select {columns} from raw.files__{entity}")],
        staged_at=source_loads.now,
        max_rejected_percent=100,
    )


@pytest.mark.parametrize("seed", range(6))
def test_the_records_own_version_decides_whatever_the_order_of_rows_files_and_loads(source_loads, seed):
    source_loads.write_company()
    versions = [("2026-06-01T10:00:00+02:00", "first"), ("2026-06-01 09:00:00", "last"), ("2026-05-31", "oldest")]
    order = random.Random(seed)
    order.shuffle(versions)
    for load in range(2):
        for updated_at, name in versions[:2] if load else versions[2:]:
            text = f"account_id,account_name,updated_at\na1,{name},{updated_at}\na2,Bolt,\n"
            source_loads.write(f"accounts/{order.random()}.csv", text)
        (source_loads.folder / "accounts.csv").unlink(missing_ok=True)
        source_loads.load()
        report = stage_versions(source_loads, "accounts")
        assert report.read == report.loaded + report.superseded
    assert source_loads.rows("select account_name from staging.stg_accounts where account_id = 'a1'") == [("last",)]


@pytest.mark.parametrize("entity", ["accounts", "usage_events"])
def test_a_clock_that_was_ahead_does_not_outlast_a_correction(source_loads, entity):
    source_loads.write_company()
    source_loads.now += timedelta(days=400)
    source_loads.run()
    source_loads.now -= timedelta(days=400)
    source_loads.write_company(
        accounts="account_id,account_name\na1,Corrected\na2,Bolt\n",
        usage_events=HEADER + "e1,a1,login,7,2026-06-01\n",
    )
    source_loads.run()
    column = {"accounts": "account_name", "usage_events": "quantity"}[entity]
    key = {"accounts": "account_id = 'a1'", "usage_events": "event_id = 'e1'"}[entity]
    corrected = {"accounts": "Corrected", "usage_events": 7}[entity]
    assert source_loads.rows(f"select {column} from {ENTITIES[entity].table} where {key}") == [(corrected,)]


def test_a_version_that_does_not_parse_is_rejected_with_its_text(source_loads):
    source_loads.write_company()
    source_loads.write("accounts.csv", "account_id,account_name,updated_at\na1,Ahlers,yesterday\na2,Bolt,2026-06-01\n")
    source_loads.load()
    report = stage_versions(source_loads, "accounts")
    assert (report.loaded, report.rejected) == (1, 1)
    assert source_loads.quarantined("accounts") == [(2, "updated_at", "invalid_timestamp", "yesterday")]


def test_a_row_that_counts_nothing_is_ignored_and_counted(source_loads):
    source_loads.write_company(usage_events=HEADER + "e1,a1,login,0,2026-06-01\ne2,a1,login,2,2026-06-01\n")
    report = source_loads.run()["usage_events"]
    assert (report.read, report.loaded, report.ignored, report.rejected) == (2, 1, 1, 0)
    assert report.by_rule == {"quantity 0": 1}
    # A count that is corrected to 0 takes its row away.
    source_loads.write("usage_events.csv", HEADER + "e1,a1,login,0,2026-06-01\ne2,a1,login,0,2026-06-01\n")
    report = source_loads.run()["usage_events"]
    assert report.ignored == 2
    assert source_loads.rows("from staging.stg_usage_events") == []
    assert source_loads.rows("from quarantine.usage_events") == []


def test_a_row_that_counts_nothing_is_ignored_in_parquet_too(source_loads):
    source_loads.write_company()
    (source_loads.folder / "usage_events.csv").unlink()
    source_loads.connection.execute(
        "copy (select 'e' || range as event_id, 'a1' as account_id, null::varchar as user_id, 'x' as event_name, "
        "null::varchar as feature, range % 3 as quantity, timestamp '2026-06-01' as occurred_at from range(30)) "
        f"to '{source_loads.folder}/usage_events.parquet'"
    )
    report = source_loads.run()["usage_events"]
    assert (report.read, report.loaded, report.by_rule) == (30, 20, {"quantity 0": 10})


@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    versions=st.lists(
        st.tuples(st.integers(1, 6), st.integers(0, 2)), min_size=2, max_size=5, unique_by=lambda v: v[0]
    ),
    all_at_once=st.booleans(),
)
def test_an_older_version_never_comes_back_in_whatever_order_versions_are_loaded(
    tmp_path_factory, versions, all_at_once
):
    with new_source_loads(tmp_path_factory.mktemp("versions")) as source_loads:
        header = "event_id,account_id,event_name,quantity,occurred_at,updated_at\n"
        source_loads.write_company(usage_events=header + "other,a1,x,1,2026-06-01,\n")
        source_loads.load()
        source_loads.stage("accounts", "features")
        stage_versions(source_loads, "usage_events")
        for number, (day, quantity) in enumerate(versions):
            line = f"e1,a1,x,{quantity},2026-06-01,2026-07-0{day}\n"
            source_loads.write(f"usage_events/{number}.csv", header + line)
            if not all_at_once:
                source_loads.load()
                report = stage_versions(source_loads, "usage_events")
                assert not report.restaged
                assert report.read == report.loaded + report.superseded + report.ignored
        source_loads.load()
        stage_versions(source_loads, "usage_events")
        _, latest = max(versions)
        found = source_loads.rows("select quantity from staging.stg_usage_events where event_id = 'e1'")
        assert found == ([(latest,)] if latest else [])


@pytest.mark.parametrize("quantity", ["0", "many"])
def test_a_later_version_that_is_not_loaded_is_seen_when_all_events_are_staged_at_once(source_loads, quantity):
    source_loads.write_company(usage_events=HEADER + f"e1,a1,x,2,2026-06-01\ne1,a1,x,{quantity},2026-06-01\n")
    report = source_loads.run()["usage_events"]
    assert report.restaged
    assert report.read == report.loaded + report.rejected + report.superseded + report.ignored
    # A zero takes the earlier count away; what is rejected leaves it in place.
    assert (report.loaded, report.ignored, report.rejected) == ((0, 1, 0) if quantity == "0" else (1, 0, 1))
    source_loads.write("usage_events.csv", HEADER + f"e2,a1,x,{quantity},2026-06-01\ne2,a1,x,2,2026-06-01\n")
    report = source_loads.run()["usage_events"]
    assert source_loads.rows("select quantity from staging.stg_usage_events where event_id = 'e2'") == [(2,)]
    assert source_loads.rows("select record_key from quarantine.usage_events where record_key = 'e2'") == []


def test_of_a_row_that_counts_nothing_only_text_that_does_not_parse_is_rejected(source_loads):
    lines = (
        "e1,a1,login,0,someday\ne2,a1,login,1,2026-06-01\ne3,a1,,0,\n,nobody,login,0,2026-06-01\n,,,0,\n,,,0,never\n"
    )
    source_loads.write_company(usage_events=HEADER + lines)
    report = source_loads.run()["usage_events"]
    assert (report.read, report.loaded, report.rejected, report.ignored) == (6, 1, 2, 3)
    assert source_loads.quarantined("usage_events") == [
        (2, "occurred_at", "invalid_timestamp", "someday"),
        (7, "occurred_at", "invalid_timestamp", "never"),
    ]


def test_few_rejected_records_fail_a_load_only_when_they_are_all_of_it(source_loads):
    def stage(bad: int, good: int):
        lines = [f"b{n},a1,x,1,never\n" for n in range(bad)] + [f"g{n},a1,x,1,2026-06-01\n" for n in range(good)]
        source_loads.write_company(usage_events=HEADER + "".join(lines))
        source_loads.load()
        source_loads.stage("accounts", "features")
        columns = ", ".join((*ENTITIES["usage_events"].column_names, *BOOKKEEPING))
        return stage_entity(
            source_loads.connection,
            "usage_events",
            [("files", f"select {columns} from raw.files__usage_events")],
            staged_at=source_loads.now,
            max_rejected_percent=5,
            min_rejected=20,
        )

    assert stage(19, 1).rejected == 19
    with pytest.raises(SourceError, match=r"20 of 21 new records rejected \(95\.2 %, limit 5 %\)"):
        stage(20, 1)
    with pytest.raises(SourceError, match="2 of 2 new records rejected"):
        stage(2, 0)


def test_identifiers_that_came_as_floating_point_are_whole_numbers(source_loads):
    source_loads.write_company(
        accounts="account_id,account_name\n360001234567.0,Ahlers\na2,2.0\n",
        usage_events=HEADER + "1.0,360001234567,login,1.0,2026-06-01\n1.5,a2,x,1,2026-06-01\n",
    )
    source_loads.run()
    assert source_loads.rows("select account_id, account_name from staging.stg_accounts order by 1") == [
        ("360001234567", "Ahlers"),
        ("a2", "2.0"),
    ]
    assert source_loads.rows("select event_id, account_id, quantity from staging.stg_usage_events order by 1") == [
        ("1", "360001234567", 1),
        ("1.5", "a2", 1),
    ]


def test_a_warehouse_of_the_version_before_gains_the_gates_columns(source_loads):
    source_loads.write_company()
    source_loads.run("subscriptions")
    for entity in ("accounts", "features", "usage_events", "subscriptions"):
        for column in ("_load_id", "_version"):
            source_loads.connection.execute(f"alter table {ENTITIES[entity].table} drop column {column}")
    source_loads.connection.execute("alter table staging.stg_subscriptions drop column term_months")
    source_loads.write("usage_events/more.csv", HEADER + "e9,a1,login,1,2026-06-03\ne1,a1,login,5,2026-06-01\n")
    source_loads.run("subscriptions")
    assert source_loads.rows("select event_id, quantity from staging.stg_usage_events order by 1") == [
        ("e1", 5),
        ("e2", 3),
        ("e3", 1),
        ("e9", 1),
    ]


def test_events_of_an_account_that_is_no_longer_there_are_rejected(source_loads):
    source_loads.write_company()
    source_loads.run()
    source_loads.write("accounts.csv", "account_id,account_name\na2,Bolt\n")
    source_loads.connection.execute("delete from raw.files__accounts where account_id = 'a1'")
    report = source_loads.run()["usage_events"]
    assert (report.read, report.loaded, report.by_reason) == (3, 1, {"unknown_account": 2})


def test_features_and_plans_that_came_as_floating_point_match(source_loads):
    source_loads.write_company(
        features="feature,plan\n101,1.0\n",
        accounts="account_id,account_name,plan\na1,Ahlers,1\na2,Bolt,1.0\n",
        usage_events="event_id,account_id,event_name,feature,occurred_at\ne1,a1,used,101.0,2026-06-01\n",
    )
    source_loads.run()
    assert source_loads.rows("select feature, plan from staging.stg_features") == [("101", "1")]
    assert source_loads.rows("select distinct plan from staging.stg_accounts") == [("1",)]
    assert source_loads.rows("select feature from staging.stg_usage_events") == [("101",)]


def test_integers_loaded_before_floats_keep_their_digits(source_loads):
    source_loads.write_company()
    opened = "timestamp '2026-06-01' as opened_at, 'a1' as account_id"
    for name, ids in (("a", "9007199254740993::bigint"), ("b", "100::double")):
        (source_loads.folder / "tickets").mkdir(exist_ok=True)
        source_loads.connection.execute(
            f"copy (select {ids} as ticket_id, {opened}) to '{source_loads.folder}/tickets/{name}.parquet'"
        )
        source_loads.run("tickets")
    assert source_loads.rows("select ticket_id from staging.stg_tickets order by all") == [
        ("100",),
        ("9007199254740993",),
    ]


def test_derived_records_are_ignored_for_accounts_about_which_another_source_states_some(source_loads):
    source_loads.write_company(
        lifecycle_events="event_id,account_id,kind,occurred_at\n"
        "l1,a1,churned,2026-06-01\nl2,a2,churned,someday\nd1,a1,churned,2026-05-01\nd2,a2,churned,2026-05-01\n"
    )
    source_loads.run("lifecycle_events")
    model = straight("lifecycle_events").partition(" order by ")[0]
    report = stage_entity(
        source_loads.connection,
        "lifecycle_events",
        [(system, f"{model} where event_id[1] = '{event}'") for system, event in (("files", "l"), ("other", "d"))],
        staged_at=source_loads.now,
        max_rejected_percent=100,
        derived=["other"],
    )
    # A rejected record states nothing.
    assert (report.loaded, report.rejected, report.by_rule) == (2, 1, {"other_source": 1})
    assert source_loads.rows("select event_id from staging.stg_lifecycle_events order by 1") == [("d2",), ("l1",)]
