"""Pulses: which one counts on a day, checked against an oracle, and what the commands accept."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.errors import InputError
from csm_core.publishing.pulses import COMMAND, PulseChange, checked_change, list_pulses, record
from csm_core.warehouse.alert_conditions import checked_condition
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.materialize import build_model
from csm_core.warehouse.migrations import MIGRATIONS, upgrade
from csm_core.warehouse.models import load_models
from tests.conftest import Company, make_company
from tests.examples import examples
from tests.in_process import csm
from tests.publishing.alerts.made_up import fill
from tests.sql.harness import PARAMETERS, fresh, run_model, staged, table
from tests.sql.test_model_cases import prepare

FIRST = date(2026, 1, 1)
DAYS = 120
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).replace(tzinfo=None)
PULSE_COLUMNS = "pulse, pulse_age_days, pulse_note, author, set_on, until_date"


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


@dataclass(frozen=True)
class Event:
    """What happens on a day: a pulse is set (``None``: cleared), or the owner changes."""

    day: int
    pulse: int | None = None
    length: int | None = None
    owner: str | None = None


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    numbers = st.integers(0, DAYS - 1)
    sets = st.builds(Event, numbers, st.integers(1, 5), st.none() | st.integers(0, 50))
    clears = st.builds(Event, numbers)
    owners = st.builds(Event, numbers, owner=st.sampled_from(("ann", "bob", "eve")))
    listed = draw(st.lists(sets | sets | sets | clears | owners, min_size=1, max_size=25))
    return sorted(listed, key=lambda one: one.day)


def expected(events: list[Event]) -> dict[date, tuple]:
    """The pulse of each day, worked out one day after the other."""
    found: dict[date, tuple] = {}
    active: tuple | None = None
    owner = "first"
    for number in range(DAYS):
        today = [one for one in events if one.day == number]
        owners = [one.owner for one in today if one.owner]
        if owners and owners[-1] != owner:
            owner, active = owners[-1], None
        if active and day(number) > active[-1]:
            active = None
        for place, one in enumerate(today):
            if one.owner:
                continue
            active = None
            if one.pulse:
                until = day(number + (30 if one.length is None else one.length))
                active = (one.pulse, f"note {place}", f"author {place}", day(number), until)
        if active:
            found[day(number)] = (active[0], (day(number) - active[3]).days, *active[1:])
    return found


def write(connection: duckdb.DuckDBPyConnection, events: list[Event]) -> None:
    """Write the versions of the owner, and record the pulses as the command does, in order."""
    staged(connection, "accounts", {"account_id": "A", "account_name": "a", "tenant_id": "t"})
    versions = [("first", datetime(1900, 1, 1, tzinfo=UTC).replace(tzinfo=None))]
    for number in range(DAYS):
        today = [one for one in events if one.day == number]
        for place, one in enumerate(today):
            at = NOON + timedelta(days=number, minutes=place)
            if one.owner:
                versions.append((one.owner, at))
                continue
            until = None if one.length is None else day(number + one.length)
            change = PulseChange("A", day(number), one.pulse, f"note {place}", until, f"author {place}")
            record(connection, [checked_change(change, day(number))], at)
    table(
        connection,
        "staging.stg_account_versions",
        [
            {"account_id": "A", "account_name": "a", "csm_owner": owner, "valid_from": at, "basis": "load"}
            for owner, at in versions
        ],
    )


TABLES = ("sync.pulses", "staging.stg_accounts", "staging.stg_account_versions", "run.late_records")


def test_the_pulse_of_each_day_is_that_of_the_oracle() -> None:
    tried = 0

    @settings(max_examples=examples(25))
    @given(histories())
    def compare(events: list[Event]) -> None:
        nonlocal tried
        for name in TABLES:
            connection.execute(f"delete from {name}")
        compare_with_oracle(connection, events)
        tried += 1

    with fresh() as connection:
        compare()
    assert tried >= examples(25)


def compare_with_oracle(connection: duckdb.DuckDBPyConnection, events: list[Event]) -> None:
    wanted = expected(events)
    write(connection, events)
    for name in ("int_account_days", "int_account_pulses"):
        run_model(connection, f"intermediate/{name}", (day(0), day(DAYS - 1)))
    run_model(connection, "marts/csm_pulses_daily", (day(0), day(DAYS - 1)))
    built = connection.execute(f"select as_of_date, {PULSE_COLUMNS} from marts.csm_pulses_daily").fetchall()
    assert {row[0]: row[1:] for row in built} == wanted

    # A day that is built alone, as on its evening, has the same pulse: later changes do not reach back.
    alone = day(events[len(events) // 2].day)
    connection.execute("delete from sync.pulses where set_on > ?", [alone])
    connection.execute("delete from staging.stg_account_versions where cast(valid_from as date) > ?", [alone])
    run_model(connection, "intermediate/int_account_pulses", (alone,))
    run_model(connection, "marts/csm_pulses_daily", (alone,))
    evening = connection.execute(
        f"select {PULSE_COLUMNS} from marts.csm_pulses_daily where as_of_date = ?", [alone]
    ).fetchall()
    assert evening == ([wanted[alone]] if alone in wanted else [])
    listed = [
        (one["pulse"], one["age_days"], one["note"], one["author"], one["set_on"], one["until"])
        for one in list_pulses(connection, alone)
    ]
    assert listed == evening


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"until": date(2026, 5, 31)}, "--until 2026-05-31 is in the past; choose 2026-06-01 or a later day"),
        ({"set_on": date(2026, 5, 1), "until": date(2026, 4, 30)}, "before the first day of the pulse"),
        ({"set_on": date(2026, 6, 2)}, "--on 2026-06-02 is in the future"),
        ({"note": "x" * 2001}, "--note: expected at most 2,000 characters, not 2,001"),
        ({"author": " "}, "--author: expected a text of 1 to 200 characters"),
    ],
)
def test_a_change_that_makes_no_sense_is_rejected_with_what_to_do(change: dict, message: str) -> None:
    stated = {"account_id": "A", "set_on": date(2026, 6, 1), "pulse": 3, "author": "ann"} | change
    with pytest.raises(InputError) as error:
        checked_change(PulseChange(**stated), date(2026, 6, 1))
    assert message in str(error.value)


def test_texts_are_stored_as_they_are_on_one_line() -> None:
    note = "'); drop table sync.pulses;--\n <b>x</b> =1+1"
    with fresh() as connection:
        change = checked_change(PulseChange("A'", date(2026, 6, 1), 3, note, author="ann \n b"), date(2026, 6, 1))
        record(connection, [change], NOON)
        (one,) = list_pulses(connection, date(2026, 7, 1))
        assert (one["account_id"], one["note"], one["author"], one["origin"], one["until"]) == (
            "A'",
            "'); drop table sync.pulses;-- <b>x</b> =1+1",
            "ann b",
            COMMAND,
            date(2026, 7, 1),
        )
        assert list_pulses(connection, date(2026, 7, 2)) == []
        assert [one["status"] for one in list_pulses(connection, date(2026, 7, 2), every=True)] == ["expired"]


@pytest.mark.parametrize("condition", ["pulse <= 2", "disagrees and pulse_age_days < 7", "contains(pulse_note, 'x')"])
def test_rules_of_alerts_may_use_the_pulse(condition: str) -> None:
    assert checked_condition(condition) == condition


TODAY = datetime.now(UTC).date()


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Company:
    """A warehouse in which two accounts are scored up to yesterday."""
    folder = tmp_path_factory.mktemp("pulses")
    company = make_company(folder, folder)
    with Warehouse.from_config(company.config).connect() as connection:
        fill(connection, [("A1", TODAY - timedelta(days=1), 80.0), ("A2", TODAY - timedelta(days=1), 20.0)])
        connection.execute(
            "create table marts.csm_health_last as select account_id, 'Ahlers' as account_name, 'ann' as csm_owner, "
            "tenant_id from marts.csm_health_scores where account_id = 'A1'"
        )
    return company


def run(company: Company, *arguments: str):
    return csm("pulse", *arguments, folder=company.folder, environment={"CSM_CONFIG": str(company.config_file)})


def test_a_pulse_is_set_extended_listed_and_cleared(scored: Company) -> None:
    until = TODAY + timedelta(days=30)
    done = run(scored, "set", "Ahlers", "2", "--note", "the sponsor left", "--author", "ann@example.com")
    said = f"the pulse of A1 is 2 from {TODAY} to {until}; the marts have it when {TODAY} is scored\n"
    assert (done.status, done.stdout) == (0, said)
    assert run(scored, "set", "A1", "3", "--until", str(TODAY)).status == 0
    (one,) = json.loads(run(scored, "list", "--json").stdout)
    assert (one["account_id"], one["account_name"], one["pulse"], one["until"], one["status"]) == (
        *("A1", "Ahlers", 3, str(TODAY), "active"),
    )
    assert one["author"]
    assert json.loads(run(scored, "list", "--owner", "ANN", "--json").stdout) == [one]
    assert run(scored, "list", "--owner", "bob").stdout == "there is no pulse\n"

    earlier = TODAY - timedelta(days=1)
    backdated = run(scored, "set", "A2", "5", "--on", str(earlier))
    assert f"csm run --from {earlier} --to {earlier} --no-publish" in backdated.stdout
    cleared = run(scored, "clear", "A1")
    assert (cleared.status, cleared.stdout.partition(";")[0]) == (0, f"A1 has no pulse from {TODAY}")
    listed = run(scored, "list", "--all").stdout
    assert f"cleared on {TODAY}" in listed
    assert f"replaced on {TODAY}" in listed
    assert "the sponsor left" in listed
    assert "3 pulses" in listed
    again = run(scored, "clear", "A1")
    assert again.status == 2
    assert f"A1 has no pulse on {TODAY}" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("set", "nobody", "2"), "no account 'nobody' has been scored"),
        (("set", "A1", "0"), "from 1 to 5"),
        (("set", "A1", "6"), "from 1 to 5"),
        (("set", "A1", "two"), "PULSE: expected a whole number from 1 to 5, not 'two'"),
        (("set", "A1", "2.5"), "not '2.5'"),
        (("set", "A1", "2", "--until", "2020-01-01"), "in the past"),
        (("set", "A1", "2", "--until", "soon"), "soon"),
        (("set", "A1", "2", "--on", "2999-01-01"), "in the future"),
        (("clear", "nobody"), "no account 'nobody' has been scored"),
    ],
)
def test_bad_input_has_exit_status_2_and_records_nothing(
    scored: Company, arguments: tuple[str, ...], said: str
) -> None:
    before = scored.query("from sync.pulses")
    done = run(scored, *arguments)
    assert done.error is None
    assert done.status == 2
    assert said in done.stderr
    assert scored.query("from sync.pulses") == before


def test_a_warehouse_without_scores_has_no_pulses(tmp_path) -> None:
    company = make_company(tmp_path, tmp_path)
    assert run(company, "list").status == 2
    with Warehouse.from_config(company.config).connect():
        pass
    assert run(company, "list").stdout == "there is no pulse\n"
    rejected = run(company, "set", "A1", "2")
    assert rejected.status == 2
    assert "nothing is scored yet" in rejected.stderr


def test_a_pulse_for_an_earlier_day_makes_its_days_stale(tmp_path) -> None:
    model = load_models("marts")["csm_pulses_daily"]
    with fresh() as connection:
        write(connection, [])
        for name in ("int_account_days", "int_account_pulses"):
            run_model(connection, f"intermediate/{name}", (day(0), day(9)))
        build_model(connection, model, PARAMETERS, (day(0), day(9)))
        record(connection, [PulseChange("A", day(5), 2, author="ann")], NOON)
        late = connection.execute("select entity, touched_day, records from run.late_records").fetchall()
        assert late == [("pulses", day(5), 1)]
        record(connection, [PulseChange("A", day(11), 2, author="ann")], NOON)
        assert connection.execute("select count(*) from run.late_records").fetchall() == [(1,)]
        for name in ("int_account_pulses",):
            run_model(connection, f"intermediate/{name}", (day(9),))
        build_model(connection, model, PARAMETERS, (day(0), day(9)))
        assert connection.execute("select min(as_of_date) from marts.csm_pulses_daily").fetchall() == [(day(5),)]


def columns(connection: duckdb.DuckDBPyConnection, name: str) -> list[tuple[str, str]]:
    return [(column, kind) for column, kind, *_ in connection.execute(f"describe {name}").fetchall()]


def test_an_upgraded_warehouse_has_the_tables_and_columns_that_commands_read() -> None:
    built = ("intermediate.int_account_pulses", "marts.csm_pulses_daily", "marts.csm_disagreements")
    with fresh() as connection:
        for name in built:
            prepare(connection, name)
        wanted = [columns(connection, name) for name in built]
        for name in ("marts.csm_health_scores", "marts.csm_health_current"):
            prepare(connection, name)
        scores, current = (columns(connection, f"marts.csm_health_{name}") for name in ("scores", "current"))
    with duckdb.connect() as connection:
        upgrade(connection, [one for one in MIGRATIONS if one.number < 26])
        for name, listed in (("scores", scores), ("current", current[:-4])):
            stated = ", ".join(f"{column} {kind}" for column, kind in listed)
            connection.execute(f"create table marts.csm_health_{name} ({stated})")
        assert upgrade(connection) == [one.number for one in MIGRATIONS if one.number >= 26]
        assert [columns(connection, name) for name in built] == wanted
        assert columns(connection, "marts.csm_health_current") == current
