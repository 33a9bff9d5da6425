"""What is no longer in a full list is closed from that load on, and counted; earlier days keep it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from csm_core.contract import ENTITIES
from csm_core.errors import SourceError
from csm_core.sources.full_lists import replaced_at
from csm_core.sources.registry import get_system
from csm_core.sources.settings import FilesSettings
from csm_core.staging_gate import stage_entity
from tests.sources.way_in import straight

INVOICES = "invoice_id,account_id,amount_due,issued_at\n"


def run(
    way_in,
    *entities: str,
    full: tuple[str, ...] = ("invoices",),
    incremental: tuple[str, ...] = (),
    dates: tuple[str, ...] = (),
):
    way_in.now += timedelta(hours=1)
    source = FilesSettings(system="files", path=way_in.folder, full=full, incremental=incremental, dates=dates)
    get_system("files").load(way_in.connection, [source], loaded_at=way_in.now, folder=way_in.folder, log=way_in.log)
    return {
        name: stage_entity(
            way_in.connection,
            name,
            [("files", straight(name))],
            staged_at=way_in.now,
            max_closed_percent=20,
            min_rejected=20,
        )
        for name in ENTITIES
        if name in ("accounts", "features", *entities)
    }


def at(month: int, day: int) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC).replace(tzinfo=None)


def times(way_in, table: str, key: str, column: str) -> dict[object, object]:
    return dict(way_in.rows(f"select {key}, {column} from staging.stg_{table}"))


def test_a_record_that_left_the_full_list_is_closed_from_that_load_on_until_it_is_back(way_in):
    way_in.write_company()
    way_in.write("invoices.csv", INVOICES + "i1,a1,5,2026-06-01\ni2,a2,5,2026-06-01\n")
    assert run(way_in, "invoices")["invoices"].closed == 0
    way_in.write("accounts.csv", "account_id,account_name\na1,Ahlers\n")
    way_in.write("features.csv", "feature,module\nexport,core\n")
    way_in.write("invoices.csv", INVOICES + "i2,a2,5,2026-06-01\n")
    reports = run(way_in, "invoices")
    left_at = way_in.now.replace(tzinfo=None)
    assert {name: report.closed for name, report in reports.items()} == {"accounts": 1, "features": 1, "invoices": 1}
    assert times(way_in, "accounts", "account_id", "churned_at") == {"a1": None, "a2": left_at}
    assert times(way_in, "features", "feature", "_closed_at") == {"export": None, "reports": left_at}
    assert times(way_in, "invoices", "invoice_id", "voided_at") == {"i1": left_at, "i2": None}
    # Nothing new: the same state, whenever it is staged again.
    assert run(way_in, "invoices")["accounts"].closed == 1
    assert times(way_in, "accounts", "account_id", "churned_at") == {"a1": None, "a2": left_at}
    way_in.write("accounts.csv", "account_id,account_name\na1,Ahlers\na2,Back\n")
    assert run(way_in, "invoices")["accounts"].closed == 0
    assert times(way_in, "accounts", "account_id", "churned_at") == {"a1": None, "a2": None}


def test_another_setting_keeps_what_a_full_list_has_closed_and_since_when(way_in):
    way_in.write_company()
    run(way_in)
    way_in.write("accounts.csv", "account_id,account_name\na1,Ahlers\n")
    run(way_in)
    left_at = way_in.now.replace(tzinfo=None)
    for dates in (("%d/%m/%Y",), ("%m/%d/%Y",), ()):
        assert run(way_in, dates=dates)["accounts"].closed == 1
        assert times(way_in, "accounts", "account_id", "churned_at") == {"a1": None, "a2": left_at}


def test_an_end_that_the_record_states_itself_stays(way_in):
    way_in.write_company(accounts="account_id,account_name,churned_at\na1,Ahlers,\na2,Bolt,2026-03-01\n")
    run(way_in)
    way_in.write("accounts.csv", "account_id,account_name,churned_at\na1,Ahlers,\n")
    run(way_in)
    assert times(way_in, "accounts", "account_id", "churned_at") == {"a1": None, "a2": at(3, 1)}


def test_what_is_no_full_list_loses_nothing(way_in):
    way_in.write_company()
    way_in.write("invoices.csv", INVOICES + "i1,a1,5,2026-06-01\n")
    run(way_in, "invoices", full=(), incremental=("accounts",))
    way_in.write("accounts.csv", "account_id,account_name\na1,Ahlers\n")
    way_in.write("invoices.csv", INVOICES + "i2,a2,5,2026-06-01\n")
    reports = run(way_in, "invoices", full=(), incremental=("accounts",))
    assert {name: report.closed for name, report in reports.items()} == {"accounts": 0, "features": 0, "invoices": 0}
    assert set(times(way_in, "invoices", "invoice_id", "voided_at").values()) == {None}


def test_a_rejected_record_is_in_the_list_and_an_unreadable_line_closes_nothing(way_in):
    way_in.write_company()
    run(way_in)
    way_in.write("accounts.csv", "account_id,account_name,created_at\na1,Ahlers,\na2,Bolt,someday\n")
    assert run(way_in)["accounts"].closed == 0
    way_in.write("accounts.csv", 'account_id,account_name\na1,Ahlers\na2,"Bo\n')
    assert run(way_in)["accounts"].closed == 0
    assert set(times(way_in, "accounts", "account_id", "churned_at").values()) == {None}


def test_each_file_of_a_dated_series_is_the_full_list_of_its_day(way_in):
    way_in.write_company()
    (way_in.folder / "accounts.csv").unlink()
    way_in.write("accounts/2026-06-01.csv", "account_id,account_name\na1,Ahlers\na2,Bolt\n")
    way_in.write("accounts/2026-06-02.csv", "account_id,account_name\na1,Ahlers\na2,Bolt\n")
    way_in.write("accounts/2026-06-04.csv", "account_id,account_name\na1,Ahlers\n")
    assert run(way_in)["accounts"].closed == 1
    assert times(way_in, "accounts", "account_id", "churned_at") == {"a1": None, "a2": at(6, 4)}


def test_a_list_that_would_close_too_much_changes_nothing(way_in):
    names = [f"a{n}" for n in range(100)]
    lines = "".join(f"{name},Account\n" for name in names)
    way_in.write_company(accounts="account_id,account_name\n" + lines)
    run(way_in)
    way_in.write("accounts.csv", "account_id,account_name\n" + "".join(f"{name},Account\n" for name in names[:70]))
    for _ in range(2):
        with pytest.raises(
            SourceError, match=r"30 of 100 accounts are no longer in the full list .*30\.0 %, limit 20 %"
        ):
            run(way_in)
        assert set(times(way_in, "accounts", "account_id", "churned_at").values()) == {None}
    way_in.write("accounts.csv", "account_id,account_name\n")
    with pytest.raises(SourceError, match="100 of 100 accounts"):
        run(way_in)


def test_the_days_of_a_series_are_read_from_its_names():
    paths = [Path(f"a/{name}") for name in ("x-20260601.csv", "x-20260603.csv", "y_2026-06-02.csv", "part-00001.csv")]
    assert replaced_at(paths) == {paths[0]: at(6, 3)}


def test_only_what_has_an_end_can_be_a_full_list():
    with pytest.raises(ValidationError, match="usage_events have no end"):
        FilesSettings(system="files", path="x", full=("usage_events",))
    with pytest.raises(ValidationError, match="under `full` and under `incremental`"):
        FilesSettings(system="files", path="x", full=("invoices",), incremental=("invoices",))
