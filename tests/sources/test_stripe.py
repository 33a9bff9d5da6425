"""Stripe: files of its records and tables that others land, through a whole run."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from csm_core.errors import SourceError
from csm_core.sources.registry import get_system
from csm_core.sources.settings import StripeSettings
from csm_core.sources.settings_base import LandedTables

DAY = 86_400
# 2026-06-01 00:00 UTC.
JUNE = 1_780_272_000


def write_lines(file: Path, *records: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")


def write_company(folder: Path) -> Path:
    """Two accounts that use the product; who they are and what they pay is known by Stripe."""
    folder.mkdir()
    (folder / "accounts.csv").write_text("account_id,account_name,created_at\na1,One,2025-01-01\na2,Two,2025-01-01\n")
    (folder / "features.csv").write_text("feature,module\nreports,core\n")
    (folder / "usage_events.csv").write_text(
        "event_id,account_id,user_id,event_name,feature,occurred_at\n"
        "e1,a1,u1,login,,2026-06-20\ne2,a1,u2,used,reports,2026-06-21\ne3,a2,u3,login,,2026-06-22\n"
    )
    return folder


def subscription(name: str, customer: str, seats: int) -> dict[str, Any]:
    price = {"unit_amount": 12_000, "currency": "usd", "recurring": {"interval": "year", "interval_count": 1}}
    period = {"current_period_start": JUNE, "current_period_end": JUNE + 45 * DAY}
    item = {"id": f"si_{name}", "quantity": seats, "price": price, **period}
    return {"id": name, "customer": customer, "status": "active", "start_date": JUNE, "items": {"data": [item]}}


def invoice(name: str, customer: str, **more: Any) -> dict[str, Any]:
    transitions = {"finalized_at": JUNE, **more.pop("transitions", {})}
    stated = {"status": "open", "currency": "usd", "amount_due": 5_000, "created": JUNE, "due_date": JUNE + 10 * DAY}
    return {"id": name, "customer": customer, **stated, "status_transitions": transitions, **more}


SIGNALS = (
    "select account_id, invoice_payment_status, days_to_renewal, seats_utilization_rate "
    "from marts.csm_health_signals where as_of_date = '{day}' order by account_id"
)


@pytest.mark.slow
def test_records_in_files_give_the_signals_of_each_day_and_follow_what_changes(tmp_path, company):
    records = tmp_path / "stripe"
    write_lines(records / "customers.jsonl", {"id": "cus_1", "metadata": {"account_id": "a1"}}, {"id": "cus_2"})
    write_lines(records / "subscriptions.jsonl", subscription("sub_1", "cus_1", 4), subscription("sub_2", "cus_2", 2))
    write_lines(records / "invoices/1.jsonl", invoice("in_1", "cus_1"), invoice("in_2", "cus_2"))
    mapped = tmp_path / "map.csv"
    mapped.write_text("system,external_id,account_id\nstripe,cus_2,a2\n")
    made = company(
        write_company(tmp_path / "company"),
        sources=[
            {"system": "files", "path": str(tmp_path / "company")},
            {"system": "stripe", "path": str(records)},
        ],
        identity={"account_map": str(mapped)},
        checks={"max_silent_days": 60},
    )
    done = made.csm("run", "--as-of", "2026-06-30", "--no-publish")
    assert done.returncode == 0, done.stderr
    # Due on 11 June, looked at on the 30th; 45 days after 1 June is 16 July.
    assert made.query(SIGNALS.format(day="2026-06-30")) == [
        ("a1", "overdue_30", 16, 0.5),
        ("a2", "overdue_30", 16, 0.5),
    ]
    assert made.query("select matched_by, count(*) from staging.account_map group by all order by all") == [
        ("column", 1),
        ("file", 1),
    ]
    write_lines(
        records / "invoices/2.jsonl", invoice("in_1", "cus_1", status="paid", transitions={"paid_at": JUNE + 20 * DAY})
    )
    done = made.csm("run", "--from", "2026-06-15", "--to", "2026-06-30", "--no-publish")
    assert done.returncode == 0, done.stderr
    assert [row[1] for row in made.query(SIGNALS.format(day="2026-06-30"))] == ["current", "overdue_30"]
    assert [row[1] for row in made.query(SIGNALS.format(day="2026-06-15"))] == ["overdue_30", "overdue_30"]
    assert made.query("select distinct as_of_date from marts.csm_health_scores order by 1 limit 1") == [
        (date(2026, 6, 15),)
    ]


def test_what_is_not_stripes_is_told(tmp_path):
    stripe = get_system("stripe")
    (tmp_path / "customers.jsonl").write_text("{}")
    with pytest.raises(SourceError, match=r"no stripe records found.*subscriptions, invoices.*Found: customers"):
        stripe.check(StripeSettings(system="stripe", path=tmp_path))
    with duckdb.connect(str(tmp_path / "l.duckdb")) as connection:
        connection.execute("create table subscription_history as select 1 as id, 2 as CUSTOMER_ID, 'x' as status")
    landed = StripeSettings(system="stripe", tables=LandedTables(path=tmp_path / "l.duckdb", by="fivetran"))
    with pytest.raises(SourceError, match="table subscription_history: required column missing: start_date or created"):
        stripe.check(landed)
    with duckdb.connect(str(tmp_path / "l.duckdb")) as connection:
        connection.execute('alter table subscription_history add column "Start Date" timestamp')
    assert stripe.check(landed) == f"{tmp_path}/l.duckdb: tables subscription_history"


def test_exactly_one_input_is_set(tmp_path):
    with pytest.raises(ValueError, match="exactly one of path, tables, api; found none"):
        StripeSettings(system="stripe")
    with pytest.raises(ValueError, match="found path and api"):
        StripeSettings.model_validate({"system": "stripe", "path": tmp_path, "api": {}})


def test_tables_of_a_database_become_signals_and_a_row_that_goes_is_gone(tmp_path, source_loads):
    database = tmp_path / "landed.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute("create schema stripe")
        connection.execute(
            "create table stripe.invoice as select 'in_' || range as id, 'cus_1' as customer_id, 'open' as status, "
            "true as livemode, 'usd' as currency, 500 as amount_due, timestamptz '2026-06-01 00:00:00+00' as created "
            "from range(3)"
        )
    landed = LandedTables(path=database, schema_name="stripe", by="fivetran")
    sources = [StripeSettings(system="stripe", name=name, tables=landed) for name in ("north", "south")]

    def load() -> list[tuple[object, ...]]:
        get_system("stripe").load(
            source_loads.connection,
            sources,
            loaded_at=source_loads.now,
            folder=tmp_path / "sources",
            log=source_loads.log,
        )
        return source_loads.rows("select _source, count(*) from raw.stripe__fivetran_invoice group by all order by all")

    assert load() == [("north", 3), ("south", 3)]
    with duckdb.connect(str(database)) as connection:
        connection.execute("delete from stripe.invoice where id = 'in_1'")
    assert load() == [("north", 2), ("south", 2)]
