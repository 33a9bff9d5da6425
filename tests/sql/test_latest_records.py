"""The marts of single tickets and invoices have the latest ones of each account only."""

import pytest

from tests.sql.harness import fresh, run_model, staged


@pytest.mark.parametrize(
    ("entity", "key", "dated_by"), [("tickets", "ticket_id", "opened_at"), ("invoices", "invoice_id", "issued_at")]
)
def test_an_account_has_its_200_latest(entity, key, dated_by):
    with fresh() as connection:
        staged(
            connection, "accounts", {"account_id": "A", "account_name": "a"}, {"account_id": "B", "account_name": "b"}
        )
        staged(
            connection,
            entity,
            *({key: f"{number:03d}", "account_id": "A", dated_by: f"{2000 + number}-01-01"} for number in range(201)),
            # On the same time, the last one by its key is the latest.
            *({key: f"b{number:03d}", "account_id": "B", dated_by: "2026-01-01"} for number in range(201)),
        )
        found = run_model(connection, f"marts/csm_{entity}", ["2026-06-30"])
    assert {row[key] for row in found if row["account_id"] == "A"} == {f"{number:03d}" for number in range(1, 201)}
    assert {row[key] for row in found if row["account_id"] == "B"} == {f"b{number:03d}" for number in range(1, 201)}
