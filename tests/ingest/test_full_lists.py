"""What is no longer in a full list is closed from that load on, and counted; earlier days keep it."""

from __future__ import annotations

import gzip
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from csm_core.contract import ENTITIES
from csm_core.errors import SourceError
from csm_core.ingest.full_lists import DatedList, dated_list, replaced_at
from csm_core.sources.registry import get_system
from csm_core.sources.settings import FilesSettings
from csm_core.staging.gate import stage_entity
from tests.examples import examples
from tests.source_loads import new_source_loads, straight

INVOICES = "invoice_id,account_id,amount_due,issued_at\n"


def run(
    source_loads,
    *entities: str,
    full: tuple[str, ...] = ("invoices",),
    incremental: tuple[str, ...] = (),
    dates: tuple[str, ...] = (),
):
    source_loads.now += timedelta(hours=1)
    source = FilesSettings(system="files", path=source_loads.folder, full=full, incremental=incremental, dates=dates)
    get_system("files").load(
        source_loads.connection, [source], loaded_at=source_loads.now, folder=source_loads.folder, log=source_loads.log
    )
    return {
        name: stage_entity(
            source_loads.connection,
            name,
            [("files", straight(name))],
            staged_at=source_loads.now,
            max_closed_percent=20,
            min_rejected=20,
        )
        for name in ENTITIES
        if name in ("accounts", "features", *entities)
    }


def at(month: int, day: int) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC).replace(tzinfo=None)


def instant(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC).replace(tzinfo=None)


def times(source_loads, table: str, key: str, column: str) -> dict[object, object]:
    return dict(source_loads.rows(f"select {key}, {column} from staging.stg_{table}"))


def test_a_record_that_left_the_full_list_is_closed_from_that_load_on_until_it_is_back(source_loads):
    source_loads.write_company()
    source_loads.write("invoices.csv", INVOICES + "i1,a1,5,2026-06-01\ni2,a2,5,2026-06-01\n")
    assert run(source_loads, "invoices")["invoices"].closed == 0
    source_loads.write("accounts.csv", "account_id,account_name\na1,Ahlers\n")
    source_loads.write("features.csv", "feature,module\nexport,core\n")
    source_loads.write("invoices.csv", INVOICES + "i2,a2,5,2026-06-01\n")
    reports = run(source_loads, "invoices")
    left_at = source_loads.now.replace(tzinfo=None)
    assert {name: report.closed for name, report in reports.items()} == {"accounts": 1, "features": 1, "invoices": 1}
    assert times(source_loads, "accounts", "account_id", "churned_at") == {"a1": None, "a2": left_at}
    assert times(source_loads, "features", "feature", "_closed_at") == {"export": None, "reports": left_at}
    assert times(source_loads, "invoices", "invoice_id", "voided_at") == {"i1": left_at, "i2": None}
    # Nothing new: the same state, whenever it is staged again.
    assert run(source_loads, "invoices")["accounts"].closed == 1
    assert times(source_loads, "accounts", "account_id", "churned_at") == {"a1": None, "a2": left_at}
    source_loads.write("accounts.csv", "account_id,account_name\na1,Ahlers\na2,Back\n")
    assert run(source_loads, "invoices")["accounts"].closed == 0
    assert times(source_loads, "accounts", "account_id", "churned_at") == {"a1": None, "a2": None}


def test_another_setting_keeps_what_a_full_list_has_closed_and_since_when(source_loads):
    source_loads.write_company()
    run(source_loads)
    source_loads.write("accounts.csv", "account_id,account_name\na1,Ahlers\n")
    run(source_loads)
    left_at = source_loads.now.replace(tzinfo=None)
    for dates in (("%d/%m/%Y",), ("%m/%d/%Y",), ()):
        assert run(source_loads, dates=dates)["accounts"].closed == 1
        assert times(source_loads, "accounts", "account_id", "churned_at") == {"a1": None, "a2": left_at}


def test_an_end_that_the_record_states_itself_stays(source_loads):
    source_loads.write_company(accounts="account_id,account_name,churned_at\na1,Ahlers,\na2,Bolt,2026-03-01\n")
    run(source_loads)
    source_loads.write("accounts.csv", "account_id,account_name,churned_at\na1,Ahlers,\n")
    run(source_loads)
    assert times(source_loads, "accounts", "account_id", "churned_at") == {"a1": None, "a2": at(3, 1)}


def test_what_is_no_full_list_loses_nothing(source_loads):
    source_loads.write_company()
    source_loads.write("invoices.csv", INVOICES + "i1,a1,5,2026-06-01\n")
    run(source_loads, "invoices", full=(), incremental=("accounts",))
    source_loads.write("accounts.csv", "account_id,account_name\na1,Ahlers\n")
    source_loads.write("invoices.csv", INVOICES + "i2,a2,5,2026-06-01\n")
    reports = run(source_loads, "invoices", full=(), incremental=("accounts",))
    assert {name: report.closed for name, report in reports.items()} == {"accounts": 0, "features": 0, "invoices": 0}
    assert set(times(source_loads, "invoices", "invoice_id", "voided_at").values()) == {None}


def test_a_rejected_record_is_in_the_list_and_an_unreadable_line_closes_nothing(source_loads):
    source_loads.write_company()
    run(source_loads)
    source_loads.write("accounts.csv", "account_id,account_name,created_at\na1,Ahlers,\na2,Bolt,someday\n")
    assert run(source_loads)["accounts"].closed == 0
    source_loads.write("accounts.csv", 'account_id,account_name\na1,Ahlers\na2,"Bo\n')
    assert run(source_loads)["accounts"].closed == 0
    assert set(times(source_loads, "accounts", "account_id", "churned_at").values()) == {None}


def test_each_file_of_a_dated_series_is_the_full_list_of_its_day(source_loads):
    source_loads.write_company()
    (source_loads.folder / "accounts.csv").unlink()
    source_loads.write("accounts/2026-06-01.csv", "account_id,account_name\na1,Ahlers\na2,Bolt\n")
    source_loads.write("accounts/2026-06-02.csv", "account_id,account_name\na1,Ahlers\na2,Bolt\n")
    source_loads.write("accounts/2026-06-04.csv", "account_id,account_name\na1,Ahlers\n")
    assert run(source_loads)["accounts"].closed == 1
    assert times(source_loads, "accounts", "account_id", "churned_at") == {"a1": None, "a2": at(6, 4)}


def accounts(**names: str) -> str:
    return "account_id,account_name\n" + "".join(f"{key},{name}\n" for key, name in names.items())


def dated_company(source_loads, **lists: str) -> None:
    source_loads.write_company()
    (source_loads.folder / "accounts.csv").unlink()
    for name, content in lists.items():
        source_loads.write(name, content)


def staged_accounts(source_loads) -> list[tuple[object, ...]]:
    return source_loads.rows("select account_id, account_name, churned_at from staging.stg_accounts order by 1")


@pytest.mark.parametrize("folder", ["", "accounts/"])
@pytest.mark.parametrize("change", ["packed", "amended", "amended without the closed one", "other format"])
def test_an_older_list_that_is_delivered_once_more_changes_nothing(source_loads, folder, change):
    older, newer = f"{folder}accounts-2026-06-28.csv", f"{folder}accounts-2026-06-29.csv"
    dated_company(source_loads)
    source_loads.write(older, accounts(a1="Old", a2="Bolt"))
    run(source_loads)
    source_loads.write(newer, accounts(a1="New"))
    run(source_loads)
    expected = [("a1", "New", None), ("a2", "Bolt", at(6, 29))]
    assert staged_accounts(source_loads) == expected
    path = source_loads.folder / older
    if change == "packed":
        source_loads.write(f"{older}.gz", gzip.compress(path.read_bytes()))
        path.unlink()
    elif change == "other format":
        source_loads.connection.execute(f"copy (from '{path}') to '{path.with_suffix('.parquet')}'")
        path.unlink()
    else:
        source_loads.write(older, accounts(a1="Older", **({"a2": "Bolt"} if change == "amended" else {})))
    for _ in range(2):
        assert run(source_loads)["accounts"].closed == 1
        assert staged_accounts(source_loads) == expected
    source_loads.write(f"{newer}.gz", gzip.compress((source_loads.folder / newer).read_bytes()))
    (source_loads.folder / newer).unlink()
    run(source_loads)
    assert staged_accounts(source_loads) == expected


def test_a_list_that_is_gone_when_the_next_one_comes_is_replaced_at_the_day_of_the_next(source_loads):
    dated_company(source_loads)
    for day, content in ((28, accounts(a1="1", a2="1")), (29, accounts(a1="2", a2="2")), (30, accounts(a1="3"))):
        source_loads.write(f"accounts/2026-06-{day}.csv", content)
        (source_loads.folder / f"accounts/2026-06-{day - 1}.csv").unlink(missing_ok=True)
        run(source_loads)
    assert staged_accounts(source_loads) == [("a1", "3", None), ("a2", "2", at(6, 30))]


def test_an_undated_list_that_dated_ones_follow_is_older_than_these(source_loads):
    source_loads.write_company()
    run(source_loads)
    (source_loads.folder / "accounts.csv").unlink()
    source_loads.write("accounts-2026-07-02.csv", accounts(a1="1", a2="2"))
    run(source_loads)
    source_loads.write("accounts-2026-07-03.csv", accounts(a1="3"))
    run(source_loads)
    assert staged_accounts(source_loads) == [("a1", "3", None), ("a2", "2", at(7, 3))]


def test_all_files_of_one_day_are_one_list(source_loads):
    dated_company(source_loads)
    source_loads.write("accounts/2026-06-29_0.csv", accounts(a1="Ahlers"))
    source_loads.write("accounts/2026-06-29_1.csv", accounts(a2="Bolt"))
    assert run(source_loads)["accounts"].closed == 0
    source_loads.write("accounts/2026-06-30_0.csv", accounts(a1="Ahlers"))
    assert run(source_loads)["accounts"].closed == 1
    assert staged_accounts(source_loads) == [("a1", "Ahlers", None), ("a2", "Bolt", at(6, 30))]


def test_a_warning_says_that_dated_and_undated_files_are_one_list(source_loads):
    source_loads.write_company()
    run(source_loads)
    assert not [event for event, _ in source_loads.log.events if "one full list" in event]
    path = source_loads.write("accounts-2026-06-29.csv", accounts(a2="Bolt"))
    run(source_loads)
    fields = next(fields for event, fields in source_loads.log.events if "one full list" in event)
    assert (fields["entity"], fields["latest_dated"]) == ("accounts", str(path))
    assert fields["without_date"] == str(source_loads.folder / "accounts.csv")


NAMES = ("a1", "a2", "a3")


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lists=st.dictionaries(
        st.integers(1, 6), st.sets(st.sampled_from(NAMES), min_size=1).map(sorted), min_size=2, max_size=4
    ),
    loads=st.data(),
)
def test_the_state_depends_on_the_lists_alone_and_not_on_when_and_how_each_was_loaded(tmp_path_factory, lists, loads):
    with new_source_loads(tmp_path_factory.mktemp("lists")) as source_loads:
        dated_company(source_loads)
        for day in loads.draw(st.permutations(sorted(lists))):
            names = lists[day]
            content = accounts(**{name: f"{name} on {day}" for name in names})
            packed = loads.draw(st.booleans())
            text = content.encode()
            source_loads.write(f"accounts-2026-06-0{day}.csv{'.gz' * packed}", gzip.compress(text) if packed else text)
            if loads.draw(st.booleans()):
                with suppress(SourceError):
                    run(source_loads)
        days = sorted(lists)
        again = loads.draw(st.sampled_from(days))
        for path in source_loads.folder.glob(f"accounts-2026-06-0{again}.*"):
            path.unlink()
        content = accounts(**{name: f"{name} on {again}" for name in lists[again]})
        source_loads.write(f"accounts/date=2026-06-0{again}/part-0.csv", content)
        run(source_loads)
        expected = []
        for name in NAMES:
            held = [day for day in days if name in lists[day]]
            if held:
                end = next((at(6, day) for day in days if day > held[-1]), None)
                expected.append((name, f"{name} on {held[-1]}", end))
        assert staged_accounts(source_loads) == expected


def test_a_list_that_would_close_too_much_changes_nothing(source_loads):
    names = [f"a{n}" for n in range(100)]
    lines = "".join(f"{name},Account\n" for name in names)
    source_loads.write_company(accounts="account_id,account_name\n" + lines)
    run(source_loads)
    source_loads.write(
        "accounts.csv", "account_id,account_name\n" + "".join(f"{name},Account\n" for name in names[:70])
    )
    for _ in range(2):
        with pytest.raises(
            SourceError, match=r"30 of 100 accounts are missing from the new full list .*30\.0 %, limit 20 %"
        ):
            run(source_loads)
        assert set(times(source_loads, "accounts", "account_id", "churned_at").values()) == {None}
    source_loads.write("accounts.csv", "account_id,account_name\n")
    with pytest.raises(SourceError, match="100 of 100 accounts"):
        run(source_loads)


def test_a_dated_list_that_would_close_too_much_changes_nothing(source_loads):
    names = [f"a{n}" for n in range(100)]
    dated_company(source_loads)
    # Lists that were replaced long ago are history: later lists confirm what they lack.
    source_loads.write(
        "accounts/2026-06-01.csv", accounts(**dict.fromkeys([*names, *(f"old{n}" for n in range(60))], "A"))
    )
    source_loads.write("accounts/2026-06-02.csv", accounts(**dict.fromkeys([*names[1:], "a100"], "A")))
    source_loads.write("accounts/2026-06-03.csv", accounts(**dict.fromkeys([*names[2:], "a100"], "A")))
    assert run(source_loads)["accounts"].closed == 62
    before = staged_accounts(source_loads)
    cut = source_loads.write("accounts/2026-06-04.csv", accounts(**dict.fromkeys(names[2:70], "A")))
    for _ in range(2):
        with pytest.raises(
            SourceError, match=r"31 of 99 accounts are missing from the new full list .*31\.3 %, limit 20 %"
        ):
            run(source_loads)
        assert staged_accounts(source_loads) == before
    cut.unlink()
    source_loads.write("accounts/2026-06-04.csv", accounts(**dict.fromkeys(names[2:], "A")))
    assert run(source_loads)["accounts"].closed == 63


def test_the_days_of_a_series_are_read_from_its_names():
    paths = [Path(f"a/{name}") for name in ("x-20260601.csv", "x-20260603.csv", "y_2026-06-02.csv", "part-00001.csv")]
    assert replaced_at(paths) == {paths[0]: at(6, 3)}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("accounts-2026-06-29.csv", instant(2026, 6, 29)),
        ("accounts_20260629.csv.gz", instant(2026, 6, 29)),
        ("accounts.2026.06.29.parquet", instant(2026, 6, 29)),
        ("accounts-2026_06_29.jsonl", instant(2026, 6, 29)),
        ("accounts/2026-06-29_1.csv", instant(2026, 6, 29)),
        ("accounts/2026-06-29_000001.csv", instant(2026, 6, 29)),
        ("accounts/2026-06-29/part-00000-4f8c.snappy.parquet", instant(2026, 6, 29)),
        ("accounts/date=2026-06-29/part-0.csv", instant(2026, 6, 29)),
        ("accounts/dt=20260629/0.csv", instant(2026, 6, 29)),
        ("accounts/year=2026/month=06/day=29/part-0.csv", instant(2026, 6, 29)),
        ("accounts/2026/06/29/part-0.csv", instant(2026, 6, 29)),
        ("accounts/2026-05/2026-06-29.csv", instant(2026, 6, 29)),
        ("accounts-20260629T020000Z.csv", instant(2026, 6, 29, 2)),
        ("accounts-2026-06-29T02.csv", instant(2026, 6, 29, 2)),
        ("accounts-2026-06-29T02-03-04.csv", instant(2026, 6, 29, 2, 3, 4)),
        ("accounts-20260629_020304.csv", instant(2026, 6, 29, 2, 3, 4)),
        ("accounts-20260629020304.csv", instant(2026, 6, 29, 2, 3, 4)),
        ("accounts-2026-05.csv", instant(2026, 5, 1)),
        ("accounts.2026-05.v2.csv", instant(2026, 5, 1)),
        ("accounts/2026/05/part-0.parquet", instant(2026, 5, 1)),
        ("accounts.csv", None),
        ("accounts-2026.csv", None),
        ("accounts-2026-13.csv", None),
        ("accounts-20260231.csv", None),
        ("accounts/part-00001.csv", None),
        ("accounts/part-1202606291.csv", None),
        ("accounts-v2.csv", None),
    ],
)
def test_the_date_of_a_list_is_anywhere_in_its_path_below_the_folder_of_the_source(path, expected):
    folder = Path("exports/2020-01-01")
    found = dated_list(folder / path, folder)
    assert (found and found.at) == expected
    if found:
        assert found.series == ("accounts",)


@given(
    day=st.datetimes(instant(2000, 1, 1), instant(2099, 12, 31)).map(lambda one: one.replace(microsecond=0)),
    form=st.sampled_from(
        ["%Y-%m-%d", "%Y%m%d", "%Y.%m.%d", "%Y_%m_%d", "%Y-%m", "%Y/%m/%d", "%Y%m%dT%H%M%SZ", "%Y-%m-%dT%H:%M:%S"]
    ),
    shape=st.sampled_from(["x-{}", "x/{}", "x/{}/part-0", "x/date={}/0", "x-{}-part1"]),
    ending=st.sampled_from([".csv", ".csv.gz", ".tsv.zst", ".jsonl", ".parquet"]),
)
@settings(max_examples=examples(200), deadline=None)
def test_every_date_is_read_back_whatever_is_around_it(day, form, shape, ending):
    assume(form != "%Y/%m/%d" or shape in ("x/{}", "x/{}/part-0"))
    text = day.strftime(form)
    expected = datetime.strptime(text, form).replace(tzinfo=UTC).replace(tzinfo=None)
    assert dated_list(Path(shape.format(text) + ending)) == DatedList(("x",), expected)


def test_only_what_has_an_end_can_be_a_full_list():
    with pytest.raises(ValidationError, match="records of usage_events have no end"):
        FilesSettings(system="files", path="x", full=("usage_events",))
    with pytest.raises(ValidationError, match="invoices is in both `full` and `incremental`"):
        FilesSettings(system="files", path="x", full=("invoices",), incremental=("invoices",))


def test_a_list_between_ends_a_removed_one_earlier(source_loads):
    """The list of the first day moves to another file when that of the second arrives, after that of the third."""
    dated_company(source_loads)
    lists = {
        day: accounts(**{name: f"{name} on {day}" for name in names}) for day, names in ((1, "ab"), (2, "a"), (3, "a"))
    }
    for day in (1, 3):
        source_loads.write(f"accounts-2026-06-0{day}.csv", lists[day])
    run(source_loads)
    assert staged_accounts(source_loads) == [("a", "a on 3", None), ("b", "b on 1", at(6, 3))]
    (source_loads.folder / "accounts-2026-06-01.csv").unlink()
    source_loads.write("accounts/date=2026-06-01/part-0.csv", lists[1])
    source_loads.write("accounts-2026-06-02.csv", lists[2])
    run(source_loads)
    assert staged_accounts(source_loads) == [("a", "a on 3", None), ("b", "b on 1", at(6, 2))]
