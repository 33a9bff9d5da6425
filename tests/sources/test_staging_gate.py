"""The gate: what is let in, what is refused and why, what replaces what, and that every record is accounted for."""

from __future__ import annotations

from datetime import date


def test_a_folder_becomes_staged_tables(way_in):
    way_in.write_company()
    reports = way_in.run()
    events = reports["usage_events"]
    assert (events.read, events.loaded, events.rejected, events.superseded) == (3, 3, 0, 0)
    assert events.touched_days == (date(2026, 6, 1), date(2026, 6, 2))
    assert way_in.rows(
        "select event_id, feature, quantity, strftime(occurred_at, '%d %H:%M') from staging.stg_usage_events order by 1"
    ) == [
        ("e1", None, 1, "01 10:00"),
        ("e2", "reports", 3, "02 10:00"),
        ("e3", None, 1, "02 10:00"),
    ]
    assert way_in.rows("select distinct tenant_id from staging.stg_accounts") == [("default",)]
    assert reports["invoices"].read == 0
