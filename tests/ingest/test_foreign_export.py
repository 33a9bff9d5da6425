"""An export of another system is scored after one `csm doctor` and one edit of csm.yaml."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Company, make_company, tables

AS_OF = date(2026, 6, 30)
LAST_YEAR = AS_OF - timedelta(days=300)
CHECKS = {"max_mean_score_swing": 100, "max_rag_changed_percent": 100}

ACCOUNTS = [("c1", "Ahlers & Sons", "smb", "Ann", LAST_YEAR), ("c2", "Bolt; Inc.", "enterprise", "", LAST_YEAR)]
FEATURES = [("reports", "core"), ("export", "core")]
USAGE = [
    (f"e{number}", "c1" if number % 3 else "c2", f"u{number % 4}", name, feature, number % 5 + 1, day)
    for number, (name, feature) in enumerate([("login", ""), ("opened", "reports"), ("opened", "export")] * 20)
    for day in [datetime(2026, 5, 1, 23, 45, tzinfo=UTC) + timedelta(days=number)]
]
SUBSCRIPTIONS = [
    ("s1", "c1", 1000, "1000.00", "USD", LAST_YEAR, date(2026, 8, 13)),
    ("s2", "c2", 4, "250.50", "USD", LAST_YEAR, date(2027, 1, 2)),
]
INVOICES = [
    ("i1", "c1", "1000.00", "USD", date(2026, 5, 1), date(2026, 5, 31), date(2026, 5, 20)),
    ("i2", "c1", "12345.60", "USD", date(2026, 4, 1), date(2026, 4, 30), None),
    ("i3", "c2", "-250.50", "USD", date(2026, 6, 1), date(2026, 6, 1), None),
]
TICKETS = [
    ("t1", "c1", datetime(2026, 6, 3, 9, 5, tzinfo=UTC), None, "high"),
    ("t2", "c2", datetime(2026, 6, 13, 18, 0, tzinfo=UTC), datetime(2026, 6, 14, 8, 30, tzinfo=UTC), "low"),
]
OWN_HEADERS = {
    "accounts": "account_id account_name segment csm_owner created_at",
    "features": "feature module",
    "usage_events": "event_id account_id user_id event_name feature quantity occurred_at",
    "subscriptions": "subscription_id account_id seats mrr currency started_at renews_at",
    "invoices": "invoice_id account_id amount_due currency issued_at due_at paid_at",
    "tickets": "ticket_id account_id opened_at solved_at priority",
}
RECORDS: dict[str, Sequence[Sequence[Any]]] = {
    "accounts": ACCOUNTS,
    "features": FEATURES,
    "usage_events": USAGE,
    "subscriptions": SUBSCRIPTIONS,
    "invoices": INVOICES,
    "tickets": TICKETS,
}
THEIR_HEADERS = {
    "accounts": "Customer Number;Company Name;Segment;Account Owner;Customer Since",
    "features": "Feature Name;Product Area",
    "usage_events": "ID;Customer Number;User;Action;Feature Name;Count;Timestamp",
    "subscriptions": "Contract ID;Customer Number;Licences;Monthly Amount;Currency Code;Start Date;Renewal Date",
    "invoices": "Invoice No.;Customer Number;Total;Currency Code;Invoice Date;Due Date;Paid On",
    "tickets": "Case Number;Customer Number;Date Opened;Date Closed;Priority",
}


def own(value: Any) -> str:
    return "" if value is None else value.isoformat() if isinstance(value, date) else str(value)


def their(value: Any) -> str:
    if isinstance(value, datetime):
        return value.strftime("%d/%m/%Y %H:%M")
    if isinstance(value, date):
        return value.strftime("%d/%m/%Y")
    if isinstance(value, str) and value.lstrip("-").replace(".", "").isdigit():
        number = float(value)
        return f"(${-number:,.2f})" if number < 0 else f"${number:,.2f}"
    return "" if value is None else str(value)


def write_company(folder: Path, headers: dict[str, list[str]], delimiter: str, text: Callable[[Any], str]) -> Path:
    folder.mkdir()
    for entity, rows in RECORDS.items():
        written = io.StringIO(newline="")
        writer = csv.writer(written, delimiter=delimiter)
        writer.writerow(headers[entity])
        writer.writerows([text(value) for value in row] for row in rows)
        (folder / f"{entity}.csv").write_text(written.getvalue(), encoding="utf-8", newline="")
    return folder


def scored(made: Company) -> dict[str, list[tuple[Any, ...]]]:
    accepted = [word for check in ("portfolio_swing", "usage_delivered") for word in ("--accept", check)]
    done = made.csm("run", "--as-of", str(AS_OF), "--no-publish", *accepted)
    assert done.returncode == 0, done.stdout + done.stderr
    return tables(made.config.warehouse, ("staging", "marts"))


@pytest.mark.slow
def test_an_export_of_another_system_is_scored_after_one_doctor_and_one_edit(tmp_path):
    theirs = write_company(
        tmp_path / "theirs", {entity: text.split(";") for entity, text in THEIR_HEADERS.items()}, ";", their
    )
    made = make_company(tmp_path, theirs, checks=CHECKS)
    looked = made.csm("doctor", "--json")
    assert looked.returncode == 2, looked.stdout + looked.stderr
    (finding,) = json.loads(looked.stdout)
    (settings,) = [problem["value"] for problem in finding["problems"] if problem["kind"] == "settings"]
    assert "#" not in settings, "doctor leaves nothing open"

    stated = yaml.safe_load(made.config_file.read_text(encoding="utf-8"))
    stated["sources"][0] |= yaml.safe_load(settings)
    made.config_file.write_text(yaml.safe_dump(stated), encoding="utf-8")
    looked = made.csm("doctor")
    assert looked.returncode == 0, looked.stdout + looked.stderr

    ours = write_company(tmp_path / "ours", {entity: text.split() for entity, text in OWN_HEADERS.items()}, ",", own)
    assert scored(made) == scored(make_company(tmp_path, ours, checks=CHECKS))
