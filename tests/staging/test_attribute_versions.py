"""Attributes over time: which version of an account or feature is valid on a day, whatever is loaded later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csm_core.sources.registry import get_system
from csm_core.sources.settings import FilesSettings
from csm_core.staging.gate import stage_entity
from tests.source_loads import SourceLoads, new_source_loads, straight

ALWAYS = "1900-01-01 00:00"


def load(source_loads: SourceLoads, at: str, *, percent: float = 100, **settings: object) -> None:
    """Load and stage accounts and features at a time."""
    source_loads.now = datetime.fromisoformat(at).replace(tzinfo=UTC)
    source = FilesSettings.model_validate({"system": "files", "path": source_loads.folder, **settings})
    get_system("files").load(
        source_loads.connection, [source], loaded_at=source_loads.now, folder=source_loads.folder, log=source_loads.log
    )
    for name in ("accounts", "features"):
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


class Oracle:
    """The versions of one account in a full list without dates, by the rules of the documentation."""

    def __init__(self) -> None:
        self.versions: list[list[Any]] = []

    def see(self, rows: list[tuple[str, datetime | None]], at: datetime) -> None:
        """A list with these states (plan, valid_from) is loaded; no state: the account is not in it."""
        if not rows:
            if self.versions and self.versions[-1][2] is None:
                self.versions[-1][2] = max(at, self.versions[-1][0])
            return
        returns = bool(self.versions) and self.versions[-1][2] is not None
        for plan, valid_from in rows:
            if valid_from is not None:
                self.put(plan, valid_from, "record")
        plan, valid_from = max(rows, key=lambda row: (row[1] is None, row[1] or at))
        if valid_from is not None:
            self.versions = [one for one in self.versions if one[3] == "record" or one[0] <= valid_from]
        elif not self.versions:
            self.put(plan, BEGINNING, "load")
        elif returns or self.versions[-1][1] != plan:
            self.versions = [one for one in self.versions if one[0] < at]
            self.put(plan, at, "load")
        # A load that repeats the version before it is not kept.
        self.versions = [
            one
            for place, one in enumerate(self.versions)
            if place == 0 or one[3] == "record" or one[1] != self.versions[place - 1][1]
        ]

    def put(self, plan: str, valid_from: datetime, basis: str) -> None:
        kept = [one for one in self.versions if one[0] != valid_from]
        self.versions = sorted([*kept, [valid_from, plan, None, basis]])

    def plan_at(self, moment: datetime) -> str:
        """The plan before a moment: of the latest version that began before it, otherwise of the first."""
        begun = [one for one in self.versions if one[0] < moment]
        return (begun or self.versions[:1])[-1][1]


BEGINNING = datetime.fromisoformat(ALWAYS)
STATED = st.sampled_from([None, *(datetime.fromisoformat(f"2026-06-{day:02}") for day in range(1, 10))])
STATES = st.lists(st.tuples(st.sampled_from("xyz"), STATED), min_size=1, max_size=3, unique_by=lambda row: row[1])


@pytest.mark.slow
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(lists=st.lists(STATES, min_size=1, max_size=5))
def test_the_plan_at_any_moment_is_that_of_the_oracle(tmp_path_factory, lists):
    oracle = Oracle()
    with new_source_loads(tmp_path_factory.mktemp("versions")) as loads:
        for number, rows in enumerate(lists):
            at = datetime.fromisoformat(f"2026-06-{number + 2:02} 07:00")
            texts = [f"a1,Ahlers,{plan},{valid_from or ''}" for plan, valid_from in rows]
            # One more row, so that each list is new content.
            write(loads, *texts, f"a2,Bolt {number},x,")
            load(loads, str(at))
            oracle.see(rows, at)
            staged_plans = loads.rows("select plan from staging.stg_accounts where account_id = 'a1'")
            found = loads.rows(
                "select plan, valid_from, valid_to from staging.stg_account_versions where account_id = 'a1' order by 2"
            )
            moments = [datetime.fromisoformat(f"2026-06-{day:02} 12:00") for day in range(1, 12)]
            for moment in moments:
                begun = [plan for plan, valid_from, _ in found if valid_from < moment] or [found[0][0]]
                assert begun[-1] == oracle.plan_at(moment), (lists[: number + 1], moment)
            assert [valid_to for *_, valid_to in found] == [*(valid_from for _, valid_from, _ in found[1:]), None]
            current = max(rows, key=lambda row: (row[1] is None, row[1] or at))
            assert staged_plans == [(current[0],)]
