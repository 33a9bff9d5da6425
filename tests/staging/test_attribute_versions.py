"""Attributes over time: which version of an account or feature is valid on a day, whatever is loaded later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from csm_core.days.known_warehouse import create_known_warehouse
from csm_core.sources.registry import get_system
from csm_core.sources.settings import FilesSettings
from csm_core.staging.gate import stage_entity
from tests.examples import examples
from tests.source_loads import SilentLog, SourceLoads, new_source_loads, straight

ALWAYS = "1900-01-01 00:00"


def load(
    source_loads: SourceLoads,
    at: str,
    *,
    percent: float = 100,
    entities: tuple[str, ...] = ("accounts", "features"),
    **settings: object,
) -> None:
    """Load all files and stage entities at a time."""
    source_loads.now = datetime.fromisoformat(at).replace(tzinfo=UTC)
    source = FilesSettings.model_validate({"system": "files", "path": source_loads.folder, **settings})
    get_system("files").load(
        source_loads.connection, [source], loaded_at=source_loads.now, folder=source_loads.folder, log=source_loads.log
    )
    for name in entities:
        stage_entity(
            source_loads.connection,
            name,
            [("files", straight(name))],
            staged_at=source_loads.now,
            max_closed_percent=percent,
        )


def versions(source_loads: SourceLoads, account: str = "a1") -> list[tuple[object, ...]]:
    """Plan, start, end and basis of each version of an account."""
    return source_loads.rows(
        "select plan, strftime(valid_from, '%Y-%m-%d %H:%M'), strftime(valid_to, '%Y-%m-%d %H:%M'), basis "
        f"from staging.stg_account_versions where account_id = '{account}' order by valid_from"
    )


def write(source_loads: SourceLoads, *rows: str, name: str = "accounts.csv") -> None:
    if not (source_loads.folder / "features.csv").exists():
        source_loads.write_company()
    if name != "accounts.csv":
        (source_loads.folder / "accounts.csv").unlink(missing_ok=True)
    source_loads.write(name, "account_id,account_name,plan,valid_from\n" + "".join(f"{row}\n" for row in rows))


def test_a_changed_plan_is_valid_from_the_load_and_the_first_from_the_beginning(source_loads):
    write(source_loads, "a1,Ahlers,starter,", "a2,Bolt,starter,")
    load(source_loads, "2026-06-30 07:00")
    assert versions(source_loads) == [("starter", ALWAYS, None, "load")]
    write(source_loads, "a1,Ahlers,growth,", "a2,Bolt,starter,")
    load(source_loads, "2026-07-02 07:00")
    expected = [("starter", ALWAYS, "2026-07-02 07:00", "load"), ("growth", "2026-07-02 07:00", None, "load")]
    assert versions(source_loads) == expected
    assert versions(source_loads, "a2") == [("starter", ALWAYS, None, "load")]
    load(source_loads, "2026-07-03 07:00")
    assert versions(source_loads) == expected


def test_an_earlier_value_opens_a_new_version(source_loads):
    for day, plan in ((1, "starter"), (2, "growth"), (3, "starter")):
        write(source_loads, f"a1,Ahlers,{plan},")
        load(source_loads, f"2026-07-0{day} 07:00")
    assert [row[:2] for row in versions(source_loads)] == [
        ("starter", ALWAYS),
        ("growth", "2026-07-02 07:00"),
        ("starter", "2026-07-03 07:00"),
    ]


def test_a_list_that_states_its_history_gives_all_versions(source_loads):
    write(source_loads, "a1,Ahlers,growth,2026-06-10", "a1,Ahlers,starter,2026-01-01", "a1,Ahlers,free,2025-05-01")
    load(source_loads, "2026-07-01 07:00")
    assert versions(source_loads) == [
        ("free", "2025-05-01 00:00", "2026-01-01 00:00", "record"),
        ("starter", "2026-01-01 00:00", "2026-06-10 00:00", "record"),
        ("growth", "2026-06-10 00:00", None, "record"),
    ]
    assert source_loads.rows("select plan from staging.stg_accounts") == [("growth",)]


def test_a_row_with_the_same_valid_from_replaces_the_version(source_loads):
    write(source_loads, "a1,Ahlers,starter,2026-01-01")
    load(source_loads, "2026-06-01 07:00")
    write(source_loads, "a1,Ahlers,growth,2026-06-10")
    load(source_loads, "2026-06-11 07:00")
    write(source_loads, "a1,Ahlers,scale,2026-06-10")
    load(source_loads, "2026-06-12 07:00")
    assert versions(source_loads) == [
        ("starter", "2026-01-01 00:00", "2026-06-10 00:00", "record"),
        ("scale", "2026-06-10 00:00", None, "record"),
    ]


def test_a_stated_time_corrects_the_time_of_a_load(source_loads):
    write(source_loads, "a1,Ahlers,starter,")
    load(source_loads, "2026-06-01 07:00")
    write(source_loads, "a1,Ahlers,growth,")
    load(source_loads, "2026-07-02 07:00")
    write(source_loads, "a1,Ahlers,growth,2026-06-15")
    load(source_loads, "2026-07-03 07:00")
    assert versions(source_loads) == [
        ("starter", ALWAYS, "2026-06-15 00:00", "load"),
        ("growth", "2026-06-15 00:00", None, "record"),
    ]
    # The earliest time that a record can state is that of the first version.
    write(source_loads, "a1,Ahlers,scale,1900-01-01")
    load(source_loads, "2026-07-04 07:00")
    assert versions(source_loads)[0] == ("scale", ALWAYS, "2026-06-15 00:00", "record")


def test_a_planned_change_that_is_cancelled_is_not_a_version(source_loads):
    write(source_loads, "a1,Ahlers,starter,")
    load(source_loads, "2026-07-01 07:00")
    write(source_loads, "a1,Ahlers,growth,2026-08-01")
    load(source_loads, "2026-07-02 07:00")
    assert [row[:2] for row in versions(source_loads)] == [("starter", ALWAYS), ("growth", "2026-08-01 00:00")]
    write(source_loads, "a1,Ahlers,scale,")
    load(source_loads, "2026-07-05 07:00")
    assert [row[:2] for row in versions(source_loads)] == [("starter", ALWAYS), ("scale", "2026-07-05 07:00")]


@pytest.mark.parametrize("at_once", [True, False])
def test_dated_lists_state_when_their_rows_are_valid(source_loads, at_once):
    plans = {1: "starter", 2: "starter", 3: "growth", 4: "growth", 5: "starter"}
    for day, plan in plans.items():
        write(source_loads, f"a1,Ahlers,{plan},", "a2,Bolt,free,", name=f"accounts/2026-06-0{day}.csv")
        if not at_once:
            load(source_loads, f"2026-06-0{day} 09:00")
    load(source_loads, "2026-06-05 09:00")
    assert versions(source_loads) == [
        ("starter", "2026-06-01 00:00", "2026-06-03 00:00", "list"),
        ("growth", "2026-06-03 00:00", "2026-06-05 00:00", "list"),
        ("starter", "2026-06-05 00:00", None, "list"),
    ]
    assert versions(source_loads, "a2") == [("free", "2026-06-01 00:00", None, "list")]


def test_a_corrected_dated_list_corrects_its_day(source_loads):
    for day, plan in ((1, "starter"), (2, "growth"), (3, "growth")):
        write(source_loads, f"a1,Ahlers,{plan},", name=f"accounts/2026-06-0{day}.csv")
    load(source_loads, "2026-06-03 09:00")
    write(source_loads, "a1,Ahlers,starter,", name="accounts/2026-06-02.csv")
    load(source_loads, "2026-06-04 09:00")
    assert versions(source_loads) == [
        ("starter", "2026-06-01 00:00", "2026-06-03 00:00", "list"),
        ("growth", "2026-06-03 00:00", None, "list"),
    ]


def test_a_key_that_leaves_the_list_is_closed_and_one_that_returns_opens_a_version(source_loads):
    both, one = ("a1,Ahlers,starter,", "a2,Bolt,starter,"), ("a2,Bolt,starter,",)
    for day, rows in ((1, both), (2, one), (3, one), (4, both)):
        write(source_loads, *rows)
        load(source_loads, f"2026-07-0{day} 07:00")
    assert versions(source_loads) == [
        ("starter", ALWAYS, "2026-07-02 07:00", "load"),
        ("starter", "2026-07-04 07:00", None, "load"),
    ]
    assert versions(source_loads, "a2") == [("starter", ALWAYS, None, "load")]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_gap_in_dated_lists_is_a_gap_between_versions(source_loads, at_once):
    both, one = ("a1,Ahlers,starter,", "a2,Bolt,starter,"), ("a2,Bolt,starter,",)
    for day, rows in ((1, both), (2, one), (3, one), (4, both)):
        write(source_loads, *rows, name=f"accounts/2026-06-0{day}.csv")
        if not at_once:
            load(source_loads, f"2026-06-0{day} 09:00")
    load(source_loads, "2026-06-04 09:00")
    assert versions(source_loads) == [
        ("starter", "2026-06-01 00:00", "2026-06-02 00:00", "list"),
        ("starter", "2026-06-04 00:00", None, "list"),
    ]


def test_a_list_read_with_other_settings_corrects_its_versions(source_loads):
    write(source_loads, "a1,Ahlers,starter,")
    load(source_loads, "2026-07-01 07:00")
    load(source_loads, "2026-07-03 07:00", columns={"accounts": {"plan": "account_name"}})
    assert versions(source_loads) == [("Ahlers", ALWAYS, None, "load")]


def test_a_rejected_record_keeps_the_version(source_loads):
    write(source_loads, "a1,Ahlers,starter,", "a2,Bolt,starter,")
    load(source_loads, "2026-07-01 07:00")
    write(source_loads, "a1,Ahlers,growth,someday", "a2,Bolt,growth,")
    source_loads.now += timedelta(days=1)
    source_loads.load()
    stage_entity(
        source_loads.connection,
        "accounts",
        [("files", straight("accounts"))],
        staged_at=source_loads.now,
        max_rejected_percent=60,
    )
    assert [row[:2] for row in versions(source_loads)] == [("starter", ALWAYS)]
    assert [row[0] for row in versions(source_loads, "a2")] == ["starter", "growth"]
    assert source_loads.quarantined("accounts") == [(2, "valid_from", "invalid_timestamp", "someday")]


def test_features_have_versions(source_loads):
    source_loads.write_company(features="feature,module,plan,valid_from\nreports,core,starter,\nexport,core,,\n")
    load(source_loads, "2026-07-01 07:00")
    source_loads.write_company(features="feature,module,plan,valid_from\nreports,core,growth,2026-06-20\n")
    load(source_loads, "2026-07-02 07:00")
    rows = source_loads.rows(
        "select feature, plan, cast(valid_from as date)::varchar, cast(valid_to as date)::varchar "
        "from staging.stg_feature_versions order by 1, 3"
    )
    assert rows == [
        ("export", None, "1900-01-01", "2026-07-02"),
        ("reports", "starter", "1900-01-01", "2026-06-20"),
        ("reports", "growth", "2026-06-20", None),
    ]


@pytest.mark.parametrize(
    ("known_at", "expected"),
    [
        ("2026-07-02 12:00", [("starter", ALWAYS, "2026-07-02 07:00"), ("growth", "2026-07-02 07:00", None)]),
        ("2026-07-03 12:00", [("starter", ALWAYS, "2026-06-15 00:00"), ("growth", "2026-06-15 00:00", None)]),
    ],
)
def test_versions_that_were_stated_later_are_not_known_before(tmp_path, known_at, expected):
    with new_source_loads(tmp_path) as loads:
        for day, row in (
            ("01", "starter,"),
            ("02", "growth,"),
            ("03", "growth,2026-06-15"),
            ("04", "scale,2026-06-20"),
        ):
            write(loads, f"a1,Ahlers,{row}")
            load(loads, f"2026-07-{day} 07:00")
        assert [row[:2] for row in versions(loads)][1:] == [
            ("growth", "2026-06-15 00:00"),
            ("scale", "2026-06-20 00:00"),
        ]
    at = datetime.fromisoformat(known_at)
    known = create_known_warehouse(tmp_path / "known.duckdb", tmp_path / "csm.duckdb", at)
    with known.connect() as connection:
        stage_entity(connection, "accounts", [("files", straight("accounts"))], staged_at=at.replace(tzinfo=UTC))
        assert [row[:3] for row in versions(SourceLoads(tmp_path, connection, SilentLog()))] == expected


# Histories of a key: of each load, or dated list, its states as (plan, valid_from); none if it is not in the list.
PLANS = st.sampled_from("xyz")
STATED = st.sampled_from([None, *(datetime.fromisoformat(f"2026-06-{day:02}") for day in range(1, 10))])
STATES = st.lists(st.tuples(PLANS, STATED), max_size=3, unique_by=lambda row: row[1])
HISTORIES = st.lists(st.lists(STATES, min_size=5, max_size=5), min_size=1, max_size=20)
SNAPSHOTS = st.lists(st.lists(st.none() | PLANS, min_size=5, max_size=5), min_size=1, max_size=20)
BEGINNING, NEVER = datetime.fromisoformat(ALWAYS), datetime.fromisoformat("9999-12-31 00:00")
Span = tuple[str, datetime, datetime | None]


class Oracle:
    """The versions of one key in a list without dates, by the rules at the head of the module."""

    def __init__(self) -> None:
        self.versions: dict[datetime, tuple[str, str]] = {}
        self.closed_at: dict[datetime, datetime] = {}
        self.is_away = False

    def see(self, states: list[tuple[str, datetime | None]], at: datetime) -> None:
        """A list with these states is loaded."""
        newest = max(self.versions, default=None)
        if not states:
            starts = sorted(self.versions)
            for start, following in zip(starts, [*starts[1:], NEVER], strict=False):
                if not self.is_away and max(start, at) < following:
                    self.closed_at[start] = min(max(start, at), self.closed_at.get(start, NEVER))
            self.is_away = True
            return
        self.is_away = False
        for plan, valid_from in states:
            if valid_from is not None:
                self._state(plan, valid_from, "record")
        current = states_by_time(states)[-1]
        if current[1] is not None:
            for start in [one for one, (_, basis) in self.versions.items() if basis == "load" and one > current[1]]:
                self._remove(start)
        elif newest is None and not self.versions:
            self._state(current[0], BEGINNING, "load")
        else:
            newest = max(self.versions)
            if self.versions[newest][0] != current[0] or newest in self.closed_at:
                for start in [one for one in self.versions if one >= at]:
                    self._remove(start)
                self._state(current[0], at, "load")
        self.closed_at.pop(max(self.versions), None)
        self._drop_repetitions()

    def spans(self) -> list[Span]:
        """Plan, start and end of each version."""
        starts = sorted(self.versions)
        ends: list[datetime | None] = [*starts[1:], None][: len(starts)]
        return [
            (
                self.versions[start][0],
                start,
                min((one for one in (end, self.closed_at.get(start)) if one), default=None),
            )
            for start, end in zip(starts, ends, strict=True)
        ]

    def _state(self, plan: str, start: datetime, basis: str) -> None:
        self.closed_at.pop(start, None)
        self.versions[start] = (plan, basis)

    def _remove(self, start: datetime) -> None:
        del self.versions[start]
        self.closed_at.pop(start, None)

    def _drop_repetitions(self) -> None:
        before: datetime | None = None
        for start in sorted(self.versions):
            plan, basis = self.versions[start]
            repeats = before is not None and basis == "load" and plan == self.versions[before][0]
            if before is None or not repeats or before in self.closed_at:
                before = start
                continue
            if start in self.closed_at:
                self.closed_at[before] = self.closed_at[start]
            self._remove(start)


def states_by_time(states: list[tuple[str, datetime | None]]) -> list[tuple[str, datetime | None]]:
    """The states in the order of their times; one without a time is the current one."""
    return sorted(states, key=lambda row: (row[1] is None, row[1] or BEGINNING))


def spans(source_loads: SourceLoads) -> dict[str, list[Span]]:
    """Plan, start and end of the versions of each account."""
    found: dict[str, list[Span]] = {}
    for account, *span in source_loads.rows(
        "select account_id, plan, valid_from, valid_to from staging.stg_account_versions order by 1, 3"
    ):
        found.setdefault(str(account), []).append(tuple(span))  # type: ignore[arg-type]
    return found


def differences(base: Path, histories: list[list[list[tuple[str, datetime | None]]]]) -> list[Any]:
    """Load the lists of all accounts one by one; return where versions or current plans are not those of the oracle."""
    found: list[Any] = []
    oracles = [Oracle() for _ in histories]
    with new_source_loads(base) as loads:
        for number in range(len(histories[0])):
            at = datetime.fromisoformat(f"2026-06-{number + 3:02} 07:00")
            rows = [
                f"a{key},Ahlers,{plan},{valid_from or ''}"
                for key, history in enumerate(histories)
                for plan, valid_from in history[number]
            ]
            # One more row, so that each list is new content.
            write(loads, *rows, f"other,Bolt {number},x,")
            load(loads, str(at), entities=("accounts",))
            versions = spans(loads)
            for key, (oracle, history) in enumerate(zip(oracles, histories, strict=True)):
                oracle.see(history[number], at)
                if versions.get(f"a{key}", []) != oracle.spans():
                    found.append((history[: number + 1], versions.get(f"a{key}"), oracle.spans()))
        plans = dict(loads.rows("select account_id, plan from staging.stg_accounts"))
        for key, history in enumerate(histories):
            current = [states_by_time(states)[-1][0] for states in history if states]
            if plans.get(f"a{key}") != (current[-1] if current else None):
                found.append((history, plans.get(f"a{key}")))
    return found


# The message of a failure has the history of one account, so examples need no shrinking, which takes minutes.
UNSHRUNK = settings(phases=(Phase.explicit, Phase.reuse, Phase.generate), suppress_health_check=list(HealthCheck))


@settings(UNSHRUNK, max_examples=examples(5))
@given(histories=HISTORIES)
def test_the_versions_are_those_of_the_oracle(tmp_path_factory, histories):
    assert differences(tmp_path_factory.mktemp("versions"), histories) == []


@pytest.mark.slow
@settings(UNSHRUNK, max_examples=examples(100))
@given(histories=HISTORIES)
def test_the_versions_are_those_of_the_oracle_at_length(tmp_path_factory, histories):
    assert differences(tmp_path_factory.mktemp("versions"), histories) == []
